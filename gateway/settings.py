"""Every setting of one zone's processes: frozen, typed, read once from `DEMESNE_*` variables.

`docs/settings.md` lists them and a test compares; `docker-compose.yml` may name nothing else.
"""

import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SOCKET_PATH_LIMIT = 100  # bytes; sun_path holds 108


def problems_of(error: ValidationError) -> list[str]:
    """One sentence for each setting that cannot work, beginning with its variable."""
    return [
        f"DEMESNE_{'_'.join(str(part).upper() for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    ]


class Settings(BaseSettings):
    """One zone as its processes see it. Nothing here is a data key or a provider credential."""

    model_config = SettingsConfigDict(env_prefix="DEMESNE_", frozen=True, extra="ignore")

    zone: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="name of this zone")
    jurisdiction: str = Field(pattern=r"^[a-z]{2,8}$", description="jurisdiction the zone must lie in")
    tenant: str = Field("main", pattern=r"^[a-z][a-z0-9-]{0,31}$", description="tenant of the embedded credentials")
    posture: Literal["development", "production"] = Field(
        "production", description="development admits the sample attester, on synthetic datasets only"
    )
    state_dir: Path = Field(description="where the zones keep what they own")
    directory_file: Path | None = Field(None, description="signed directory of zone names and endpoints")
    directory_key: str = Field("", description="public key (hex) the directory must be signed by")

    static_key_file: Path | None = Field(None, description="key the static secrets derive from; empty = the zone's own")

    s3_host: str = Field("127.0.0.1", description="address the S3 port listens on")
    s3_port: int = Field(9000, ge=0, le=65535, description="S3 port")
    s3_domains: str = Field(
        "localhost", description="names of this endpoint, comma-separated: a sub-domain of one is a bucket"
    )
    api_host: str = Field("127.0.0.1", description="address the API port listens on")
    api_port: int = Field(9001, ge=0, le=65535, description="API and console port")
    tls_cert: Path | None = Field(None, description="PEM chain; both ports then speak TLS 1.3")
    tls_key: Path | None = Field(None, description="PEM key of tls_cert")
    drain_seconds: int = Field(30, ge=1, le=3600, description="how long running answers may go on after SIGTERM")
    created_buckets: Literal["restricted", "open"] = Field(
        "restricted", description="label of datasets made by S3 CreateBucket; open = no personal data"
    )

    catalog_url: str = Field("", description="SQLAlchemy URL; empty = SQLite in the state directory")
    ledger_url: str = Field(
        "", repr=False, description="PostgreSQL URL of a ledger that several gateways write; empty = files of this host"
    )
    store_url: str = Field(
        "", description="file:///DIR, s3://BUCKET?endpoint=…&region=… or minio://…; empty = files, embedded"
    )
    store_access_key: str = Field("", description="access key of an S3 store")
    store_secret_key: str = Field("", repr=False, description="secret key of an S3 store")
    store_ca: Path | None = Field(None, description="PEM authorities an https store is checked against; empty = public")
    store_networks: str = Field("", description="address ranges (CIDR, by comma) of the store; empty = public, https")
    store_pins: str = Field("", description="SHA-256 (hex, by comma) of public keys the store's certificate may have")

    key_provider: str = Field(
        "", description="vault+https://HOST:8200/transit?location=…, awskms://REGION or pkcs11:/MODULE.so?token=…; "
        "empty = files, embedded",
    )  # fmt: skip
    key_provider_ca: Path | None = Field(
        None, description="PEM authorities an https key provider is checked against; empty = public"
    )
    key_networks: str = Field(
        "", description="address ranges (CIDR, by comma) of the key provider; empty = public, https"
    )
    key_pins: str = Field(
        "", description="SHA-256 (hex, by comma) of public keys the key provider's certificate may have"
    )
    key_credential_raw: Path | None = Field(
        None, description="file with the provider's credential for raw keys; for broker and init only"
    )
    key_credential_view: Path | None = Field(
        None, description="file with the provider's credential for view keys; for broker and init only"
    )

    key_destroy_days: int | None = Field(
        None, ge=0, le=30, description="days between approval and destruction of an epoch key, 7 to 30; empty = 7 in "
        "production, 0 (at once) in development",
    )  # fmt: skip

    engine: Literal["regorus", "opa"] = Field("regorus", description="doctrine engine: embedded child or OPA server")
    opa_url: str = Field("http://127.0.0.1:8181", description="OPA server of engine=opa")
    doctrine_dir: Path | None = Field(None, description="doctrine bundle directory; empty = the shipped policies")
    decision_timeout_ms: int = Field(50, ge=1, le=5000, description="a slower decision is a Deny")

    trust_dir: Path | None = Field(
        None, description="directory of files that say whose evidence is believed; empty = trust/ of the zone"
    )
    collateral_sources: str = Field(
        "", description="services that `demesne attest collateral refresh` may ask, ROLE=https://HOST by comma; "
        "empty = none",
    )  # fmt: skip
    collateral_ca: Path | None = Field(
        None, description="PEM authorities these services are checked against; empty = public"
    )
    collateral_networks: str = Field(
        "", description="address ranges (CIDR, by comma) of these services; empty = public"
    )

    freshness_seconds: int = Field(900, ge=1, le=3600, description="an attestation older than this opens nothing raw")
    freshness_grace_seconds: int = Field(60, ge=0, le=60, description="503 for so long after it lapsed, then 403")
    run_window_days: int = Field(30, ge=1, description="reads within this window label what an unnamed run writes")
    residency_interval_seconds: int = Field(60, ge=1, description="how often each store is asked where it is")
    doctrine_interval_seconds: int = Field(2, ge=1, description="how often the doctrine directory is looked at")
    read_threads: int = Field(8, ge=1, description="threads that unseal and read the store, per front worker")

    max_connections: int = Field(
        10_000, ge=16, description="connections of a worker's S3 port at once (API: a tenth); idle ones make room"
    )
    requests_per_principal: int = Field(
        64, ge=1, description="requests of one principal under way at once in a front worker; above it 503"
    )
    requests_per_tenant: int = Field(192, ge=1, description="the same for all principals of a tenant")
    requests_per_worker: int = Field(256, ge=1, description="the same for everybody: bounds the worker's memory")
    refusals_per_minute: int = Field(
        600, ge=1, description="recorded denials of one principal in a front worker; above it 503 and no record each"
    )
    stall_seconds: int = Field(120, ge=1, description="who takes less than 1 KiB/s of an answer for so long is cut off")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("set both DEMESNE_TLS_CERT and DEMESNE_TLS_KEY, or neither")
        return self

    @model_validator(mode="after")
    def _destruction_waits(self) -> Self:
        days = self.key_destroy_days
        if days is not None and days < 7 and not (days == 0 and self.posture == "development"):
            raise ValueError("DEMESNE_KEY_DESTROY_DAYS is 7 to 30; 0 in a development posture only")
        return self

    @property
    def destroy_days(self) -> int:
        if self.key_destroy_days is not None:
            return self.key_destroy_days
        return 7 if self.posture == "production" else 0

    @property
    def bucket_hosts(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.s3_domains.split(",") if name.strip())

    @property
    def zone_dir(self) -> Path:
        return self.state_dir / "zones" / self.zone

    @property
    def static_key_path(self) -> Path:
        return self.static_key_file or self.zone_dir / "static.key"

    @property
    def signing_key_path(self) -> Path:
        """A folder of its own, so that containers can mount it where it is needed and nowhere else."""
        return self.zone_dir / "signer" / "signing.key"

    @property
    def trust_path(self) -> Path:
        return self.trust_dir or self.zone_dir / "trust"

    @property
    def ledger_dir(self) -> Path:
        return self.zone_dir / "ledger"

    @property
    def lineage_graph(self) -> Path:
        return self.zone_dir / "lineage.sqlite3"

    @property
    def run_dir(self) -> Path:
        """Where the zone's sockets are; a short path, because a socket's name holds 108 bytes."""
        inside = self.zone_dir / "run"
        if len(str(inside / "builder" / "builder.sock").encode()) <= _SOCKET_PATH_LIMIT:
            return inside
        name = sha256(str(inside.resolve()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"demesne-{name}"

    @property
    def broker_socket(self) -> Path:
        return self.run_dir / "broker.sock"

    @property
    def builder_socket(self) -> Path:
        """A folder of its own too: what a builder may open with a leased job, a front worker must not reach."""
        return self.run_dir / "builder" / "builder.sock"

    @property
    def keeper_socket(self) -> Path:
        """The jobs process's: it carries out orders about keys, which front workers can only give."""
        return self.run_dir / "keeper" / "keeper.sock"

    @property
    def ledger_socket(self) -> Path:
        return self.run_dir / "ledger.sock"

    @property
    def catalog_location(self) -> str:
        return self.catalog_url or f"sqlite:///{self.zone_dir / 'catalog.sqlite3'}"

    @property
    def store_location(self) -> str:
        return self.store_url or f"file://{self.zone_dir / 'store'}"

    @property
    def policies(self) -> Path:
        """The doctrine bundle: the configured directory, the packaged copy, or the checkout's."""
        if self.doctrine_dir is not None:
            return self.doctrine_dir
        here = Path(__file__).parent
        packaged = here / "_policies"
        return packaged if packaged.is_dir() else here.parent / "policies"
