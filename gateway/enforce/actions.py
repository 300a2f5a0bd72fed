"""What each action makes of a column (docs/spec/views.md §2). Every result is an array of new buffers.

Nothing here uses validity bitmaps over the original, `if_else`, or slices: those keep the hidden values in
the buffers (the table of anchors/reliability.md §5.9 is the test). The values of a batch are dictionary
encoded first, so the Python side runs once per distinct value.
"""

import hmac
import math
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gateway.enforce.plain_types import plain, plain_type
from gateway.enforce.plan import ColumnRule, Generalize

DEFAULT_TEXT = "XXXX"
PSEUDONYM_LABEL = b"demesne/pseudonym/1"
PSEUDONYM_HEX = 32
_EXACT = 2**53
_CACHE_LIMIT = 1 << 16  # entries; a bound on memory, not a correctness matter
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[ T].*)?", re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9]{1,16}(?:\.[0-9]{1,32})?")
_FRACTION_ZEROS = re.compile(r"(?:\.0+|(\.[0-9]*?)0+)(?=Z?$)")


class Masker:
    """Applies rules to columns. Holds the pseudonym key of one tenant and purpose class, if the plan needs it."""

    def __init__(self, pseudonym_key: bytes | None) -> None:
        if pseudonym_key is not None and len(pseudonym_key) < 32:
            raise ValueError("a pseudonym key has at least 32 bytes")
        self._key = pseudonym_key
        self._seen: dict[tuple[str, bytes], str] = {}

    def output_type(self, rule: ColumnRule, kind: pa.DataType) -> pa.DataType:
        """The type `apply` gives for a column of type `kind`; fixed before the first row is read."""
        base = plain_type(kind)
        if rule.action == "pseudonymize" or (rule.generalize and rule.generalize.prefix):
            return pa.string()
        return base

    def constant(self, rule: ColumnRule, kind: pa.DataType, rows: int) -> pa.Array:
        """A column for `null` and `mask-to-default`, made without looking at the values."""
        base = plain_type(kind)
        scalar = _default(base) if rule.action == "mask-to-default" else None
        return pa.nulls(rows, base) if scalar is None else pa.repeat(scalar, rows)

    def apply(self, rule: ColumnRule, values: pa.Array) -> pa.Array:
        """The masked column, same length. Raises Undecodable for types that cannot be made plain."""
        out = self.output_type(rule, values.type)
        values = plain(values)
        match rule.action:
            case "keep":
                return pa.nulls(len(values), out) if has_fields(values.type) else values
            case "pseudonymize":
                return self._pseudonymize(rule.domain, values, out)
            case "generalize" if rule.generalize is not None:
                return _generalize(rule.generalize, values, out)
            case "null" | "mask-to-default":
                return self.constant(rule, values.type, len(values))
            case _:
                raise ValueError("no such action on values")

    def _pseudonymize(self, domain: str, values: pa.Array, out: pa.DataType) -> pa.Array:
        if pa.types.is_nested(values.type):
            return pa.nulls(len(values), out)
        return _by_value(_textual(values), lambda value: self._pseudonym(domain, canonical_text(value)), out)

    def _pseudonym(self, domain: str, text: bytes) -> str:
        if self._key is None:
            raise ValueError("the plan pseudonymizes and no key was given")
        seen = self._seen.get((domain, text))
        if seen is None:
            message = b"\x00".join((PSEUDONYM_LABEL, domain.encode(), text))
            seen = "p_" + hmac.digest(self._key, message, "sha256").hex()[:PSEUDONYM_HEX]
            if len(self._seen) < _CACHE_LIMIT:
                self._seen[domain, text] = seen
        return seen


