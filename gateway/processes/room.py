"""What all connections of one port share: how many there may be, and which of them makes room for another."""

from collections import OrderedDict
from typing import Protocol

HEADS_BYTES = 64 << 20  # of all request heads that are not complete
SMALL_HEAD = 16 << 10  # bytes; one of these is taken even then


class Evictable(Protocol):
    def make_room(self) -> None: ...


class Room:
    """Idle connections, the longest idle first. Who was never known here goes before who signed a request.

    One loop, no threads.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.head_bytes = 0
        self.turned_away = 0
        self._strangers: OrderedDict[Evictable, None] = OrderedDict()
        self._acquainted: OrderedDict[Evictable, None] = OrderedDict()
        self._known: set[Evictable] = set()

    def idle(self, connection: Evictable, *, known: bool | None) -> None:
        """It waits for a request. `known` None: as it was told by `known` before."""
        acquainted = connection in self._known if known is None else known
        (self._acquainted if acquainted else self._strangers)[connection] = None

    def busy(self, connection: Evictable) -> None:
        self._strangers.pop(connection, None)
        self._acquainted.pop(connection, None)

    def known(self, connection: Evictable) -> None:
        self._known.add(connection)

    def gone(self, connection: Evictable) -> None:
        self.busy(connection)
        self._known.discard(connection)

    def heads_full(self, own: int) -> bool:
        """Whether a head of `own` bytes so far is one too many."""
        return own > SMALL_HEAD and self.head_bytes > HEADS_BYTES

    def evict_stranger(self) -> bool:
        """End the longest idle connection of somebody unknown. False: there is none."""
        return self._evict(self._strangers)

    def evict_known(self) -> bool:
        """The same for who signed a request before."""
        return self._evict(self._acquainted)

    def _evict(self, idle: OrderedDict[Evictable, None]) -> bool:
        if not idle:
            return False
        connection, _ = idle.popitem(last=False)
        connection.make_room()
        return True
