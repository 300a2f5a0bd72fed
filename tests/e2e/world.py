"""Real zones for tests: every process of them, started once, with what the tests need to look at them from outside."""

import json
import os
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
import httpx2
from botocore.config import Config
from botocore.exceptions import ClientError

import demesne
from demesne.credentials import Credentials
from gateway.cli.supervisor import Child, ZoneProcesses
from gateway.cli.zones import DevOptions, DevZones

PURPOSE = "claims-risk-model"
PURPOSES = ("analytics", PURPOSE)
READY_SECONDS = 45.0

T = TypeVar("T")

connect: Any = boto3.client  # its stubs know every service of AWS, not our keyword dictionaries


@dataclass(frozen=True)
class Answer:
    """A refusal or failure as an S3 client sees it."""

    status: int
    code: str
    message: str


@dataclass
class World:
    """Running zones and the clients of one test session."""

    work_dir: Path
    zones: DevZones
    ready: dict[str, Any]
    ca: Path | None = None
    trainer: Credentials | None = None
    _clients: dict[tuple[str, ...], Any] = field(default_factory=dict)
    _sessions: list[demesne.Session] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return self.work_dir / "state"

    @property
    def ready_file(self) -> Path:
        return self.work_dir / "ready.json"

    @property
    def trust(self) -> ssl.SSLContext | bool:
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else True

    def zone_dir(self, zone: str = "de") -> Path:
        return self.state_dir / "zones" / zone

    def zone(self, name: str = "de") -> ZoneProcesses:
        return next(zone for zone in self.zones.zones if zone.name == name)

    def child(self, role: str, zone: str = "de") -> Child:
        """The supervised process of that role: jobs, broker, builder or front-0."""
        return next(child for child in self.zone(zone).children if child.role == role)

    def kill(self, role: str, zone: str = "de") -> None:
        """SIGKILL, and wait until it is gone. Nothing starts it again before `revive`."""
        process = self.child(role, zone).process
        assert process is not None
        process.kill()
        process.wait(10)

    def revive(self) -> None:
        """What `demesne dev` does twice a second: start again what died. Returns when all serve."""
        for zone in self.zones.zones:
            for child in zone.children:
                child.restarts = 0  # the limit is for processes that keep dying by themselves
        self.zones.watch()
        for zone in self.zones.zones:
            zone.wait_ready(time.monotonic() + READY_SECONDS, self.trust)

    def credentials(self, who: str, zone: str = "de") -> Credentials:
        keys = self.zone(zone).credentials[who]
        return Credentials(keys["access_key_id"], keys["secret_access_key"])

    def s3(self, who: str | Credentials = "steward", *, zone: str = "de", endpoint: str | None = None) -> Any:
        """boto3, unmodified. It does not try again: tests look at single answers."""
        keys = self.credentials(who) if isinstance(who, str) else who
        address = endpoint or self.zone(zone).s3_endpoint
        named = (keys.access_key_id, keys.session_token or "", zone, address)
        if named not in self._clients:
            self._clients[named] = connect(
                "s3", endpoint_url=address, region_name=zone, verify=str(self.ca) if self.ca else None,
                aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
                aws_session_token=keys.session_token,
                config=Config(
                    retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=5,
                    read_timeout=30,
                ),
            )  # fmt: skip
        return self._clients[named]

    @contextmanager
    def api(
        self, who: str | Credentials = "steward", *, zone: str = "de", endpoint: str | None = None
    ) -> Iterator[Any]:
        keys = self.credentials(who, zone) if isinstance(who, str) else who
        with demesne.Client(endpoint or self.zone(zone).api_endpoint, keys, region=zone, ca=self.ca) as client:
            yield client

    def readiness(self, zone: str = "de") -> tuple[int, dict[str, Any]]:
        answer = httpx2.get(f"{self.zone(zone).api_endpoint}/readyz", trust_env=False, verify=self.trust, timeout=5)
        document: dict[str, Any] = answer.json()
        return answer.status_code, document

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`demesne …` as a person runs it."""
        program = Path(sys.executable).with_name("demesne")
        environment = {"DEMESNE_READY_FILE": str(self.ready_file), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        if self.ca:
            environment["DEMESNE_CA_BUNDLE"] = str(self.ca)
        return subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment,
            cwd=self.work_dir,
        )  # fmt: skip

    def command(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr[-1500:] or done.stdout[-1500:]
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def ingest(self, path: Path, dataset: str) -> dict[str, Any]:
        purposes = [option for purpose in PURPOSES for option in ("--purpose", purpose)]
        report = self.command(
            "ingest", str(path), dataset, "--zone", "de", "--synthetic", "--numeric-is", "none", *purposes
        )
        self.wait_for_views(dataset)
        return report

    def make_dataset(self, name: str, /, **columns: str) -> None:
        """A synthetic, personal dataset whose contract permits the test's purposes. `columns`: name=label."""
        with self.api() as api:
            api.create_dataset(name, synthetic=True)
            api.put_contract(name, {
                "v": 1, "dataset": name, "owner": "tests", "purposes": list(PURPOSES), "keys_personal": False,
                "columns": [
                    {"name": column, "type": "string", "label": label, "finding": None}
                    for column, label in columns.items()
                ],
            })  # fmt: skip

    def wait_for_views(self, dataset: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        with self.api() as api:
            return until(
                lambda: list(api.views(dataset)), seconds, "views were not built",
                lambda views: bool(views) and all(view["state"] in {"ready", "failed"} for view in views),
            )  # fmt: skip

    def job(self) -> Credentials:
        """A workload that may attest for PURPOSE."""
        if self.trainer is None:
            with self.api() as api:
                made = api.create_principal(
                    "trainer", kind="workload", roles=["trainer"], jurisdiction="de", purposes=[PURPOSE],
                    purpose=PURPOSE,
                )  # fmt: skip
            self.trainer = Credentials(made["access_key_id"], made["secret_access_key"])
        return self.trainer

    def attest(self, *scope: str, run: str, endpoint: str | None = None, s3_endpoint: str | None = None) -> Any:
        """An attested session of the job; closed with the world, or earlier by the test."""
        zone = self.zone()
        with open(os.devnull, "w") as nowhere:
            session = demesne.attest(
                endpoint or zone.api_endpoint, purpose=PURPOSE, scope=scope, run=run, credentials=self.job(),
                region=zone.name, s3_endpoint=s3_endpoint or zone.s3_endpoint, ca=self.ca, notice=nowhere,
            )  # fmt: skip
        self._sessions.append(session)
        return session

    def catalog(self, sql: str, *parameters: object, zone: str = "de") -> list[tuple[Any, ...]]:
        """A question to the catalog file itself."""
        connection = sqlite3.connect(f"file:{self.zone_dir(zone) / 'catalog.sqlite3'}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def log(self, role: str, zone: str = "de") -> str:
        return self.child(role, zone).log.read_text(errors="replace")

    def close(self) -> None:
        for session in self._sessions:
            try:
                session.close()
            except demesne.DemesneError:
                continue  # a test may have taken its zone away
        for client in self._clients.values():
            client.close()
        self.zones.stop()


@contextmanager
def started(work_dir: Path, *, ca: Path | None = None, **options: Any) -> Iterator[World]:
    """Zones that run until the block ends."""
    ready_file = work_dir / "ready.json"
    zones = DevZones(DevOptions(state_dir=work_dir / "state", s3_port=0, api_port=0, ready_file=ready_file, **options))
    zones.start()
    world = World(work_dir, zones, json.loads(ready_file.read_text()), ca)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def work_dir(name: str) -> Iterator[Path]:
    """A short path: sockets of the zones lie in it."""
    with tempfile.TemporaryDirectory(prefix=f"demesne-{name}-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def until(
    look: Callable[[], T], seconds: float, message: str, good: Callable[[T], bool] = bool, pause: float = 0.1
) -> T:
    """What `look` answers once it is good. Fails with `message` and the last answer."""
    end = time.monotonic() + seconds
    while True:
        last = look()
        if good(last):
            return last
        assert time.monotonic() < end, f"{message}: {last!r}"
        time.sleep(pause)


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> Answer:
    """What `call` is refused with; an answer instead fails the test."""
    try:
        call(*arguments, **options)
    except ClientError as error:
        found = error.response.get("Error", {})
        status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return Answer(status, str(found.get("Code", "")), str(found.get("Message", "")))
    raise AssertionError("this was answered, and must be refused")
