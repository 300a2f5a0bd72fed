"""A zone as its enemies see it: raw sockets, signed or not, and the front worker from outside."""

import http.client
import os
import re
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys

from demesne.credentials import Credentials
from tests.e2e.world import World

BUCKET = "hostile"
SMALL = 64 << 10
LONG = os.environ.get("DEMESNE_HOSTILE") == "long"
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


def more_descriptors(wanted: int) -> int:
    """How many descriptors this process may have now: `wanted`, or the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


@dataclass(frozen=True)
class Target:
    """One zone's S3 port, and the worker behind it."""

    world: World

    @property
    def url(self) -> str:
        return str(self.world.zone().s3_endpoint)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 0

    @property
    def pid(self) -> int:
        process = self.world.child("front-0").process
        assert process is not None
        return process.pid

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the front worker is gone")

    def connect(self, *, receive_buffer: int = 0) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(self.address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def signed(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *,
        who: str | Credentials = "steward", extra: bytes = b"", body: bytes = b"", trailing: bool = False,
    ) -> bytes:  # fmt: skip
        """A whole signed head. `extra`: raw lines that the signature does not cover; `body`: what it does.
        `trailing`: the body is framed and unsigned, with a checksum behind it."""
        keys = self.world.credentials(who) if isinstance(who, str) else who
        request = AWSRequest(method, f"{self.url}{path}", headers=headers or {}, data=body)
        if trailing:
            request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
        S3SigV4Auth(Keys(keys.access_key_id, keys.secret_access_key), "s3", "de").add_auth(request)
        host, port = self.address
        named = [f"{name}: {value}" for name, value in request.headers.items()]
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", *named]
        return "\r\n".join(lines).encode() + b"\r\n" + extra + b"\r\n"

    def get(self, key: str = "small", *, who: str = "steward", extra: bytes = b"") -> bytes:
        return self.signed("GET", f"/{BUCKET}/{key}", who=who, extra=extra)

    def exists(self, key: str) -> bool:
        listed = self.world.s3().list_objects_v2(Bucket=BUCKET, Prefix=key)
        return any(found["Key"] == key for found in listed.get("Contents", []))


def told(client: socket.socket, seconds: float = 20.0) -> bytes:
    """All that the server says until it ends the connection. Fails when it does not end within `seconds`."""
    end = time.monotonic() + seconds
    said = b""
    with suppress(ConnectionError):
        while True:
            client.settimeout(max(0.01, end - time.monotonic()))
            piece = client.recv(1 << 20)
            if not piece:
                break
            said += piece
    return said


def answer(client: socket.socket) -> tuple[int, bytes]:
    """One whole answer with a length: its status and body."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = client.recv(1 << 20)
        assert piece, said
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: ([0-9]+)", head.lower())
    length = int(found[1]) if found else 0
    while len(body) < length:
        piece = client.recv(1 << 20)
        assert piece, f"cut after {len(body)} of {length} bytes"
        body += piece
    return int(statuses(head)[0]), body


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in _STATUS.findall(said)]


@dataclass
class Reader:
    """A client that does nothing wrong."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def check(self, most: float = 3.0) -> None:
        assert not self.failures, self.failures[:3]
        assert len(self.seconds) >= 3, "it came to nothing"
        assert max(self.seconds) < most, f"the slowest of {len(self.seconds)} reads took {max(self.seconds):.2f} s"


@contextmanager
def well_behaved(target: Target, key: str = "small", size: int = SMALL, pause: float = 0.02) -> Iterator[Reader]:
    """An analyst reads one object over and over while the block runs; `check` afterwards. Enemies are stewards."""
    found, over = Reader(), threading.Event()

    def read() -> None:
        connection: http.client.HTTPConnection | None = None
        context = target.world.trust if isinstance(target.world.trust, ssl.SSLContext) else None
        while not over.is_set():
            began = time.monotonic()
            try:
                if connection is None:
                    host, port = target.address
                    connection = (
                        http.client.HTTPSConnection(host, port, timeout=30, context=context) if context
                        else http.client.HTTPConnection(host, port, timeout=30)
                    )  # fmt: skip
                lines = target.get(key, who="analyst").decode().split("\r\n")[2:-2]
                connection.request("GET", f"/{BUCKET}/{key}", headers=dict(line.split(": ", 1) for line in lines))
                heard = connection.getresponse()
                body = heard.read()
                if heard.status != 200 or len(body) != size:
                    found.failures.append(f"{heard.status} {body[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                found.failures.append(repr(error))
                if connection is not None:
                    connection.close()
                connection = None
            found.seconds.append(time.monotonic() - began)
            over.wait(pause)
        if connection is not None:
            connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield found
    finally:
        time.sleep(0.3)
        over.set()
        thread.join(60)
