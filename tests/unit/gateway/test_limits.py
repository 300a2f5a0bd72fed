"""Shares of a worker, and refusals a minute: who waits, who is told to come back, and who does not notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gateway import limits
from gateway.errors import Unavailable
from gateway.identity.principal import Principal
from gateway.limits import Bounds, RefusalLimit, Shares


def principal(name: str, tenant: str = "main") -> Principal:
    return Principal(tenant, name, name, "workload", frozenset(), "de", frozenset({"p"}), "p", None, name)


@asynccontextmanager
async def holding(shares: Shares, *names: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for name in names:
            who, _, tenant = name.partition("@")
            await stack.enter_async_context(shares.under_way(principal(who, tenant or "main")))
        yield


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAIT_SECONDS", 0.1)


@pytest.mark.parametrize(
    ("held", "who", "whose"),
    [
        (["a", "a"], "a", "your key"),
        (["a", "a", "b"], "c", "your tenant"),
        (["a", "a", "b", "x@other"], "y@third", "this worker"),
    ],
)
def test_each_bound_holds_and_is_named(held: list[str], who: str, whose: str) -> None:
    async def run() -> None:
        shares = Shares(Bounds(2, 3, 4))
        async with holding(shares, *held):
            with pytest.raises(Unavailable) as busy:
                async with holding(shares, who):
                    pass
            assert (busy.value.code, busy.value.rule, busy.value.retry_after) == ("SlowDown", "limit.under-way", 1)
            assert whose in busy.value.message
        assert shares.count == 0
        async with holding(shares, *held):
            pass

    asyncio.run(run())


def test_one_principal_at_its_bound_leaves_the_others_theirs() -> None:
    async def run() -> None:
        shares = Shares(Bounds(2, 10, 10))
        async with holding(shares, "a", "a", "b", "c"):
            assert shares.count == 4

    asyncio.run(run())


def test_who_waits_gets_the_next_place_in_order() -> None:
    async def run() -> None:
        shares, order = Shares(Bounds(2, 9, 9)), []

        async def one(number: int) -> None:
            async with holding(shares, "a"):
                order.append(number)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(one(number) for number in range(4)))
        assert order == [0, 1, 2, 3]
        assert shares.count == 0

    asyncio.run(run())


def test_the_queue_is_bounded_too() -> None:
    async def run() -> None:
        shares = Shares(Bounds(2, 9, 9))
        async with holding(shares, "a", "a"):
            waiting = [asyncio.ensure_future(holding(shares, "a").__aenter__()) for _ in range(2)]
            await asyncio.sleep(0)
            loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
            with pytest.raises(Unavailable):
                async with holding(shares, "a"):
                    pass
            assert loop.time() - began < 0.05, "told at once"
            for each in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(each, Unavailable)
        assert shares.count == 0

    asyncio.run(run())


def test_who_stops_waiting_gives_its_place_back() -> None:
    """Cancelled before and in the very moment it was given one."""

    async def run() -> None:
        shares = Shares(Bounds(1, 1, 1))
        for given in (False, True):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(shares.under_way(principal("a")))
                waiting = asyncio.ensure_future(stack.enter_async_context(shares.under_way(principal("b"))))
                await asyncio.sleep(0)
                if given:
                    await stack.aclose()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert shares.count == 0
            async with holding(shares, "c"):
                pass

    asyncio.run(run())


def test_refusals_are_limited_for_one_and_come_back_with_time() -> None:
    now = [0.0]
    limit = RefusalLimit(60, lambda: now[0])
    loud, quiet = principal("loud"), principal("quiet")
    for _ in range(60):
        limit.check(loud)
        limit.refused(loud)
    with pytest.raises(Unavailable) as busy:
        limit.check(loud)
    assert (busy.value.rule, busy.value.retry_after) == ("limit.refusals", 1)
    limit.check(quiet)
    assert limit.take() == {"loud": 1}
    assert limit.take() == {}
    now[0] = 1.0
    limit.check(loud)
    limit.refused(loud)
    with pytest.raises(Unavailable):
        limit.check(loud)
    now[0] = 600.0
    for _ in range(60):  # no more than a burst, however long it was quiet
        limit.check(loud)
        limit.refused(loud)
    with pytest.raises(Unavailable):
        limit.check(loud)


def test_only_so_many_principals_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REMEMBERED", 3)
    limit = RefusalLimit(1, lambda: 0.0)
    for name in "abcd":
        limit.refused(principal(name))
    limit.check(principal("a"))
    with pytest.raises(Unavailable):
        limit.check(principal("d"))
