"""What this process has already seen of rows that only ever move forward.

A row's seal tells a forged row from a genuine one, and not an older genuine one from the newest: whoever can write
the catalog and kept a copy could put back a weaker contract, a session from before its revocation, or take away what
a run has read. A worker that saw the newer state refuses the older one. Memory ends with the process: across a
restart the ledger still shows such a rollback, and nothing compares by itself (docs/limitations.md).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from vault.errors import Refused

MAX_SEEN = 100_000
T = TypeVar("T")


class Seen:
    """The highest value of each name, the least recently used forgotten beyond `MAX_SEEN`. Thread-safe."""

    def __init__(self) -> None:
        self._highest: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = threading.Lock()

    def newest(self, kind: str, name: str, found: T, again: Callable[[], T], age: Callable[[T], int]) -> T:
        """`found`, unless its `age` is below one seen before. Raises Refused("catalog.row-older").

        Read `again` before that: another thread may have seen the newer row between our read and our check.
        """
        if self._behind((kind, name), age(found)):
            found = again()
            if self._behind((kind, name), age(found)):
                raise Refused("catalog.row-older", kind)
        return found

    def at_least(self, kind: str, name: str, value: int) -> None:
        """What this process did itself: a row that says less from now on was put back."""
        self._behind((kind, name), value)

    def _behind(self, name: tuple[str, str], value: int) -> bool:
        with self._lock:
            highest = self._highest.get(name)
            if highest is not None and value < highest:
                return True
            self._highest[name] = value
            self._highest.move_to_end(name)
            if len(self._highest) > MAX_SEEN:
                self._highest.popitem(last=False)
            return False
