"""A recording TCP proxy: what really left a port, byte by byte, and the bodies inside it without their framing."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

_PIECE = 1 << 16


@dataclass
class Conversation:
    """One connection: what the client sent, what left the server."""

    asked: bytearray = field(default_factory=bytearray)
    left: bytearray = field(default_factory=bytearray)


class Wire:
    """Listens on a free port and passes everything on to `upstream`, keeping all of it."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.conversations: list[Conversation] = []
        self._spawn(self._accept)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)
        for each in self._open:
            each.close()

    def everything(self) -> list[bytes]:
        """Whole streams as they left, then every response body without its framing."""
        streams = [bytes(each.left) for each in self.conversations]
        return streams + [body for each in self.conversations for body in bodies(each)]

    def forget(self) -> None:
        """Start a new recording; connections that are open go on into the old one."""
        self.conversations.clear()

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                return
            talk = Conversation()
            with self._lock:
                self._open += [client, server]
                self.conversations.append(talk)
            self._spawn(_pump, client, server, talk.asked)
            self._spawn(_pump, server, client, talk.left)


def _pump(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            record += piece
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def bodies(talk: Conversation) -> Iterator[bytes]:
    """Bodies of the responses of one HTTP/1.1 conversation, in order; the last may be cut short."""
    methods = [head.split(b" ", 1)[0] for head, _ in _messages(bytes(talk.asked), [])]
    for _, body in _messages(bytes(talk.left), methods):
        if body:
            yield body


def _messages(stream: bytes, methods: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(head, body) of each message. `methods` of the requests answered, empty when these are the requests."""
    at, number = 0, 0
    while (end := stream.find(b"\r\n\r\n", at)) >= 0:
        head = stream[at:end]
        at = end + 4
        status = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0
        if 100 <= status < 200:
            continue
        asked = methods[number] if number < len(methods) else b""
        number += 1
        if asked == b"HEAD" or status in {204, 304}:
            yield head, b""
            continue
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            body, at = _dechunked(stream, at)
        else:
            length = int(fields.get(b"content-length", b"0"))
            body, at = stream[at : at + length], at + length
        yield head, body


def _dechunked(stream: bytes, at: int) -> tuple[bytes, int]:
    body = bytearray()
    while (end := stream.find(b"\r\n", at)) >= 0:
        size = int(stream[at:end].split(b";")[0], 16)
        body += stream[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
        if size == 0:
            break
    return bytes(body), at
