"""Types of CSV columns, from their sampled values: text carries none, and the contract wants one."""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LEADING_ZERO = re.compile(r"[+-]?0\d")
_MISSING = {"", "NA", "N/A", "NULL", "null", "None", "nan", "NaN"}


def infer(values: Sequence[str]) -> str:
    """The narrowest of boolean, integer, number, date, timestamp that every value is; else string.

    A leading zero makes a string: postcodes and account numbers are not quantities.
    """
    present = [value for value in values if value not in _MISSING]
    if not present:
        return "string"
    for name, matches in _KINDS:
        if all(matches(value) for value in present):
            return name
    return "string"


def _is_number(value: str) -> bool:
    return bool(_NUMBER.fullmatch(value)) and not _LEADING_ZERO.match(value)


def _is_date(value: str) -> bool:
    return len(value) == 10 and _parses(date.fromisoformat, value)


def _is_timestamp(value: str) -> bool:
    return len(value) > 10 and _parses(datetime.fromisoformat, value)


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


_KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("boolean", lambda value: value.lower() in {"true", "false"}),
    ("integer", lambda value: bool(_INTEGER.fullmatch(value))),
    ("number", _is_number),
    ("date", _is_date),
    ("timestamp", _is_timestamp),
)
