"""What each action gives away, declared: the masked column is a function of `leakage` and of nothing else.

An independent statement in plain Python, on purpose not sharing code with `actions`: a property test takes two
columns of equal leakage and demands equal output. Values are what `to_pylist` gives; types are equal.
"""

import math
import re
from collections.abc import Callable, Hashable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from gateway.enforce.plan import ColumnRule, Generalize

_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})([ T][\s\S]*)?")


def leakage(rule: ColumnRule, values: Sequence[Any]) -> Hashable:
    """Everything a reader of the masked column may learn about `values`, as one comparable thing."""
    match rule.action:
        case "keep":
            # Named parts have no label of their own: a column of them shows how many rows it has.
            return len(values) if any(map(_has_parts, values)) else tuple(map(repr, values))
        case "drop":
            return ()
        case "null" | "mask-to-default":
            return len(values)
        case "pseudonymize":
            # Which rows are null and which are equal, by canonical name; the key hides the names themselves.
            return tuple(None if value is None else _identity(value) for value in values)
        case "generalize" if rule.generalize is not None:
            coarse = _coarse(rule.generalize)
            return tuple(None if value is None else coarse(value) for value in values)
    raise ValueError("no such action")


def _has_parts(value: object) -> bool:
    """A struct is a dict, a map a list of pairs."""
    if isinstance(value, list):
        return any(map(_has_parts, value))
    return isinstance(value, dict | tuple)


def _identity(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _coarse(how: Generalize) -> Callable[[Any], Hashable]:
    if how.to is not None:
        return lambda value: _period(str(how.to), value)
    if how.prefix is not None:
        return lambda value: _head(int(how.prefix or 0), value)
    return lambda value: _bin(int(how.bin or 2), value)


def _period(period: str, value: object) -> Hashable:
    if isinstance(value, str):
        found = _ISO.fullmatch(value)
        if not found:
            return None
        try:
            value = date(*(int(part) for part in found.groups()[:3]))
        except ValueError:
            return None
    if not isinstance(value, date | datetime):
        return None
    return {"year": value.year, "decade": value.year // 10, "month": (value.year, value.month)}[period]


def _head(length: int, value: object) -> Hashable:
    text = _identity(value)
    return text[:length] if len(text) > length and not isinstance(value, bool | bytes | date) else None


def _bin(width: int, value: object) -> Hashable:
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,16}(\.[0-9]{1,32})?", value) or abs(Decimal(value)) >= 2**53:
            return None
        return math.floor(Decimal(value)) // width
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return math.floor(value / width) if isinstance(value, float) and math.isfinite(value) else _whole(value, width)


def _whole(value: object, width: int) -> Hashable:
    return value // width if isinstance(value, int) else None
