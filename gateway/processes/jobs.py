"""The jobs process: the ledger's sequencer, and the duties any replica may do under a lease."""

import asyncio
import secrets
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog
import uvloop

from gateway.directory import read_directory
from gateway.durable.compared import sum_up
from gateway.identity.issuers_file import IssuersFile
from gateway.jobs.duty import Duty, DutyThread
from gateway.jobs.issuer_keys import KeyFetcher
from gateway.jobs.keeper import Keeper
from gateway.jobs.projection import Projection
from gateway.jobs.reconcile import Reconciler
from gateway.jobs.residency import ResidencyCheck
from gateway.processes.waiting import hello_when_up
from gateway.processes.zone import holder, now_ms, open_catalog, open_store
from gateway.record import Entry, Recorder
from gateway.settings import Settings
from lineage.errors import LineageError
from lineage.ledger.client import SyncLedgerClient
from lineage.ledger.sequencer import serve_writer
from lineage.ledger.writer import Writer, open_ledger
from vault.broker.client import BrokerClient
from vault.broker.types import Hello
from vault.catalog.catalog import Catalog
from vault.errors import Unavailable, VaultError
from vault.keys.local import LocalWhereabouts
from vault.keys.provider import KeyClass, ProviderLocation
from vault.keys.signing import ZoneSigner, verify_signature
from vault.objects import Vault
from vault.residency import Located
from vault.store.store import Store
from vault.sweeping import SHARDS

SWEEP_SECONDS = 300.0
UNNAMED_SECONDS = 170.0  # times 512 shards: a day
RECORDS_SECONDS = 20.0
COMPARED_SECONDS = 15.0  # times 20 000 entries: more than are ever written
PROJECT_SECONDS = 0.5
RECONCILE_SECONDS = 10.0
LOCATION_TRIES, LOCATION_PAUSE = 3, 1.0  # seconds
KEEP_SECONDS = 1.0
ISSUER_KEYS_SECONDS = 2.0  # how soon a key that a token named is looked for; never more often than once a minute
KEEPER_SECONDS = 30.0  # a step of an order about keys is many calls of the provider, not one
log = structlog.get_logger("jobs")


def run_jobs(settings: Settings) -> int:
    """Sequencer on this thread, duties on their own. A sequencer that fails ends the process: it restarts clean."""
    signer = ZoneSigner.load_or_create(settings.signing_key_path)
    locations = read_directory(settings.directory_file, settings.directory_key).locations
    store = open_store(settings)
    stop = threading.Event()
    given = (settings, locations, store, signer, stop)
    duties = threading.Thread(target=_duties, args=given, name="duties", daemon=True)

    async def sequence() -> None:
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        with _open_ledger(settings, signer) as ledger:
            await serve_writer(settings.ledger_socket, ledger, ready=duties.start, stop=ending)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(sequence())
    finally:
        stop.set()
        if duties.is_alive():
            duties.join(5.0)
    return 0


def _open_ledger(settings: Settings, signer: ZoneSigner) -> AbstractContextManager[Writer]:
    """The zone's ledger: files of this host, or the log that its gateways share in PostgreSQL."""
    decisions = settings.zone_dir / "decisions"
    if not settings.ledger_url:
        return open_ledger(
            settings.ledger_dir, decisions, settings.zone, signer.sign, signer.public_key, verify_signature
        )
    from lineage.ledger.shared import open_shared_ledger

    return open_shared_ledger(
        settings.ledger_url, settings.ledger_dir, decisions, settings.zone, signer.sign, signer.public_key,
        verify_signature, holder=f"{holder()}:{secrets.token_hex(4)}", now_ms=now_ms,
        durable=settings.posture == "production",
    )  # fmt: skip


def _hello(broker: BrokerClient, stop: threading.Event) -> Hello | None:
    """The broker's hello, however long that takes: without duties the zone closes and nothing would open it again."""
    while not stop.is_set():
        try:
            return hello_when_up(broker, 5.0)
        except VaultError as error:
            log.warning("duties wait for the broker", reason=error.reason)
            stop.wait(1.0)
    return None


