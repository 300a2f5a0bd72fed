"""One zone's gateway in one process: guard, reads, writes, registry and sessions over real parts.

Real: catalog (SQLite), vault, broker over local keys, doctrine as shipped (regorus in this process), promises.
Fakes with hooks: the store (`world.store`), the ledger (`world.ledger.fault`), the engine (`world.engine`).

    world = GatewayWorld(tmp_path)                     # dataset "claims" (personal, synthetic), "open-data" (none)
    version = world.put("a.csv", CSV)                  # through the write road, by the steward
    world.build(version)                               # what the builder would commit, for each queued view
    answer = world.read(world.analyst, "a.csv")        # .body, .error, .view, .decision_id …
    with world.unchanged(): …                          # store and catalog are the same afterwards
"""

import asyncio
import hashlib
import json
import secrets
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from gateway.decide import frames
from gateway.decide.bundle import Bundle
from gateway.decide.doctrine import Doctrine
from gateway.decide.engine import UNDEFINED, EngineError, EngineFailed, Undefined
from gateway.decide.regorus_child import Evaluator, engine_of
from gateway.directory import Directory, ZoneEntry
from gateway.errors import GatewayError
from gateway.facts import FactsPolicy, FactsReader
from gateway.front import Front
from gateway.guard import Guard
from gateway.identity.principal import Principal, SessionClaims
from gateway.ops.metrics import Metrics
from gateway.plans import IDENTITY_PLAN
from gateway.reads import Reads
from gateway.record import Recorder
from gateway.registry import Registry
from gateway.revocations import Revocations
from gateway.s3.ports import WriteCondition, WriteDigests, Written
from gateway.sessions import Sessions
from gateway.writes import Writes
from lineage.errors import LineageError
from lineage.ledger.promise import Promise
from tests.fakes.broker import CountingProvider, new_jwk
from tests.fakes.clock import Clock
from tests.fakes.doctrine import POLICIES
from tests.fakes.ledger import FakeLedger
from tests.fakes.store import MemoryStore
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import SampleVerifier, sample_evidence
from vault.attest.verifier import Verifiers
from vault.broker.checks import ReleasePolicy
from vault.broker.ports import PromiseFacts
from vault.broker.service import Broker, BrokerParts
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.rows import DatasetRow, RunIoRow, SessionRow, VersionRow, ViewRow
from vault.catalog.seal import RowSeal
from vault.errors import Refused, Unavailable
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass, KeyProvider
from vault.keys.signing import ZoneSigner, verify_signature
from vault.keys.zone_secrets import ZoneSecrets
from vault.objects import Vault
from vault.ref import DatasetRef, ObjectRef
from vault.store.store import Store

T = TypeVar("T")
TENANT, ZONE, GATEWAY = "main", "de", "main/de"
GENESIS = "0" * 32
FRESHNESS_MS, GRACE_MS, WINDOW_MS = 900_000, 60_000, 30 * 86_400_000
CSV = b"name,iban,amount\nAda Lovelace,DE02120300000000202051,12\nAlan Turing,DE02500105170137075030,30\n"
MASKED = b"name,iban,amount\nREDACTED,p_aaaa,12\nREDACTED,p_bbbb,30\n"


def contract_for(dataset: str, **changes: Any) -> dict[str, Any]:
    """A contract whose names, IBANs and nothing else are personal; keys are not."""
    columns = [
        {"name": "name", "type": "string", "label": "pii.name"},
        {"name": "iban", "type": "string", "label": "pii.iban"},
        {"name": "amount", "type": "int64", "label": "none"},
    ]
    document = {
        "v": 1, "dataset": dataset, "owner": "claims department", "purposes": ["analytics", "claims-risk-model"],
        "keys_personal": False, "columns": columns,
    }  # fmt: skip
    return document | changes


_ENGINES: dict[tuple[str, int], Any] = {}


def _engine(bundle: Bundle, thread: int) -> Any:
    """One engine a bundle and thread, kept for good: regorus wants an engine dropped on the thread that made it, and
    the collector runs on any."""
    if (bundle.revision, thread) not in _ENGINES:
        _ENGINES[bundle.revision, thread] = engine_of(
            {"modules": [list(module) for module in bundle.modules], "data": bundle.data}
        )
    return _ENGINES[bundle.revision, thread]


