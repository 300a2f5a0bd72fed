"""Migration 3: epoch states with their dates, who is in which key group, orders about keys, erasure certificates.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state = 'active'")


def upgrade() -> None:
    _epochs_and_groups()
    _wraps()
    _requests()
    op.create_table(
        "erasure",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "request_id"),
    )
    op.create_index("erasure_dataset", "erasure", ["tenant", "dataset_id", "created_at"], unique=False)


def _epochs_and_groups() -> None:
    # SQLite copies the table: an index over a condition is made again by hand, or it would come back without it.
    op.drop_index("epoch_key_active", table_name="epoch_key")
    with op.batch_alter_table("epoch_key") as epochs:
        epochs.add_column(sa.Column("state_at", sa.BigInteger(), nullable=False, server_default="0"))
        epochs.add_column(sa.Column("destroy_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "epoch_key_active", "epoch_key", ["tenant", "dataset_id", "key_class"], unique=True,
        sqlite_where=_ACTIVE, postgresql_where=_ACTIVE,
    )  # fmt: skip
    with op.batch_alter_table("key_group") as groups:
        groups.add_column(sa.Column("state", sa.String(length=16), nullable=False, server_default="open"))


def _wraps() -> None:
    op.create_table(
        "key_wrap",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("subject", sa.String(length=97), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("key_class", sa.String(length=8), nullable=False),
        sa.Column("group_id", sa.String(length=32), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject"),
    )
    op.create_index("key_wrap_group", "key_wrap", ["tenant", "group_id", "subject"], unique=False)


def _requests() -> None:
    op.create_table(
        "key_request",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("requested_by", sa.String(length=64), nullable=False),
        sa.Column("approved_by", sa.String(length=64), nullable=False),
        sa.Column("approval", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("execute_at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=24), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("broker_seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "request_id"),
    )
    op.create_index("key_request_state", "key_request", ["tenant", "state", "created_at"], unique=False)
    op.create_index("key_request_dataset", "key_request", ["tenant", "dataset_id", "created_at"], unique=False)
