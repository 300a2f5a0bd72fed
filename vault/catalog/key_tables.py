"""The tables of keys: epochs, groups, the wraps that hold now, orders about keys, erasures. Rules: see `tables`."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text, false

from vault.catalog.schema import metadata, tenant_column

epoch_key = Table(
    "epoch_key", metadata, tenant_column(),
    Column("epoch_id", String(64), primary_key=True),     # the provider's own name of the key
    Column("dataset_id", String(32), nullable=False),
    Column("key_class", String(8), nullable=False),       # raw | view
    Column("epoch", Integer, nullable=False),
    # active | retired | disabled | pending-destruction | destroyed. What was asked; what the provider says holds.
    Column("state", String(24), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("state_at", BigInteger, nullable=False, server_default="0"),
    Column("destroy_at", BigInteger),                     # of pending-destruction: not before
)
# Two brokers that make an epoch at once end with one: the other's provider key is destroyed again.
Index("epoch_key_active", epoch_key.c.tenant, epoch_key.c.dataset_id, epoch_key.c.key_class, unique=True,
      sqlite_where=epoch_key.c.state == "active", postgresql_where=epoch_key.c.state == "active")

key_group = Table(
    "key_group", metadata, tenant_column(),
    Column("group_id", String(32), primary_key=True),
    Column("dataset_id", String(32), nullable=False),
    Column("key_class", String(8), nullable=False),
    Column("epoch_id", String(64), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),       # the group key under the epoch key
    Column("objects", Integer, nullable=False),           # how many object keys it wraps, at most 10^4
    Column("created_at", BigInteger, nullable=False),
    # open | closed (takes no more objects; those it has are being moved) | erased (`wrapped` is empty)
    Column("state", String(16), nullable=False, server_default="open"),
)
Index("key_group_open", key_group.c.tenant, key_group.c.epoch_id, key_group.c.objects)

# Who is in a group, and the wrap that holds now: the one in a manifest's header is its first, and dies with its group.
# Written with the row that it belongs to, in one transaction; a wrap authenticates itself, so there is no MAC.
key_wrap = Table(
    "key_wrap", metadata, tenant_column(),
    Column("subject", String(97), primary_key=True),      # version id, view id, or version id ":" upload id
    Column("dataset_id", String(32), nullable=False),
    Column("key_class", String(8), nullable=False),
    Column("group_id", String(32), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),       # the object key under the group key
    Column("moved", Boolean, nullable=False, server_default=false()),  # the manifest in the store holds an older one
)
Index("key_wrap_group", key_wrap.c.tenant, key_wrap.c.group_id, key_wrap.c.subject)

# What somebody asked to be done with keys. Only the broker writes it, and seals it with a key that nobody else has.
key_request = Table(
    "key_request", metadata, tenant_column(),
    Column("request_id", String(32), primary_key=True),   # the ledger entry that asked
    Column("dataset_id", String(32), nullable=False),
    Column("action", String(16), nullable=False),         # rotate | rewrap | disable | enable | destroy | shred
    Column("document", Text, nullable=False),             # the order, canonical JSON
    Column("request_sha256", String(64), nullable=False),
    Column("state", String(24), nullable=False),  # pending-approval | approved | running | waiting | done | cancelled
    Column("requested_by", String(64), nullable=False),   # keyed hash of the principal
    Column("approved_by", String(64), nullable=False),
    Column("approval", String(32), nullable=False),       # the ledger entry that approved
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),     # of a request that nobody approved
    Column("execute_at", BigInteger, nullable=False),     # not before
    Column("step", String(24), nullable=False),
    Column("plan", Text, nullable=False),                 # JSON: what the steps decided once
    Column("result", Text, nullable=False),               # JSON
    Column("progress", Text, nullable=False),             # JSON, shown to people; not under the seal
    Column("updated_at", BigInteger, nullable=False),     # nor this
    Column("broker_seal", LargeBinary, nullable=False),
)
Index("key_request_state", key_request.c.tenant, key_request.c.state, key_request.c.created_at)
Index("key_request_dataset", key_request.c.tenant, key_request.c.dataset_id, key_request.c.created_at)

erasure = Table(
    "erasure", metadata, tenant_column(),
    Column("request_id", String(32), primary_key=True),
    Column("dataset_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),          # pending | destroyed
    Column("certificate", Text, nullable=False),          # docs/spec/erasure.md
    Column("signature", LargeBinary, nullable=False),     # of the zone's key over it
    Column("created_at", BigInteger, nullable=False),
)
Index("erasure_dataset", erasure.c.tenant, erasure.c.dataset_id, erasure.c.created_at)
