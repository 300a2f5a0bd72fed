"""The peers beside us, each with one bucket `bench` and one credential, up for the length of a block."""

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.zone import Zone, _cpu, _http, nginx, plain_get
from tests.fakes.seaweedfs import ACCESS_KEY, SECRET_KEY, seaweedfs, weed_binary

ACCESS, SECRET, BUCKET = "bench-access", "bench-secret-key", "bench"


@dataclass(frozen=True)
class Server:
    """An S3 endpoint; `encrypts` at rest. `pids` are the processes whose CPU time counts."""

    name: str
    endpoint: str
    encrypts: bool
    access: str = ACCESS
    secret: str = SECRET
    region: str = "us-east-1"
    bucket: str = BUCKET
    pids: Sequence[int] = field(default=())
    signs: bool = True

    def s3(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=self.region, aws_access_key_id=self.access,
            aws_secret_access_key=self.secret, config=Config(s3={"addressing_style": "path"}, read_timeout=120),
        )  # fmt: skip

    def get(self, key: str, span: tuple[int, int] | None = None) -> bytes:
        """A whole GET request as bytes for a raw socket."""
        url = f"{self.endpoint}/{self.bucket}/{key}"
        if not self.signs:
            return plain_get(url, span)
        headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        if span is not None:
            headers["range"] = f"bytes={span[0]}-{span[1] - 1}"
        request = AWSRequest("GET", url, headers=headers)
        S3SigV4Auth(Credentials(self.access, self.secret), "s3", self.region).add_auth(request)
        return _http(url, dict(request.headers))

    def cpu_seconds(self) -> float:
        return sum(_cpu(pid) for pid in self.pids)


def ours(zone: Zone) -> Server:
    own = zone.ready["credentials"]["steward"]
    return Server("demesne", zone.ready["s3_endpoint"], True, own["access_key_id"], own["secret_access_key"],
                  zone.ready["region"], pids=tuple(zone.pids.values()))  # fmt: skip


@contextmanager
def peers(root: Path, wanted: Sequence[str] = ()) -> Iterator[list[Server]]:
    """Every peer that is installed here and starts; what is missing is said and left out."""
    starters: dict[str, Callable[[Path], AbstractContextManager[Server | None]]] = {
        "nginx": _nginx, "seaweedfs": _seaweedfs, "minio": _minio, "minio-kms": _minio_encrypting,
        "rclone": _rclone, "rclone-crypt": _rclone_crypt,
    }  # fmt: skip
    with ExitStack() as stack:
        found = []
        for name, starter in starters.items():
            if wanted and name not in wanted:
                continue
            directory = root / name
            directory.mkdir(mode=0o755)
            server = stack.enter_context(starter(directory))
            if server is None:
                print(f"{name} is not installed here: no figures of it", file=sys.stderr)
            else:
                found.append(server)
        yield found


@contextmanager
def _nginx(directory: Path) -> Iterator[Server | None]:
    (directory / BUCKET).mkdir(mode=0o755)
    with nginx(directory) as url:
        if url is None:
            yield None
            return
        master = int((directory / "nginx.pid").read_text())
        yield Server("nginx", url, False, pids=(master,), signs=False)


@contextmanager
def _seaweedfs(directory: Path) -> Iterator[Server | None]:
    if weed_binary() is None:
        yield None
        return
    with seaweedfs(directory, BUCKET) as weed:
        yield Server("seaweedfs", weed.endpoint, False, ACCESS_KEY, SECRET_KEY, bucket=weed.bucket,
                     pids=_children())  # fmt: skip


@contextmanager
def _minio(directory: Path, name: str = "minio", extra: dict[str, str] | None = None) -> Iterator[Server | None]:
    program = shutil.which("minio")
    if program is None:
        yield None
        return
    port = _port()
    command = [program, "server", str(directory / "data"), "--address", f"127.0.0.1:{port}", "--quiet"]
    own = {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "HOME": str(directory)}
    with _running(command, {**os.environ, **own, **(extra or {})}) as pid:
        yield _with_bucket(Server(name, f"http://127.0.0.1:{port}", extra is not None, pids=(pid,)))


def _minio_encrypting(directory: Path) -> AbstractContextManager[Server | None]:
    key = base64.b64encode(os.urandom(32)).decode()
    return _minio(directory, "minio-kms", {"MINIO_KMS_SECRET_KEY": f"bench:{key}", "MINIO_KMS_AUTO_ENCRYPTION": "on"})


@contextmanager
def _rclone(directory: Path, name: str = "rclone", remote: str = "") -> Iterator[Server | None]:
    program = _rclone_binary()
    if program is None:
        yield None
        return
    port, data = _port(), directory / "data"
    data.mkdir(exist_ok=True)
    command = [program, "serve", "s3", remote or str(data), "--addr", f"127.0.0.1:{port}", "--auth-key",
               f"{ACCESS},{SECRET}", "--config", str(directory / "rclone.conf")]  # fmt: skip
    with _running(command, dict(os.environ)) as pid:
        yield _with_bucket(Server(name, f"http://127.0.0.1:{port}", bool(remote), pids=(pid,)))


@contextmanager
def _rclone_crypt(directory: Path) -> Iterator[Server | None]:
    program = _rclone_binary()
    if program is None:
        yield None
        return
    obscured = subprocess.run([program, "obscure", SECRET], capture_output=True, text=True, check=True).stdout.strip()
    (directory / "rclone.conf").write_text(
        f"[sealed]\ntype = crypt\nremote = {directory / 'data'}\npassword = {obscured}\n"
    )
    with _rclone(directory, "rclone-crypt", "sealed:") as server:
        yield server


def _rclone_binary() -> str | None:
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else shutil.which("rclone")


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _with_bucket(server: Server) -> Server:
    for _ in range(200):
        try:
            server.s3().create_bucket(Bucket=BUCKET)
            return server
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    raise RuntimeError(f"{server.name} does not come up")


def _children() -> tuple[int, ...]:
    """The newest child of this process: what a helper of the tests has just started."""
    own = [line for line in Path("/proc").iterdir() if line.name.isdigit() and _parent(line) == os.getpid()]
    return (max(int(line.name) for line in own),) if own else ()


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
