"""A response body that must keep coming: a timeout counts silence only, and one byte a second is not silence."""

import time
from collections.abc import Callable
from typing import Any

from vault.errors import Unavailable

GRACE_SECONDS = 10.0
MINIMUM_RATE = 64 << 10
"""Bytes a second, over all that was waited for after the grace."""


class Paced:
    """Wraps urllib3's response for those who `read` it. Time the reader spends elsewhere does not count.

    Raises Unavailable("store.slow") when it comes too slowly.
    """

    def __init__(self, raw: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._raw = raw
        self._clock = clock
        self._waited = 0.0
        self._got = 0

    def read(self, amount: int | None = None) -> bytes:
        """As much as was asked for, or what there is before the end."""
        if amount is None:
            return bytes(self._raw.read())
        began = self._clock()
        pieces, missing = [], amount
        while missing:
            piece = self._raw.read1(missing)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
            self._got += len(piece)
            spent = self._waited + self._clock() - began
            if spent > GRACE_SECONDS and self._got < (spent - GRACE_SECONDS) * MINIMUM_RATE:
                self._raw.close()
                raise Unavailable("store.slow", f"{self._got} bytes in {spent:.0f} s")
        self._waited += self._clock() - began
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)
