"""Two whole gateways of one zone on one PostgreSQL and one SeaweedFS: each with its own front workers, broker, builder,
jobs, state directory and copy of the ledger. What a real second host is given is given here: the zone's keys."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

import demesne
from demesne.credentials import Credentials
from gateway.cli.supervisor import ZoneProcesses, child_environment
from gateway.sockets import listen
from tests.e2e.deployment import ONCE
from tests.e2e.world import connect, work_dir
from tests.fakes.postgresql import Server
from tests.fakes.seaweedfs import ACCESS_KEY, SECRET_KEY, seaweedfs

PURPOSE = "claims-risk-model"
READY_SECONDS = 60.0


@dataclass
class Gateway:
    """One of the two. `zone`: its processes."""

    name: str
    zone: ZoneProcesses
    credentials: dict[str, Credentials] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.zone.zone_dir

    def s3(self, who: str | Credentials = "steward") -> Any:
        """A connection of its own: the answer comes from a worker of this gateway."""
        keys = self.credentials[who] if isinstance(who, str) else who
        return connect(
            "s3", endpoint_url=self.zone.s3_endpoint, region_name="de", aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key, aws_session_token=keys.session_token, config=ONCE,
        )  # fmt: skip

    def api(self, who: str = "steward") -> demesne.Client:
        return demesne.Client(self.zone.api_endpoint, self.credentials[who], region="de")

    def pid(self, role: str) -> int:
        child = next(child for child in self.zone.children if child.role == role)
        assert child.process is not None
        return child.process.pid

    def kill(self) -> None:
        """The host is gone: every process at once, nothing told to anybody."""
        for child in self.zone.children:
            assert child.process is not None
            child.process.kill()
        for child in self.zone.children:
            assert child.process is not None
            child.process.wait(10)

    def start_again(self) -> None:
        for child in self.zone.children:
            if not child.running:
                child.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        end, said = time.monotonic() + READY_SECONDS, "no answer"
        while time.monotonic() < end:
            with suppress(httpx2.HTTPError):
                answer = httpx2.get(f"{self.zone.api_endpoint}/readyz", trust_env=False, timeout=5)
                if answer.status_code == 200:
                    return
                said = answer.text
            time.sleep(0.1)
        logs = "\n".join(
            f"{child.role}, {'running' if child.running else 'ended'}: {child.log.read_text()[-1200:]}"
            for child in self.zone.children
        )
        raise AssertionError(f"gateway {self.name} is not ready: {said}\n{logs}")


@dataclass
class Pair:
    """Gateways `a` and `b`, what they stand on, and its URL."""

    a: Gateway
    b: Gateway
    url: str
    trainer: Credentials | None = None

    def job(self) -> Credentials:
        """A workload that may attest for PURPOSE."""
        if self.trainer is None:
            with self.a.api() as api:
                made = api.create_principal(
                    "trainer", kind="workload", roles=["trainer"], jurisdiction="de", purposes=[PURPOSE],
                    purpose=PURPOSE,
                )  # fmt: skip
            self.trainer = Credentials(made["access_key_id"], made["secret_access_key"])
        return self.trainer

    def make_open(self, name: str) -> None:
        with self.a.api() as api:
            api.create_dataset(name, label="none")


@contextmanager
def two_gateways(directory: Path, workers: int = 1) -> Iterator[Pair]:
    """Both serve when the block begins."""
    with ExitStack() as stack:
        database = stack.enter_context(work_dir("pg"))
        server = Server(database)
        server.start()
        stack.callback(server.stop)
        url = f"postgresql+psycopg://demesne@/postgres?host={database}"
        store = stack.enter_context(seaweedfs(stack.enter_context(work_dir("weed"))))
        gateways = [_gateway(directory / name, name, url, f"{store.endpoint}&region=de", workers) for name in "ab"]
        a, b = gateways
        for gateway in gateways:
            stack.callback(gateway.zone.stop)
        _initialise(a)
        _give_keys(a.state, b.state)
        _initialise(b)
        for gateway in gateways:
            gateway.zone.start()
        for gateway in gateways:
            gateway.wait_ready()
        yield Pair(a, b, url)


def _gateway(state: Path, name: str, url: str, store: str, workers: int) -> Gateway:
    settings = {
        "DEMESNE_ZONE": "de", "DEMESNE_JURISDICTION": "de", "DEMESNE_POSTURE": "development",
        "DEMESNE_STATE_DIR": str(state), "DEMESNE_CATALOG_URL": url, "DEMESNE_LEDGER_URL": url,
        "DEMESNE_STORE_URL": f"s3://sealed?endpoint={store}", "DEMESNE_STORE_ACCESS_KEY": ACCESS_KEY,
        "DEMESNE_STORE_SECRET_KEY": SECRET_KEY, "DEMESNE_STORE_NETWORKS": "127.0.0.0/8",
        "DEMESNE_DRAIN_SECONDS": "2", "DEMESNE_RESIDENCY_INTERVAL_SECONDS": "2",
        "DEMESNE_DECISION_TIMEOUT_MS": "2000",  # of a shared machine
    }  # fmt: skip
    zone = ZoneProcesses(
        name="de", jurisdiction="de", env=child_environment(settings), s3=listen("127.0.0.1", 0),
        api=listen("127.0.0.1", 0), workers=workers, zone_dir=state / "zones" / "de",
    )  # fmt: skip
    return Gateway(name, zone)


def _initialise(gateway: Gateway) -> None:
    gateway.zone.initialise()
    gateway.credentials = {
        who: Credentials(own["access_key_id"], own["secret_access_key"])
        for who, own in gateway.zone.credentials.items()
    }


def _give_keys(first: Path, second: Path) -> None:
    """What docs/operations.md says a second gateway is given: signing key and static key as copies, the local
    provider's folder as a shared mount, for want of a key provider that both can ask."""
    second.mkdir(parents=True)
    shutil.copytree(first / "signer", second / "signer")
    shutil.copy2(first / "static.key", second / "static.key")
    (second / "keys").symlink_to(first / "keys")

