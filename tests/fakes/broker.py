"""A live broker in memory: the real `Broker` over real local keys, a real ledger key and a catalog of dicts.

    world = BrokerWorld(tmp_path)                 # one dataset "claims", synthetic, development posture
    session = world.attested_session()            # challenge → evidence → session row
    key = world.generate(version)                 # GeneratedKey, class raw
    world.broker.unwrap(world.scope(), version, key.wrapped, world.grant(version, session.session_id))

Every provider operation is counted and every refusal kept, so that a test can say what must not have happened.
"""

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.clock import Clock
from tests.fakes.ledger_promise import PromisingLedger, canonical
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import SampleVerifier, sample_evidence
from vault.attest.verifier import Verifiers
from vault.broker.checks import ReleasePolicy
from vault.broker.ports import KeyCatalog
from vault.broker.service import Broker, BrokerParts
from vault.broker.types import Attested, GeneratedKey, Grant
from vault.errors import Refused
from vault.keys.hierarchy import KeyScope
from vault.keys.local import LocalProvider
from vault.keys.provider import Destruction, EpochStatus, KeyClass, KeyProvider, ProviderLocation
from vault.keys.secrets import record_hash
from vault.keys.zone_secrets import ZoneSecrets

T = TypeVar("T")
Row = TypeVar("Row")
TENANT, ZONE, GATEWAY = "main", "de", "de.example"


class CountingProvider:
    """A provider that writes down each operation, and fails where told: before the effect, or after it."""

    def __init__(self, provider: KeyProvider, name: str, calls: list[tuple[str, str]]) -> None:
        self._provider = provider
        self._name = name
        self._calls = calls
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        self._do("create_epoch", lambda: self._provider.create_epoch(epoch_id, key_class))

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        return self._do("wrap", lambda: self._provider.wrap(epoch_id, plaintext, context))

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        return self._do("unwrap", lambda: self._provider.unwrap(epoch_id, wrapped, context))

    def disable(self, epoch_id: str) -> None:
        self._do("disable", lambda: self._provider.disable(epoch_id))

    def enable(self, epoch_id: str) -> None:
        self._do("enable", lambda: self._provider.enable(epoch_id))

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        return self._do("schedule", lambda: self._provider.schedule_destruction(epoch_id, days, now_ms))

    def cancel_destruction(self, epoch_id: str) -> None:
        self._do("cancel", lambda: self._provider.cancel_destruction(epoch_id))

    def destroy(self, epoch_id: str) -> Destruction:
        return self._do("destroy", lambda: self._provider.destroy(epoch_id))

    def status(self, epoch_id: str) -> EpochStatus:
        return self._provider.status(epoch_id)

    def location(self) -> ProviderLocation:
        return self._provider.location()

    def _do(self, operation: str, call: Callable[[], T]) -> T:
        self.before(operation)
        self._calls.append((self._name, operation))
        answer = call()
        self.after(operation)
        return answer


@dataclass(frozen=True)
class FakeDataset:
    dataset_id: str
    name: str = "claims"
    zone: str = ZONE
    synthetic: bool = True
    state: str = "active"


@dataclass(frozen=True)
class FakeSession:
    session_id: str
    principal_id: str
    purpose: str
    scope: tuple[str, ...]
    kind: str
    claims: Mapping[str, Any]
    key_thumbprint: str
    attested_at: int
    attestation_seal: bytes
    tier: str
    expires_at: int
    revoked_at: int | None = None
    bound_source: str = ""
    bound_key: str = ""


@dataclass(frozen=True)
class FakeView:
    view_id: str
    dataset_id: str
    version_id: str
    plan_id: str


@dataclass(frozen=True)
class FakeUpload:
    upload_id: str
    dataset_id: str
    version_id: str
    state: str = "open"


@dataclass(frozen=True)
class FakeJob:
    job_id: str
    subject: Mapping[str, Any]
    kind: str = "view"
    state: str = "leased"
    fence: int = 1
    lease_until: int = 2**52


@dataclass(frozen=True)
class FakeEpoch:
    epoch_id: str
    dataset_id: str
    key_class: str
    epoch: int
    state: str = "active"


@dataclass(frozen=True)
class FakeGroup:
    group_id: str
    dataset_id: str
    key_class: str
    epoch_id: str
    wrapped: bytes
    objects: int
    state: str = "open"


@dataclass(frozen=True)
class FakeWrap:
    subject: str
    dataset_id: str
    key_class: str
    group_id: str
    wrapped: bytes


@dataclass(frozen=True)
class FakeChallenge:
    nonce: str
    principal_id: str
    purpose: str
    scope: tuple[str, ...]
    gateway: str
    expires_at: int
    profile: str = ""


@dataclass(frozen=True)
class FakeRevocation:
    what: str
    value: str


