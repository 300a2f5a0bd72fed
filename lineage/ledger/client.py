"""The two clients of the sequencer: asyncio for the hot road, blocking for jobs and the broker.

`append` returns only when the entry is durable. When it raises, nothing may be served: the entry may or may
not stand in the log (the answer can be lost after the write), and an intent without outcome counts as read
whole, so the uncertainty is on the safe side.
"""

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lineage.errors import LineageError, Malformed, Unavailable
from lineage.ledger import frames
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.promise import Promise
from lineage.ledger.shapes import check_entry

BACKLOG = 20_000
RETRY_SECONDS = 0.2
LINGER_SECONDS = 0.02


class Ledger(Protocol):
    """What guard and jobs need of a ledger. The live in-memory one of the tests satisfies it as well."""

    async def append(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        """Durable when it returns. Raises Malformed (the entry is wrong) or Unavailable (serve nothing)."""
        ...

    def append_later(self, entry: Mapping[str, Any]) -> None:
        """For outcomes: queued, retried while this process lives. Raises Malformed at once, or Unavailable
        ("ledger.backlog") when too many are waiting: an outcome that is lost means "read whole"."""
        ...


class LedgerClient:
    """One connection, many appends in flight; those of one loop turn leave in one write. Not thread-safe."""

    def __init__(self, socket_path: str | Path, zone: str, *, timeout: float = 2.0) -> None:
        self._path = str(socket_path)
        self._zone = zone
        self._timeout = timeout
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._backlog: deque[bytes] = deque()
        self._pump: asyncio.Task[None] | None = None

    async def append(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        return await self._send(encode_entry(entry), sealed)

    async def _send(self, encoded: bytes, sealed: bytes = b"") -> Promise:
        link = await self._ready_link()
        answer = link.send(encoded, sealed)
        timer = link.loop.call_later(self._timeout, _expire, answer)
        try:
            index, at, signature = await answer
        finally:
            timer.cancel()
        return Promise(self._zone, index, leaf_hash(encoded).hex(), at, signature)

    def append_later(self, entry: Mapping[str, Any]) -> None:
        encoded = encode_entry(entry)
        check_entry(entry)  # a mistake in the entry is the caller's to see, now
        if len(self._backlog) >= BACKLOG:
            raise Unavailable("ledger.backlog", f"{BACKLOG} entries wait for the sequencer")
        self._backlog.append(encoded)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._drain_backlog())

    async def drain(self) -> None:
        """Wait until everything of `append_later` is durable."""
        while self._pump is not None and not self._pump.done():
            await asyncio.wait({self._pump})

    async def close(self, *, drain_seconds: float = 2.0) -> None:
        """Give the backlog a last chance, then drop the connection."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain(), drain_seconds)
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
            await asyncio.wait({self._pump})
        if self._link is not None:
            self._link.close()

    async def _ready_link(self) -> "_Link":
        link = self._link
        return await self._connect() if link is None or link.lost else link

    async def _connect(self) -> "_Link":
        async with self._connecting:
            if self._link is not None and not self._link.lost:
                return self._link
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(self._timeout):
                    _, link = await loop.create_unix_connection(lambda: _Link(loop), self._path)
            except (OSError, TimeoutError) as error:
                raise Unavailable("ledger.connect", "the sequencer does not answer on its socket") from error
            self._link = link
            return link

    async def _drain_backlog(self) -> None:
        """What gathers within LINGER_SECONDS shares one commit of the sequencer with all its cost."""
        while self._backlog:
            await asyncio.sleep(LINGER_SECONDS)
            batch = [self._backlog.popleft() for _ in range(min(len(self._backlog), 256))]
            unsent = await self._send_all(batch)
            if unsent:
                self._backlog.extendleft(reversed(unsent))
                await asyncio.sleep(RETRY_SECONDS)

    async def _send_all(self, batch: list[bytes]) -> list[bytes]:
        """Those that are not durable for sure, and may be tried again."""
        try:
            link = await self._ready_link()
        except Unavailable:
            return batch
        answers = [link.send(encoded, b"") for encoded in batch]
        await asyncio.wait(answers, timeout=self._timeout)
        for answer in answers:
            _expire(answer)
        return [e for e, answer in zip(batch, answers, strict=True) if isinstance(answer.exception(), Unavailable)]


class _Link(asyncio.Protocol):
    """One connection: matches answers to requests by id, fails all of them when the peer goes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._out: list[bytes] = []
        self._waiting: dict[int, asyncio.Future[tuple[int, int, bytes]]] = {}
        self._next = 0

    def send(self, entry: bytes, sealed: bytes) -> "asyncio.Future[tuple[int, int, bytes]]":
        self._next = (self._next + 1) & 0xFFFFFFFF
        frame = frames.request(self._next, entry, sealed)
        answer: asyncio.Future[tuple[int, int, bytes]] = self.loop.create_future()
        self._waiting[self._next] = answer
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(frame)
        return answer

    def close(self) -> None:
        self.lost = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            answers = [frames.parse_response(frame) for frame in frames.split(self._received)]
        except Malformed:
            self.close()  # an answer we cannot read promises nothing; connection_lost fails the rest
            return
        for request_id, result in answers:
            waiter = self._waiting.pop(request_id, None)
            if waiter is None or waiter.done():
                continue
            if isinstance(result, LineageError):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.lost = True
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            if not waiter.done():
                waiter.set_exception(Unavailable("ledger.connection", "the sequencer went away before it answered"))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self.lost:
            self._transport.write(b"".join(out))
        elif self.lost:
            self.connection_lost(None)


def _expire(answer: "asyncio.Future[tuple[int, int, bytes]]") -> None:
    if not answer.done():
        answer.set_exception(Unavailable("ledger.timeout", "no promise within the budget"))


class SyncLedgerClient:
    """Blocking and thread-safe: one request at a time over one connection."""

    def __init__(self, socket_path: str | Path, zone: str, *, timeout: float = 5.0) -> None:
        self._path = str(socket_path)
        self._zone = zone
        self._timeout = timeout
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def append(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        """As `Ledger.append`. A connection that has gone stale between two appends is remade once."""
        encoded = encode_entry(entry)
        with self._lock:
            fresh = self._socket is None
            try:
                index, at, signature = self._exchange(encoded, sealed)
            except Unavailable as error:
                if fresh or error.reason != "ledger.stale":
                    raise
                index, at, signature = self._exchange(encoded, sealed)
        return Promise(self._zone, index, leaf_hash(encoded).hex(), at, signature)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _exchange(self, encoded: bytes, sealed: bytes) -> tuple[int, int, bytes]:
        try:
            link = self._open()
            link.sendall(frames.request(1, encoded, sealed))
        except TimeoutError as error:
            self._drop()
            raise Unavailable("ledger.timeout", "no promise within the budget") from error
        except OSError as error:
            self._drop()
            raise Unavailable("ledger.stale", "the sequencer does not answer on its socket") from error
        try:
            _, result = frames.parse_response(_receive(link))
        except (OSError, EOFError, Malformed) as error:
            self._drop()
            raise Unavailable("ledger.connection", "the sequencer went away before it answered") from error
        if isinstance(result, LineageError):
            raise result
        return result

    def _open(self) -> socket.socket:
        if self._socket is None:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(self._timeout)
            try:
                link.connect(self._path)
            except OSError:
                link.close()
                raise
            self._socket = link
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _receive(link: socket.socket) -> bytes:
    buffer = bytearray()
    while not (answers := frames.split(buffer)):
        data = link.recv(65536)
        if not data:
            raise EOFError
        buffer += data
    return answers[0]
