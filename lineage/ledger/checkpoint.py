"""Checkpoints: the signed tree head as a C2SP tlog-checkpoint (a signed-note with an Ed25519 signature).

Format: docs/spec/ledger.md §4. Parsing is strict: one tree head has one spelling, so that a changed byte is
always a refusal. Signatures by keys we do not know (witnesses) are ignored, as the specification demands.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from lineage.errors import Malformed, NotVerified
from lineage.ledger.signature import Sign, Verify, check_signature

_ORIGIN = re.compile(r"[!-*,-~]{1,255}")  # printable ASCII without space and plus
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_ED25519 = b"\x01"
MAX_NOTE = 64 * 1024
MAX_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree head of `origin` at `size` entries."""

    origin: str
    size: int
    root: bytes

    def body(self) -> bytes:
        """The signed text, with its final newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode("ascii")


def origin_of(zone: str) -> str:
    """The origin line of a zone's ledger where the deployment names no other."""
    return f"demesne/zone/{zone}"


def key_id(origin: str, public_key: bytes) -> bytes:
    """signed-note: SHA-256(name || 0x0A || 0x01 || key)[:4]."""
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def verifier_key(origin: str, public_key: bytes) -> str:
    """The key as other tools take it: name+id+base64(type || key)."""
    return f"{origin}+{key_id(origin, public_key).hex()}+{base64.b64encode(_ED25519 + public_key).decode()}"


def sign_checkpoint(checkpoint: Checkpoint, public_key: bytes, sign: Sign) -> bytes:
    """The note as it is stored and served."""
    if not _ORIGIN.fullmatch(checkpoint.origin):
        raise Malformed("checkpoint.origin", "printable ASCII without space and plus")
    body = checkpoint.body()
    signature = key_id(checkpoint.origin, public_key) + sign(body)
    return body + f"\n— {checkpoint.origin} {base64.b64encode(signature).decode()}\n".encode()


def open_checkpoint(note: bytes, origin: str, public_key: bytes, verify: Verify) -> Checkpoint:
    """The checkpoint, if our log's key signed it. Raises Malformed("checkpoint.*") or NotVerified."""
    checkpoint, signatures = _parse(note)
    if checkpoint.origin != origin:
        raise NotVerified("checkpoint.origin", f"{checkpoint.origin!r} instead of {origin!r}")
    known = key_id(origin, public_key)
    ours = [raw for name, raw in signatures if name == origin and raw[:4] == known]
    if not ours:
        raise NotVerified("checkpoint.unsigned", "no signature by the ledger's key")
    for raw in ours:
        check_signature(verify, public_key, raw[4:], checkpoint.body(), "checkpoint")
    return checkpoint


def unverified_checkpoint(note: bytes) -> Checkpoint:
    """Parsed only: for bounds within our own directory, never as proof. Raises Malformed("checkpoint.*")."""
    return _parse(note)[0]


def _parse(note: bytes) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    if len(note) > MAX_NOTE:
        raise Malformed("checkpoint.size")
    try:
        text = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("checkpoint.encoding") from error
    body, blank, signed = text.rpartition("\n\n")
    lines = body.split("\n")
    if not blank or len(lines) != 3 or not signed.endswith("\n"):
        raise Malformed("checkpoint.lines", "origin, size, root, an empty line, signatures")
    origin, size, root = lines
    if not _ORIGIN.fullmatch(origin) or not _SIZE.fullmatch(size):
        raise Malformed("checkpoint.lines", "origin or size")
    checkpoint = Checkpoint(origin, int(size), decode_hash(root, "checkpoint.root"))
    signatures = [_parse_signature(line) for line in signed[:-1].split("\n")]
    if len(signatures) > MAX_SIGNATURES:
        raise Malformed("checkpoint.signatures", "too many")
    return checkpoint, signatures


def _parse_signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not parts[1]:
        raise Malformed("checkpoint.signatures", "not a signature line")
    raw = decode_base64(parts[2], "checkpoint.signatures")
    if not 5 <= len(raw) <= 8192:  # post-quantum signatures of witnesses are large
        raise Malformed("checkpoint.signatures", "length")
    return parts[1], raw


def decode_base64(text: str, what: str) -> bytes:
    """Standard base64 in its one spelling: spare bits at the end are zero."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Malformed(what, "base64") from error
    if base64.b64encode(raw).decode() != text:
        raise Malformed(what, "not the one base64 spelling")
    return raw


def decode_hash(text: str, what: str) -> bytes:
    raw = decode_base64(text, what)
    if len(raw) != 32:
        raise Malformed(what, "not 32 bytes")
    return raw
