"""docker-compose.yml without Docker: its services as plain processes, with exactly what the file gives each of them.

Environment, command, volumes (as bind mounts, read-only where the file says so, in a mount namespace of the service's
own where this machine allows one) are read from the file. Only what a container network would do is substituted:
host names and ports become loopback ports, `/state` and `/directory` folders of the test.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import yaml
from botocore.config import Config

import demesne
from demesne.credentials import Credentials
from tests.conftest import ROOT
from tests.e2e.world import connect
from tests.fakes.opa_server import opa_binary
from tests.fakes.seaweedfs import free_ports, weed_binary

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ONCE = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30)
SECRETS = {
    "DE_CATALOG_PASSWORD": "catalog", "DE_STORE_SECRET": "de-store-secret",
    "FR_CATALOG_PASSWORD": "catalog", "FR_STORE_SECRET": "fr-store-secret",
}  # fmt: skip
ROLES = ("jobs", "broker", "builder", "front")
START_SECONDS = 45.0


def minio_binary() -> str | None:
    return shutil.which("minio")


@cache
def namespace() -> tuple[str, ...]:
    """How this machine gives a process mounts of its own; empty where it does not."""
    for how in (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount")):
        probe = [*how, "sh", "-c", "mount --bind /tmp /tmp"]
        try:
            if subprocess.run(probe, capture_output=True, check=False, timeout=10).returncode == 0:
                return how
        except OSError:
            continue
    return ()


@dataclass
class Service:
    """One service of the file, as a process. `say`: what it printed, kept for a failing test."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.log.parent,
            )  # fmt: skip

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15.0) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def say(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]


