"""A key provider that answers within its budget or is unavailable.

250 ms is what AWS gives an external key store before it fails the call (XKS proxy API specification). A hung
provider must cost a request its answer and nothing else: each call runs on a daemon thread of its own, so that
neither a worker nor the end of the process waits for it, and when too many hang, further calls fail at once.
Only cold group keys come here, at most one a group and minute.

A connection that was lost is worth one more try, on a new one and inside the same budget: an idle connection that the
provider's side closed shows no sooner than when it is used. Nothing else is tried again: a denial is a denial, a
provider that is slow or throttles is not helped by more of the same, and what makes a key is never sent twice.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar

from vault.errors import Unavailable
from vault.keys.provider import Destruction, EpochStatus, KeyClass, KeyProvider, ProviderLocation

BUDGET_SECONDS = 0.25
MANAGING_SECONDS = 1.0  # making, disabling, destroying: several requests, each within the budget, and nobody reads
CALLS_AT_ONCE = 16
_LOST = "provider.connection"
T = TypeVar("T")


class DeadlineProvider:
    """`provider` with a budget per call; `Unavailable("provider.timeout" | "provider.busy")` beyond it."""

    def __init__(
        self, provider: KeyProvider, *, budget_seconds: float = BUDGET_SECONDS, calls_at_once: int = CALLS_AT_ONCE,
        managing_seconds: float = MANAGING_SECONDS,
    ) -> None:  # fmt: skip
        self._provider = provider
        self._budget = budget_seconds
        self._managing = managing_seconds
        self._free = Semaphore(calls_at_once)

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        self._manage(lambda: self._provider.create_epoch(epoch_id, key_class), tries=1)

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        return self._within_budget(lambda: self._provider.wrap(epoch_id, plaintext, context))

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        return self._within_budget(lambda: self._provider.unwrap(epoch_id, wrapped, context))

    def disable(self, epoch_id: str) -> None:
        self._manage(lambda: self._provider.disable(epoch_id))

    def enable(self, epoch_id: str) -> None:
        self._manage(lambda: self._provider.enable(epoch_id))

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        return self._manage(lambda: self._provider.schedule_destruction(epoch_id, days, now_ms))

    def cancel_destruction(self, epoch_id: str) -> None:
        self._manage(lambda: self._provider.cancel_destruction(epoch_id))

    def destroy(self, epoch_id: str) -> Destruction:
        return self._manage(lambda: self._provider.destroy(epoch_id))

    def status(self, epoch_id: str) -> EpochStatus:
        return self._within_budget(lambda: self._provider.status(epoch_id))

    def location(self) -> ProviderLocation:
        return self._within_budget(self._provider.location)

    def _manage(self, call: Callable[[], T], *, tries: int = 2) -> T:
        return self._within(self._managing, call, tries)

    def _within_budget(self, call: Callable[[], T]) -> T:
        return self._within(self._budget, call, 2)

    def _within(self, seconds: float, call: Callable[[], T], tries: int) -> T:
        if not self._free.acquire(blocking=False):
            raise Unavailable("provider.busy", "too many calls wait for an answer")
        pending = _Pending(call, self._free.release, tries)
        Thread(target=pending.run, name="key-provider", daemon=True).start()
        return pending.answer(seconds)


class _Pending(Generic[T]):
    """One call on its way: `run` on its own thread, `answer` on the caller's."""

    def __init__(self, call: Callable[[], T], done: Callable[[], object], tries: int) -> None:
        self._call = call
        self._done = done
        self._tries = tries
        self._given_up = Event()
        self._answers: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()

    def run(self) -> None:
        try:
            answer: tuple[T] | BaseException = (self._try(),)
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            answer = error
        finally:
            self._done()
        self._answers.put(answer)

    def _try(self) -> T:
        for _ in range(self._tries - 1):
            try:
                return self._call()
            except Unavailable as error:
                if error.reason != _LOST or self._given_up.is_set():
                    raise
        return self._call()

    def answer(self, seconds: float) -> T:
        try:
            answer = self._answers.get(timeout=seconds)
        except Empty as error:
            self._given_up.set()
            raise Unavailable("provider.timeout", f"no answer in {seconds:.3f} s") from error
        if isinstance(answer, BaseException):
            raise answer
        return answer[0]
