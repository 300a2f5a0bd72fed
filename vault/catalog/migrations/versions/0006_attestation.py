"""Migration 6: what binds a session's credentials, what is revoked, enrolled TPMs, key-broker clients, issuers' keys.

Revision ID: 0006
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _text(name: str, length: int | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.String(length=length) if length else sa.Text(), nullable=False)


def _time(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _key(*names: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("tenant", *names)


def upgrade() -> None:
    with op.batch_alter_table("session") as sessions:
        sessions.add_column(sa.Column("bound_source", sa.String(length=64), nullable=False, server_default=""))
        sessions.add_column(sa.Column("bound_key", sa.String(length=64), nullable=False, server_default=""))
    with op.batch_alter_table("challenge") as challenges:
        challenges.add_column(sa.Column("profile", sa.String(length=16), nullable=False, server_default=""))
    op.create_table(
        "revocation", _text("tenant", 63), _text("what", 16), _text("value", 64), _text("reason"),
        _text("by_principal", 32), _time("at"), _key("what", "value"),
    )  # fmt: skip
    op.create_table(
        "tpm_key", _text("tenant", 63), _text("key_name", 64), _text("principal_id", 32), _text("ek_sha256", 64),
        _text("pcr_policy"), _text("last_clock"), _time("enrolled_at"), _time("retired_at", nullable=True),
        sa.Column("broker_seal", sa.LargeBinary(), nullable=False), _key("key_name"),
    )  # fmt: skip
    op.create_table(
        "kbs_ticket", _text("tenant", 63), _text("ticket_sha256", 64), _text("principal_id", 32), _text("purpose", 64),
        _text("scope"), _time("expires_at"), _time("revoked_at", nullable=True), _time("created_at"),
        _text("record", 64), sa.Column("row_mac", sa.LargeBinary(), nullable=False), _key("ticket_sha256"),
    )  # fmt: skip
    op.create_table(
        "kbs_session", _text("tenant", 63), _text("cookie_sha256", 64), _text("nonce", 64), _text("tee", 32),
        _text("ticket_sha256", 64), _text("state", 16), _text("public_key"), _text("session_id", 32), _text("token"),
        _time("expires_at"), _key("cookie_sha256"),
    )  # fmt: skip
    op.create_table(
        "jwks", _text("tenant", 63), _text("issuer", 255), _text("document"), _time("fetched_at"), _time("tried_at"),
        _time("wanted_at"), _text("record", 64), sa.Column("row_mac", sa.LargeBinary(), nullable=False), _key("issuer"),
    )  # fmt: skip
    op.create_table(
        "run_statement", _text("tenant", 63), _text("statement_id", 32), _text("run_id", 32), _text("document"),
        _time("at"), _key("statement_id"),
    )  # fmt: skip
    op.create_index("run_statement_run", "run_statement", ["tenant", "run_id"])
