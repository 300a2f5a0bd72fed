"""The checksums S3 clients send with a body (x-amz-checksum-*), computed as it passes by.

`crc32`, `sha1`, `sha256` come from the standard library. `crc32c` and `crc64nvme` need `awscrt`, which is optional;
without it a body that carries one is refused rather than stored unchecked.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from gateway.errors import BadRequest

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
    """Raises BadRequest "NotImplemented" (501) for an algorithm this process cannot compute, or does not know."""
    if name == "crc32":
        return _RunningCrc(zlib.crc32, 4)
    if name == "sha256":
        return hashlib.sha256()
    if name == "sha1":
        return hashlib.sha1(usedforsecurity=False)
    if name in ALGORITHMS:
        try:
            from awscrt import checksums as crt
        except ImportError:
            pass
        else:
            return _RunningCrc(getattr(crt, name), ALGORITHMS[name])
    raise BadRequest(
        "NotImplemented",
        f"checksum algorithm {name} is not available here",
        status=501,
        remedy="use CRC32 or SHA256, or install awscrt beside the gateway",
    )


def parse_checksum(name: str, value: str) -> bytes:
    """The digest a header or trailer states. Raises BadRequest "InvalidRequest" when it is no digest of its kind."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != ALGORITHMS[name]:
        raise BadRequest("InvalidRequest", f"the value of {HEADER_PREFIX}{name} is not a base64 digest of its length")
    return digest


def spell_checksum(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
