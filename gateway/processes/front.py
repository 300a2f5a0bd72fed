"""A front worker: S3 and API ports of one zone. It holds no key-provider credentials at all."""

import argparse
import asyncio
import signal
import socket
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import structlog
import uvloop

from gateway.api.app import ApiParts, create_api
from gateway.api.caller import AuthenticatedApi
from gateway.api.kbs import KbsApp
from gateway.api.records import Records
from gateway.decide.doctrine import Doctrine
from gateway.decide.engine import Engine
from gateway.decide.opa import Opa
from gateway.decide.regorus import Regorus
from gateway.directory import read_directory
from gateway.durable.start import datasets_behind
from gateway.facts import FactsPolicy, FactsReader
from gateway.front import Front
from gateway.guard import Guard
from gateway.hops import Hops
from gateway.identity.holders import CatalogHolders
from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers_file import IssuersFile
from gateway.identity.lookup import DerivedKeyLookup
from gateway.identity.sigv4 import Verifier
from gateway.identity.static_key import read_static_key
from gateway.identity.web_identity import WebIdentities
from gateway.identity_sessions import IdentitySessions
from gateway.kbs.service import STRANGERS_EACH, STRANGERS_TOGETHER, KeyBrokerService
from gateway.keys import KeyOrders
from gateway.limits import Arrivals, Bounds, RefusalLimit, Shares
from gateway.ops.health import readiness
from gateway.ops.metrics import Metrics
from gateway.ops.refusals import PERIOD_SECONDS, RefusalCounter
from gateway.processes.acceptor import connection_bound
from gateway.processes.certificate import Certificate, watch
from gateway.processes.memory import return_large_buffers
from gateway.processes.server import FrontServer
from gateway.processes.waiting import hello_when_up
from gateway.processes.zone import now_ms, open_catalog, open_store
from gateway.reads import Reads
from gateway.record import Recorder
from gateway.registry import Registry
from gateway.revocations import Revocations
from gateway.s3.router import S3App
from gateway.s3.sts import Sts
from gateway.sessions import Sessions
from gateway.settings import Settings
from gateway.sockets import listen
from gateway.statements import Statements
from gateway.tpm_keys import TpmKeys
from gateway.writes import Writes
from lineage.errors import LineageError
from lineage.ledger.client import LedgerClient
from vault.attest.trust.directory import TrustDirectory
from vault.broker.client import BrokerClient
from vault.broker.client_certificates import certificate_thumbprint
from vault.broker.types import Hello
from vault.errors import Refused
from vault.keys.secrets import open_token
from vault.objects import Vault

log = structlog.get_logger("front")


def run_front(settings: Settings, argv: list[str]) -> int:
    return_large_buffers()
    options = argparse.ArgumentParser(prog="python -m gateway front")
    options.add_argument("--s3-fd", type=int, help="listening socket inherited from the supervisor")
    options.add_argument("--api-fd", type=int, help="the same for the API")
    given = options.parse_args(argv)
    s3 = socket.socket(fileno=given.s3_fd) if given.s3_fd else listen(settings.s3_host, settings.s3_port)
    api = socket.socket(fileno=given.api_fd) if given.api_fd else listen(settings.api_host, settings.api_port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, s3, api))


@dataclass
class Parts:
    """What runs until the worker stops."""

    front: Front
    ledger: LedgerClient
    doctrine: Doctrine
    refusals: RefusalCounter
    limit: RefusalLimit
    s3_app: S3App
    api_app: AuthenticatedApi


