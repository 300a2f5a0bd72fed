"""Migration 2: tags, versions and checksums as S3 shows them.

`object_version_key` covers living rows only: a key that was overwritten a million times is listed as fast as another.
`body_share` counts who names a body, from the first copy on; a body that was never copied has no row in it.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LIVE, _OPEN = sa.text("state = 'live'"), sa.text("state = 'open'")


def upgrade() -> None:
    op.drop_index("object_version_key", table_name="object_version")
    op.create_index(
        "object_version_key", "object_version", ["tenant", "dataset_id", "key", "sequence"], unique=False,
        sqlite_where=_LIVE, postgresql_where=_LIVE,
    )  # fmt: skip
    op.create_table(
        "body_share",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("body_id", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "body_id", "subject"),
    )
    op.create_index("body_share_subject", "body_share", ["tenant", "subject"], unique=False)
    _uploads()


def _uploads() -> None:
    # Nothing was released, so an open upload of before is not carried over: SQLite cannot change a column's collation.
    key = sa.Text(collation="BINARY").with_variant(sa.Text(collation="C"), "postgresql")
    op.drop_table("upload")
    op.create_table(
        "upload",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("key", key, nullable=False),
        sa.Column("version_id", sa.String(length=32), nullable=False),
        sa.Column("principal_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("sealed_metadata", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.Text(), nullable=False),
        sa.Column("upload_wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("completed", sa.Text(), nullable=True),
        sa.Column("checksum_algorithm", sa.String(length=16), nullable=False),
        sa.Column("checksum_type", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "dataset_id", "upload_id"),
    )
    op.create_index(
        "upload_open", "upload", ["tenant", "dataset_id", "key", "upload_id"], unique=False,
        sqlite_where=_OPEN, postgresql_where=_OPEN,
    )  # fmt: skip
