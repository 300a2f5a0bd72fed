"""Receipts: a C2SP tlog-proof that one entry is in the ledger, checked offline with nothing but the public key.

The proof's `extra` line carries the entry itself. The format does not authenticate that line; we do, because the
entry's leaf hash must lead along the path to the signed root. Format: docs/spec/ledger.md §7.
"""

import base64
import re
from dataclasses import dataclass
from typing import Any

from lineage.errors import Malformed
from lineage.ledger.checkpoint import Checkpoint, decode_base64, decode_hash, open_checkpoint, origin_of
from lineage.ledger.entry import decode_entry, leaf_hash
from lineage.ledger.merkle import verify_inclusion
from lineage.ledger.signature import Verify

MAGIC = "c2sp.org/tlog-proof@v1"
MAX_RECEIPT = 256 * 1024
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a verified receipt proves: this entry stands at `index` of the tree of `checkpoint`."""

    entry: dict[str, Any]
    encoded: bytes
    index: int
    checkpoint: Checkpoint


def write_receipt(entry: bytes, index: int, path: list[bytes], checkpoint: bytes) -> str:
    """The text of a proof; `checkpoint` is the signed note, verbatim."""
    lines = [MAGIC, f"extra {base64.b64encode(entry).decode()}", f"index {index}"]
    lines += [base64.b64encode(value).decode() for value in path]
    return "\n".join(lines) + "\n\n" + checkpoint.decode("utf-8")


def verify_receipt(text: str, public_key: bytes, verify: Verify, *, origin: str | None = None) -> Receipt:
    """Check a receipt offline. `origin` is the expected checkpoint origin; without it, that of the entry's zone.

    Raises Malformed("receipt.*" | "entry.*" | "checkpoint.*") or NotVerified naming the check that failed.
    """
    if len(text) > MAX_RECEIPT:
        raise Malformed("receipt.size")
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or len(lines) < 3 or lines[0] != MAGIC:
        raise Malformed("receipt.form", f"does not begin with {MAGIC}")
    if not lines[1].startswith("extra "):
        raise Malformed("receipt.entry", "no entry in the extra line")
    encoded = decode_base64(lines[1].removeprefix("extra "), "receipt.entry")
    match = _INDEX.fullmatch(lines[2])
    if match is None:
        raise Malformed("receipt.index", "no index line")
    index = int(match[1])
    path = [decode_hash(line, "receipt.path") for line in lines[3:]]
    entry = decode_entry(encoded)
    expected = origin or origin_of(entry["zone"])
    checkpoint = open_checkpoint(note.encode("utf-8"), expected, public_key, verify)
    verify_inclusion(leaf_hash(encoded), index, checkpoint.size, path, checkpoint.root)
    return Receipt(entry, encoded, index, checkpoint)
