"""Promises: the sequencer's signed word that an entry is durable at an index. Format: docs/spec/ledger.md §2.

A promise is given after the fdatasync and before the checkpoint that covers the entry. The broker releases no
raw key without one; a client keeps it and can show a ledger that later denies the entry to be a liar.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from lineage.errors import Malformed, NotVerified
from lineage.ledger.entry import leaf_hash
from lineage.ledger.signature import SIGNATURE_BYTES, Verify, check_signature

_TEXT = re.compile(
    r"1\.([a-z0-9-]{1,32})\.(0|[1-9][0-9]{0,15})\.([0-9a-f]{64})\.([1-9][0-9]{0,15})\.([A-Za-z0-9_-]{86})"
)
_ZONE = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Promise:
    """`leaf` is the RFC 6962 leaf hash in hex, `at` milliseconds UTC, `signature` Ed25519 over `signed_bytes`."""

    zone: str
    index: int
    leaf: str
    at: int
    signature: bytes

    def encode(self) -> str:
        """One header-safe line: 1.zone.index.leaf.at.signature (base64url without padding)."""
        signature = base64.urlsafe_b64encode(self.signature).rstrip(b"=").decode("ascii")
        return f"1.{self.zone}.{self.index}.{self.leaf}.{self.at}.{signature}"

    @classmethod
    def decode(cls, text: str) -> "Promise":
        """Raises Malformed("promise") unless `text` is exactly what `encode` writes."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Malformed("promise", "not a promise")
        zone, index, leaf, at, signature = match.groups()
        try:
            raw = base64.urlsafe_b64decode(signature + "==")
        except (ValueError, binascii.Error) as error:
            raise Malformed("promise", "signature") from error
        promise = cls(zone, int(index), leaf, int(at), raw)
        if len(raw) != SIGNATURE_BYTES or promise.encode() != text:
            raise Malformed("promise", "not the one spelling")  # base64 has spare bits at its end
        return promise

    def verify(self, entry: bytes, public_key: bytes, verify: Verify) -> None:
        """Raise NotVerified("promise.leaf" | "signature") unless this promises exactly these entry bytes."""
        if leaf_hash(entry).hex() != self.leaf:
            raise NotVerified("promise.leaf", "the promise is about another entry")
        message = signed_bytes(self.zone, self.index, self.leaf, self.at)
        check_signature(verify, public_key, self.signature, message, "promise")


def signed_bytes(zone: str, index: int, leaf: str, at: int) -> bytes:
    """What the zone key signs. The first line keeps it apart from checkpoints, whose first line is an origin."""
    if not _ZONE.fullmatch(zone):
        raise Malformed("promise", "zone name")
    return f"demesne/promise/1\n{zone}\n{index}\n{leaf}\n{at}\n".encode("ascii")
