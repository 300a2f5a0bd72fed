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

    Raises Unavailable("<what>.slow") when it comes too slowly. `what`: store, provider, … as the dialer is called.
    """

    def __init__(self, raw: Any, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._raw = raw
        self._what = what
        self._clock = clock
        self._waited = 0.0
        self._got = 0

    def read(self, amount: int | None = None) -> bytes:
        """What has come, at most `amount`; b"" at the end. Without an amount all of it, as a small answer is read."""
        if amount is None:
            return bytes(self._raw.read())
        began = self._clock()
        piece: bytes = self._raw.read1(amount)
        self._waited += self._clock() - began
        self._got += len(piece)
        if piece and self._waited > GRACE_SECONDS and self._got < (self._waited - GRACE_SECONDS) * MINIMUM_RATE:
            self._raw.close()
            raise Unavailable(f"{self._what}.slow", f"{self._got} bytes in {self._waited:.0f} s")
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)
