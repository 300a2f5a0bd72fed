"""One embedded zone to measure against, a client that costs little, and nginx beside it."""

import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.cli.zones import DevOptions, DevZones

OUT = Path(__file__).parent / "out"
RECEIVE = 1 << 18


@dataclass(frozen=True)
class Zone:
    """A running zone with an open dataset `bench`, and the process ids whose CPU time counts."""

    ready: dict[str, Any]
    pids: dict[str, int]
    state_dir: Path

    def s3(self) -> Any:
        own = self.ready["credentials"]["steward"]
        return boto3.client("s3", endpoint_url=self.ready["s3_endpoint"], region_name=self.ready["region"],
                            aws_access_key_id=own["access_key_id"],
                            aws_secret_access_key=own["secret_access_key"])  # fmt: skip

    def signed_get(self, key: str, span: tuple[int, int] | None = None) -> bytes:
        """A whole signed HTTP/1.1 GET as bytes, ready for a raw socket."""
        own = self.ready["credentials"]["steward"]
        url = f"{self.ready['s3_endpoint']}/bench/{key}"
        headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        if span is not None:
            headers["range"] = f"bytes={span[0]}-{span[1] - 1}"
        request = AWSRequest("GET", url, headers=headers)
        S3SigV4Auth(Credentials(own["access_key_id"], own["secret_access_key"]), "s3",
                    self.ready["region"]).add_auth(request)  # fmt: skip
        return _http(url, dict(request.headers))

    def cpu_seconds(self) -> float:
        """User and system time of all processes of the zone so far."""
        return sum(_cpu(pid) for pid in self.pids.values())


@contextmanager
def zone(workers: int = 1) -> Iterator[Zone]:
    """A zone whose CreateBucket makes open datasets: the same road, decision, record and key as any other."""
    with tempfile.TemporaryDirectory(prefix="dms-bench-", dir="/tmp") as directory:
        state = Path(directory)
        options = DevOptions(state_dir=state, zones=("de",), s3_port=0, api_port=0, workers=workers,
                             created_buckets="open", ready_file=state / "ready.json")  # fmt: skip
        running = DevZones(options)
        running.start()
        try:
            made = running.zones[0]
            pids = {child.role: child.process.pid for child in made.children if child.process is not None}
            found = Zone(json.loads((state / "ready.json").read_text()), pids, state)
            found.s3().create_bucket(Bucket="bench")
            yield found
        finally:
            running.stop()


def plain_get(url: str, span: tuple[int, int] | None = None) -> bytes:
    return _http(url, {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {})


def _http(url: str, headers: dict[str, str]) -> bytes:
    parts = urlsplit(url)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawClient:
    """One kept-alive connection; reads into one buffer and throws the bytes away."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(RECEIVE)
        self.first_byte = 0.0  # seconds from the last request to the first byte of its answer

    def get(self, request: bytes, expected: int) -> float:
        """Seconds for one answer; raises unless it is 200 or 206 with exactly `expected` body bytes."""
        began = time.perf_counter()
        self._socket.sendall(request)
        view = memoryview(self._buffer)
        got = 0
        while (end := self._buffer.find(b"\r\n\r\n", 0, got)) < 0:
            count = self._socket.recv_into(view[got:])
            if count == 0:
                raise RuntimeError("closed before the headers ended")
            if not got:
                self.first_byte = time.perf_counter() - began
            got += count
        head = bytes(view[:end]).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.1 206")):
            raise RuntimeError(bytes(view[:got]).decode(errors="replace"))
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if length != expected:
            raise RuntimeError(f"{length} bytes, not {expected}")
        left = length - (got - end - 4)
        while left:
            count = self._socket.recv_into(view[: min(left, RECEIVE)])
            if count == 0:
                raise RuntimeError(f"aborted with {left} bytes left")
            left -= count
        return time.perf_counter() - began

    def close(self) -> None:
        self._socket.close()


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


@contextmanager
def nginx(root: Path) -> Iterator[str | None]:
    """nginx serving plain files from `root` on loopback, or None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        print("nginx is not installed here: no ratio (Debian: apt-get install nginx-light)", file=sys.stderr)
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = root / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx.log;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; sendfile on; keepalive_requests 1000000;\n"
        f"  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;\n"
        f"  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    process = subprocess.Popen([program, "-c", str(config), "-p", str(root)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def machine() -> dict[str, Any]:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())  # fmt: skip
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def publish(name: str, figures: dict[str, Any]) -> None:
    """Print, and write benchmarks/out/NAME.json."""
    OUT.mkdir(exist_ok=True)
    document = {"benchmark": name, "machine": machine(), **figures}
    (OUT / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


def _cpu(pid: int) -> float:
    """The process and its children that still run (the doctrine engine is a child of the front worker)."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for line in Path("/proc").iterdir():
        if not line.name.isdigit():
            continue
        try:
            fields = (line / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(line.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total
