"""What was opened with a key, for at most 30 s: the time within which a disabled key stops opening data.

An entry is found only by the tenant, by who holds the grant (session, or principal and view), and by the subject
it was opened for: never across tenants, never from one session to another. A hit does not lengthen its life.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
CACHE_MS = 30_000  # with the broker's own 30 s, a disabled epoch key stops opening data within a minute
CACHED = 1024


class KeyCache(Generic[T]):
    """Least recently used first out. `lifetime_ms` is cut to `CACHE_MS`; 0 caches nothing."""

    def __init__(self, clock: Callable[[], int], lifetime_ms: int = CACHE_MS, limit: int = CACHED) -> None:
        self._clock = clock
        self._lifetime = min(lifetime_ms, CACHE_MS)
        self._limit = limit
        self._lock = Lock()
        self._entries: OrderedDict[tuple[str, str, str], tuple[int, T]] = OrderedDict()

    def get(self, tenant: str, holder: str, subject: str) -> T | None:
        name = (tenant, holder, subject)
        with self._lock:
            found = self._entries.get(name)
            if found is None:
                return None
            until, value = found
            if until <= self._clock():
                del self._entries[name]
                return None
            self._entries.move_to_end(name)
            return value

    def put(self, tenant: str, holder: str, subject: str, value: T) -> None:
        if self._lifetime <= 0:
            return
        name = (tenant, holder, subject)
        with self._lock:
            self._entries[name] = (self._clock() + self._lifetime, value)
            self._entries.move_to_end(name)
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def forget_holder(self, tenant: str, holder: str) -> None:
        """A revoked session's keys go now, not in a minute."""
        with self._lock:
            for name in [name for name in self._entries if name[:2] == (tenant, holder)]:
                del self._entries[name]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
