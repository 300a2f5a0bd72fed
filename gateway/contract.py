"""A contract as the gateway accepts it (docs/spec/contract.md): closed, typed, each refusal names its field."""

import re
from typing import Any

from gateway.errors import BadRequest

LABELS = frozenset({
    "pii.name", "pii.email", "pii.phone", "pii.iban", "pii.birth_date", "pii.address", "pii.postcode",
    "pii.national_id", "pii.note", "pii.id", "unknown", "none",
})  # fmt: skip
MAX_COLUMNS = 10_000
_FIELDS = {"v", "dataset", "owner", "purposes", "keys_personal", "columns"}
_COLUMN = {"name", "type", "label"}
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,62}")


def check_contract(document: object, dataset: str) -> dict[str, Any]:
    """The document, or BadRequest naming the field and the fix. A column's `finding` is kept as it came."""
    if not isinstance(document, dict):
        raise _wrong("document", "a JSON object")
    for field in sorted(_FIELDS - set(document)):
        raise _wrong(field, "a value, and it is missing; see docs/spec/contract.md")
    for field in sorted(set(document) - _FIELDS):
        raise _wrong(field, "no field of this name in a contract; see docs/spec/contract.md")
    # `True` and `1.0` equal 1 and are another document; the decision input holds no floats.
    if type(document["v"]) is not int or document["v"] != 1:
        raise _wrong("v", "1")
    if document["dataset"] != dataset:
        raise _wrong("dataset", f"{dataset!r}, as in the path")
    if not _text(document["owner"]) or not document["owner"]:
        raise _wrong("owner", "who answers for the data, not empty")
    if not isinstance(document["keys_personal"], bool):
        raise _wrong("keys_personal", "true or false")
    purposes = document["purposes"]
    if not isinstance(purposes, list) or not all(isinstance(p, str) and _PURPOSE.fullmatch(p) for p in purposes):
        raise _wrong("purposes", "a list of lower-case purpose names")
    columns = document["columns"]
    if not isinstance(columns, list) or len(columns) > MAX_COLUMNS:
        raise _wrong("columns", f"a list of at most {MAX_COLUMNS} columns")
    seen: set[str] = set()
    for number, column in enumerate(columns):
        _check_column(column, f"columns[{number}]", seen)
    return document


def _check_column(column: object, where: str, seen: set[str]) -> None:
    if not isinstance(column, dict) or not _COLUMN <= set(column) <= _COLUMN | {"finding"}:
        raise _wrong(where, "an object of name, type, label and optionally finding")
    for field in ("name", "type", "label"):
        if not _text(column[field]):
            raise _wrong(f"{where}.{field}", "a string")
    if not column["name"] or column["name"] in seen:
        raise _wrong(f"{where}.name", "not empty, and each column once")
    if column["label"] not in LABELS:
        raise _wrong(f"{where}.label", f"one of {', '.join(sorted(LABELS))}")
    finding = column.get("finding")
    if finding is not None and not _plain(finding):
        raise _wrong(f"{where}.finding", "null, or an object of strings and whole numbers below 2^53")
    seen.add(column["name"])


def _text(value: object) -> bool:
    """A string that is text: half a surrogate pair has no UTF-8, and so no seal, no hash and no place in a record."""
    return isinstance(value, str) and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)


def _plain(finding: object) -> bool:
    """Flat, with nothing that canonical JSON could not say again."""
    return isinstance(finding, dict) and all(
        _text(name) and (_text(value) or (type(value) is int and abs(value) < 1 << 53))
        for name, value in finding.items()
    )


def _wrong(field: str, expected: str) -> BadRequest:
    return BadRequest("InvalidContract", f"{field}: expected {expected}", rule="contract.schema",
                      remedy=f"correct {field} and send the contract again")  # fmt: skip
