"""The tables of attestation beside sessions: revocations, enrolled TPMs, key-broker clients, issuers' keys. Rules: see
`tables`."""

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, Text

from vault.catalog.schema import metadata, seal_columns, tenant_column

# What admits no session any more, whatever its evidence: hashes, since a principal or a chip is a name.
revocation = Table(
    "revocation", metadata, tenant_column(),
    Column("what", String(16), primary_key=True),         # subject | platform | measurement
    Column("value", String(64), primary_key=True),        # SHA-256, hex
    Column("reason", Text, nullable=False),
    Column("by_principal", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
)

tpm_key = Table(
    "tpm_key", metadata, tenant_column(),
    Column("key_name", String(64), primary_key=True),     # SHA-256 (hex) of the attestation key's SPKI
    Column("principal_id", String(32), nullable=False),   # who enrolled it
    Column("ek_sha256", String(64), nullable=False),      # of the endorsement key's SPKI
    Column("pcr_policy", Text, nullable=False),           # JSON: PCR → admitted values; empty object: none approved yet
    Column("last_clock", Text, nullable=False),           # JSON: clock, reset and restart counts last seen
    Column("enrolled_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    Column("broker_seal", LargeBinary, nullable=False),   # by the broker alone: a front worker enrols no key
)

# What a client of the key-broker protocol may ask for, which has no place for it in its own messages.
kbs_ticket = Table(
    "kbs_ticket", metadata, tenant_column(),
    Column("ticket_sha256", String(64), primary_key=True),
    Column("principal_id", String(32), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("scope", Text, nullable=False),                # JSON list of dataset names
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),                                      # who may write here could otherwise attest as any principal
)

kbs_session = Table(
    "kbs_session", metadata, tenant_column(),
    Column("cookie_sha256", String(64), primary_key=True),
    Column("nonce", String(64), nullable=False),
    Column("tee", String(32), nullable=False),
    Column("ticket_sha256", String(64), nullable=False),  # empty: without one, and so without raw data
    Column("state", String(16), nullable=False),          # asked | attested
    Column("public_key", Text, nullable=False),           # JSON: the attested key; empty object before
    Column("session_id", String(32), nullable=False),
    Column("token", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

jwks = Table(
    "jwks", metadata, tenant_column(),
    Column("issuer", String(255), primary_key=True),
    Column("document", Text, nullable=False),             # JSON Web Key Set as last fetched; empty before
    Column("fetched_at", BigInteger, nullable=False),
    Column("tried_at", BigInteger, nullable=False),
    Column("wanted_at", BigInteger, nullable=False),      # a token named a key that is not in it
    *seal_columns(),                                      # who may write here could otherwise name any principal
)
