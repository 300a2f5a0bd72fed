"""Small pieces of an upload collected into about 1 MiB, so that each hop to the executor is worth it."""

from typing import Protocol

from gateway.enforce.sniff import HEAD_BYTES
from gateway.guard import Guard
from gateway.s3.ports import Buffer

SLAB = 1 << 20
_TAIL = 8


class Body(Protocol):
    """What is being written: a whole object or one part."""

    def write(self, data: Buffer) -> None: ...


class Slabs:
    """Keeps both ends as well: they tell the format."""

    def __init__(self, guard: Guard, body: Body) -> None:
        self._guard = guard
        self._body = body
        self._pending = bytearray()
        self.head = b""
        self.tail = b""

    async def write(self, data: Buffer) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        self.tail = (self.tail + bytes(data[-_TAIL:]))[-_TAIL:]
        self._pending += data
        if len(self._pending) >= SLAB:
            await self.flush()

    async def flush(self) -> None:
        if self._pending:
            slab, self._pending = self._pending, bytearray()
            await self._guard.blocking(self._body.write, slab)