@dataclass
class MemoryBrokerCatalog:
    """`BrokerCatalog` over dicts. Tests edit rows directly, as somebody with SQL would; `edited` marks rows
    whose row seal no longer holds. `before` may raise for any call by its name."""

    datasets: dict[str, FakeDataset] = field(default_factory=dict)
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    views: dict[str, FakeView] = field(default_factory=dict)
    uploads: dict[tuple[str, str], FakeUpload] = field(default_factory=dict)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    epochs_by_id: dict[str, FakeEpoch] = field(default_factory=dict)
    groups: dict[str, FakeGroup] = field(default_factory=dict)
    versions: dict[str, object] = field(default_factory=dict)
    wraps: dict[str, FakeWrap] = field(default_factory=dict)
    challenges: dict[str, FakeChallenge] = field(default_factory=dict)
    revoked: list[FakeRevocation] = field(default_factory=list)
    edited: set[str] = field(default_factory=set)
    writes: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None

    def find_dataset(self, dataset_id: str) -> FakeDataset | None:
        self.before("find_dataset")
        return self._unedited(dataset_id, self.datasets.get(dataset_id))

    def find_session(self, session_id: str) -> FakeSession | None:
        self.before("find_session")
        return self.sessions.get(session_id)

    def find_view(self, view_id: str) -> FakeView | None:
        self.before("find_view")
        return self._unedited(view_id, self.views.get(view_id))

    def find_upload(self, dataset_id: str, upload_id: str) -> FakeUpload | None:
        self.before("find_upload")
        return self.uploads.get((dataset_id, upload_id))

    def find_job(self, job_id: str) -> FakeJob | None:
        self.before("find_job")
        return self.jobs.get(job_id)

    def find_group(self, group_id: str) -> FakeGroup | None:
        self.before("find_group")
        return self.groups.get(group_id)

    def version(self, dataset_id: str, version_id: str) -> object | None:
        return self.versions.get(version_id)

    def find_wrap(self, subject: str) -> FakeWrap | None:
        self.before("find_wrap")
        return self.wraps.get(subject)

    def find_epoch(self, epoch_id: str) -> FakeEpoch | None:
        return self.epochs_by_id.get(epoch_id)

    def active_epoch(self, dataset_id: str, key_class: str) -> FakeEpoch | None:
        self.before("active_epoch")
        matching = (e for e in self.epochs_by_id.values() if (e.dataset_id, e.key_class) == (dataset_id, key_class))
        return next((e for e in matching if e.state == "active"), None)

    def epochs(self, dataset_id: str) -> list[FakeEpoch]:
        return [each for each in self.epochs_by_id.values() if each.dataset_id == dataset_id]

    def add_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str, epoch: int) -> FakeEpoch:
        self._write("add_epoch")
        first = self.active_epoch(dataset_id, key_class)
        return first or self.epochs_by_id.setdefault(epoch_id, FakeEpoch(epoch_id, dataset_id, key_class, epoch))

    def reserve_group(self, epoch_id: str, *, count: int, limit: int) -> FakeGroup | None:
        self._write("reserve_group")
        for group in self.groups.values():
            if group.epoch_id == epoch_id and group.objects + count <= limit:
                self.groups[group.group_id] = replace(group, objects=group.objects + count)
                return self.groups[group.group_id]
        return None

    def add_group(
        self, *, group_id: str, dataset_id: str, key_class: str, epoch_id: str, wrapped: bytes, objects: int
    ) -> None:
        self._write("add_group")
        self.groups[group_id] = FakeGroup(group_id, dataset_id, key_class, epoch_id, wrapped, objects)

    def add_challenge(
        self, *, nonce: str, principal_id: str, purpose: str, scope: tuple[str, ...], gateway: str, expires_at: int,
        profile: str = "",
    ) -> None:  # fmt: skip
        self._write("add_challenge")
        self.challenges[nonce] = FakeChallenge(nonce, principal_id, purpose, scope, gateway, expires_at, profile)

    def consume_challenge(self, nonce: str, now_ms: int) -> FakeChallenge | None:
        self._write("consume_challenge")
        row = self.challenges.pop(nonce, None)
        return row if row is not None and row.expires_at > now_ms else None

    def revocations(self) -> list[FakeRevocation]:
        self.before("revocations")
        return list(self.revoked)

    def _write(self, name: str) -> None:
        self.before(name)
        self.writes.append(name)

    def _unedited(self, row_id: str, row: Row) -> Row:
        if row_id in self.edited:
            raise Refused("catalog.row-edited", row_id)
        return row