class ShippedEngine:
    """`Engine` over regorus in this process. `before` may raise in place of an answer; `says` replaces decisions."""

    name = "regorus in process"
    any_builtin = False

    def __init__(self) -> None:
        self._evaluator = Evaluator()
        self._revision = ""
        self.asked: list[tuple[str, Any]] = []
        self.before: EngineError | None = None
        self.says: Callable[[Any], Any | Undefined] | None = None

    async def load(self, bundle: Bundle) -> str:
        self._evaluator._engine = _engine(bundle, threading.get_ident())
        self._revision = bundle.revision
        return bundle.revision

    async def serving(self) -> str:
        return self._revision

    async def evaluate(self, path: str, document: Any) -> Any | Undefined:
        self.asked.append((path, document))
        if self.before is not None:
            raise self.before
        if self.says is not None and path.endswith("/decision"):
            return self.says(document)
        return self.answer(path, document)

    def answer(self, path: str, document: Any) -> Any | Undefined:
        """What the shipped rules say, whatever `says` does."""
        payload = path.encode() + b"\0" + json.dumps(document).encode()
        kind, text = self._evaluator.answer(frames.EVALUATE, payload)
        if kind == frames.UNDEFINED:
            return UNDEFINED
        if kind != frames.VALUE:
            raise EngineFailed(text.decode())
        return json.loads(text)

    async def close(self) -> None:
        """The engine must go on the thread that made it, whatever thread the collector runs on."""
        self._evaluator._engine = None


@dataclass
class Answer:
    """What a caller got: the bytes that left before the end or the error, and what the reading said of itself."""

    body: bytes = b""
    error: GatewayError | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def refusal(self) -> GatewayError:
        assert self.error is not None, f"answered {len(self.body)} bytes as {self.facts}"
        return self.error