def _duties(
    settings: Settings, locations: Mapping[str, str], store: Store, signer: ZoneSigner, stop: threading.Event
) -> None:
    broker = BrokerClient(settings.broker_socket)
    hello = _hello(broker, stop)
    if hello is None:
        return
    catalog = open_catalog(settings, hello.catalog_mac_key)
    ledger = SyncLedgerClient(settings.ledger_socket, settings.zone)
    recorder = Recorder(settings.tenant, settings.zone, hello.record_hash_key)

    def append(entry: Entry) -> None:
        appended(entry)

    def appended(entry: Entry) -> int:
        """The index it has in the ledger."""
        try:
            return ledger.append(entry).index
        except LineageError as error:
            raise Unavailable("ledger", error.reason) from error

    residency = ResidencyCheck(
        catalog, settings.zone, settings.jurisdiction, locations,
        [Located("store", store, store.exposure), *_key_providers(settings, broker)], append, recorder, now_ms,
    )  # fmt: skip
    vault = Vault(store, catalog, broker, settings.zone, now_ms)
    projection = Projection(
        settings.ledger_dir, settings.lineage_graph, settings.zone_dir / "openlineage.jsonl", catalog, settings.zone
    )
    reconciler = Reconciler(catalog, settings.zone, recorder, append, projection.knows, now_ms)
    keeper = Keeper(
        vault, catalog, BrokerClient(settings.keeper_socket, answer_seconds=KEEPER_SECONDS), appended, recorder,
        signer.sign, now_ms, settings.zone,
    )  # fmt: skip
    issuer_keys = KeyFetcher(IssuersFile(settings.trust_path, now_ms), catalog, append, recorder, now_ms)
    projecting = threading.Lock()  # one connection to the graph

    def project() -> None:
        with projecting:
            projection()

    def reconcile() -> None:
        with projecting:  # what is on record but not yet projected would be recorded twice
            projection()
            reconciler()

    threads = [
        DutyThread(duty, catalog, holder(), stop)
        for duty in (
            Duty("residency", float(settings.residency_interval_seconds), residency),
            # Each gateway answers questions of lineage from a graph of its own.
            Duty("outbox", PROJECT_SECONDS, project, shared=False),
            Duty("reconcile", RECONCILE_SECONDS, reconcile),
            Duty("keys", KEEP_SECONDS, keeper),
            Duty("issuer-keys", ISSUER_KEYS_SECONDS, issuer_keys),
            Duty("sweep", SWEEP_SECONDS, lambda: _sweep(vault)),
            Duty("sessions", SWEEP_SECONDS, lambda: _forget_sessions(catalog)),
            Duty("unnamed", UNNAMED_SECONDS, lambda: _unnamed(vault)),
            Duty("records", RECORDS_SECONDS, lambda: _records(vault)),
            # Beside each gateway's own copy of the ledger.
            Duty("compared", COMPARED_SECONDS, lambda: _sum_up(settings, catalog), shared=False),
        )
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(3.0)


@dataclass(frozen=True)
class _AskedOfTheBroker:
    """Where the keys of one class are: the broker has the credential, this process has not."""

    broker: BrokerClient
    key_class: KeyClass

    def location(self) -> ProviderLocation:
        # A closed zone stays closed until the next round: one answer that was lost is not worth a minute of that.
        for _ in range(LOCATION_TRIES - 1):
            try:
                return self.broker.key_location(self.key_class)
            except Unavailable:
                time.sleep(LOCATION_PAUSE)
        return self.broker.key_location(self.key_class)


def _key_providers(settings: Settings, broker: BrokerClient) -> list[Located]:
    if not settings.key_provider:
        return [Located("key-provider", LocalWhereabouts(settings.zone_dir / "keys"))]
    return [Located("key-provider", _AskedOfTheBroker(broker, key_class)) for key_class in KeyClass]


def _unnamed(vault: Vault) -> None:
    """One shard of the store a round: all of it in a day, and no round costs more than 1/256 of its names."""
    shard = vault.catalog.cursor("unnamed")
    vault.note_unnamed(shard % SHARDS)
    vault.catalog.advance_cursor("unnamed", shard + 1)


def _records(vault: Vault) -> None:
    """What a crash left out between the catalog and the store, and what a rotation moved."""
    vault.records.reconcile()


def _sum_up(settings: Settings, catalog: Catalog) -> None:
    try:
        sum_up(settings.ledger_dir, catalog)
    except LineageError as error:
        raise Unavailable("ledger", error.reason) from error


def _forget_sessions(catalog: Catalog) -> None:
    """A day after their end: until then a steward may look at them."""
    catalog.forget_identity_sessions(now_ms() - 86_400_000)


def _sweep(vault: Vault) -> None:
    while vault.sweep() == 100:
        pass
