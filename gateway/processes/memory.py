"""What a large answer borrowed goes back to the kernel when it is sent.

Buffers of about 1 MiB are made and dropped by many threads. glibc learns from the first dropped one to keep such sizes
in each thread's own heap, where they stay: 64 large reads at once then hold a third more memory than they use.
"""

import ctypes
from contextlib import suppress
from typing import Final

LARGE: Final = 512 << 10  # bytes; a buffer from here on is a mapping of its own, unmapped when it is dropped
_M_MMAP_THRESHOLD: Final = -3  # malloc.h


def return_large_buffers() -> None:
    """Once, at the start of a process. Where the C library knows no `mallopt`, nothing happens."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)