def canonical_text(value: object) -> bytes:
    """One text per value whatever carried it: 7, 7.0 and "7" are the same identifier."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case bool():
            return b"true" if value else b"false"
        case int():
            return str(value).encode()
        case float():
            whole = math.isfinite(value) and value == math.floor(value) and abs(value) < _EXACT
            return (str(int(value)) if whole else repr(value)).encode()
        case Decimal():
            return (format(value.normalize(), "f") if value else "0").encode()
        case _:
            raise TypeError("no canonical text for this type")


def _textual(values: pa.Array) -> pa.Array:
    """Temporal columns as ISO text (Python's datetime has no nanoseconds); every other type as it is."""
    kind = values.type
    if not pa.types.is_temporal(kind) or pa.types.is_interval(kind):
        return values
    if pa.types.is_duration(kind):
        return values.cast(pa.int64())
    text = _utc(values).cast(pa.string())
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return _by_value(text, lambda value: _FRACTION_ZEROS.sub(r"\1", value.replace(" ", "T")), pa.string())
    return text


def _utc(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return values.cast(pa.timestamp(kind.unit, "UTC"))
    return values


def _by_value(values: pa.Array, change: Callable[[Any], object], out: pa.DataType) -> pa.Array:
    """`change` once per distinct value; a null stays null. The result shares no buffer with `values`."""
    if pa.types.is_null(values.type) or pa.types.is_interval(values.type):
        return pa.nulls(len(values), out)
    encoded = values.dictionary_encode()
    changed = pa.array([None if v is None else change(v) for v in encoded.dictionary.to_pylist()], out)
    return changed.take(encoded.indices)


def _generalize(how: Generalize, values: pa.Array, out: pa.DataType) -> pa.Array:
    kind = values.type
    if pa.types.is_nested(kind):
        return pa.nulls(len(values), out)
    if how.to is not None:
        return _to_period(how.to, values, out)
    if how.prefix is not None:
        if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return pa.nulls(len(values), out)
        return _by_value(values, lambda value: _prefix(value, how.prefix or 1), out)
    width = how.bin or 2
    if pa.types.is_integer(kind):
        low, high = _integer_range(kind)
        return _by_value(values, lambda v: b if low <= (b := v // width * width) <= high else None, out)
    if pa.types.is_floating(kind):
        return _by_value(values, lambda value: _float_bin(value, width), out)
    if _is_text(kind):
        return _by_value(values, lambda value: _text_bin(value, width), out)
    return pa.nulls(len(values), out)


def _to_period(period: str, values: pa.Array, out: pa.DataType) -> pa.Array:
    kind = values.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        multiple, unit = (10, "year") if period == "decade" else (1, period)
        return pc.floor_temporal(_utc(values), multiple=multiple, unit=unit).cast(out)
    if _is_text(kind):
        return _by_value(values, lambda value: _text_period(value, period), out)
    return pa.nulls(len(values), out)


def _text_period(value: str, period: str) -> str | None:
    found = _ISO_DATE.fullmatch(value)
    if found is None:
        return None
    year, month, day = found.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return None
    return {"year": year, "decade": year[:3] + "0s", "month": f"{year}-{month}"}[period]


def _prefix(value: object, length: int) -> str | None:
    text = value if isinstance(value, str) else canonical_text(value).decode()
    return text[:length] if len(text) > length else None


def _float_bin(value: float, width: int) -> float | None:
    if not math.isfinite(value):
        return None
    try:
        return float(math.floor(value / width) * width)
    except OverflowError:
        return None


def _text_bin(value: str, width: int) -> str | None:
    if not _NUMBER.fullmatch(value):
        return None
    number = Decimal(value)
    return str(math.floor(number) // width * width) if abs(number) < _EXACT else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _integer_range(kind: pa.DataType) -> tuple[int, int]:
    bits = kind.bit_width
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if pa.types.is_signed_integer(kind) else (0, (1 << bits) - 1)


def _default(kind: pa.DataType) -> pa.Scalar | None:
    """The constant of a type, or None where only null will do (nested types, intervals, null)."""
    types = pa.types
    if _is_text(kind):
        return pa.scalar(DEFAULT_TEXT, kind)
    if types.is_boolean(kind):
        return pa.scalar(False, kind)
    if types.is_binary(kind) or types.is_large_binary(kind):
        return pa.scalar(b"", kind)
    if types.is_fixed_size_binary(kind):
        return pa.scalar(bytes(kind.byte_width), kind)
    if types.is_nested(kind) or types.is_interval(kind) or types.is_null(kind):
        return None
    if types.is_decimal(kind):
        return pa.scalar(Decimal(0), kind)
    width = pa.int32() if getattr(kind, "bit_width", 64) == 32 and types.is_temporal(kind) else pa.int64()
    return pa.array([0], width).cast(kind)[0]


def has_fields(kind: pa.DataType) -> bool:
    """Whether values of this type have named parts. A contract labels columns, so such a part has no label of its
    own, and what has no label is personal: `keep` shows none of it."""
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
        return True
    return any(has_fields(kind.field(number).type) for number in range(kind.num_fields))
