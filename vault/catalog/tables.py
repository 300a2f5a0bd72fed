"""The catalog of one zone: SQLAlchemy Core tables, the shape of migration 1.

Every primary key starts with the tenant. Times are integer milliseconds since the epoch (UTC). JSON
columns hold canonical JSON text. A `row_mac` is present on each row whose silent edit would change a
decision or what is served (see `vault.catalog.seal`); `record` is the ledger entry id that authorised it.

Every partial index states its condition with literals: SQLite uses one only when the query's own text implies it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
)

# One module to import tables from, and one metadata that holds them all.
from vault.catalog.attestation_tables import jwks as jwks
from vault.catalog.attestation_tables import kbs_session as kbs_session
from vault.catalog.attestation_tables import kbs_ticket as kbs_ticket
from vault.catalog.attestation_tables import revocation as revocation
from vault.catalog.attestation_tables import tpm_key as tpm_key
from vault.catalog.key_tables import epoch_key as epoch_key
from vault.catalog.key_tables import erasure as erasure
from vault.catalog.key_tables import key_group as key_group
from vault.catalog.key_tables import key_request as key_request
from vault.catalog.key_tables import key_wrap as key_wrap
from vault.catalog.schema import metadata as metadata
from vault.catalog.schema import seal_columns, tenant_column

zone = Table(
    "zone", metadata, tenant_column(),
    Column("name", String(32), primary_key=True),
    Column("jurisdiction", String(8), nullable=False),
    Column("state", String(16), nullable=False),          # open | closed
    Column("reason", Text, nullable=False, default=""),
    Column("strength", String(16), nullable=False),       # none | self-reported | network | registered | attested
    Column("observed", Text, nullable=False),             # JSON: what each store and key provider answered
    Column("observed_at", BigInteger, nullable=False),
    *seal_columns(),
)

ledger_home = Table(
    "ledger_home", metadata, tenant_column(),
    Column("zone", String(32), primary_key=True),
    Column("place", String(64), nullable=False),          # files:ID of one host, postgresql:ID of a shared log
)

residency_observation = Table(
    "residency_observation", metadata, tenant_column(),
    Column("observation_id", String(32), primary_key=True),
    Column("zone", String(32), nullable=False),
    Column("what", String(32), nullable=False),           # store | key-provider | gateway
    Column("target", Text, nullable=False),
    Column("observed", String(64), nullable=False),
    Column("strength", String(16), nullable=False),
    Column("matches", Boolean, nullable=False),
    Column("at", BigInteger, nullable=False),
)

principal = Table(
    "principal", metadata, tenant_column(),
    Column("principal_id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),           # person | workload | service
    Column("roles", Text, nullable=False),                # JSON list: steward, analyst, trainer
    Column("jurisdiction", String(8), nullable=False),
    Column("purposes", Text, nullable=False),             # JSON list of purposes it may ever act for
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),
)

credential = Table(
    "credential", metadata, tenant_column(),
    Column("access_key_id", String(32), primary_key=True),
    Column("principal_id", String(32), nullable=False),
    Column("purpose", String(64), nullable=False),        # a static key has exactly one
    Column("state", String(16), nullable=False),          # active | revoked
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),
)
# The tenant comes from the credential, so the first look-up knows only the access key.
Index("credential_access_key", credential.c.access_key_id, unique=True)

dataset = Table(
    "dataset", metadata, tenant_column(),
    Column("dataset_id", String(32), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("zone", String(32), nullable=False),           # another zone's name: a pointer, nothing is here
    Column("label", String(16), nullable=False),          # personal | none
    Column("synthetic", Boolean, nullable=False),
    Column("versioning", String(16), nullable=False),     # off | enabled | suspended
    Column("contract_version", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),       # of the last snapshot; not part of the MAC
    Column("state", String(16), nullable=False),          # active | deleted
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),
)
# One name, one living dataset; a name may be used again after its dataset was deleted.
Index("dataset_name", dataset.c.tenant, dataset.c.name, unique=True,
      sqlite_where=dataset.c.state == "active", postgresql_where=dataset.c.state == "active")

contract_version = Table(
    "contract_version", metadata, tenant_column(),
    Column("dataset_id", String(32), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),             # canonical JSON, docs/spec/contract.md
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(32), nullable=False),
    *seal_columns(),
)
object_version = Table(
    "object_version", metadata, tenant_column(),
    Column("dataset_id", String(32), primary_key=True),
    Column("version_id", String(32), primary_key=True),
    Column("key", Text(collation="BINARY").with_variant(Text(collation="C"), "postgresql"), nullable=False),
    Column("sequence", BigInteger, nullable=False),       # of the snapshot that made it
    Column("is_latest", Boolean, nullable=False),
    Column("is_null", Boolean, nullable=False),           # the null version of an unversioned or suspended bucket
    Column("delete_marker", Boolean, nullable=False),
    Column("state", String(16), nullable=False),          # live | deleted
    Column("size", BigInteger, nullable=False),           # plaintext bytes
    Column("etag", String(80), nullable=False),           # unquoted
    Column("checksums", Text, nullable=False),            # JSON {"crc32": base64, "type": "FULL_OBJECT"}
    Column("content_type", Text, nullable=False),
    Column("format", String(16), nullable=False),         # parquet | csv | opaque
    Column("key_class", String(8), nullable=False),       # raw, or view where the dataset holds no personal data
    Column("label", String(16), nullable=False),          # personal | none
    Column("placement", Text, nullable=False),            # JSON list of zones it may lie in
    Column("contract_version", Integer, nullable=False),
    Column("manifest_id", String(32), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("written_by", String(32), nullable=False),     # principal id
    Column("run_id", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),
)
Index("object_version_latest", object_version.c.tenant, object_version.c.dataset_id, object_version.c.key,
      unique=True, sqlite_where=object_version.c.is_latest.is_(True),
      postgresql_where=object_version.c.is_latest.is_(True))
# A key's history: of living rows only, so that what was overwritten costs nobody anything.
Index("object_version_key", object_version.c.tenant, object_version.c.dataset_id, object_version.c.key,
      object_version.c.sequence, sqlite_where=object_version.c.state == "live",
      postgresql_where=object_version.c.state == "live")
# What LIST walks: a page costs its own rows, however many delete markers lie between them.
Index("object_version_listed", object_version.c.tenant, object_version.c.dataset_id, object_version.c.key,
      sqlite_where=and_(object_version.c.is_latest.is_(True), object_version.c.delete_marker.is_(False)),
      postgresql_where=and_(object_version.c.is_latest.is_(True), object_version.c.delete_marker.is_(False)))

# Apart from object_version, because a file of many row groups has far more of this than the hot road may carry.
extent = Table(
    "extent", metadata, tenant_column(),
    Column("subject", String(32), primary_key=True),      # the version id or view id it describes
    Column("dataset_id", String(32), nullable=False),
    Column("columns", Text, nullable=False),              # JSON [[name, [[offset, length, cells], ...]], ...]
    *seal_columns(),
)

manifest_generation = Table(
    "manifest_generation", metadata, tenant_column(),
    Column("manifest_id", String(32), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("dataset_id", String(32), nullable=False),
    Column("subject", String(32), nullable=False),        # the version id or view id it renders
    Column("sha256", LargeBinary, nullable=False),        # of the stored manifest bytes; every read checks it
    Column("store_key", String(96), nullable=False),      # random name in the store
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),
)

# Every object this zone ever names in its store, manifests too, written down before the store sees it:
# what a crash leaves behind is found here and swept, never by guessing from a listing.
body = Table(
    "body", metadata, tenant_column(),
    Column("body_id", String(32), primary_key=True),
    Column("dataset_id", String(32), nullable=False),
    Column("store_key", String(96), nullable=False),
    Column("state", String(16), nullable=False),          # writing | held | live | orphan
    Column("subject", String(64), nullable=False),        # version, view or upload that it belongs to
    Column("sealed_length", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("body_subject", body.c.tenant, body.c.subject)
# Who names a body that was copied, its `body.subject` among them. A body without a row here has that one subject.
body_share = Table(
    "body_share", metadata, tenant_column(),
    Column("body_id", String(32), primary_key=True),
    Column("subject", String(64), primary_key=True),      # a version
)
Index("body_share_subject", body_share.c.tenant, body_share.c.subject)
Index("body_state", body.c.state, body.c.created_at)
Index("body_store_key", body.c.tenant, body.c.store_key)  # from a listing of the store back to who names it

upload = Table(
    "upload", metadata, tenant_column(),
    Column("dataset_id", String(32), primary_key=True),
    Column("upload_id", String(64), primary_key=True),
    Column("key", Text(collation="BINARY").with_variant(Text(collation="C"), "postgresql"), nullable=False),
    Column("version_id", String(32), nullable=False),     # reserved: the key wrap is bound to it
    Column("principal_id", String(32), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),          # open | completed | aborted
    Column("content_type", Text, nullable=False),
    Column("sealed_metadata", LargeBinary, nullable=False),
    Column("wrapped", Text, nullable=False),              # JSON: the object key as it will stand in the manifest
    Column("upload_wrapped", LargeBinary, nullable=False),  # the same key, openable for this upload only
    Column("completed", Text),                            # JSON result, so that a repeated Complete answers the same
    Column("checksum_algorithm", String(16), nullable=False),  # as CreateMultipartUpload named it, or empty
    Column("checksum_type", String(16), nullable=False),  # FULL_OBJECT | COMPOSITE | empty
    Column("created_at", BigInteger, nullable=False),
)
Index("upload_open", upload.c.tenant, upload.c.dataset_id, upload.c.key, upload.c.upload_id,
      sqlite_where=upload.c.state == "open", postgresql_where=upload.c.state == "open")

part = Table(
    "part", metadata, tenant_column(),
    Column("upload_id", String(64), primary_key=True),
    Column("part_number", Integer, primary_key=True),
    Column("body_id", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("md5", LargeBinary, nullable=False),
    Column("checksums", Text, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("store_key", String(96), nullable=False),
    Column("sealed_length", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

snapshot = Table(
    "snapshot", metadata, tenant_column(),
    Column("dataset_id", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("change", Text, nullable=False),               # JSON: versions added, markers set
    Column("run_id", String(32), nullable=False),
    Column("record", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

plan = Table(
    "plan", metadata, tenant_column(),
    Column("dataset_id", String(32), primary_key=True),
    Column("plan_id", String(32), primary_key=True),      # hash of the effect, not of the doctrine revision
    Column("purpose_class", String(32), primary_key=True),
    Column("effect", Text, nullable=False),               # canonical JSON
    Column("contract_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),          # declared | retired
    Column("created_at", BigInteger, nullable=False),
    *seal_columns(),
)

view = Table(
    "view", metadata, tenant_column(),
    Column("view_id", String(32), primary_key=True),
    Column("dataset_id", String(32), nullable=False),
    Column("version_id", String(32), nullable=False),
    Column("plan_id", String(32), nullable=False),
    Column("builder", String(32), nullable=False),        # builder version: part of the view's identity
    Column("state", String(16), nullable=False),          # queued | building | ready | failed
    Column("progress", Integer, nullable=False),          # percent
    Column("reason", Text, nullable=False, default=""),
    Column("size", BigInteger, nullable=False),
    Column("etag", String(80), nullable=False),
    Column("content_type", Text, nullable=False),
    Column("manifest_id", String(32), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ready_at", BigInteger),
    *seal_columns(),
)
Index("view_dataset", view.c.tenant, view.c.dataset_id, view.c.state)
Index("view_identity", view.c.tenant, view.c.version_id, view.c.plan_id, unique=True)

challenge = Table(
    "challenge", metadata, tenant_column(),
    Column("nonce", String(64), primary_key=True),        # hex; single use
    Column("principal_id", String(32), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("scope", Text, nullable=False),                # JSON list of dataset names
    Column("gateway", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("consumed_at", BigInteger),
    Column("profile", String(16), nullable=False, server_default=""),  # protocol it serves; empty: our own
)

session = Table(
    "session", metadata, tenant_column(),
    Column("session_id", String(32), primary_key=True),
    Column("principal_id", String(32), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("scope", Text, nullable=False),
    Column("kind", String(16), nullable=False),           # attested | identity
    Column("tier", String(16), nullable=False),           # affirming | warning | contraindicated | none
    Column("claims", Text, nullable=False),               # JSON: verified statements, no raw evidence
    Column("key_thumbprint", String(64), nullable=False),  # RFC 7638 of the attested key
    Column("run_id", String(32), nullable=False),
    Column("attested_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),     # of the credentials
    Column("revoked_at", BigInteger),
    Column("attestation_seal", LargeBinary, nullable=False),  # by the broker alone: a front worker cannot mint it
    Column("created_at", BigInteger, nullable=False),
    Column("bound_source", String(64), nullable=False, server_default=""),  # address raw data goes to; empty: any
    Column("bound_key", String(64), nullable=False, server_default=""),  # thumbprint a certificate must show
)

run = Table(
    "run", metadata, tenant_column(),
    Column("run_id", String(32), primary_key=True),
    Column("name", Text, nullable=False),                 # empty: what this principal and workload do in the window
    Column("principal_id", String(32), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("workload", String(64), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
)
Index("run_name", run.c.tenant, run.c.principal_id, run.c.name)
Index("run_window", run.c.tenant, run.c.principal_id, run.c.workload, run.c.last_at)

run_io = Table(
    "run_io", metadata, tenant_column(),
    Column("run_id", String(32), primary_key=True),
    Column("direction", String(3), primary_key=True),     # in | out
    Column("dataset_id", String(32), primary_key=True),
    Column("version_id", String(32), primary_key=True),
    Column("view", String(32), primary_key=True),         # raw | open | plan id
    Column("label", String(16), nullable=False),
    Column("placement", Text, nullable=False),            # JSON list of zones
    Column("at", BigInteger, nullable=False),
    *seal_columns(),
)

run_statement = Table(                                    # a job's own words; the ledger has their hash
    "run_statement", metadata, tenant_column(),
    Column("statement_id", String(32), primary_key=True),
    Column("run_id", String(32), nullable=False),
    Column("document", Text, nullable=False),             # canonical JSON
    Column("at", BigInteger, nullable=False),
)
Index("run_statement_run", run_statement.c.tenant, run_statement.c.run_id)

doctrine_revision = Table(
    "doctrine_revision", metadata, tenant_column(),
    Column("revision", String(64), primary_key=True),
    Column("state", String(16), nullable=False),          # active | retired | refused
    Column("reason", Text, nullable=False, default=""),
    Column("at", BigInteger, nullable=False),
)

job = Table(
    "job", metadata, tenant_column(),
    Column("job_id", String(64), primary_key=True),
    Column("kind", String(24), nullable=False),           # view | describe | sweep | residency | outbox | sequencer
    Column("subject", Text, nullable=False),              # JSON
    Column("state", String(16), nullable=False),          # queued | leased | done | failed
    Column("fence", BigInteger, nullable=False),          # rises with each lease; a late holder is refused
    Column("holder", String(64), nullable=False, default=""),
    Column("lease_until", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created_at", BigInteger, nullable=False),
)
Index("job_ready", job.c.kind, job.c.state, job.c.lease_until)

outbox = Table(
    "outbox", metadata, tenant_column(),
    Column("event_id", String(64), primary_key=True),
    Column("sink", String(32), primary_key=True),
    Column("event", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
)

# Which record lies in the store under which name (docs/spec/durability.md §4), so that one that is missing or old is
# written again.
store_record = Table(
    "store_record", metadata, tenant_column(),
    Column("name", String(96), primary_key=True),
    Column("sha256", LargeBinary, nullable=False),        # of the document before it was sealed
    Column("written_at", BigInteger, nullable=False),
)

cursor = Table(
    "cursor", metadata, tenant_column(),
    Column("name", String(32), primary_key=True),         # lineage | decisions
    Column("position", BigInteger, nullable=False),
)
