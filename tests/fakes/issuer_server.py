"""A real HTTPS server of an identity provider, which lies in whatever way a test wants.

with IssuerServer() as server:
    server.answer = says(provider.jwks)        # or status(500), redirect("…"), without_end(), slowly(…), …
    entry = provider.issuer(jwks=None, jwks_url=server.url + "/keys", ca=str(server.ca), networks=server.networks)
"""

import json
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import trustme

NETWORKS = ["127.0.0.0/8", "::1/128"]
Answer = Callable[[socket.socket, str], None]
_MADE: list[tuple[trustme.CA, trustme.LeafCert]] = []


def says(document: Any, *, kind: str = "application/json") -> Answer:
    """An honest answer: JSON of `document`, or these bytes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return lambda connection, _path: connection.sendall(head.encode() + body)


def by_path(answers: dict[str, Answer]) -> Answer:
    return lambda connection, path: answers[path](connection, path)


def raw(answer: bytes) -> Answer:
    return lambda connection, _path: connection.sendall(answer)


def status(code: int, headers: str = "") -> Answer:
    return raw(f"HTTP/1.1 {code} No\r\n{headers}content-length: 2\r\nconnection: close\r\n\r\n{{}}".encode())


def redirect(url: str, code: int = 302) -> Answer:
    return status(code, f"location: {url}\r\n")


def without_end(*, stated: int | None = None) -> Answer:
    """200 MB of JSON's white space, with or without a length that says so."""

    def answer(connection: socket.socket, _path: str) -> None:
        length = f"content-length: {stated}\r\n" if stated is not None else "connection: close\r\n"
        connection.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        piece = b" " * (1 << 20)
        for _ in range(200):
            connection.sendall(piece)

    return answer


def dribbled(answer: bytes, pause: float = 0.05) -> Answer:
    """Byte by byte: never silent for long, and never done."""

    def slowly(connection: socket.socket, _path: str) -> None:
        for at in range(len(answer)):
            connection.sendall(answer[at : at + 1])
            time.sleep(pause)

    return slowly


def held(answer: bytes) -> Answer:
    """All of it, and then neither an end nor another byte."""

    def hold(connection: socket.socket, _path: str) -> None:
        connection.sendall(answer)
        connection.recv(1)

    return hold


class IssuerServer:
    """`requests`: the paths asked for, in order. `hangs`: it takes connections and says nothing, not even TLS."""

    def __init__(self, *, name: str = "localhost") -> None:
        if not _MADE:
            authority = trustme.CA()
            _MADE.append((authority, authority.issue_cert("localhost", "127.0.0.1")))
        authority, certificate = _MADE[0]
        if name != "localhost":
            certificate = authority.issue_cert(name)
        self._directory = Path(tempfile.mkdtemp(prefix="demesne-issuer-"))
        self.ca = self._directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        self.networks = NETWORKS
        self.answer: Answer = status(404)
        self.hangs = False
        self.connections = 0
        self.requests: list[str] = []
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        if self.hangs:
            return
        with suppress(OSError, ValueError), self._context.wrap_socket(connection, server_side=True) as secured:
            self._open.append(secured)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = secured.recv(4096)
                if not piece:
                    return
                head += piece
            path = head.split(b" ")[1].decode()
            self.requests.append(path)
            self.answer(secured, path)

    def close(self) -> None:
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads[1:]:
            thread.join(2.0)
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> "IssuerServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
