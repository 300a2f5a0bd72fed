"""The two entries of every read, recognised in one look at their bytes.

The canonical form of a closed shape is a regular language: names in order, no spaces, one spelling for each value. What
these patterns match, `decode_entry` accepts, and it says the same of it; what they do not match may still be an
entry, and `decode_entry` decides. Strings with escapes or letters beyond ASCII are left to it. A property test holds
the two together.
"""

import re
from typing import Final

from lineage.ledger.entry import MAX_ENTRY_BYTES, decode_entry

_HEX32: Final = "[0-9a-f]{32}"
_DIGEST: Final = "[0-9a-f]{16,128}"
_CHAR: Final = r"[ !#-\[\]-~]"  # printable ASCII that JSON writes as itself
_WORD: Final = r"[!#-\[\]-~]{1,256}"
_TEXT: Final = _CHAR + "{0,1024}"
_COUNT: Final = "(?:0|[1-9][0-9]{0,14})"  # below 2^53 whatever its digits


def _quoted(text: str) -> str:
    return f'"{text}"'


def _or_null(text: str) -> str:
    return f'(?:null|"{text}")'


def _list(item: str) -> str:
    return rf"\[(?:{item}(?:,{item})*)?\]"


def _object(fields: dict[str, str]) -> str:
    return r"\{" + ",".join(f'"{name}":{fields[name]}' for name in sorted(fields)) + r"\}"


def _common(kind: str) -> dict[str, str]:
    return {
        "v": "1", "type": _quoted(kind), "id": f'"(?P<id>{_HEX32})"', "zone": f'"(?P<zone>{_WORD})"',
        "at": _quoted(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"), "tenant": _quoted(_WORD),
    }  # fmt: skip


_DECISION: Final = _object({
    "id": f'"(?P<decision>{_HEX32})"', "allow": "(?:true|false)", "revision": _quoted(_TEXT),
    "codes": _list(_quoted(_TEXT)),
})  # fmt: skip
_OBSERVATION: Final = _object({"what": _quoted(_TEXT), "observed": _quoted(_TEXT), "strength": _quoted(_TEXT)})
_INTENT: Final = _object(_common("intent") | {
    "decision": _DECISION, "action": _quoted(_WORD), "interface": _quoted(_WORD), "dataset_id": _or_null(_HEX32),
    "dataset": _or_null(_TEXT), "object": _or_null(_DIGEST), "version": _or_null(_WORD), "view": _quoted(_WORD),
    "principal": _quoted(_DIGEST), "purpose": _quoted(_TEXT), "session": _or_null(_WORD), "run": _or_null(_WORD),
    "input_sha256": _quoted(_DIGEST), "residency": _list(_OBSERVATION),
})  # fmt: skip
_OUTCOME: Final = _object(_common("outcome") | {
    "intent": _quoted(_HEX32), "status": _quoted("(?:complete|aborted|refused)"), "bytes": _COUNT,
    "ranges": rf'(?:"whole"|\[\]|\[\[(?P<start>{_COUNT}),(?P<stop>{_COUNT})\]\])', "reason": _or_null(_TEXT),
})  # fmt: skip
_intent = re.compile(_INTENT.encode()).fullmatch
_outcome = re.compile(_OUTCOME.encode()).fullmatch


def name_of(encoded: bytes) -> tuple[str, str]:
    """(id, zone) of an entry in canonical form and of a known shape. Raises Malformed as `decode_entry`."""
    if len(encoded) <= MAX_ENTRY_BYTES:
        found = _intent(encoded)
        if found is not None and found["decision"] == found["id"]:
            return found["id"].decode(), found["zone"].decode()
        found = _outcome(encoded) if found is None else None
        if found is not None and (found["start"] is None or int(found["start"]) <= int(found["stop"])):
            return found["id"].decode(), found["zone"].decode()
    entry = decode_entry(encoded)
    return entry["id"], entry["zone"]