@dataclass
class Deployment:
    """Services of the compose file on this machine. `directory`: a short path, sockets lie in it."""

    directory: Path
    postgresql_port: int
    ports: dict[str, int] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # zone de's front, zone fr's front, a second front worker, stores, OPA
        names = ("s3-de", "api-de", "s3-fr", "api-fr", "s3-more", "api-more", "store-de", "store-fr", "opa-de")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        for zone in ("de", "fr"):
            (self.directory / "state").mkdir(exist_ok=True)
            # What an empty volume begins with: the folders of the image (Dockerfile).
            for inside in ("keys", "signer", "ledger", "trust", "run/builder", "run/keeper"):
                (self.volume(f"state-{zone}") / "zones" / zone / inside).mkdir(parents=True)

    # -- the file, in terms of this machine ------------------------------------------------------------------------
    def volume(self, name: str) -> Path:
        path = self.directory / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def here(self, text: object, *, zone: str = "") -> str:
        """A value of the file with secrets filled in and containers' names replaced."""
        value = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: SECRETS[match[1]], str(text))
        for name in ("de", "fr"):
            value = value.replace(f"@catalog-{name}/demesne", f"@127.0.0.1:{self.postgresql_port}/{name}")
            value = re.sub(rf"\bstore-{name}:\d+", f"127.0.0.1:{self.ports[f'store-{name}']}", value)
        value = value.replace("opa-de:8181", f"127.0.0.1:{self.ports['opa-de']}")
        value = value.replace("10.0.0.0/8,172.16.0.0/12", "127.0.0.0/8")
        value = value.replace("0.0.0.0", "127.0.0.1")  # the point of the test is not to listen there
        state = self.directory / "state" if namespace() else self.volume(f"state-{zone}")
        value = re.sub(r"^/state\b", str(state), value)
        return re.sub(r"^/directory\b", str(self.volume("directory")), value)

    def environment(self, name: str, **more: str) -> dict[str, str]:
        zone = name.rpartition("-")[2]
        given = {key: self.here(value, zone=zone) for key, value in COMPOSE["services"][name]["environment"].items()}
        given |= {"DEMESNE_S3_PORT": str(self.ports[f"s3-{zone}"]), "DEMESNE_API_PORT": str(self.ports[f"api-{zone}"])}
        # As a container: nothing of the caller's environment.
        return {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8", **given, **more}

    def command(self, name: str, *role: str) -> list[str]:
        """The image's entry point with the service's command, behind the service's mounts."""
        zone = name.rpartition("-")[2]
        inside = [str(ROOT / "deploy" / "zone-process"), *(role or COMPOSE["services"][name]["command"])]
        if not namespace():
            return inside
        lines = []
        for mount in COMPOSE["services"][name]["volumes"]:
            volume, target, *mode = mount.split(":")
            if target == "/directory":
                continue
            place = self.here(target, zone=zone)
            lines.append(f"mount --bind '{self.volume(volume)}' '{place}'")
            if mode == ["ro"]:
                lines.append(f"mount -o remount,bind,ro '{place}'")
        return [*namespace(), "sh", "-euc", "\n".join([*lines, 'exec "$@"']), "sh", *inside]

    # -- services --------------------------------------------------------------------------------------------------
    def add(self, name: str, command: list[str], environment: dict[str, str]) -> Service:
        self.services[name] = service = Service(name, command, environment, self.directory / f"{name}.log")
        service.start()
        return service

    def once(self, name: str, **more: str) -> str:
        """A one-shot service to its end; what it printed."""
        done = subprocess.run(
            self.command(name), env=self.environment(name, **more), capture_output=True, text=True, check=False,
            timeout=90, cwd=self.directory,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr[-2000:]}\n{self.say()}"
        return done.stdout

    def say(self) -> str:
        """The last words of every service, for a test that fails."""
        return "\n".join(f"{service.name}: {service.say()}" for service in self.services.values())

    def sign_directory(self) -> None:
        zones = "".join(
            f"{zone} {zone} http://127.0.0.1:{self.ports[f's3-{zone}']} http://127.0.0.1:{self.ports[f'api-{zone}']}\n"
            for zone in ("de", "fr")
        )
        given = COMPOSE["services"]["directory"]
        assert [line.split()[:2] for line in given["environment"]["ZONES"].splitlines()] == [["de", "de"], ["fr", "fr"]]
        done = subprocess.run(
            [str(ROOT / "deploy" / "zone-process"), *given["command"]], check=False, timeout=60, capture_output=True,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "ZONES": zones,
                 "LOCATIONS": given["environment"]["LOCATIONS"], "DIRECTORY": str(self.volume("directory"))},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start_opa(self) -> Service:
        binary = opa_binary()
        assert binary is not None
        listen = f"127.0.0.1:{self.ports['opa-de']}"
        given = [listen.join(part.split("0.0.0.0:8181")) for part in COMPOSE["services"]["opa-de"]["command"]]
        return self.add("opa-de", [binary, *given], {"HOME": str(self.directory)})

    def start_minio(self) -> Service:
        binary, given = minio_binary(), COMPOSE["services"]["store-de"]
        assert binary is not None
        command = [part.replace("/data", str(self.volume("store-de"))) for part in given["command"]]
        environment = {key: self.here(value) for key, value in given["environment"].items()}
        return self.add(
            "store-de", [binary, *command, "--address", f"127.0.0.1:{self.ports['store-de']}"],
            {"HOME": str(self.directory), "MINIO_UPDATE": "off", "MINIO_BROWSER": "off", **environment},
        )  # fmt: skip

    def start_seaweedfs(self, zone: str = "fr", tls: tuple[Path, Path] | None = None) -> Service:
        """Zone fr's store; or, where there is no MinIO, one in the place of zone de's."""
        binary = weed_binary()
        assert binary is not None
        # `$$` and line breaks aside, this is what the container finds at /etc/seaweedfs/s3.json.
        identities = json.loads(self.here(COMPOSE["configs"]["store-fr"]["content"]))
        if zone == "de":
            identities["identities"][0]["credentials"] = [
                {"accessKey": "demesne-de", "secretKey": SECRETS["DE_STORE_SECRET"]}
            ]
        config = self.directory / f"s3-{zone}.json"
        config.write_text(json.dumps(identities))
        swaps = {
            "-ip=store-fr": "-ip=127.0.0.1", "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1",
            "-dir=/data": f"-dir={self.volume(f'store-{zone}')}",
            "-s3.port=8333": f"-s3.port={self.ports[f'store-{zone}']}",
            "-s3.config=/etc/seaweedfs/s3.json": f"-s3.config={config}",
        }  # fmt: skip
        given = [swaps.get(part, part) for part in COMPOSE["services"]["store-fr"]["command"]]
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
                 "s3.port.grpc")  # fmt: skip
        ports = [f"-{name}={port}" for name, port in zip(names, free_ports(len(names)), strict=True)]
        if tls is not None:
            ports += [f"-s3.cert.file={tls[0]}", f"-s3.key.file={tls[1]}"]
        command = [binary, *given, *ports, "-master.volumeSizeLimitMB=64"]
        return self.add(f"store-{zone}", command, {"HOME": str(self.directory)})

    def start_roles(self, zone: str, **more: str) -> None:
        for role in ROLES:
            name = f"{role}-{zone}"
            self.add(name, self.command(name), self.environment(name, **more))

    def close(self) -> None:
        """All roles at once, then what they stand on."""
        roles = [each for each in self.services.values() if not each.name.startswith(("opa", "store"))]
        for service in roles:
            if service.process is not None:
                service.process.terminate()
        for service in roles:
            service.stop()
        for service in self.services.values():
            service.stop(signal.SIGKILL)


