"""Starts the processes of the embedded zones, keeps them running, and stops them cleanly."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

ROLES = ("jobs", "broker", "builder")
_STOP_SECONDS = 10.0
_MAX_RESTARTS = 5


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
    lock: int = -1
    """Descriptor of the state directory's lock: every child keeps it while it runs."""
    children: list[Child] = field(default_factory=list)
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def s3_endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.s3.getsockname()[1]}"

    @property
    def api_endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.api.getsockname()[1]}"

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
            self.children.append(Child(role, [*python, role], self.env, logs / f"{role}.log", kept))
        fds = (self.s3.fileno(), self.api.fileno())
        for number in range(self.workers):
            command = [*python, "front", "--s3-fd", str(fds[0]), "--api-fd", str(fds[1])]
            log = logs / f"front-{number}.log"
            self.children.append(Child(f"front-{number}", command, self.env, log, (*fds, *kept)))
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

    def stop(self) -> None:
        """Front workers first, so that nothing is answered without its ledger; the sequencer last."""
        for group in (
            [c for c in self.children if c.role.startswith("front")],
            [c for c in self.children if c.role in {"builder", "broker"}],
            [c for c in self.children if c.role == "jobs"],
        ):
            for child in group:
                if child.running and child.process is not None:
                    child.process.terminate()
            end = time.monotonic() + _STOP_SECONDS
            for child in group:
                if child.process is None:
                    continue
                try:
                    child.process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
        self.s3.close()
        self.api.close()


def child_environment(settings: dict[str, str]) -> dict[str, str]:
    """What a zone's process may see: its own settings, PATH, and nothing that names another zone."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    return {**keep, "PYTHONUNBUFFERED": "1", **settings}
