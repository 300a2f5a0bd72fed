"""Fields of fixed-layout evidence, taken in order; asking for more than there is refuses.

Lengths inside evidence are the attacker's: every one of them is compared with what is left before it is used.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vault.attest.claims import Refusal, refuse


class Fields:
    """A cursor over little-endian evidence."""

    def __init__(self, data: bytes, what: str, why: Refusal = Refusal.MALFORMED) -> None:
        self._data = data
        self._what = what
        self._why = why
        self.at = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes; `Refused` (malformed, or as told) when there are fewer."""
        if length < 0 or length > len(self._data) - self.at:
            raise refuse(self._why, f"{self._what} ends at {len(self._data)}, {length} more expected")
        self.at += length
        return self._data[self.at - length : self.at]

    def number(self, length: int) -> int:
        """The next `length` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(length), "little")

    def big(self, length: int) -> int:
        """The next `length` bytes as an unsigned big-endian integer (TPM structures)."""
        return int.from_bytes(self.take(length), "big")

    @property
    def remaining(self) -> int:
        """How many bytes nobody took yet."""
        return len(self._data) - self.at

    def rest(self) -> bytes:
        """Everything not taken yet."""
        return self.take(len(self._data) - self.at)

    def end(self) -> None:
        """`Refused` unless everything was taken: what nobody reads may be anything."""
        if self.at != len(self._data):
            raise refuse(self._why, f"{self._what} goes on after its end")


def must_be_zero(data: bytes, what: str) -> None:
    """`Refused("attest.malformed")` when a reserved field is used: a format we do not know writes there."""
    if any(data):
        raise refuse(Refusal.MALFORMED, f"{what} is reserved and not zero")


def base64_field(evidence: Mapping[str, Any], name: str, most: int) -> bytes:
    """A field of base64 (RFC 4648 §4, padded), at most `most` bytes; `Refused("attest.malformed")` otherwise."""
    return base64_bytes(evidence.get(name), name, most)


def base64_bytes(text: object, name: str, most: int) -> bytes:
    """As `base64_field`, for a value at hand."""
    if not isinstance(text, str) or len(text) > 4 * (most // 3 + 1):
        raise refuse(Refusal.MALFORMED, name)
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.MALFORMED, f"{name} is not base64") from error


def at_time(now_ms: int) -> datetime:
    """Milliseconds since 1970 as the aware time that certificates are compared with."""
    return datetime.fromtimestamp(now_ms / 1000, UTC)