@dataclass
class Zone:
    """A deployed zone's clients. `credentials`: what init printed."""

    deployment: Deployment
    name: str
    credentials: dict[str, Credentials]

    @property
    def s3_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.deployment.ports[f's3-{self.name}']}"

    @property
    def api_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.deployment.ports[f'api-{self.name}']}"

    def s3(self, who: str = "steward", endpoint: str | None = None) -> Any:
        keys = self.credentials[who]
        return connect(
            "s3", endpoint_url=endpoint or self.s3_endpoint, region_name=self.name,
            aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
            config=ONCE,
        )  # fmt: skip

    def api(self, endpoint: str | None = None) -> Any:
        return demesne.Client(endpoint or self.api_endpoint, self.credentials["steward"], region=self.name)

    def readiness(self, endpoint: str | None = None) -> tuple[int, dict[str, Any]]:
        try:
            answer = httpx2.get(f"{endpoint or self.api_endpoint}/readyz", trust_env=False, timeout=5)
        except httpx2.HTTPError as error:
            return 0, {"no answer": type(error).__name__}
        document: dict[str, Any] = answer.json()
        return answer.status_code, document

    def wait_ready(self, status: int = 200, endpoint: str | None = None) -> dict[str, Any]:
        end = time.monotonic() + START_SECONDS
        while True:
            found, document = self.readiness(endpoint)
            if found == status:
                return document
            if time.monotonic() > end:
                raise AssertionError(f"readyz {found}, not {status}: {document}\n{self.deployment.say()}")
            time.sleep(0.1)


def bring_up(deployment: Deployment, *zones: str, **more: str) -> list[Zone]:
    """init of all, then every role of all; ready on return."""
    with ThreadPoolExecutor(len(zones)) as pool:
        printed = list(pool.map(lambda zone: json.loads(deployment.once(f"init-{zone}", **more)), zones))
    for zone in zones:  # not in the pool: a role ends with the thread that started it
        deployment.start_roles(zone, **more)
    running = [
        Zone(deployment, zone, {who: Credentials(**keys) for who, keys in credentials.items()})
        for zone, credentials in zip(zones, printed, strict=True)
    ]
    for each in running:
        each.wait_ready()
    return running


@contextmanager
def deployed(directory: Path, postgresql_port: int) -> Iterator[Deployment]:
    deployment = Deployment(directory, postgresql_port)
    with ExitStack() as stack:
        stack.callback(deployment.close)
        deployment.sign_directory()
        yield deployment
