"""The ledger intent as the broker reads it: closed schema, canonical bytes, nothing believed yet.

The shape is that of docs/spec/ledger.md; the broker parses it by itself, because vault imports nothing of
lineage and because a second, independent reader is worth having at this border.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from vault.errors import Malformed, Refused

MAX_ENTRY_BYTES = 0xFFFF
_FIELDS = frozenset(
    {
        "v", "type", "id", "at", "zone", "tenant", "decision", "action", "interface", "dataset_id", "dataset",
        "object", "version", "view", "principal", "purpose", "session", "run", "input_sha256", "residency",
    }
)  # fmt: skip
_HEAD = frozenset({"v", "type", "id", "at", "zone", "tenant"})
_HEX32 = re.compile(r"[0-9a-f]{32}")
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class ZoneIntent:
    """A decision about a zone: who was allowed or refused what."""

    entry_id: str
    allow: bool
    tenant: str
    zone: str
    action: str
    principal_hash: str


@dataclass(frozen=True, slots=True)
class KeyIntent(ZoneIntent):
    """A decision about keys: who was allowed or refused what, on which dataset."""

    dataset_id: str


@dataclass(frozen=True, slots=True)
class Intent(KeyIntent):
    """What the entry says of one version. A promise proves that it was said, not that it is true."""

    dataset: str
    version: str
    view: str
    purpose: str
    session_id: str | None


def parse_key_intent(entry: bytes) -> KeyIntent:
    """`Refused("broker.entry")` unless `entry` is one canonical intent about one dataset."""
    try:
        return KeyIntent(**_decided(_intent(entry)))
    except Malformed as error:
        raise Refused("broker.entry", error.reason) from error


def parse_zone_intent(entry: bytes) -> ZoneIntent:
    """`Refused("broker.entry")` unless `entry` is one canonical intent about the zone, and so about no dataset."""
    try:
        document = _intent(entry)
        who = _who(document)
    except Malformed as error:
        raise Refused("broker.entry", error.reason) from error
    if document["dataset_id"] is not None:
        raise Refused("broker.entry", "dataset_id")
    return ZoneIntent(**who)


def parse_key_entry(entry: bytes, kind: str, fields: frozenset[str]) -> dict[str, Any]:
    """The canonical flat entry of this type with exactly `fields` beside its head; `Refused("broker.entry")`."""
    try:
        document = _load(entry)
        _check_flat(document, kind, fields | _HEAD)
    except Malformed as error:
        raise Refused("broker.entry", error.reason) from error
    return document


def parse_intent(entry: bytes) -> Intent:
    """`Refused("broker.entry")` unless `entry` is one canonical intent about one version of one dataset."""
    try:
        document = _intent(entry)
        return Intent(
            **_decided(document),
            dataset=_text(document, "dataset"),
            version=_hex32(document, "version"),
            view=_text(document, "view"),
            purpose=_text(document, "purpose"),
            session_id=None if document["session"] is None else _text(document, "session"),
        )
    except Malformed as error:
        raise Refused("broker.entry", error.reason) from error


def _intent(entry: bytes) -> dict[str, Any]:
    document = _load(entry)
    _check_shape(document)
    return document


def _decided(document: dict[str, Any]) -> dict[str, Any]:
    return _who(document) | {"dataset_id": _hex32(document, "dataset_id")}


def _who(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "entry_id": _hex32(document, "id"),
        "allow": document["decision"]["allow"],
        "tenant": _text(document, "tenant"),
        "zone": _text(document, "zone"),
        "action": _text(document, "action"),
        "principal_hash": _text(document, "principal"),
    }


def _load(entry: bytes) -> dict[str, Any]:
    if len(entry) > MAX_ENTRY_BYTES:
        raise Malformed("size")
    try:
        document = json.loads(entry.decode("utf-8"), parse_float=_refuse_number, parse_constant=_refuse_number)
        canonical = isinstance(document, dict) and _encoder.encode(document).encode("utf-8") == entry
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and UnicodeEncodeError are ValueErrors
        raise Malformed("json") from error
    # Re-encoding also refuses repeated names: one reader must not see "allow":false where another sees true.
    if not canonical:
        raise Malformed("canonical")
    return document  # type: ignore[no-any-return]


def _check_shape(document: dict[str, Any]) -> None:
    if set(document) != _FIELDS:
        raise Malformed("fields")
    if type(document["v"]) is not int or document["v"] != 1 or document["type"] != "intent":
        raise Malformed("type")
    decision = document["decision"]
    if not isinstance(decision, dict) or set(decision) != {"id", "allow", "revision", "codes"}:
        raise Malformed("decision")
    if decision["id"] != document["id"] or type(decision["allow"]) is not bool:
        raise Malformed("decision")


def _check_flat(document: dict[str, Any], kind: str, fields: frozenset[str]) -> None:
    if set(document) != fields:
        raise Malformed("fields")
    if type(document["v"]) is not int or document["v"] != 1 or document["type"] != kind:
        raise Malformed("type")
    _hex32(document, "id")


def _text(document: dict[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str) or not value:
        raise Malformed(name)
    return value


def _hex32(document: dict[str, Any], name: str) -> str:
    value = _text(document, name)
    if not _HEX32.fullmatch(value):
        raise Malformed(name)
    return value


def _refuse_number(text: str) -> NoReturn:
    raise Malformed("number", text[:40])
