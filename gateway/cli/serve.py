"""`demesne serve`: one zone of a real deployment, by its settings, until it is told to stop."""

import fcntl
import ipaddress
import json as json_module
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import httpx2
import typer
from pydantic import ValidationError

from demesne.cli.output import Json, print_json
from gateway.cli.supervisor import KeptRunning, StartFailed, ZoneProcesses, child_environment, given_settings
from gateway.cli.zones import trust_of, write_atomically
from gateway.processes.certificate import Certificate
from gateway.settings import Settings, problems_of
from gateway.sockets import PortTaken, listen

EXIT_FAILED = 1
EXIT_USAGE = 2
CREDENTIALS = "credentials.json"
LOOK_SECONDS = 0.5
READY_SECONDS = 5.0  # between two sentences about what is not ready


class Unfit(Exception):
    """Settings with which a real zone must not be served. One sentence each, which names the setting and the fix."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Front workers: about one a core.")] = 1,
    check: Annotated[bool, typer.Option("--check", help="Say whether the settings will do; start nothing.")] = False,
    json: Json = False,
) -> None:
    """Serve one zone, configured by DEMESNE_* variables (docs/settings.md), until SIGTERM.

    Starts the key broker, jobs, the view builder and the front workers, and starts again what dies. When told to
    stop it accepts nothing new, and answers that are under way may finish within DEMESNE_DRAIN_SECONDS. SIGHUP reads
    a renewed certificate (changed files are noticed without it).

    At the least: DEMESNE_ZONE, DEMESNE_JURISDICTION, DEMESNE_STATE_DIR, and beyond loopback DEMESNE_TLS_CERT and
    DEMESNE_TLS_KEY. Several gateways of one zone share DEMESNE_CATALOG_URL, DEMESNE_LEDGER_URL (PostgreSQL) and
    DEMESNE_STORE_URL, and the zone's keys: docs/operations.md. Each role can be started by itself as well:
    `python -m gateway ROLE`, as docker-compose.yml does.

    Exits 2 when settings or ports cannot work, 1 when the zone cannot be set up, 0 after a signal.
    """
    try:
        settings = fit_settings()
    except Unfit as error:
        raise _end(str(error), EXIT_USAGE, as_json=json) from error
    if check:
        print_json({"fit": True, "zone": settings.zone}) if json else typer.echo("These settings will do.")
        return
    try:
        with ExitStack() as stack:
            stopping, hangup = stack.enter_context(_signals())
            zone = stack.enter_context(_prepared(settings, workers))
            _run(zone, settings, stopping, hangup, as_json=json)
    except PortTaken as error:
        raise _end(str(error), EXIT_USAGE, as_json=json) from error
    except StartFailed as error:
        raise _end(str(error), EXIT_FAILED, as_json=json) from error
    if not json:
        typer.echo("Stopped.")


def fit_settings() -> Settings:
    """The settings, if a real zone may be served with them. Raises Unfit."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise Unfit(problems_of(error)) from error
    found = unfit(settings)
    if found:
        raise Unfit(found)
    return settings


def unfit(settings: Settings) -> list[str]:
    """What must not be served to real people, each with the way out."""
    found = []
    if settings.posture != "production":
        found.append(
            "DEMESNE_POSTURE=development admits sample evidence, which proves nothing: unset it, or use `demesne dev`"
        )
    if settings.created_buckets == "open":
        found.append(
            "DEMESNE_CREATED_BUCKETS=open labels whatever is uploaded as holding no personal data: unset it, and label "
            "datasets by `demesne dataset`"
        )
    for name, host in (("DEMESNE_S3_HOST", settings.s3_host), ("DEMESNE_API_HOST", settings.api_host)):
        if settings.tls_cert is None and not is_loopback(host):
            found.append(
                f"{name}={host} is plain HTTP beyond this machine: set DEMESNE_TLS_CERT and DEMESNE_TLS_KEY, or listen "
                "on 127.0.0.1 behind something that speaks TLS"
            )
    found += _unfit_certificate(settings)
    if settings.ledger_url and not settings.catalog_url.startswith("postgresql"):
        found.append(
            "DEMESNE_LEDGER_URL is for several gateways, whose catalog must be one too: set DEMESNE_CATALOG_URL to "
            "PostgreSQL, or unset DEMESNE_LEDGER_URL"
        )
    return found


