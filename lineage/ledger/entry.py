"""Ledger entries: closed shapes, canonical bytes, leaf hashes. Format: docs/spec/ledger.md §1.

An entry is one RFC 8785 (JCS) JSON object below 64 KiB, without floats and without integers over 2^53.
`encode_entry` is the writer's half (cheap: it runs on the hot road); `decode_entry` is the sequencer's and
the verifier's half and refuses everything the writer could have got wrong.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from lineage.errors import Malformed

Check = Callable[[Any], bool]

MAX_ENTRY_BYTES = 0xFFFF  # an entry bundle prefixes each entry with a u16 (C2SP tlog-tiles)
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 6

FLAT_TYPES = frozenset(
    {
        "dataset", "contract", "plan", "view", "session", "reattest", "revocation", "doctrine", "residency",
        "broker-refusal", "declassification", "integrity", "unauthenticated", "principal",
    }
)  # fmt: skip
ENTRY_TYPES = FLAT_TYPES | {"intent", "outcome", "commit"}

_HEX32 = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{16,128}")
_WORD = re.compile(r"[!-~]{1,256}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
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


def check_entry(entry: Mapping[str, Any]) -> None:
    """Closed shapes: unknown types and fields, missing fields and wrong kinds are refused by name."""
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in ENTRY_TYPES:
        raise Malformed("entry.type", repr(kind)[:80])
    for name, check in _COMMON.items():
        if name not in entry or not check(entry[name]):
            raise Malformed("entry.field", f"{kind}.{name}")
    shape = _SHAPES.get(kind)
    if shape is None:
        _check_flat(kind, entry)
        return
    if len(entry) != len(shape) + len(_COMMON):
        unknown = set(entry) - set(shape) - set(_COMMON)
        missing = set(shape) - set(entry)
        raise Malformed("entry.field", f"{kind}: unknown {sorted(map(str, unknown))}, missing {sorted(missing)}")
    for name, check in shape.items():
        if name not in entry or not check(entry[name]):
            raise Malformed("entry.field", f"{kind}.{name}")
    if kind == "intent" and entry["decision"]["id"] != entry["id"]:
        raise Malformed("entry.field", "intent.decision.id differs from intent.id")


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


def _check_flat(kind: str, entry: Mapping[str, Any]) -> None:
    for name, value in entry.items():
        if name in _COMMON:
            continue
        if not _FIELD.fullmatch(name):
            raise Malformed("entry.field", f"{kind}.{name[:40]}")
        if not (_scalar(value) or (isinstance(value, list) and all(_scalar(item) for item in value))):
            raise Malformed("entry.field", f"{kind}.{name} is not flat")


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | str) or _integer(value)


def _integer(value: Any) -> bool:
    return type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1024


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(_text(item) for item in value)


def _decision(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"id", "allow", "revision", "codes"}
        and _hex32(value["id"])
        and isinstance(value["allow"], bool)
        and _text(value["revision"])
        and _texts(value["codes"])
    )


def _ranges(value: Any) -> bool:
    if value == "whole":
        return True
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and _count(pair[0]) and _count(pair[1]) and pair[0] <= pair[1]
        for pair in value
    )


def _observations(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and set(item) == {"what", "observed", "strength"}
        and all(_text(v) for v in item.values())
        for item in value
    )


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


_hex32 = _matches(_HEX32)
_digest = _matches(_DIGEST)
_word = _matches(_WORD)

_COMMON: dict[str, Check] = {
    "v": lambda value: type(value) is int and value == 1,
    "type": _word,
    "id": _hex32,
    "at": _matches(_TIME),
    "zone": _word,
    "tenant": _word,
}

_SHAPES: dict[str, dict[str, Check]] = {
    "intent": {
        "decision": _decision,
        "action": _word,
        "interface": _word,
        "dataset_id": _or_null(_hex32),
        "dataset": _or_null(_text),
        "object": _or_null(_digest),
        "version": _or_null(_word),
        "view": _word,
        "principal": _digest,
        "purpose": _text,
        "session": _or_null(_word),
        "run": _or_null(_word),
        "input_sha256": _digest,
        "residency": _observations,
    },
    "outcome": {
        "intent": _hex32,
        "status": _one_of("complete", "aborted", "refused"),
        "bytes": _count,
        "ranges": _ranges,
        "reason": _or_null(_text),
    },
    "commit": {
        "dataset_id": _hex32,
        "dataset": _text,
        "object": _digest,
        "version": _word,
        "sequence": _count,
        "run": _or_null(_word),
        "principal": _digest,
        "label": _word,
        "placement": _texts,
        "bytes": _count,
        "format": _text,
        "intent": _or_null(_hex32),
    },
}
