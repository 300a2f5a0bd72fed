"""JSON as strict as evidence can be read: one object, no repeated members, no numbers without a value."""

import json
from typing import Any, NoReturn

from vault.attest.claims import Refusal, refuse


def json_object(raw: bytes | str, what: str, why: Refusal = Refusal.MALFORMED) -> dict[str, Any]:
    """The object that `raw` spells. A parser that takes the last of two members would read what nobody signed."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise refuse(why, f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise refuse(why, f"{what} is no JSON object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated member")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
