"""The closed set of entry types and the shape of each. Format: docs/spec/ledger.md §1."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from lineage.errors import Malformed

Check = Callable[[Any], bool]

MAX_INTEGER = 2**53 - 1
FLAT_TYPES = frozenset(
    {
        "dataset", "contract", "plan", "view", "session", "reattest", "revocation", "doctrine", "residency",
        "broker-refusal", "declassification", "integrity", "unauthenticated", "principal",
        "key-request", "key-approval", "key-cancel", "key-effect", "erasure", "removal", "limited", "issuer-keys",
        "tpm-key",
        "run-statement", "ticket",
    }
)  # fmt: skip
ENTRY_TYPES = FLAT_TYPES | {"intent", "outcome", "commit"}

_HEX32 = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{16,128}")
_WORD = re.compile(r"[!-~]{1,256}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


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
