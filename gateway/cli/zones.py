"""The embedded zones of `demesne dev` and `demesne demo`: directory, sockets, processes, ready file."""

import fcntl
import json
import os
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.cli.supervisor import StartFailed, ZoneProcesses, child_environment
from gateway.sockets import listen
from vault.keys.signing import ZoneSigner

_START_SECONDS = 90.0


@dataclass(frozen=True)
class DevOptions:
    """What a person may choose of the embedded zones. Zone names double as jurisdictions."""

    state_dir: Path
    zones: tuple[str, ...] = ("de", "fr")
    s3_port: int = 9000
    api_port: int = 9001
    workers: int = 1
    created_buckets: str = "restricted"
    ready_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    doctrine_dir: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    locations: Mapping[str, str] = field(default_factory=dict)


@dataclass
class DevZones:
    """The running embedded zones; a context manager that stops them."""

    options: DevOptions
    zones: list[ZoneProcesses] = field(default_factory=list)
    _lock: int = -1
    _announced: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bind, write the signed directory, set up, start, and wait until every zone serves.

        Raises PortTaken or StartFailed; nothing of it keeps running then.
        """
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._bind()
            self._take_state()
            if self.options.ready_file is not None:  # of a run that was killed: it would tell of what is not there
                self.options.ready_file.unlink(missing_ok=True)
            self._write_directory()
            for zone in self.zones:
                zone.initialise()
            for zone in self.zones:
                zone.start()
            deadline = time.monotonic() + _START_SECONDS
            for zone in self.zones:
                zone.wait_ready(deadline, trust_of(self.options.tls_cert))
            if self.options.ready_file is not None:
                self._announced = True
                write_atomically(self.options.ready_file, json.dumps(self.ready_document(), indent=2) + "\n")
            undo.pop_all()

    def _take_state(self) -> None:
        """Two sequencers on one ledger, two brokers on one socket: the second `demesne dev` is told, before any of it.

        The children inherit the lock, so that what a killed supervisor left running is noticed too.
        """
        state = self.options.state_dir.resolve()
        state.mkdir(parents=True, exist_ok=True)
        lock = os.open(state / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            raise StartFailed(
                f"{state} is in use by another `demesne dev` (process {owner}) or what it left running. "
                "Stop it, or choose another directory with --state-dir."
            ) from error
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock
        for zone in self.zones:
            zone.lock = lock

    def _bind(self) -> None:
        state = self.options.state_dir.resolve()
        for number, name in enumerate(self.options.zones):
            s3 = listen("127.0.0.1", self.options.s3_port if number == 0 else 0, "--s3-port")
            try:
                api = listen("127.0.0.1", self.options.api_port if number == 0 else 0, "--api-port")
            except BaseException:
                s3.close()
                raise
            zone = ZoneProcesses(
                name=name, jurisdiction=name, env=self._environment(name, state), s3=s3, api=api,
                workers=self.options.workers, zone_dir=state / "zones" / name,
                scheme="https" if self.options.tls_cert else "http",
            )
            self.zones.append(zone)

    def _environment(self, name: str, state: Path) -> dict[str, str]:
        options = self.options
        settings = {
            "DEMESNE_ZONE": name,
            "DEMESNE_JURISDICTION": name,
            "DEMESNE_POSTURE": "development",
            "DEMESNE_STATE_DIR": str(state),
            "DEMESNE_DIRECTORY_FILE": str(state / "directory.json"),
            "DEMESNE_STATIC_KEY_FILE": str(state / "static.key"),
            "DEMESNE_CREATED_BUCKETS": options.created_buckets,
            "DEMESNE_DRAIN_SECONDS": "5",
            **options.extra,
        }
        if options.tls_cert and options.tls_key:
            settings |= {"DEMESNE_TLS_CERT": str(options.tls_cert), "DEMESNE_TLS_KEY": str(options.tls_key)}
        if options.doctrine_dir:
            settings["DEMESNE_DOCTRINE_DIR"] = str(options.doctrine_dir)
        return child_environment(settings)

    def _write_directory(self) -> None:
        """Zones share only this: names, jurisdictions and endpoints, signed."""
        state = self.options.state_dir.resolve()
        signer = ZoneSigner.load_or_create(state / "directory.key")
        document = json.dumps(
            {"v": 1, "zones": [
                {"name": z.name, "jurisdiction": z.jurisdiction,
                 "s3_endpoint": z.s3_endpoint, "api_endpoint": z.api_endpoint}
                for z in self.zones
            ], "locations": dict(self.options.locations)},
            sort_keys=True, separators=(",", ":"),
        )
        signature = signer.sign(b"demesne/directory/1\n" + document.encode()).hex()
        write_atomically(state / "directory.json", json.dumps({"directory": document, "signature": signature}))
        for zone in self.zones:
            zone.env["DEMESNE_DIRECTORY_KEY"] = signer.public_key.hex()

    def ready_document(self) -> dict[str, object]:
        first = self.zones[0]
        return {
            "s3_endpoint": first.s3_endpoint,
            "api_endpoint": first.api_endpoint,
            "region": first.name,
            "pid": os.getpid(),
            "zones": [
                {"name": z.name, "jurisdiction": z.jurisdiction, "s3_endpoint": z.s3_endpoint,
                 "api_endpoint": z.api_endpoint}
                for z in self.zones
            ],
            "credentials": first.credentials,
        }

    def watch(self) -> None:
        """Start again what died. Raises StartFailed when something keeps dying."""
        for zone in self.zones:
            zone.restart_dead()

    def stop(self) -> None:
        for zone in self.zones:
            zone.stop()
        self.zones.clear()
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            os.close(lock)
        if self.options.ready_file is not None and self._announced:  # never that of another run
            self.options.ready_file.unlink(missing_ok=True)


def trust_of(certificate: Path | None) -> ssl.SSLContext | bool:
    """For the readiness probe: the zone's certificate itself is trusted, whoever issued it and whatever it names.

    A certificate of a private authority comes without that authority, and need not name 127.0.0.1.
    """
    if certificate is None:
        return True
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def write_atomically(path: Path, text: str) -> None:
    """Others see the old file or the whole new one; it may hold credentials, so 0600 from the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


__all__ = ["DevOptions", "DevZones", "StartFailed", "trust_of", "write_atomically"]
