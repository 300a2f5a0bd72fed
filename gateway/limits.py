"""Fair shares of one front worker: what a principal, a tenant and all together may have under way, and be refused.

Each request under way holds a few MiB, descriptors or a place in the executor, however slow its client is; so their
number bounds the memory of the worker. Who is over waits a moment, in order, and then is told to come back: 503 with
Retry-After. Refusals are recorded one by one, so they are limited as well: a valid key must not fill the ledger.
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.errors import Unavailable
from gateway.identity.principal import Principal

WAIT_SECONDS = 1.0
MAX_REMEMBERED = 10_000  # principals whose refusals are counted; the longest silent one is forgotten first
_Names = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Requests under way at once in one worker; each bound also is how many more may wait for a place."""

    principal: int
    tenant: int
    worker: int


class Shares:
    """`under_way` holds a place from the verified signature to the last byte of the answer. One loop, no threads."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held: Counter[tuple[str, ...]] = Counter()
        self._queued: Counter[tuple[str, ...]] = Counter()
        self._waiting: deque[tuple[_Names, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def under_way(self, principal: Principal) -> AsyncIterator[None]:
        """Raises Unavailable "SlowDown" with the bound's name when no place was free within WAIT_SECONDS."""
        names = ((principal.tenant, principal.principal_id), (principal.tenant,), ())
        if self._full(self._held, names) is None:
            self._held.update(names)
        else:
            await self._wait(names)
        try:
            yield
        finally:
            self._leave(names)

    @property
    def count(self) -> int:
        """Requests under way."""
        return self._held[()]

    def _bound(self, name: tuple[str, ...]) -> int:
        return (self._bounds.worker, self._bounds.tenant, self._bounds.principal)[len(name)]

    def _full(self, counted: Counter[tuple[str, ...]], names: _Names) -> tuple[str, ...] | None:
        return next((name for name in names if counted[name] >= self._bound(name)), None)

    async def _wait(self, names: _Names) -> None:
        if self._full(self._queued, names) is not None:
            raise self._busy(names)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((names, place))
        self._queued.update(names)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._leave(names)  # given a place in the moment it stopped waiting
            else:
                self._waiting.remove((names, place))
                _subtract(self._queued, names)
            if isinstance(error, TimeoutError):
                raise self._busy(names) from None
            raise

    def _leave(self, names: _Names) -> None:
        _subtract(self._held, names)
        still: deque[tuple[_Names, asyncio.Future[None]]] = deque()
        while self._waiting:
            waiting, place = self._waiting.popleft()
            if place.done() or self._full(self._held, waiting) is not None:
                still.append((waiting, place))
                continue
            self._held.update(waiting)
            _subtract(self._queued, waiting)
            place.set_result(None)
        self._waiting = still

    def _busy(self, names: _Names) -> Unavailable:
        full = self._full(self._held, names)
        whose = ("this worker", "your tenant", "your key")[len(full or ())]
        return Unavailable(
            "SlowDown", f"Too many requests of {whose} are under way", rule="limit.under-way",
            remedy="try again in a moment, with fewer at once", retry_after=1,
        )  # fmt: skip


class RefusalLimit:
    """So many denials a minute for each principal, in one burst or evenly; above it nothing is decided or recorded.

    `take` answers how many requests were turned away, by principal, for the summary in the ledger.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(a_minute)
        self._clock = clock
        self._left: OrderedDict[tuple[str, bool], tuple[float, float]] = OrderedDict()  # tokens, and when counted
        self._turned_away: Counter[str] = Counter()

    def check(self, principal: Principal, *, elsewhere: bool = False) -> None:
        """Before anything is looked up. Raises Unavailable "SlowDown" while the principal has used up its refusals.
        `elsewhere`: those of its sessions where their credentials do not count, which are counted apart."""
        name = principal.principal_id
        if (name, elsewhere) not in self._left:
            return
        left = self._now_left((name, elsewhere))
        if left >= 1.0:
            return
        if name in self._turned_away or len(self._turned_away) < MAX_REMEMBERED:
            self._turned_away[name] += 1
        raise Unavailable(
            "SlowDown", "Too many of your requests were refused", rule="limit.refusals",
            remedy="find out why they are refused before you send more",
            retry_after=max(1, math.ceil((1.0 - left) * 60.0 / self._most)),
        )  # fmt: skip

    def refused(self, principal: Principal, *, elsewhere: bool = False) -> None:
        """A denial was decided and recorded."""
        name = (principal.principal_id, elsewhere)
        left = self._now_left(name) if name in self._left else self._most
        self._left[name] = (max(0.0, left - 1.0), self._clock())
        self._left.move_to_end(name)
        if len(self._left) > MAX_REMEMBERED:
            self._left.popitem(last=False)

    def take(self) -> dict[str, int]:
        taken, self._turned_away = dict(self._turned_away), Counter()
        return taken

    def _now_left(self, name: tuple[str, bool]) -> float:
        left, at = self._left[name]
        return min(self._most, left + (self._clock() - at) * self._most / 60.0)


class Arrivals:
    """How often a minute somebody without a name may ask for what costs something: from one address, and all together.

    Evenly or in one burst, as `RefusalLimit`.
    """

    def __init__(self, each: int, together: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = float(each)
        self._together = float(together)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._all = (self._together, clock())

    def check(self, source: str) -> None:
        """One more. Raises Unavailable "SlowDown"; it was then not counted."""
        now = self._clock()
        left, at = self._left.get(source, (self._each, now))
        mine = min(self._each, left + (now - at) * self._each / 60.0)
        everybodys = min(self._together, self._all[0] + (now - self._all[1]) * self._together / 60.0)
        if mine < 1.0 or everybodys < 1.0:
            missing, most = (1.0 - mine, self._each) if mine < 1.0 else (1.0 - everybodys, self._together)
            raise Unavailable(
                "SlowDown", "Too many requests without a ticket", rule="limit.arrivals",
                remedy="ask for a ticket, or more slowly", retry_after=max(1, math.ceil(missing * 60.0 / most)),
            )  # fmt: skip
        self._left[source] = (mine - 1.0, now)
        self._left.move_to_end(source)
        if len(self._left) > MAX_REMEMBERED:
            self._left.popitem(last=False)
        self._all = (everybodys - 1.0, now)


def _subtract(counted: Counter[tuple[str, ...]], names: _Names) -> None:
    for name in names:
        counted[name] -= 1
        if not counted[name]:
            del counted[name]