def _unfit_certificate(settings: Settings) -> list[str]:
    """A chain that no worker could serve would have each of them end and be started again, for ever."""
    if settings.tls_cert is None or settings.tls_key is None:
        return []
    named = {"DEMESNE_TLS_CERT": settings.tls_cert, "DEMESNE_TLS_KEY": settings.tls_key}
    found = [
        f"{name}={path} cannot be read: name a PEM file that this user may read"
        for name, path in named.items() if not os.access(path, os.R_OK)
    ]  # fmt: skip
    if found:
        return found
    try:
        Certificate(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        found.append(
            f"DEMESNE_TLS_CERT={settings.tls_cert} and DEMESNE_TLS_KEY={settings.tls_key} are no chain and its key "
            f"({why}): name a PEM chain, leaf first, and the PEM key of that leaf, without a passphrase"
        )
    return found


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """(stop, hang up): set by SIGTERM and SIGINT, and by SIGHUP."""
    stop, hangup = threading.Event(), threading.Event()
    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hangup}
    before = {number: signal.signal(number, lambda *_, event=event: event.set()) for number, event in handlers.items()}
    try:
        yield stop, hangup
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _prepared(settings: Settings, workers: int) -> Iterator[ZoneProcesses]:
    """Ports bound, state locked, zone set up, processes started; all of it undone at the end."""
    with ExitStack() as stack:
        s3 = stack.enter_context(listen(settings.s3_host, settings.s3_port, "DEMESNE_S3_PORT"))
        api = stack.enter_context(listen(settings.api_host, settings.api_port, "DEMESNE_API_PORT"))
        zone = ZoneProcesses(
            name=settings.zone, jurisdiction=settings.jurisdiction, env=child_environment(given_settings()), s3=s3,
            api=api, workers=workers, zone_dir=settings.zone_dir, scheme="https" if settings.tls_cert else "http",
            drain_seconds=settings.drain_seconds,
        )  # fmt: skip
        zone.lock = stack.enter_context(_locked(settings))
        zone.initialise()
        write_atomically(settings.zone_dir / CREDENTIALS, json_module.dumps(zone.credentials, indent=2) + "\n")
        stack.callback(zone.stop)
        zone.start()
        yield zone


@contextmanager
def _locked(settings: Settings) -> Iterator[int]:
    """Two brokers on one socket, two copies of one ledger: the second is told. Children inherit the lock."""
    settings.zone_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(settings.zone_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StartFailed(
            f"{settings.zone_dir} is in use by another `demesne serve` or what it left running. Stop it, or give this "
            "gateway a DEMESNE_STATE_DIR of its own."
        ) from error
    try:
        yield lock
    finally:
        os.close(lock)


def _run(
    zone: ZoneProcesses, settings: Settings, stopping: threading.Event, hangup: threading.Event, *, as_json: bool
) -> None:
    kept = KeptRunning(zone.children, time.monotonic)
    ready, told = False, 0.0
    with httpx2.Client(verify=trust_of(settings.tls_cert), trust_env=False, timeout=2.0) as client:
        while not stopping.wait(LOOK_SECONDS):
            for child, delay in kept.look():
                typer.echo(f"{child.role} stopped; it starts again in {delay:.0f} s. Its log: {child.log}", err=True)
            if hangup.is_set():
                hangup.clear()
                zone.hang_up()
            if ready:
                continue
            missing = _not_ready(client, zone)
            if missing is None:
                ready = True
                _announce(zone, as_json=as_json)
            elif time.monotonic() - told > READY_SECONDS:
                told = time.monotonic()
                typer.echo(f"Not ready: {missing}", err=True)


def _not_ready(client: httpx2.Client, zone: ZoneProcesses) -> str | None:
    try:
        answer = client.get(f"{zone.api_endpoint}/readyz")
    except (httpx2.HTTPError, ssl.SSLError) as error:
        return f"no answer yet ({type(error).__name__})"
    return None if answer.status_code == 200 else answer.text[:300]


def _announce(zone: ZoneProcesses, *, as_json: bool) -> None:
    if as_json:
        print_json({"ready": True, "zone": zone.name, "s3_endpoint": zone.s3_endpoint,
                    "api_endpoint": zone.api_endpoint, "pid": os.getpid()})  # fmt: skip
        return
    typer.echo(f"Zone {zone.name} serves: S3 {zone.s3_endpoint}, API {zone.api_endpoint}")
    typer.echo(f"The keys of its first principals, steward and analyst, are in {zone.zone_dir / CREDENTIALS}")


def _end(message: str, code: int, *, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"error": message})
    typer.echo(f"demesne serve: {message}", err=True)
    return typer.Exit(code)
