"""A key provider that answers within its budget or is unavailable.

250 ms is what AWS gives an external key store before it fails the call (anchors: XKS proxy API). A provider
that hangs must cost a request its answer, never a worker its thread: calls run on a small pool of their own,
and when all of it hangs, further calls fail at once rather than queue.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Semaphore
from typing import TypeVar

from vault.errors import Unavailable
from vault.keys.provider import EpochState, KeyClass, KeyProvider, ProviderLocation

BUDGET_SECONDS = 0.25
T = TypeVar("T")


class DeadlineProvider:
    """`provider` with a budget per call; `Unavailable("provider.timeout" | "provider.busy")` beyond it."""

    def __init__(self, provider: KeyProvider, *, budget_seconds: float = BUDGET_SECONDS, threads: int = 4) -> None:
        self._provider = provider
        self._budget = budget_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="key-provider")
        self._free = Semaphore(threads)

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        self._within_budget(lambda: self._provider.create_epoch(epoch_id, key_class))

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        return self._within_budget(lambda: self._provider.wrap(epoch_id, plaintext, context))

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        return self._within_budget(lambda: self._provider.unwrap(epoch_id, wrapped, context))

    def destroy(self, epoch_id: str) -> None:
        self._within_budget(lambda: self._provider.destroy(epoch_id))

    def status(self, epoch_id: str) -> EpochState:
        return self._within_budget(lambda: self._provider.status(epoch_id))

    def location(self) -> ProviderLocation:
        return self._within_budget(self._provider.location)

    def close(self) -> None:
        """Let go of the threads; a hung call is abandoned, its answer dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _within_budget(self, call: Callable[[], T]) -> T:
        if not self._free.acquire(blocking=False):
            raise Unavailable("provider.busy", "every provider thread is waiting for an answer")
        future: Future[T] = self._pool.submit(call)
        future.add_done_callback(lambda _: self._free.release())
        try:
            return future.result(timeout=self._budget)
        except FutureTimeoutError as error:
            if future.done():  # the provider's own TimeoutError, not our clock
                raise Unavailable("provider.failed", "timed out by itself") from error
            raise Unavailable("provider.timeout", f"no answer in {self._budget:.3f} s") from error
