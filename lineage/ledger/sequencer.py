"""The sequencer: the one process that writes a zone's ledger. Unix socket in, promises out.

    receive -> check the entry's closed shape -> queue -> one batch: sealed inputs, entries, fdatasync -> sign -> answer
                                                 └ every `checkpoint_seconds`: tiles, index, checkpoint

While a batch is being synced the next one gathers (group commit). Any state that cannot be known ends the process:
the next start re-verifies everything before it takes an entry.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import LineageError, Malformed, Unavailable
from lineage.ledger import frames
from lineage.ledger.entry import leaf_hash
from lineage.ledger.log import SEGMENT_BYTES, Stored, Sync
from lineage.ledger.promise import signed_bytes
from lineage.ledger.signature import Sign, Verify
from lineage.ledger.spelling import name_of
from lineage.ledger.writer import Request, Writer, open_ledger

MAX_BATCH_ENTRIES = 256
MAX_BATCH_BYTES = 4 << 20
MAX_QUEUE = 20_000
SLICE = 32  # promises signed (about 40 us each) before the loop turns


@dataclass(slots=True)
class Waiting(Request):
    """A request between its arrival and its answer."""

    link: "_Connection"
    request_id: int


async def serve(
    socket_path: str | Path, directory: str | Path, decisions_dir: str | Path, zone: str,
    sign: Sign, public_key: bytes, verify: Verify, *,
    origin: str | None = None, checkpoint_seconds: float = 0.5, now_ms: Callable[[], int] | None = None,
    sync: Sync = os.fdatasync, segment_bytes: int = SEGMENT_BYTES,
    ready: Callable[[], None] | None = None, stop: asyncio.Event | None = None,
) -> None:  # fmt: skip
    """Run until cancelled or `stop` is set, answering everything already taken. `ready` is called once it serves.

    Raises as `open_ledger`, and Broken when the disk fails while serving: the process must then exit.
    """
    opening = open_ledger(
        Path(directory), Path(decisions_dir), zone, sign, public_key, verify,
        origin=origin, now_ms=now_ms, sync=sync, segment_bytes=segment_bytes,
    )  # fmt: skip
    with opening as ledger:
        await serve_writer(socket_path, ledger, checkpoint_seconds=checkpoint_seconds, ready=ready, stop=stop)


async def serve_writer(
    socket_path: str | Path, ledger: Writer, *, checkpoint_seconds: float = 0.5,
    ready: Callable[[], None] | None = None, stop: asyncio.Event | None = None,
) -> None:  # fmt: skip
    """As `serve`, on a ledger that is open already."""
    await _Sequencer(ledger, checkpoint_seconds).run(Path(socket_path), ready, stop or asyncio.Event())


class _Sequencer:
    def __init__(self, ledger: Writer, checkpoint_seconds: float) -> None:
        self._ledger = ledger
        self._period = checkpoint_seconds
        self._queue: list[Waiting] = []
        self._arrived = asyncio.Event()
        self._ending = asyncio.Event()
        self._links: set[_Connection] = set()

    async def run(self, path: Path, ready: Callable[[], None] | None, stop: asyncio.Event) -> None:
        server = await _listen(path, lambda: _Connection(self))
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "ledger-commit") as commits, ThreadPoolExecutor(1, "ledger-publish") as publishes:
            committing = loop.create_task(self._commit_forever(commits))
            publishing = loop.create_task(self._publish_forever(publishes))
            stopped = loop.create_task(stop.wait())
            try:
                if ready is not None:
                    ready()
                await asyncio.wait({committing, publishing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                server.close()
                self._ending.set()
                self._arrived.set()
                await asyncio.wait({committing, publishing})
                stopped.cancel()
                for link in list(self._links):
                    link.close()
                _unlink(path)
            committing.result()
            publishing.result()
            await loop.run_in_executor(publishes, self._ledger.publish)

    def connected(self, link: "_Connection") -> None:
        self._links.add(link)

    def disconnected(self, link: "_Connection") -> None:
        self._links.discard(link)

    def take(self, link: "_Connection", frame: bytes) -> None:
        """One request frame: queue it, or answer why not."""
        request_id, entry, sealed = frames.parse_request(frame)
        try:
            entry_id, zone = name_of(entry)
        except Malformed as error:
            link.answer(frames.refusal(request_id, frames.MALFORMED, error))
            return
        if zone != self._ledger.zone:
            elsewhere = Malformed("entry.zone", "this is another zone's ledger")
            link.answer(frames.refusal(request_id, frames.MALFORMED, elsewhere))
        elif self._ending.is_set() or len(self._queue) >= MAX_QUEUE:
            link.answer(frames.refusal(request_id, frames.UNAVAILABLE, Unavailable("ledger.busy")))
        else:
            self._queue.append(Waiting(entry, entry_id, sealed, link, request_id))
            self._arrived.set()

    async def _commit_forever(self, executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while self._queue or not self._ending.is_set():
            await self._arrived.wait()
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                continue
            try:
                at, stored = await loop.run_in_executor(executor, self._ledger.commit, batch)
            except LineageError as error:
                for waiting in batch:
                    waiting.link.answer(frames.refusal(waiting.request_id, frames.UNAVAILABLE, error))
                if not isinstance(error, Unavailable):
                    raise
                continue
            await self._promise(batch, at, stored)

    def _next_batch(self) -> list[Waiting]:
        size = count = 0
        while count < min(len(self._queue), MAX_BATCH_ENTRIES) and size < MAX_BATCH_BYTES:
            size += len(self._queue[count].entry)
            count += 1
        batch = self._queue[:count]
        del self._queue[:count]
        return batch

    async def _promise(self, batch: list[Waiting], at: int, stored: list[Stored]) -> None:
        """Signing is most of the work: answers leave in slices, and what arrives meanwhile is taken in."""
        ledger = self._ledger
        for number, (waiting, on_disk) in enumerate(zip(batch, stored, strict=True), 1):
            leaf = leaf_hash(on_disk.entry)
            ledger.committed(leaf, waiting.entry_id, on_disk)
            signature = ledger.sign(signed_bytes(ledger.zone, on_disk.index, leaf.hex(), at))
            waiting.link.answer(frames.promised(waiting.request_id, on_disk.index, at, signature))
            if number % SLICE == 0:
                await asyncio.sleep(0)

    async def _publish_forever(self, executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            if self._ledger.waiting:
                await loop.run_in_executor(executor, self._ledger.publish)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), self._period)


async def _listen(path: Path, connection: Callable[[], "_Connection"]) -> asyncio.Server:
    """Bind the socket for our own user only. A file left by a crash is ours to replace: we hold the lock."""
    _unlink(path)
    previous = os.umask(0o177)
    try:
        return await asyncio.get_running_loop().create_unix_server(connection, str(path), backlog=128)
    finally:
        os.umask(previous)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


class _Connection(asyncio.Protocol):
    """One client. Only processes of our own user may speak; anything unreadable ends the connection."""

    def __init__(self, sequencer: _Sequencer) -> None:
        self._sequencer = sequencer
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        credentials = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, user, _ = struct.unpack("3i", credentials)
        if user != os.geteuid():
            transport.close()
            return
        self._sequencer.connected(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            for frame in frames.split(self._received):
                self._sequencer.take(self, frame)
        except Malformed:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._sequencer.disconnected(self)
        self._transport = None

    def answer(self, frame: bytes) -> None:
        """Answers of one loop turn leave in one write. A client that left gets none; its entry stands."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))