@cache
def _empty_catalog() -> Path:
    """A migrated database to copy: Alembic takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="demesne-tests-")) / "catalog.sqlite3"
    database = Database(sqlite_url(path))
    database.upgrade()
    database.close()
    return path


class GatewayWorld:
    def __init__(
        self, directory: Path, *, store: Store | None = None, posture: str = "development", **registry: Any
    ) -> None:
        self.clock = self._clock()
        self.directory = directory
        self.path = directory / "catalog.sqlite3"
        self.executor = ThreadPoolExecutor(2)
        self._runner = asyncio.Runner()
        self.store = MemoryStore(observed="de")
        self._keys(directory / "keys", posture)
        self.records = MemoryStore(observed="de")  # apart, so that tests may count what lies in `store`
        self.vault = Vault(
            store or self.store, self.catalog, self.broker, ZONE, self.clock, record_store=store or self.records
        )
        self.engine = ShippedEngine()
        self.doctrine = Doctrine(self.engine, POLICIES, self.clock)
        assert self.run(self.doctrine.reload()), self.doctrine.status
        self.metrics = Metrics()
        self.zones = Directory((
            ZoneEntry("de", "de", "https://s3.de.example", "https://api.de.example"),
            ZoneEntry("fr", "fr", "https://s3.fr.example", "https://api.fr.example"),
        ))  # fmt: skip
        self._worker(posture, registry)
        self._populate()

    def _populate(self) -> None:
        self.steward = self.person("steward", "stewardship", "steward", kind="service")
        self.analyst = self.person("analyst", "analytics", "analyst")
        self.trainer = self.person("trainer", "claims-risk-model", "trainer", kind="workload")
        self.jwk = new_jwk()
        self.open_zone()
        self.dataset = self.catalog.create_dataset("claims", ZONE, "personal", True, GENESIS)
        self.catalog.create_dataset("open-data", ZONE, "none", True, GENESIS)
        self.contract("claims")

    def _keys(self, keys: Path, posture: str) -> None:
        LocalProvider.initialise(keys, "de")
        connect = self._provider(keys)
        self.signer = self._signer()
        self.ledger = self._ledger()
        self.provider_calls: list[tuple[str, str]] = []
        providers = {
            kind: CountingProvider(connect(kind), kind.value, self.provider_calls)
            for kind in KeyClass
        }
        self.provider_raw, self.provider_view = providers[KeyClass.RAW], providers[KeyClass.VIEW]
        zone_secrets = ZoneSecrets(keys, LocalProvider.connect(keys, KeyClass.RAW))
        self.catalog = Catalog(self._database(), RowSeal(zone_secrets.derived("catalog-mac")), self.clock, TENANT)
        self.broker = Broker(BrokerParts(
            policy=ReleasePolicy(tenant=TENANT, zone=ZONE, posture=posture, freshness_ms=FRESHNESS_MS),
            provider_raw=self.provider_raw, provider_view=self.provider_view, secrets=zone_secrets,
            catalog=self.catalog, verifiers=self._verifiers(),
            verify_promise=self._verify_promise, ledger_public_key=self.signer.public_key,
            record=self._record_refusal, clock=self.clock,
        ))  # fmt: skip
        self.hello = self.broker.hello()

    # What a world that outlives its process (tests/fault/crash) brings of its own.

    def _clock(self) -> Clock:
        return Clock()

    def _provider(self, keys: Path) -> Callable[[KeyClass], KeyProvider]:
        """How datasets' epoch keys are reached; those of the zone's secrets stay in files."""
        return lambda key_class: LocalProvider.connect(keys, key_class)

    def _verifiers(self) -> Verifiers:
        """What the broker admits."""
        return Verifiers({"sample": SampleVerifier()})

    def _references(self) -> Sequence[Mapping[str, Any]]:
        """Reference values in force."""
        return ()

    def _signer(self) -> ZoneSigner:
        return ZoneSigner.generate()

    def _ledger(self) -> Any:
        return FakeLedger(ZONE, self.signer.sign, now_ms=self.clock)

    def _database(self) -> Database:
        shutil.copy(_empty_catalog(), self.path)
        return Database(sqlite_url(self.path))

    def _worker(self, posture: str, registry: dict[str, Any]) -> None:
        """The parts of one front worker, as `gateway.processes.front` puts them together."""
        self.facts = self.new_facts(posture)
        self.guard = Guard(
            zone=ZONE, facts=self.facts, doctrine=self.doctrine, ledger=self.ledger,
            recorder=Recorder(TENANT, ZONE, self.hello.record_hash_key), directory=self.zones,
            decision_key=self.hello.decision_key, freshness_grace_ms=GRACE_MS, executor=self.executor,
            clock=self.clock, metrics=self.metrics,
        )  # fmt: skip
        options: dict[str, Any] = {
            "region": ZONE, "created_label": "personal", "static_key": b"s" * 32, "zones": ["de", "fr"],
            "posture": posture, "keep": self.vault.records.keep_dataset,
        }  # fmt: skip
        self.registry = Registry(self.guard, self.catalog, self.vault, **(options | registry))
        self.reads = Reads(self.guard, self.vault, self.catalog)
        self.writes = Writes(self.guard, self.vault, self.catalog)
        self.front = Front(self.guard, self.reads, self.writes, self.registry)
        self.sessions = Sessions(
            self.guard, self.catalog, self.broker, gateway_id=GATEWAY, token_key=self.hello.token_key,
            freshness_seconds=FRESHNESS_MS // 1000, run_window_ms=WINDOW_MS, posture=posture,
            forget_keys=self.vault.forget_session, certificates=True, references=self._references,
        )  # fmt: skip
        self.revocations = Revocations(
            self.guard, self.catalog, self.broker, freshness_seconds=FRESHNESS_MS // 1000,
            forget_keys=self.vault.forget_session,
        )  # fmt: skip

    def new_facts(self, posture: Any = "development") -> FactsReader:
        policy = FactsPolicy(posture, "de", FRESHNESS_MS, WINDOW_MS, 180_000)
        return FactsReader(self.catalog, ZONE, policy, self.clock)

    def _verify_promise(self, text: str, entry: bytes) -> PromiseFacts:
        try:
            promise = Promise.decode(text)
            promise.verify(entry, self.signer.public_key, verify_signature)
        except LineageError as error:
            raise Refused("promise", str(error)) from error
        return PromiseFacts(promise.at, promise.index)

    def _record_refusal(self, entry: dict[str, Any]) -> None:
        try:
            self.ledger.record(entry)
        except LineageError as error:
            raise Unavailable("ledger", str(error)) from error

    # --- who

    def person(self, name: str, purpose: str, *roles: str, kind: str = "person", jurisdiction: str = "de") -> Principal:
        """A principal row with a static key, as its authenticated caller."""
        row = self.catalog.create_principal(name, kind, roles, jurisdiction, [purpose], GENESIS)
        return Principal(
            tenant=TENANT, principal_id=row.principal_id, name=name, kind=kind, roles=frozenset(roles),
            jurisdiction=jurisdiction, purposes=frozenset([purpose]), purpose=purpose, session=None,
            access_key_id=f"DSTA{name.upper()}",
        )  # fmt: skip

    def attested(
        self, principal: Principal | None = None, *, scope: tuple[str, ...] = ("claims",), run: str = "",
        source: str = "", bind_key: bool = False,
    ) -> Principal:  # fmt: skip
        """The trainer in a session that the broker really attested: used from `source`, bound to it or to the key."""
        who = principal or self.trainer
        nonce = self.broker.challenge(who.principal_id, who.purpose, list(scope), GATEWAY).nonce
        bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(self.jwk), who.purpose, tuple(sorted(scope)))
        made = self.broker.attest(
            nonce, "sample", sample_evidence(bound), self.jwk, who.principal_id, None, source=source,
            bind_key=bind_key,
        )  # fmt: skip
        run_id = self.catalog.ensure_run(who.principal_id, who.purpose, run, "sample", WINDOW_MS)
        expires = made.expires_at
        self.catalog.insert_session(SessionRow(
            tenant=TENANT, session_id=made.session_id, principal_id=who.principal_id, purpose=who.purpose,
            scope=tuple(sorted(scope)), kind="attested", tier="warning", claims=made.claims,
            key_thumbprint=made.key_thumbprint, run_id=run_id, attested_at=made.attested_at, expires_at=expires,
            revoked_at=None, attestation_seal=made.seals["warning"], created_at=self.clock(),
            bound_source=made.bound_source, bound_key=made.bound_key,
        ))  # fmt: skip
        claims = SessionClaims(made.session_id, who.purpose, tuple(sorted(scope)), run_id, "attested", expires)
        return replace(
            who, session=claims, access_key_id=f"DSES{made.session_id.upper()}", source=source,
            client_key=made.bound_key,
        )  # fmt: skip

    # --- what

    def open_zone(self, state: str = "open", reason: str = "") -> None:
        observed = [{"what": "store", "target": "memory://", "observed": "de", "strength": "self-reported",
                     "matches": True, "reason": ""}]  # fmt: skip
        self.catalog.set_zone(
            ZONE, "de", state=state, reason=reason, strength="self-reported", observed=observed, record=GENESIS
        )

    def contract(self, dataset: str, **changes: Any) -> dict[str, Any]:
        return self.run(self.registry.set_contract(self.steward, dataset, contract_for(dataset, **changes), "req"))

    def put(self, key: str, data: bytes, *, dataset: str = "claims", by: Principal | None = None) -> VersionRow:
        self.written(by or self.steward, key, data, dataset=dataset)
        return self.version(key, dataset)

    def written(
        self, principal: Principal, key: str, data: bytes, *, dataset: str = "claims",
        condition: WriteCondition | None = None, check: Callable[[WriteDigests], None] | None = None,
        between: Callable[[], None] = lambda: None, content_type: str = "text/csv",
    ) -> Written:  # fmt: skip
        """One PUT. `between` happens after the bytes were sent and before the commit."""

        async def put() -> Written:
            async with self.front.open_write(
                principal, self.ref(key, dataset), content_type=content_type, user_metadata={"made": "here"},
                condition=condition, request_id="req",
            ) as opened:  # fmt: skip
                for at in range(0, len(data), 1 << 19):
                    await opened.write(data[at : at + (1 << 19)])
                between()
                return await opened.commit(check)

        return self.run(put())

    def build(self, version: VersionRow, data: bytes = MASKED) -> list[ViewRow]:
        """Commit `data` as every queued view of this version, and the object itself as its identity view."""
        made = []
        for view in self.catalog.views(version.dataset_id):
            if view.version_id == version.version_id and view.state != "ready":
                self.catalog.view_building(view.view_id, 50)
                plain = CSV if view.plan_id == IDENTITY_PLAN else data
                made.append(self.vault.put_view(version, view, [plain], "text/csv", GENESIS))
        return made

    def read(
        self, principal: Principal, key: str, *, dataset: str = "claims", action: str = "read",
        require_view: str | None = None, span: tuple[int, int] | None = None, version_id: str | None = None,
        after_slab: Callable[[int], None] = lambda _: None,
    ) -> Answer:  # fmt: skip
        """One GET or HEAD. `after_slab(n)` happens when the n-th slab (from 1) was handed over."""
        answer = Answer()
        ref = self.ref(key, dataset, version_id)

        async def get() -> None:
            async with self.front.open_read(
                principal, ref, action=action, require_view=require_view, request_id="req"
            ) as opened:
                answer.facts = {
                    name: getattr(opened, name)
                    for name in ("size", "etag", "view", "decision_id", "promise", "content_type", "user_metadata")
                }
                if action == "head":
                    return
                start, stop = span or (0, opened.size)
                count = 0
                async for slab in opened.stream(start, stop):
                    answer.body += bytes(slab)
                    count += 1
                    after_slab(count)

        try:
            self.run(get())
        except GatewayError as error:
            answer.error = error
        return answer

    def ref(self, key: str, dataset: str = "claims", version_id: str | None = None) -> ObjectRef:
        return ObjectRef(TENANT, ZONE, dataset, key, version_id)

    def dataset_ref(self, dataset: str = "claims") -> DatasetRef:
        return DatasetRef(TENANT, ZONE, dataset)

    def dataset_row(self, dataset: str = "claims") -> DatasetRow:
        return self.catalog.dataset(dataset)

    def version(self, key: str, dataset: str = "claims") -> VersionRow:
        found = self.find(key, dataset)
        assert found is not None
        return found

    def find(self, key: str, dataset: str = "claims") -> VersionRow | None:
        return self.catalog.latest(self.catalog.dataset(dataset).dataset_id, key)

    # --- the machine

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def refused(self, call: Coroutine[Any, Any, Any]) -> GatewayError:
        """The GatewayError that `call` must end in."""
        try:
            found = self.run(call)
        except GatewayError as error:
            return error
        raise AssertionError(f"answered {found!r}")

    def sql(self, statement: str, *params: Any) -> None:
        """As somebody who has the database and not the gateway."""
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                assert connection.execute(statement, params).rowcount > 0, statement
        finally:
            connection.close()

    def picture(self, *without: str) -> dict[str, Any]:
        """Everything durable: each catalog table's rows, and what lies in the store."""
        connection = sqlite3.connect(self.path)
        try:
            tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
            shown: dict[str, Any] = {
                table: sorted(map(repr, connection.execute(f"select * from {table}")))
                for table in tables
                if table not in without
            }
        finally:
            connection.close()
        shown["store"] = {key: hashlib.sha256(data).hexdigest() for key, data in self.store.objects.items()}
        return shown

    @contextmanager
    def unchanged(self, *without: str) -> Iterator[None]:
        """Catalog and store are the same afterwards, nothing half written lies in the store. `run` is not compared:
        a caller without one gets one when it first asks, to be named in the intent."""
        before = self.picture("run", *without)
        yield
        assert self.picture("run", *without) == before
        assert not self.store.unfinished

    def entries(self, kind: str, since: int = 0) -> list[dict[str, Any]]:
        return [entry for entry in self.ledger.entries[since:] if entry["type"] == kind]

    def intent(self, decision_id: str | None) -> dict[str, Any]:
        (found,) = [entry for entry in self.entries("intent") if entry["id"] == decision_id]
        return found

    def outcome(self, decision_id: str | None) -> dict[str, Any]:
        (found,) = [entry for entry in self.entries("outcome") if entry["intent"] == decision_id]
        return found

    def inputs(self, run_id: str) -> list[RunIoRow]:
        return [io for io in self.catalog.io(run_id) if io.direction == "in"]

    def all_inputs(self) -> list[str]:
        return [row[0] for row in self.rows("select version_id from run_io where direction = 'in'")]

    def rows(self, query: str, *params: Any) -> list[Any]:
        """Straight from the database, whatever the catalog would say."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query, params).fetchall()
        finally:
            connection.close()

    def raw_opened(self) -> int:
        """How many times the raw provider opened a wrap."""
        return sum(1 for name, operation in self.provider_calls if (name, operation) == ("raw", "unwrap"))

    def __del__(self) -> None:
        # A test that failed, or died on purpose, left it open: its loop must not be the next test's failure.
        with suppress(AttributeError, RuntimeError):
            self._runner.close()

    def close(self) -> None:
        self.executor.shutdown()
        self.run(self.doctrine.close())
        self._runner.close()
        self.catalog.close()


def random_bytes(count: int) -> bytes:
    return secrets.token_bytes(count)
