"""Ledger entries: closed shapes, canonical bytes, leaf hashes. Format: docs/spec/ledger.md §1.

An entry is one RFC 8785 (JCS) JSON object below 64 KiB, without floats and without integers over 2^53.
`encode_entry` is the writer's half (cheap: it runs on the hot road); `decode_entry` is the sequencer's and
the verifier's half and refuses everything the writer could have got wrong.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lineage.errors import Malformed
from lineage.ledger.shapes import MAX_INTEGER, check_entry

MAX_ENTRY_BYTES = 0xFFFF  # an entry bundle prefixes each entry with a u16 (C2SP tlog-tiles)
MAX_DEPTH = 6

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode_entry(entry: Mapping[str, Any]) -> bytes:
    """The canonical bytes. For the values entries may hold (ASCII field names, no floats, integers below
    2^53) the standard library's sorted, compact encoder writes exactly RFC 8785, five times faster than a
    general encoder; a property test compares the two.

    Raises Malformed("entry.value") for floats, large integers and unpaired surrogates, "entry.size".
    """
    _check_values(entry, 0)
    try:
        encoded = _encoder.encode(entry).encode("utf-8")
    except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise Malformed("entry.value", "not representable in canonical JSON") from error
    if len(encoded) > MAX_ENTRY_BYTES:
        raise Malformed("entry.size", f"{len(encoded)} bytes; the most is {MAX_ENTRY_BYTES}")
    return encoded


def decode_entry(encoded: bytes) -> dict[str, Any]:
    """Parse and check shape and canonical form; Malformed names the first thing that is wrong."""
    if len(encoded) > MAX_ENTRY_BYTES:
        raise Malformed("entry.size", f"{len(encoded)} bytes")
    try:
        entry = _decoder.decode(encoded.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Malformed("entry.json") from error
    if not isinstance(entry, dict):
        raise Malformed("entry.json", "not an object")
    check_entry(entry)
    # Re-encoding catches repeated names, escapes, spacing and unpaired surrogates: one entry, one spelling, one leaf.
    if _encoder.encode(entry).encode("utf-8", "surrogatepass") != encoded:
        raise Malformed("entry.canonical", "not the RFC 8785 form")
    return entry


def leaf_hash(encoded: bytes) -> bytes:
    """RFC 6962 §2.1: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + encoded).digest()


def _refuse_number(text: str) -> Any:
    raise Malformed("entry.value", f"number {text[:40]} is not an integer")


def _small_integer(text: str) -> int:
    if len(text) > 17 or not -MAX_INTEGER <= (value := int(text)) <= MAX_INTEGER:
        raise Malformed("entry.value", "integer beyond 2^53")
    return value


_decoder = json.JSONDecoder(parse_float=_refuse_number, parse_int=_small_integer, parse_constant=_refuse_number)


def _check_values(value: Any, depth: int) -> None:
    if value is None or value is True or value is False or type(value) is str:
        return
    if type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Malformed("entry.value", "integer beyond 2^53")
    elif depth >= MAX_DEPTH:
        raise Malformed("entry.value", "nested too deeply")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            # ASCII names only: UTF-16 order (RFC 8785) and code point order (Python) then agree.
            if type(name) is not str or not name.isascii():
                raise Malformed("entry.field", "names are ASCII strings")
            _check_values(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_values(inner, depth + 1)
    else:
        raise Malformed("entry.value", f"a {type(value).__name__} has no place in an entry")