class BrokerWorld:
    """Everything around one broker of one zone, ready to be attacked."""

    def __init__(self, directory: Path, *, posture: str = "development", synthetic: bool = True) -> None:
        self.clock = Clock()
        self.ledger = PromisingLedger(self.clock)
        self.catalog = MemoryBrokerCatalog()
        self.refusals: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str]] = []
        keys = directory / "keys"
        LocalProvider.initialise(keys, "DE")
        self.provider_raw = CountingProvider(LocalProvider.connect(keys, KeyClass.RAW), "raw", self.calls)
        self.provider_view = CountingProvider(LocalProvider.connect(keys, KeyClass.VIEW), "view", self.calls)
        self.parts = BrokerParts(
            policy=ReleasePolicy(tenant=TENANT, zone=ZONE, posture=posture, freshness_ms=900_000),
            provider_raw=self.provider_raw,
            provider_view=self.provider_view,
            secrets=ZoneSecrets(keys, LocalProvider.connect(keys, KeyClass.RAW)),
            catalog=cast("KeyCatalog", self.catalog),  # orders about keys are tested over the real catalog
            verifiers=Verifiers({"sample": SampleVerifier()}),
            verify_promise=self.ledger.verify_promise,
            ledger_public_key=self.ledger.public_key,
            record=self.refusals.append,
            clock=self.clock,
        )
        self.broker = Broker(self.parts)
        self.dataset = FakeDataset(secrets.token_hex(16), synthetic=synthetic)
        self.catalog.datasets[self.dataset.dataset_id] = self.dataset
        self.principal_id = secrets.token_hex(16)
        self.purpose = "claims-risk-model"
        self.jwk = new_jwk()

    def restarted(self, **changes: Any) -> Broker:
        """Another broker process over the same keys and catalog, with other parts where named."""
        self.broker = Broker(replace(self.parts, **changes))
        return self.broker

    def scope(self, key_class: str = "raw", **changes: str) -> KeyScope:
        return replace(KeyScope(TENANT, ZONE, self.dataset.dataset_id, key_class), **changes)

    def generate(self, subject: str, key_class: str = "raw", upload_id: str | None = None) -> GeneratedKey:
        return self.broker.generate(self.scope(key_class), subject, upload_id)

    def evidence(self, nonce: str, jwk: dict[str, Any] | None = None, /, **changes: Any) -> dict[str, Any]:
        """Honest sample evidence for a challenge of this world; `changes` go into the binding."""
        row = self.catalog.challenges[nonce]
        binding = ExpectedBinding(nonce, row.gateway, key_thumbprint(jwk or self.jwk), row.purpose, row.scope)
        return sample_evidence(replace(binding, **changes))

    def attest(self, session_id: str | None = None, scope: tuple[str, ...] = ("claims",)) -> Attested:
        nonce = self.broker.challenge(self.principal_id, self.purpose, list(scope), GATEWAY).nonce
        evidence = self.evidence(nonce)
        return self.broker.attest(nonce, "sample", evidence, self.jwk, self.principal_id, session_id)

    def attested_session(self, scope: tuple[str, ...] = ("claims",)) -> FakeSession:
        """What the gateway does after the broker attested: it writes the row, tier from the doctrine."""
        return self.store(self.attest(scope=scope), scope)

    def store(self, attested: Attested, scope: tuple[str, ...] = ("claims",)) -> FakeSession:
        row = FakeSession(
            session_id=attested.session_id,
            principal_id=self.principal_id,
            purpose=self.purpose,
            scope=tuple(sorted(scope)),
            kind="attested",
            claims=attested.claims,
            key_thumbprint=attested.key_thumbprint,
            attested_at=attested.attested_at,
            attestation_seal=attested.seals["warning"],
            tier="warning",
            expires_at=attested.expires_at,
            bound_source=attested.bound_source,
            bound_key=attested.bound_key,
        )
        self.catalog.sessions[row.session_id] = row
        return row

    def edit_session(self, session: FakeSession, **changes: Any) -> None:
        """UPDATE session SET …, by somebody who has the database and not the broker."""
        self.catalog.sessions[session.session_id] = replace(session, **changes)

    def intent(self, version: str, session_id: str | None, /, **changes: Any) -> dict[str, Any]:
        """The entry of an allowed raw read; `changes` replace fields."""
        entry_id = secrets.token_hex(16)
        entry = {
            "v": 1, "type": "intent", "id": entry_id, "at": "2026-11-21T21:20:00.000Z", "zone": ZONE, "tenant": TENANT,
            "decision": {"id": entry_id, "allow": True, "revision": "r1", "codes": []},
            "action": "read", "interface": "s3",
            "dataset_id": self.dataset.dataset_id, "dataset": self.dataset.name, "object": "ab" * 32,
            "version": version, "view": "raw",
            "principal": record_hash(self.broker.hello().record_hash_key, "principal", self.principal_id),
            "purpose": self.purpose, "session": session_id, "run": secrets.token_hex(16),
            "input_sha256": "cd" * 32,
            "residency": [{"what": "store", "observed": "DE", "strength": "self-reported"}],
        }  # fmt: skip
        return {**entry, **changes}

    def grant(self, version: str, session_id: str | None, /, **changes: Any) -> Grant:
        """A grant whose intent the ledger really promised, just now."""
        entry = canonical(self.intent(version, session_id, **changes))
        return Grant(entry, self.ledger.promise(entry), session_id)

    def opened(self) -> int:
        """How many wraps providers opened so far."""
        return sum(1 for _, operation in self.calls if operation == "unwrap")


def new_jwk() -> dict[str, str]:
    """A fresh public P-256 key as a JWK."""
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
