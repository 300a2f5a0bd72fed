"""Migration 4: where the zone's one ledger lies, so that no second gateway begins another.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_home",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("zone", sa.String(length=32), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "zone"),
    )
