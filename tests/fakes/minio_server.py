"""A real MinIO server on loopback for tests, where its program is on the path; gone with its directory."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.fakes.seaweedfs import free_ports

ACCESS_KEY = "minio-test"
SECRET_KEY = "minio-test-secret"


@dataclass(frozen=True)
class MinioServer:
    endpoint: str
    bucket: str


def minio_binary() -> str | None:
    return shutil.which("minio")


@contextmanager
def minio_server(directory: Path, bucket: str = "sealed", region: str = "eu-central-1") -> Iterator[MinioServer]:
    """Up when the block begins; stopped when it ends. It makes no bucket."""
    binary = minio_binary()
    assert binary is not None, "minio is not installed"
    (port,) = free_ports(1)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "MINIO_ROOT_USER": ACCESS_KEY,
                   "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_REGION": region, "MINIO_UPDATE": "off"}  # fmt: skip
    with (directory / "minio.log").open("wb") as log:
        server = subprocess.Popen(
            [binary, "server", str(directory / "data"), "--address", f"127.0.0.1:{port}", "--quiet"],
            stdout=log, stderr=subprocess.STDOUT, cwd=directory, env=environment,
        )  # fmt: skip
        try:
            _wait(server, f"http://127.0.0.1:{port}/minio/health/ready", directory / "minio.log")
            yield MinioServer(f"http://127.0.0.1:{port}", bucket)
        finally:
            server.kill()
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", ready: str, log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(ready, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(log.read_text(errors="replace")[-2000:])
