"""Threads of the event loop: results, failures, callers that leave, an end that waits."""

import asyncio
import threading
import time
from functools import partial

import pytest

from gateway.hops import Hops


def test_results_and_failures_reach_the_loop() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        squares = [hops.hop(loop, partial(pow, n, 2)) for n in range(50)]
        assert await asyncio.gather(*squares) == [n * n for n in range(50)]
        with pytest.raises(ZeroDivisionError):
            await hops.hop(loop, lambda: 1 // 0)
        assert await asyncio.wrap_future(hops.submit(pow, 2, 5)) == 32

    hops = Hops(3, "test")
    asyncio.run(scenario())
    hops.shutdown()


def test_a_caller_that_leaves_leaves_the_thread_alone() -> None:
    done = threading.Event()

    def slow() -> None:
        time.sleep(0.05)
        done.set()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hops.hop(loop, slow), 0.01)
        assert await hops.hop(loop, lambda: "next") == "next"

    hops = Hops(1, "test")
    asyncio.run(scenario())
    hops.shutdown()
    assert done.is_set()


def test_what_has_not_begun_can_be_cancelled_and_what_has_is_waited_for() -> None:
    began, go = threading.Event(), threading.Event()

    def held() -> str:
        began.set()
        go.wait(5)
        return "held"

    hops = Hops(1, "test")
    first = hops.submit(held)
    second = hops.submit(lambda: "never")
    assert began.wait(5)
    assert not first.cancel()
    assert second.cancel()
    go.set()
    hops.shutdown()
    assert first.result() == "held"
    with pytest.raises(RuntimeError):
        hops.submit(held)


def test_a_loop_that_closed_ends_no_thread() -> None:
    hops = Hops(1, "test")
    loop = asyncio.new_event_loop()
    hops.hop(loop, lambda: time.sleep(0.02))
    loop.close()
    assert hops.submit(lambda: 7).result(5) == 7
    hops.shutdown()
