"""Large answers leave by the socket itself, from a worker thread, past the event loop.

uvloop writes with the interpreter's lock held: copying a MiB into the kernel stops whoever unseals the next one, and
every slab that passes the loop wakes three threads. So the body of a large answer is sent by a thread on a duplicate
of the connection's descriptor, while another unseals ahead. Plain HTTP only: TLS records are the loop's.

Order on the wire holds because one side writes at a time: the loop's buffer is empty before the first push, and all
of the body is in the kernel before `pour` returns. A slow reader costs a thread PATIENCE_MS once, and again for each
MiB that it has taken: thousands of them wait on the loop, where they cost memory only (gateway/limits.py bounds that).
"""

import asyncio
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from gateway.s3.ports import Burst

PATIENCE_MS = 5
LOOK_SECONDS = 1.0  # how late a connection that went away is noticed while its client takes nothing


class Outlet:
    """The body of one answer. `cycle` is uvicorn's, which counts what is still owed to Content-Length."""

    def __init__(self, transport: Any, pool: Executor) -> None:
        self.cycle: Any = None
        self._transport = transport
        self._pool = pool
        self._ended = False

    async def pour(self, burst: Burst, silence_seconds: float) -> None:
        """Run `burst` on sending threads until it is done. Raises what it raises, and ConnectionError when the
        client has gone or took nothing for `silence_seconds`."""
        loop = asyncio.get_running_loop()
        await self._flushed(loop, silence_seconds)
        theirs = self._transport.get_extra_info("socket")
        own = socket.socket(theirs.family, theirs.type, theirs.proto, fileno=socket.dup(theirs.fileno()))
        own.setblocking(False)
        pushed = [0]
        patience = Patience()
        try:
            while (progress := await self._in_thread(loop, burst, self._pusher(own, pushed, patience))) != "done":
                if progress == "slow":
                    await self._writable(loop, own, silence_seconds)
        finally:
            own.close()
        self.cycle.expected_content_length -= pushed[0]

    async def _in_thread(
        self, loop: asyncio.AbstractEventLoop, burst: Burst, push: Callable[[memoryview], int]
    ) -> str:
        """A cancelled answer waits for its thread: neither socket nor reader may be closed under it."""
        running = loop.run_in_executor(self._pool, burst, push)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._ended = True
            await asyncio.wait({running})
            running.exception()
            raise

    def _gone(self) -> bool:
        return self._ended or self.cycle.disconnected or self._transport.is_closing()

    def _pusher(self, own: socket.socket, pushed: list[int], patience: "Patience") -> Callable[[memoryview], int]:
        """As much as the client takes without being waited for longer than it has earned. On a thread."""
        ready = select.poll()
        ready.register(own, select.POLLOUT)

        def push(view: memoryview) -> int:
            done = 0
            while done < len(view):
                if self._gone():
                    raise ConnectionResetError
                try:
                    done += own.send(view[done:])
                except BlockingIOError:
                    if not patience.wait(ready):
                        break
                except OSError as error:
                    raise ConnectionResetError from error
            pushed[0] += done
            patience.earn(done)
            return done

        return push

    async def _flushed(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Until the loop has written what it was given (the head of this answer)."""
        stop, pause = loop.time() + seconds, 0.0
        while self._transport.get_write_buffer_size():
            if self._gone() or loop.time() > stop:
                raise ConnectionResetError
            await asyncio.sleep(pause)
            pause = min(0.05, pause + 0.001)
        if self._gone():
            raise ConnectionResetError

    async def _writable(self, loop: asyncio.AbstractEventLoop, own: socket.socket, seconds: float) -> None:
        stop = loop.time() + seconds
        ready = loop.create_future()
        loop.add_writer(own, _settle, ready)
        try:
            while not ready.done():
                await asyncio.wait({ready}, timeout=LOOK_SECONDS)
                if self._gone() or (loop.time() > stop and not ready.done()):
                    raise ConnectionResetError
        finally:
            loop.remove_writer(own)


class Patience:
    """How long one client may still be waited for by a thread: PATIENCE_MS, and so much again for each MiB it took."""

    def __init__(self) -> None:
        self._left_ms = float(PATIENCE_MS)

    def wait(self, ready: select.poll) -> bool:
        """Whether the client takes more now."""
        if self._left_ms < 1.0:
            return bool(ready.poll(0))
        began = time.monotonic()
        found = ready.poll(self._left_ms)
        self._left_ms -= (time.monotonic() - began) * 1000
        return bool(found)

    def earn(self, taken: int) -> None:
        self._left_ms = min(float(PATIENCE_MS), self._left_ms + PATIENCE_MS * taken / (1 << 20))


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
