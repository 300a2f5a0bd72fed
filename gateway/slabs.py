"""Small pieces of an upload collected into about 1 MiB, so that each hop to the executor is worth it.

Three things go on at once: the loop receives and checks the next slab (signature, checksum), one thread seals and
stores this one, another takes its MD5, which alone is slower than both.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol

from gateway.enforce.sniff import HEAD_BYTES
from gateway.guard import Guard
from gateway.s3.ports import Buffer

SLAB = 1 << 20
BESIDE_FROM = 256 << 10  # bytes; hashing less is done before another thread has woken up
_TAIL = 8
Beside = Callable[[Callable[[], object]], Callable[[], object]]


class Body(Protocol):
    """What is being written: a whole object or one part."""

    def write(self, data: Buffer, beside: Beside) -> None: ...


class Slabs:
    """Keeps both ends as well: they tell the format. `settle` before the body is aborted: it may be at work."""

    def __init__(self, guard: Guard, body: Body) -> None:
        self._guard = guard
        self._body = body
        self._pending = bytearray()
        self._under_way: asyncio.Future[None] | None = None
        self.head = b""
        self.tail = b""

    async def write(self, data: Buffer) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        self.tail = (self.tail + bytes(data[-_TAIL:]))[-_TAIL:]
        if isinstance(data, bytes) and len(data) >= SLAB and not self._pending:
            await self._start(data)
            return
        self._pending += data
        if len(self._pending) >= SLAB:
            slab, self._pending = self._pending, bytearray()
            await self._start(slab)

    async def flush(self) -> None:
        """All of it is with the body."""
        if self._pending:
            slab, self._pending = self._pending, bytearray()
            await self._start(slab)
        await self._ended()

    async def settle(self) -> None:
        """Nothing is at work on the body any more; how it went is of no interest."""
        if self._under_way is not None:
            await asyncio.wait({self._under_way})
            with suppress(asyncio.CancelledError):
                self._under_way.exception()
            self._under_way = None

    async def _start(self, slab: Buffer) -> None:
        await self._ended()
        self._under_way = asyncio.ensure_future(self._guard.blocking(self._body.write, slab, self._beside(len(slab))))

    async def _ended(self) -> None:
        if self._under_way is not None:
            await asyncio.shield(self._under_way)  # a caller that is cancelled leaves the thread at work: `settle`
            self._under_way = None

    def _beside(self, length: int) -> Beside:
        executor = self._guard.executor

        def start(call: Callable[[], object]) -> Callable[[], object]:
            if length < BESIDE_FROM:
                return call
            begun: Future[object] = executor.submit(call)
            # Not begun yet: every thread is busy, perhaps waiting like this one. Then it is done here.
            return lambda: call() if begun.cancel() else begun.result()

        return start