async def _serve(settings: Settings, s3: socket.socket, api: socket.socket) -> int:
    executor = Hops(settings.read_threads, "vault")
    senders = ThreadPoolExecutor(settings.read_threads, "send")
    broker = BrokerClient(settings.broker_socket)
    hello = await asyncio.to_thread(hello_when_up, broker)
    parts = await _build(settings, executor, broker, hello)
    certificate = (
        Certificate(settings.tls_cert, settings.tls_key, hello.session_authority)
        if settings.tls_cert and settings.tls_key else None
    )  # fmt: skip
    connections = connection_bound(settings.max_connections)
    servers = [
        FrontServer(
            app, senders, certificate.context if certificate else None, connections=most,
            stall_seconds=settings.stall_seconds, drain_seconds=settings.drain_seconds,
            key_of=certificate_thumbprint if certificate else None,
        )
        for app, most in ((parts.s3_app, connections), (parts.api_app, max(16, connections // 10)))
    ]  # fmt: skip
    loop = asyncio.get_running_loop()
    hangup = asyncio.Event()  # SIGHUP: the certificate was renewed
    loop.add_signal_handler(signal.SIGHUP, hangup.set)

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    background = [
        loop.create_task(_watch_doctrine(settings, parts)),
        loop.create_task(_summarise_refusals(parts)),
        loop.create_task(watch(certificate, hangup)),
        loop.create_task(parts.front.streams.watch()),
        *(loop.create_task(server.cut_off_stalled()) for server in servers),
    ]
    try:
        await asyncio.gather(servers[0].serve(sockets=[s3]), servers[1].serve(sockets=[api]))
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await parts.doctrine.close()
        await parts.ledger.close()
        executor.shutdown(cancel_futures=True)
        senders.shutdown(cancel_futures=True)
    return 0


async def _build(settings: Settings, executor: Executor, broker: BrokerClient, hello: Hello) -> Parts:
    """Everything a worker is made of, in one place and in order."""
    catalog = open_catalog(settings, hello.catalog_mac_key)
    vault = Vault(open_store(settings), catalog, broker, settings.zone, now_ms)
    directory = read_directory(settings.directory_file, settings.directory_key)
    engine: Engine = (
        Opa(settings.opa_url, deadline=settings.decision_timeout_ms / 1000)
        if settings.engine == "opa"
        else Regorus(deadline=settings.decision_timeout_ms / 1000)
    )
    doctrine = Doctrine(engine, settings.policies, now_ms)
    await doctrine.reload()
    ledger = LedgerClient(settings.ledger_socket, settings.zone)
    metrics = Metrics()
    trust = TrustDirectory(settings.trust_path, development=settings.posture == "development")
    window_ms = settings.run_window_days * 86_400_000
    facts = FactsReader(
        catalog, settings.zone,
        FactsPolicy(
            posture=settings.posture, jurisdiction=settings.jurisdiction,
            freshness_ms=settings.freshness_seconds * 1000, run_window_ms=window_ms,
            zone_stale_ms=settings.residency_interval_seconds * 3000,
        ),
        now_ms,
    )  # fmt: skip
    facts.close_datasets(await asyncio.to_thread(datasets_behind, settings.ledger_dir, catalog))
    limit = RefusalLimit(settings.refusals_per_minute)
    shares = Shares(Bounds(settings.requests_per_principal, settings.requests_per_tenant, settings.requests_per_worker))
    guard = Guard(
        zone=settings.zone, facts=facts, doctrine=doctrine, ledger=ledger,
        recorder=Recorder(settings.tenant, settings.zone, hello.record_hash_key), directory=directory,
        decision_key=hello.decision_key, freshness_grace_ms=settings.freshness_grace_seconds * 1000,
        executor=executor, clock=now_ms, metrics=metrics, refusals=limit,
    )  # fmt: skip
    static_key = read_static_key(settings.static_key_path)
    registry = Registry(
        guard, catalog, vault, region=settings.zone,
        created_label="none" if settings.created_buckets == "open" else "personal",
        static_key=static_key, zones=[zone.name for zone in directory.zones], posture=settings.posture,
        keep=vault.records.keep_dataset,
    )  # fmt: skip
    front = Front(guard, Reads(guard, vault, catalog), Writes(guard, vault, catalog), registry)
    sessions = Sessions(
        guard, catalog, broker, gateway_id=f"{settings.tenant}/{settings.zone}", token_key=hello.token_key,
        freshness_seconds=settings.freshness_seconds, run_window_ms=window_ms, posture=settings.posture,
        forget_keys=vault.forget_session, certificates=bool(settings.tls_cert and settings.tls_key),
        references=lambda: trust.material(now_ms()).references.valid(now_ms()) or (),
    )  # fmt: skip
    revocations = Revocations(
        guard, catalog, broker, freshness_seconds=settings.freshness_seconds, forget_keys=vault.forget_session
    )
    lookup = DerivedKeyLookup(
        hello.token_key, CatalogHolders(catalog, guard.blocking, now_ms),
        lambda token: open_token(hello.token_key, token), (Refused,), now_ms, static_key=static_key,
    )  # fmt: skip
    refusals = RefusalCounter()
    issuers = IssuersFile(settings.trust_path, now_ms)
    issuer_keys = IssuerKeys(catalog, guard.blocking, now_ms)
    roles = IdentitySessions(
        guard, catalog, WebIdentities(issuers, issuer_keys, now_ms),
        token_key=hello.token_key, run_window_ms=window_ms, refusals=limit, shares=shares,
    )  # fmt: skip
    verifiers = {
        service: Verifier(lookup, region=settings.zone, service=service, clock=time.time)
        for service in ("s3", "demesne")
    }
    key_broker = KeyBrokerService(
        guard, catalog, broker, sessions, gateway_id=f"{settings.tenant}/{settings.zone}", token_key=hello.token_key,
        tenant=settings.tenant, counted=refusals.count, arrivals=Arrivals(STRANGERS_EACH, STRANGERS_TOGETHER),
        shares=shares,
    )  # fmt: skip
    app = create_api(
        ApiParts(
            guard=guard, registry=registry, sessions=sessions,
            records=Records(settings.ledger_dir, settings.lineage_graph, hello.ledger_public_key),
            directory=directory, readiness=readiness(
                facts, doctrine, lambda: _answers(settings),
                lambda: trust.material(now_ms()).states(now_ms()) | issuers.states()
                | issuer_keys.states(issuers().all()),
            ),
            metrics=lambda: _rendered(metrics, trust, issuers),
            keys=KeyOrders(guard, catalog, broker, tenant=settings.tenant),
            tickets=key_broker.tickets,
            revocations=revocations, statements=Statements(guard, catalog),
            tpm_keys=TpmKeys(guard, catalog, broker, token_key=hello.token_key),
        )
    )  # fmt: skip
    s3_app = S3App(
        front, verifiers["s3"].authenticate, zone=settings.zone, region=settings.zone,
        on_unauthenticated=refusals.count, host_aliases=settings.bucket_hosts,
        authenticate_form=verifiers["s3"].authenticate_form, ignores_acls=settings.created_buckets == "open",
        shares=shares, sts=Sts(roles, refusals.count),
    )  # fmt: skip
    api_app = AuthenticatedApi(app, verifiers["demesne"], refusals.count, shares, KbsApp(key_broker))
    return Parts(front, ledger, doctrine, refusals, limit, s3_app, api_app)


def _answers(settings: Settings) -> dict[str, str]:
    """Whether the zone's other processes listen."""
    found = {}
    for name, path in (("ledger", settings.ledger_socket), ("broker", settings.broker_socket)):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0.2)
            found[name] = "ok" if probe.connect_ex(str(path)) == 0 else "no answer"
    return found


def _rendered(metrics: Metrics, trust: TrustDirectory, issuers: IssuersFile) -> bytes:
    material, now = trust.material(now_ms()), now_ms()
    metrics.trusted(material.states(now) | issuers.states(), material.ends() | issuers.ends())
    return metrics.render()


async def _watch_doctrine(settings: Settings, parts: Parts) -> None:
    """Look at the doctrine directory; a bundle that is refused is put on record once, and the last good one serves."""
    told = ("", "")
    while True:
        await parts.doctrine.reload()
        status = parts.doctrine.status
        now = (status.revision, status.refused.reason if status.refused else "")
        if now != told:
            told = now
            guard = parts.front.guard
            entry = guard.recorder.event(
                "doctrine", now_ms(), revision=status.revision, state="refused" if now[1] else "active",
                reason=now[1][:1000],
            )  # fmt: skip
            with suppress(LineageError):
                parts.ledger.append_later(entry)
            if now[1]:
                log.error("doctrine refused; the last good one serves", revision=status.revision)
        await asyncio.sleep(settings.doctrine_interval_seconds)


async def _summarise_refusals(parts: Parts) -> None:
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        for code, count in parts.refusals.take().items():
            _summarise(parts, "unauthenticated", code=code, count=count)
        for principal, count in parts.limit.take().items():
            who = parts.front.guard.recorder.principal(principal)
            _summarise(parts, "limited", principal=who, rule="limit.refusals", count=count)


def _summarise(parts: Parts, kind: str, **fields: str | int) -> None:
    entry = parts.front.guard.recorder.event(kind, now_ms(), **fields)
    with suppress(LineageError):
        parts.ledger.append_later(entry)
