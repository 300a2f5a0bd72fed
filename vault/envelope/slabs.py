"""Buffers that are used again only when nobody can still see them.

A fresh MiB for each slab costs page faults on the hot road; blind reuse is worse: an event loop may queue the
memoryview it was given, and the next slab would be sent in its place. A bytearray refuses to change its length
while a view of it lives, so asking it to is an exact test for "still seen somewhere".
"""


class Slabs:
    """At most `keep` buffers of one size, for one reader or writer (not for several threads at once)."""

    __slots__ = ("_keep", "_ring", "size")

    def __init__(self, size: int, keep: int = 4) -> None:
        self.size = size
        self._keep = keep
        self._ring: list[bytearray] = []

    def take(self) -> bytearray:
        """A buffer of the size, of which no view exists. Its content is whatever was there."""
        for place, buffer in enumerate(self._ring):
            if _unseen(buffer):
                self._ring.append(self._ring.pop(place))
                return buffer
        fresh = bytearray(self.size)
        self._ring.append(fresh)
        del self._ring[: -self._keep]
        return fresh


def _unseen(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True
