"""The checksums S3 clients send with a body (x-amz-checksum-*), computed as it passes by.

`crc32`, `sha1`, `sha256` come from the standard library. `crc32c` and `crc64nvme` (what the C++ SDK inside pyarrow
sends) come from `awscrt` where it is installed, else from crc.py, which is slower and says the same.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from gateway.errors import BadRequest
from gateway.identity import crc

ALGORITHMS = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}  # name -> digest bytes
HEADER_PREFIX = "x-amz-checksum-"


class Checksum(Protocol):
    def update(self, data: Any, /) -> None: ...
    def digest(self) -> bytes: ...


class _RunningCrc:
    """A CRC continued over pieces. `step(data, before)` answers the CRC after."""

    def __init__(self, step: Callable[[Any, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: Any, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def new_checksum(name: str) -> Checksum:
    """Raises BadRequest "NotImplemented" (501) for an algorithm that is not known."""
    if name == "crc32":
        return _RunningCrc(zlib.crc32, 4)
    if name == "sha256":
        return hashlib.sha256()
    if name == "sha1":
        return hashlib.sha1(usedforsecurity=False)
    if name in ("crc32c", "crc64nvme"):
        return _RunningCrc(_native_or_own(name), ALGORITHMS[name])
    raise BadRequest(
        "NotImplemented",
        f"checksum algorithm {name} is not known here",
        status=501,
        remedy=f"use one of {', '.join(sorted(ALGORITHMS))}",
    )


def _native_or_own(name: str) -> Callable[[Any, int], int]:
    try:
        from awscrt import checksums as native
    except ImportError:
        own: Callable[[Any, int], int] = getattr(crc, name)
        return own
    found: Callable[[Any, int], int] = getattr(native, name)
    return found


def parse_checksum(name: str, value: str) -> bytes:
    """The digest a header or trailer states. Raises BadRequest "BadDigest" when it is no digest of its kind."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != ALGORITHMS[name]:
        raise BadRequest("BadDigest", f"the value of {HEADER_PREFIX}{name} is not a base64 digest of its length")
    return digest


def spell_checksum(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
