"""Starts the processes of the embedded zones, keeps them running, and stops them cleanly."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

ROLES = ("jobs", "broker", "builder")
_STOP_SECONDS = 10.0
_MAX_RESTARTS = 5
SETTLED_SECONDS = 60.0
LONGEST_BACK_OFF = 30.0
_PROVIDERS = ("AWS_", "VAULT_", "BAO_", "SOFTHSM2_")


class StartFailed(Exception):
    """A zone did not come up; the message names the process and where its log is."""


@dataclass
class Child:
    role: str
    command: list[str]
    env: dict[str, str]
    log: Path
    fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=self.fds
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class ZoneProcesses:
    """One zone: its environment, its listening sockets, its children."""

    name: str
    jurisdiction: str
    env: dict[str, str]
    s3: socket.socket
    api: socket.socket
    workers: int
    zone_dir: Path
    scheme: str = "http"
    drain_seconds: int = 5
    lock: int = -1
    """Descriptor of the state directory's lock: every child keeps it while it runs."""
    children: list[Child] = field(default_factory=list)
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def s3_endpoint(self) -> str:
        return f"{self.scheme}://{_address(self.s3)}"

    @property
    def api_endpoint(self) -> str:
        return f"{self.scheme}://{_address(self.api)}"

    def initialise(self) -> None:
        """Make directories, keys, catalog and first principals; safe to repeat."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "init"], env=self.env, capture_output=True, check=False, timeout=120
        )
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()[-800:]
            raise StartFailed(f"zone {self.name} could not be set up: {why}")
        self.credentials = json.loads(done.stdout)

    def start(self) -> None:
        logs = self.zone_dir / "logs"
        python = [sys.executable, "-m", "gateway"]
        kept = (self.lock,) if self.lock >= 0 else ()
        for role in ROLES:
            self.children.append(Child(role, [*python, role], seen_by(role, self.env), logs / f"{role}.log", kept))
        fds = (self.s3.fileno(), self.api.fileno())
        for number in range(self.workers):
            command = [*python, "front", "--s3-fd", str(fds[0]), "--api-fd", str(fds[1])]
            log = logs / f"front-{number}.log"
            self.children.append(Child(f"front-{number}", command, seen_by("front", self.env), log, (*fds, *kept)))
        for child in self.children:
            child.start()

    def wait_ready(self, deadline: float, verify: ssl.SSLContext | bool) -> None:
        """Until /readyz answers 200. Raises StartFailed naming what is not ready, or what died."""
        last = "no answer"
        with httpx2.Client(verify=verify, trust_env=False) as client:
            while time.monotonic() < deadline:
                self.restart_dead()
                try:
                    answer = client.get(f"{self.api_endpoint}/readyz", timeout=2.0)
                except httpx2.HTTPError as error:
                    last = type(error).__name__
                else:
                    if answer.status_code == 200:
                        return
                    last = answer.text[:300]
                time.sleep(0.05)
        raise StartFailed(f"zone {self.name} is not ready ({last}); its logs are in {self.zone_dir / 'logs'}")

    def restart_dead(self) -> None:
        """Start again what died. A process that keeps dying ends the zone: its log says why."""
        for child in self.children:
            if child.running:
                continue
            child.restarts += 1
            if child.restarts > _MAX_RESTARTS:
                raise StartFailed(f"{child.role} of zone {self.name} keeps stopping; see {child.log}")
            child.start()

    def hang_up(self) -> None:
        """SIGHUP to every front worker: the certificate was renewed."""
        for child in self.children:
            if child.role.startswith("front") and child.running and child.process is not None:
                child.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Front workers first, so that nothing is answered without its ledger, and as long as their answers may go on;
        the sequencer last."""
        self.s3.close()  # who connects now is refused at once, and tries another gateway
        self.api.close()
        for group in (
            [c for c in self.children if c.role.startswith("front")],
            [c for c in self.children if c.role in {"builder", "broker"}],
            [c for c in self.children if c.role == "jobs"],
        ):
            for child in group:
                if child.running and child.process is not None:
                    child.process.terminate()
            end = time.monotonic() + self.drain_seconds + _STOP_SECONDS
            for child in group:
                if child.process is None:
                    continue
                try:
                    child.process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()


def child_environment(settings: dict[str, str]) -> dict[str, str]:
    """What a zone's process may see: its own settings, PATH, and nothing that names another zone."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    return {**keep, "PYTHONUNBUFFERED": "1", **settings}


def given_settings() -> dict[str, str]:
    """The DEMESNE_* variables this process was given, and what key providers' clients read."""
    return {name: value for name, value in os.environ.items() if name.startswith(("DEMESNE_", *_PROVIDERS))}


def seen_by(role: str, env: dict[str, str]) -> dict[str, str]:
    """`env` without what is not this role's: provider credentials are the broker's, the shared ledger the jobs'.

    The jobs process learns that keys are elsewhere, and asks the broker where."""
    hidden = () if role == "broker" else ("DEMESNE_KEY_CREDENTIAL_", *_PROVIDERS)
    withheld = hidden if role in {"broker", "jobs"} else (*hidden, "DEMESNE_KEY_")
    if role != "jobs":
        withheld = (*withheld, "DEMESNE_LEDGER_URL")
    return {name: value for name, value in env.items() if not name.startswith(withheld)}


def _address(listening: socket.socket) -> str:
    """HOST:PORT under which this machine reaches a listening socket."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a comparison
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass
class KeptRunning:
    """Starts again what dies, at once and then ever later: a process that cannot run must not take the machine.

    `clock` in seconds. A child that ran for SETTLED_SECONDS begins anew.
    """

    children: list[Child]
    clock: Callable[[], float]
    _started: dict[str, float] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def look(self) -> list[tuple[Child, float]]:
        """One look: those found dead, each with the seconds until it starts again."""
        now, found = self.clock(), []
        for child in self.children:
            if child.running:
                if now - self._started.setdefault(child.role, now) > SETTLED_SECONDS:
                    child.restarts = 0
            elif child.role not in self._due:
                delay = min(LONGEST_BACK_OFF, 2.0**child.restarts - 1)
                child.restarts += 1
                self._due[child.role] = now + delay
                found.append((child, delay))
            if self._due.get(child.role, now + 1) <= now:
                del self._due[child.role]
                self._started[child.role] = now
                child.start()
        return found
