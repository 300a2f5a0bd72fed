"""The contract document (docs/spec/contract.md): made from findings, merged with the present one, checked strictly.

Pure: values in, document out, or BadContract naming the field.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ingest.classify.columns import Finding
from ingest.classify.labels import LABELS, NONE, UNKNOWN
from ingest.errors import BadContract
from ingest.formats.checked import Column

TYPES = frozenset({"string", "integer", "number", "boolean", "date", "timestamp", "binary", "nested"})
_FIELDS = {"v": int, "dataset": str, "owner": str, "purposes": list, "keys_personal": bool, "columns": list}
_COLUMN_FIELDS = {"name", "type", "label", "finding"}
_FINDING_FIELDS = {"detector", "confidence", "sampled", "matched"}
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_MEASURES = {"integer", "number", "boolean"}
Document = dict[str, Any]


def widest(left: str, right: str) -> str:
    """The type of a column that has both in different files."""
    if left == right:
        return left
    return "number" if {left, right} == {"integer", "number"} else "string"


def unite(files: Iterable[Sequence[Column]]) -> list[Column]:
    """The columns of all files, in order of first appearance, each with its widest type."""
    types: dict[str, str] = {}
    for columns in files:
        for column in columns:
            types[column.name] = widest(types.get(column.name, column.type), column.type)
    return [Column(name, kind) for name, kind in types.items()]


def build(
    *,
    dataset: str,
    owner: str,
    purposes: Sequence[str],
    keys_personal: bool,
    columns: Sequence[Column],
    findings: Mapping[str, Finding | None],
    said: Mapping[str, str],
    numeric_is: str = UNKNOWN,
    present: Document | None = None,
) -> Document:
    """The document for these columns. `said` are labels a person gave; `present` is the contract in force.

    Raises BadContract when `said` names an absent column or an unknown label, or `present` does not parse.
    """
    _check_said(said, {column.name for column in columns})
    old = {}
    if present is not None:
        present = normal(present)
        validate(present, dataset)
        old = {entry["name"]: entry for entry in present["columns"]}
    entries = [_entry(column, findings.get(column.name), said, numeric_is, old.get(column.name)) for column in columns]
    names = {column.name for column in columns}
    entries += [entry for name, entry in old.items() if name not in names]
    if present is not None:  # the present order first, so that a second run yields the same document
        order = {name: place for place, name in enumerate(old)}
        entries.sort(key=lambda entry: order.get(entry["name"], len(order)))
    document = {
        "v": 1,
        "dataset": dataset,
        "owner": present["owner"] if present is not None else owner,
        "purposes": sorted({*purposes, *(present["purposes"] if present is not None else ())}),
        "keys_personal": keys_personal or bool(present is not None and present["keys_personal"]),
        "columns": entries,
    }
    validate(document, dataset)
    return document


def normal(document: Document) -> Document:
    """A contract that somebody wrote by hand, as ingest writes it: purposes in order, `finding` present, the type
    `string` for a word of their own. Raises BadContract where it is no contract at all."""
    try:
        columns = [
            {
                "name": entry["name"],
                "type": entry["type"] if entry["type"] in TYPES else "string",
                "label": entry["label"],
                "finding": entry.get("finding"),
            }
            for entry in document["columns"]
        ]
        return {**document, "purposes": sorted(set(document["purposes"])), "columns": columns}
    except (KeyError, TypeError, AttributeError) as error:
        why = f"the dataset's present contract does not parse: {error!r}"
        raise BadContract("contract", why, remedy="write a new one with --contract FILE") from error


def _entry(
    column: Column, finding: Finding | None, said: Mapping[str, str], numeric_is: str, old: Document | None
) -> Document:
    """One column: a person's word, else the present label if it says something, else the finding, else the rule
    for measures."""
    kind = widest(old["type"], column.type) if old is not None else column.type
    if column.name in said:
        steward = Finding(said[column.name], "steward", 100, 0, 0)
        return {"name": column.name, "type": kind, "label": steward.label, "finding": steward.as_document()}
    if old is not None and (old["label"] != UNKNOWN or old["finding"] is not None):
        return {**old, "type": kind}
    if finding is not None:
        return {"name": column.name, "type": kind, "label": finding.label, "finding": finding.as_document()}
    label = numeric_is if kind in _MEASURES else UNKNOWN
    return {"name": column.name, "type": kind, "label": label, "finding": None}


def _check_said(said: Mapping[str, str], present: set[str]) -> None:
    for name, label in said.items():
        if name not in present:
            known = ", ".join(sorted(present))
            raise BadContract(f"--label {name}", "no file has this column", remedy=f"use one of: {known}")
        if label not in LABELS:
            raise BadContract(f"--label {name}", f"unknown label {label!r}", remedy=f"use one of: {_known_labels()}")


def require_present(document: Document, columns: Sequence[Column]) -> None:
    """Every column the contract names is in the data. Raises BadContract naming the first that is not."""
    present = {column.name for column in columns}
    for place, entry in enumerate(document["columns"]):
        if entry["name"] not in present:
            raise BadContract(
                f"columns[{place}].name",
                f"names column {entry['name']!r}, which no file has",
                remedy=f"remove it, or correct it to one of: {', '.join(sorted(present))}",
            )


def validate(document: object, dataset: str) -> None:
    """The whole must-reject list of the spec. Raises BadContract naming the field."""
    if not isinstance(document, dict):
        raise BadContract("contract", "is not a JSON object", remedy="see docs/spec/contract.md")
    _closed("contract", document, set(_FIELDS))
    for name, kind in _FIELDS.items():
        if type(document[name]) is not kind:
            raise BadContract(name, f"must be {kind.__name__}", remedy="see docs/spec/contract.md")
    if document["v"] != 1:
        raise BadContract("v", f"version {document['v']} is not known", remedy="use 1")
    if document["dataset"] != dataset:
        raise BadContract("dataset", f"is {document['dataset']!r}, not {dataset!r}", remedy="name the same dataset")
    if not 1 <= len(document["owner"]) <= 200:
        raise BadContract("owner", "must have 1 to 200 characters", remedy="name who answers for the data")
    purposes = document["purposes"]
    if not all(isinstance(purpose, str) and _PURPOSE.fullmatch(purpose) for purpose in purposes):
        raise BadContract("purposes", "must be lower-case names", remedy='for example ["analytics"]')
    if purposes != sorted(set(purposes)):
        raise BadContract("purposes", "must be sorted, each once", remedy=f"write {sorted(set(purposes))}")
    _validate_columns(document["columns"])


def _validate_columns(columns: list[object]) -> None:
    if not columns:
        raise BadContract("columns", "is empty", remedy="name every column of the files")
    seen: set[str] = set()
    for place, entry in enumerate(columns):
        where = f"columns[{place}]"
        if not isinstance(entry, dict):
            raise BadContract(where, "is not an object", remedy="see docs/spec/contract.md")
        _closed(where, entry, _COLUMN_FIELDS)
        if not isinstance(entry["name"], str) or not entry["name"] or entry["name"] in seen:
            why = f"{entry['name']!r} is empty, no string, or there twice"
            raise BadContract(f"{where}.name", why, remedy="name it once")
        seen.add(entry["name"])
        if not isinstance(entry["type"], str) or entry["type"] not in TYPES:
            types = ", ".join(sorted(TYPES))
            raise BadContract(f"{where}.type", f"unknown {entry['type']!r}", remedy=f"use one of: {types}")
        if not isinstance(entry["label"], str) or entry["label"] not in LABELS:
            raise BadContract(f"{where}.label", f"unknown {entry['label']!r}", remedy=f"use one of: {_known_labels()}")
        if entry["finding"] is not None:
            _validate_finding(f"{where}.finding", entry["finding"])


def _validate_finding(where: str, finding: object) -> None:
    if not isinstance(finding, dict):
        raise BadContract(where, "is not an object", remedy="use null when there is none")
    _closed(where, finding, _FINDING_FIELDS)
    counts = [finding[name] for name in ("confidence", "sampled", "matched")]
    if not isinstance(finding["detector"], str) or any(type(count) is not int or count < 0 for count in counts):
        raise BadContract(where, "has a field of another type", remedy="see docs/spec/contract.md")
    if finding["confidence"] > 100 or finding["matched"] > finding["sampled"]:
        raise BadContract(where, "confidence is 0 to 100, and matched at most sampled", remedy="correct the numbers")


def _closed(where: str, found: Mapping[str, object], expected: set[str]) -> None:
    for name in sorted(set(found) ^ expected, key=str):
        why = "is not a field of the contract" if name in found else "is missing"
        raise BadContract(f"{where}.{name}", why, remedy="see docs/spec/contract.md")


def _known_labels() -> str:
    return ", ".join(sorted(LABELS - {NONE, UNKNOWN})) + f", {UNKNOWN}, {NONE}"
