"""What a file may hold: bytes, hex, base64, JSON, one certificate or several, and never more than a bound."""

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.certificates import load_pem_chain
from vault.attest.claims import Refusal, refuse

MAX_FILE = 1 << 20
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2})+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Presented:
    """Evidence and what came with it, as bytes of files. `expected`: the binding it must carry, None looks at none.

    `now_ms` None is the time that evidence itself states (a document's or token's own), where it states one: for
    material of the past, never for a decision.
    """

    evidence: bytes
    endorsements: tuple[bytes, ...] = ()
    collateral: bytes | None = None
    expected: bytes | None = None
    now_ms: int | None = None
    present_ms: int = 0

    @property
    def at_ms(self) -> int:
        """The time to verify at when evidence states none."""
        return self.present_ms if self.now_ms is None else self.now_ms

    @property
    def report_data(self) -> bytes | None:
        """`expected`, padded with zeros to the 64 bytes that reports have."""
        return None if self.expected is None else self.expected.ljust(64, b"\0")


def bounded(content: bytes, what: str) -> bytes:
    """`Refused("attest.malformed")` beyond 1 MiB: no evidence of any kind is as long."""
    if len(content) > MAX_FILE:
        raise refuse(Refusal.MALFORMED, f"{what} is longer than {MAX_FILE} bytes")
    return content


def binary(content: bytes) -> bytes:
    """Evidence as it lies in files: bytes, hex or base64, each with white space."""
    text = b"".join(content.split())
    if _HEX.fullmatch(text):
        return bytes.fromhex(text.decode("ascii"))
    if _BASE64.fullmatch(text) and len(text) % 4 == 0:
        return base64.b64decode(text)
    return content


def is_json(content: bytes) -> bool:
    """Whether a file holds a JSON object or list rather than evidence in bytes."""
    return content.lstrip()[:1] in {b"{", b"["}


def ders(content: bytes) -> list[bytes]:
    """One DER certificate, or those of a PEM file."""
    if content.lstrip().startswith(b"-----"):
        return [certificate.public_bytes(Encoding.DER) for certificate in load_pem_chain(content)]
    return [content]


def milliseconds(at: str) -> int:
    """RFC 3339, or a date alone (its first moment); without an offset it is UTC. ValueError for anything else."""
    found = datetime.fromisoformat(at)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
