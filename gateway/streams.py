"""Step 7 of the read road: verified plaintext on its way out, slab by slab, over the loop or past it.

Two roads, one bookkeeping. `async for` hands each slab to the event loop (TLS, small answers). `burst` is for an
outlet that sends from its own threads (gateway/s3/ports.py): there one thread sends while another unseals, and the
loop hears of it every few MiB. Both charge a slab before it is handed over: a client that hangs up with a slab in
hand has read it. Both look at the session again every RECHECK_BYTES or RECHECK_SECONDS, whichever comes first, and
`end` is for who looks from outside while no slab is asked for (gateway/open_streams.py).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Literal, Protocol, Self

from gateway.errors import BadRequest, GatewayError
from gateway.record import coalesce
from gateway.s3.ports import Buffer
from gateway.vault_answers import translate
from vault.errors import VaultError
from vault.reading import SealedReader

RECHECK_BYTES = 4 << 20
RECHECK_SECONDS = 2.0
_NOTHING = memoryview(b"")
BURST_BYTES = 8 << 20  # of one client before a sending thread looks at the others


class Charged(Protocol):
    """Where it is written down what left."""

    sent: int
    ranges: list[list[int]]


class PlainStream:
    """Plaintext [start, stop) of one reader. One consumer, on one of the two roads at a time."""

    def __init__(
        self,
        reader: SealedReader | None,
        span: tuple[int, int],
        charged: Charged,
        executor: Executor,
        still_allowed: Callable[[], GatewayError | None],
    ) -> None:
        self._reader = reader
        self._position, self._stop = span
        self._checked = self._position
        self._charged = charged
        self._executor = executor
        self._still_allowed = still_allowed
        self._slabs: Iterator[Buffer] | None = None
        self._ahead: Future[Buffer | None] | None = None
        self._held = _NOTHING
        self._checked_at = time.monotonic()
        self._refusal: GatewayError | None = None
        self._cut: Callable[[], None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        """The next slab. The first one opens and checks what is stored. Raises BadRequest("MethodNotAllowed") for a
        writer's view, Denied when the session ended, and what `translate` makes of the vault's refusals."""
        if self._slabs is not None and self._position >= self._stop:
            raise StopAsyncIteration
        self._check_ended()
        self._ahead = self._ahead or self._executor.submit(self._next)
        try:
            slab = await asyncio.wrap_future(self._ahead)
        except VaultError as error:
            raise translate(error) from error
        self._ahead = None
        if slab is None:
            self._check_end()
            raise StopAsyncIteration
        if self._due():
            refusal = await asyncio.get_running_loop().run_in_executor(self._executor, self._still_allowed)
            if refusal is not None:
                raise refusal
        self._check_ended()  # while the slab was waited for
        self._charge(slab)
        return slab

    def on_end(self, cut: Callable[[], None]) -> None:
        """`cut` takes the connection from its client: called by `end`, in the loop."""
        self._cut = cut

    def end(self, refusal: GatewayError) -> None:
        """From the loop: nothing more leaves. What was handed to the connection and not sent goes with it."""
        self._refusal = refusal
        if self._cut is not None:
            self._cut()

    @property
    def ended(self) -> GatewayError | None:
        """Why, once `end` was called."""
        return self._refusal

    def hand_back(self, slab: Buffer) -> None:
        """What `anext` gave and was not sent: `burst` begins with it."""
        self._held = memoryview(slab)

    def burst(self, push: Callable[[memoryview], int]) -> Literal["more", "slow", "done"]:
        """On a sending thread: push until the client takes no more ("slow"), others wait ("more"), or all is out.

        Raises as `anext`, and what `push` raises. Never blocks on a slab that another thread has not begun.
        """
        pushed = 0
        try:
            while True:
                self._check_ended()
                if not len(self._held):
                    if self._position >= self._stop:
                        return "done"
                    if pushed >= BURST_BYTES:
                        return "more"
                    self._take()
                count = push(self._held)
                pushed += count
                if count < len(self._held):
                    self._held = self._held[count:]
                    return "slow"
                self._held = _NOTHING  # a view, be it of no bytes, keeps its slab from being used again
        except VaultError as error:
            raise translate(error) from error

    async def settle(self) -> None:
        """Wait for a slab that is being unsealed for nobody any more; its reader must not be closed under it."""
        self._held = _NOTHING
        if self._ahead is not None and not self._ahead.cancel():
            ending = asyncio.wrap_future(self._ahead)
            await asyncio.wait({ending})
            ending.exception()  # nobody asks for it any more: neither slab nor failure left this process

    def _take(self) -> None:
        ahead, self._ahead = self._ahead, None
        slab = self._next() if ahead is None or ahead.cancel() else ahead.result()
        if slab is None:
            self._check_end()
            return
        if self._due():
            refusal = self._still_allowed()
            if refusal is not None:
                raise refusal
        self._charge(slab)
        self._held = memoryview(slab)

    def _next(self) -> Buffer | None:
        if self._slabs is None:
            if self._reader is None:
                raise BadRequest("MethodNotAllowed", "A writer sees size and ETag of what it wrote, not its bytes")
            self._slabs = self._reader.stream(self._position, self._stop)
        return next(self._slabs, None)

    def _due(self) -> bool:
        """Whether the session is to be looked at again."""
        now = time.monotonic()
        if self._position - self._checked < RECHECK_BYTES and now - self._checked_at < RECHECK_SECONDS:
            return False
        self._checked, self._checked_at = self._position, now
        return True

    def _check_ended(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _charge(self, slab: Buffer) -> None:
        self._charged.sent += len(slab)
        coalesce(self._charged.ranges, self._position, self._position + len(slab))
        self._position += len(slab)
        if self._position < self._stop:
            self._ahead = self._executor.submit(self._next)

    def _check_end(self) -> None:
        if self._position != self._stop:
            raise GatewayError("InternalError", "Stored data ended early", rule="integrity.truncated")
