"""Frames between the gateway and its engine child: 4 bytes length, 1 byte kind, then the payload.

Pure: both sides import this, and the child imports nothing else of the gateway.
"""

import struct
from typing import Final

MAX_FRAME: Final = 32 << 20
HEADER: Final = struct.Struct(">IB")

LOAD: Final = 1       # JSON {"modules": [[path, text], ...], "data": {...}}
EVALUATE: Final = 2   # rule path, NUL, JSON input
VALUE: Final = 16     # JSON
UNDEFINED: Final = 17
FAILED: Final = 18    # text: first line of what the engine said
READY: Final = 19


def frame(kind: int, payload: bytes) -> bytes:
    """One frame. Raises ValueError when the payload is larger than MAX_FRAME."""
    if len(payload) > MAX_FRAME:
        raise ValueError("frame too large")
    return HEADER.pack(len(payload), kind) + payload


def parse_header(header: bytes) -> tuple[int, int]:
    """(payload length, kind). Raises ValueError for a length nobody sends."""
    length, kind = HEADER.unpack(header)
    if length > MAX_FRAME:
        raise ValueError("frame too large")
    return length, kind
