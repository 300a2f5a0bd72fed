"""A TCP proxy that fails on command: toxiproxy's eight verbs, applied to what the server sends, or to both ways.

    with FaultyProxy(port) as proxy:
        proxy.toxic = Toxic("latency", seconds=0.5)        # from now on, for connections that are open too
        proxy.toxic = None

latency      each piece waits `seconds`                 bandwidth    `rate` bytes a second
down         nobody listens, open ones are cut          slow_close   the end waits `seconds`
timeout      nothing passes any more, nothing closes    reset_peer   RST after `limit` bytes
slicer       pieces of `limit` bytes, `seconds` apart   limit_data   a clean end after `limit` bytes
"""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Literal, Self

Verb = Literal["latency", "down", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"]
_PIECE = 1 << 16


@dataclass(frozen=True)
class Toxic:
    verb: Verb
    seconds: float = 0.0
    rate: int = 0
    limit: int = 0
    upstream: bool = False
    """Whether it acts on what the client sends instead."""


class FaultyProxy:
    """Listens on a free loopback port and passes on to `upstream`."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._toxic: Toxic | None = None
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._spawn(self._accept)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def toxic(self) -> Toxic | None:
        return self._toxic

    @toxic.setter
    def toxic(self, toxic: Toxic | None) -> None:
        self._toxic = toxic
        if toxic is not None and toxic.verb == "down":
            self._cut_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut_all()
        for thread in list(self._threads):
            thread.join(5)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _cut_all(self) -> None:
        with self._lock:
            cut, self._open = self._open, []
        for each in cut:
            _reset(each)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._toxic is not None and self._toxic.verb == "down":
                _reset(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._upstream))
            with self._lock:
                self._open += [client, server]
            self._spawn(self._pump, client, server, True)
            self._spawn(self._pump, server, client, False)

    def _pump(self, source: socket.socket, target: socket.socket, upstream: bool) -> None:
        """One way of one connection. The bytes since a toxic was set are counted for it."""
        seen: Toxic | None = None
        passed = 0
        try:
            while piece := source.recv(_PIECE):
                toxic = self._toxic if self._toxic is not None and self._toxic.upstream == upstream else None
                if toxic is not seen:
                    seen, passed = toxic, 0
                if toxic is None:
                    target.sendall(piece)
                elif not self._poisoned(toxic, piece, passed, source, target):
                    return
                passed += len(piece)
            if seen is not None and seen.verb == "slow_close":
                self._ended.wait(seen.seconds)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _poisoned(
        self, toxic: Toxic, piece: bytes, passed: int, source: socket.socket, target: socket.socket
    ) -> bool:
        """Pass `piece` on as the toxic has it; False where this way has ended."""
        if toxic.verb == "latency":
            self._ended.wait(toxic.seconds)
            target.sendall(piece)
        elif toxic.verb == "bandwidth":
            for at in range(0, len(piece), 4096):
                target.sendall(piece[at : at + 4096])
                if self._ended.wait(len(piece[at : at + 4096]) / toxic.rate):
                    return False
        elif toxic.verb == "slicer":
            for at in range(0, len(piece), toxic.limit):
                target.sendall(piece[at : at + toxic.limit])
                if self._ended.wait(toxic.seconds):
                    return False
        elif toxic.verb == "timeout":
            while not self._ended.is_set() and self._toxic is toxic:
                time.sleep(0.02)
            return False
        elif toxic.verb in {"reset_peer", "limit_data"}:
            target.sendall(piece[: max(0, toxic.limit - passed)])
            if passed + len(piece) >= toxic.limit:
                if toxic.verb == "reset_peer":
                    _reset(target)
                    _reset(source)
                else:
                    target.shutdown(socket.SHUT_RDWR)
                return False
        else:
            target.sendall(piece)
        return True


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in recv
    connection.close()
