"""Migration 5: which records of the catalog lie in the store.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "store_record",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name"),
    )
    with op.batch_alter_table("key_wrap") as wraps:
        wraps.add_column(sa.Column("moved", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("body_store_key", "body", ["tenant", "store_key"], unique=False)
