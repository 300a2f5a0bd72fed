"""`reference-values.json`: what is known to be good, by name. The doctrine reads it; verifiers do not.

    {"name": "claims-trainer 4.2", "kind": "tdx", "tee": "tdx", "measurement": [hex, …],
     "match": {"platform.rtmr1": [hex, …]}, "platform": {"fmspc": ["b0c06f000000"]}}

A genuine platform that runs something else is not affirming. An entry that names nothing to compare would make every
machine of its kind good, so it is refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vault.attest.trust.document import Dated, Section, as_list, open_document, wrong

SCHEMA = "demesne.trust.reference-values/1"
_NAME = r"[A-Za-z0-9][A-Za-z0-9 ._:/@+-]{0,127}"
_KIND = r"[a-z][a-z0-9-]{1,31}"
_PATH = r"[a-z][A-Za-z0-9_.-]{0,127}"
_MEASUREMENT = r"[A-Za-z0-9._:,-]{1,256}"

Reference = Mapping[str, Any]


def parse_references(raw: bytes) -> tuple[tuple[Reference, ...], Dated]:
    """The entries as the doctrine gets them, in the file's order. Raises Malformed."""
    document, dated = open_document(raw, SCHEMA)
    found, names = [], set[str]()
    for section in document.sections("references"):
        reference = _reference(section)
        if reference["name"] in names:
            raise wrong(section.at("name"), "a name stands there twice; rename one")
        names.add(reference["name"])
        found.append(reference)
    document.end()
    return tuple(found), dated


def _reference(section: Section) -> Reference:
    found: dict[str, Any] = {"name": section.text("name", _NAME), "kind": section.text("kind", _KIND)}
    if section.has("tee"):
        found["tee"] = section.text("tee", _KIND)
    if section.has("measurement"):
        found["measurement"] = sorted(section.texts("measurement", _MEASUREMENT))
    for name in ("match", "platform"):
        values = section.section(name)
        if values is not None:
            found[name] = {path: _values(values, path) for path in values.names()}
    section.take("note", None)
    section.end()
    if "measurement" not in found and not found.get("match"):
        raise wrong(section.where, "neither measurement nor match: it would make every machine of its kind good")
    return found


def _values(section: Section, path: str) -> Sequence[Any]:
    """Texts, whole numbers and booleans that a claim may have; an empty list admits none."""
    if not re.fullmatch(_PATH, path):
        raise wrong(section.at(path), "a claim's path, such as platform.rtmr1, expected")
    listed = as_list(section.take(path), section.at(path))
    for index, value in enumerate(listed):
        if not isinstance(value, bool | int) and not (isinstance(value, str) and len(value) <= 512):
            raise wrong(f"{section.at(path)}[{index}]", "a text, a whole number, true or false expected")
    return listed
