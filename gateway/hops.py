"""Threads for blocking calls of the event loop, at half the price of the standard library's pool.

`loop.run_in_executor` makes a concurrent future with its own lock and condition, wraps it in an asyncio one and
copies the result across: 40 us, several times in each read. Here the thread sets the loop's future: 17 us.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Work = Callable[[], None]


class Hops(Executor):
    """A fixed number of daemon threads. `hop` is for the loop; `submit` as in any `Executor`."""

    def __init__(self, threads: int, name: str) -> None:
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._ended = False
        self._threads = [threading.Thread(target=self._run, name=f"{name}_{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def hop(self, loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> "asyncio.Future[T]":
        """`call` on a thread. A caller that stops waiting does not stop the call."""
        answer: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  outermost of this thread; the caller raises it
                settle: tuple[Any, ...] = (_raise, answer, error)
            else:
                settle = (_give, answer, result)
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(*settle)

        self._put(work)
        return answer

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        answer: Future[T] = Future()

        def work() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  outermost of this thread; the caller raises it
                answer.set_exception(error)

        self._put(work)
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._ended = True
        if cancel_futures:
            with suppress(Empty):
                while True:
                    self._work.get_nowait()
        for _ in self._threads:
            self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _put(self, work: _Work) -> None:
        if self._ended:
            raise RuntimeError("no work after shutdown")
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it holds what it was called with until the next one comes


def _give(answer: "asyncio.Future[T]", result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _raise(answer: "asyncio.Future[Any]", error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
