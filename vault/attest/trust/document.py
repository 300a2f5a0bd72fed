"""A trust file's JSON, read as strictly as it can be: every member is known, taken once, and of its type.

A file that decides whom to trust and is half understood is worse than none: a misspelt `deny_chips` would deny nobody.
So unknown members, repeated members, floats and empty names are refused, each with the field and what to write.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from vault.errors import Malformed

MAX_FILE = 1 << 20
MAX_DEPTH = 12
MAX_LIST = 4096
MAX_LIFETIME = timedelta(days=400)
_MAX_NUMBER = 1 << 53
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class _Float:
    text: str


@dataclass(frozen=True, slots=True)
class _Repeated:
    name: str


@dataclass(frozen=True, slots=True)
class Dated:
    """When a file was issued and from when it counts no more; milliseconds since 1970."""

    issued_ms: int
    expires_ms: int


def wrong(where: str, what: str) -> Malformed:
    """The one error of this package: the field, and what to write there."""
    return Malformed("trust.field", f"{where}: {what}" if where else what)


class Section:
    """An object of a trust file. Each member is taken once; `end` refuses what nobody took."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, "an object expected")
        self._left = dict(value)
        self.where = where

    def at(self, name: str) -> str:
        """The path of a member, as errors name it."""
        return f"{self.where}.{name}" if self.where else name

    def has(self, name: str) -> bool:
        return name in self._left

    def names(self) -> list[str]:
        """Members nobody took yet."""
        return sorted(self._left)

    def take(self, name: str, default: Any = _ABSENT) -> Any:
        """A member of any type."""
        if name in self._left:
            return self._left.pop(name)
        if default is _ABSENT:
            raise wrong(self.at(name), "missing")
        return default

    def end(self) -> None:
        if self._left:
            raise wrong(self.at(min(self._left)), "unknown member; remove it, or correct its name")

    def text(self, name: str, pattern: str = r".{1,512}", default: Any = _ABSENT) -> str:
        value = self.take(name, default)
        return value if value is default else _text(value, self.at(name), pattern)

    def whole(self, name: str, least: int, most: int, default: Any = _ABSENT) -> int:
        value = self.take(name, default)
        if value is default:
            return default  # type: ignore[no-any-return]
        if type(value) is not int or not least <= value <= most:
            raise wrong(self.at(name), f"a whole number from {least} to {most} expected")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.take(name, default)
        if type(value) is not bool:
            raise wrong(self.at(name), "true or false expected")
        return value

    def texts(self, name: str, pattern: str = r".{1,512}", default: Any = _ABSENT) -> frozenset[str]:
        """A list of texts, none twice. `default` is answered as it is when the member is missing."""
        value = self.take(name, default)
        if value is default:
            return default  # type: ignore[no-any-return]
        return frozenset(self._each(name, value, pattern))

    def hexes(self, name: str, octets: Sequence[int], default: Any = _ABSENT) -> frozenset[bytes]:
        """A list of byte strings in lower-case hex, each as long as one of `octets`."""
        value = self.take(name, default)
        if value is default:
            return default  # type: ignore[no-any-return]
        lengths = "|".join(f"[0-9a-f]{{{2 * count}}}" for count in octets)
        return frozenset(bytes.fromhex(text) for text in self._each(name, value, lengths))

    def _each(self, name: str, value: object, pattern: str) -> list[str]:
        listed = as_list(value, self.at(name))
        found = [_text(one, f"{self.at(name)}[{index}]", pattern) for index, one in enumerate(listed)]
        if len(set(found)) != len(found):
            raise wrong(self.at(name), "an entry stands there twice; remove one")
        return found

    def section(self, name: str) -> "Section | None":
        """A member that is an object, None when it is missing."""
        value = self.take(name, None)
        return None if value is None else Section(value, self.at(name))

    def sections(self, name: str) -> "list[Section]":
        """A member that is a list of objects."""
        listed = as_list(self.take(name), self.at(name))
        return [Section(one, f"{self.at(name)}[{index}]") for index, one in enumerate(listed)]


def as_list(value: object, where: str) -> list[Any]:
    """A list within the bound; `wrong` otherwise."""
    if not isinstance(value, list) or len(value) > MAX_LIST:
        raise wrong(where, f"a list of at most {MAX_LIST} entries expected")
    return value


def open_document(raw: bytes, schema: str) -> tuple[Section, Dated]:
    """The members of a trust file of `schema` beside its envelope (schema, issued, expires). Raises Malformed."""
    document = Section(strict_json(raw), "")
    if document.take("schema") != schema:
        raise wrong("schema", f'write "{schema}"')
    issued, expires = (_moment(document, name) for name in ("issued", "expires"))
    if expires <= issued:
        raise wrong("expires", "it is not after issued")
    if expires - issued > MAX_LIFETIME:
        raise wrong(
            "expires", f"at most {MAX_LIFETIME.days} days after issued: trust that nobody looks at again is none"
        )
    return document, Dated(milliseconds(issued), milliseconds(expires))


def strict_json(raw: bytes) -> Any:
    """The value that a file spells. Raises Malformed and names the member that is repeated or no whole number."""
    if len(raw) > MAX_FILE:
        raise wrong("", f"the file is longer than {MAX_FILE} bytes")
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_members, parse_float=_Float, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise wrong("", f"no JSON: {error}"[:200]) from error
    _check(value, "", 0)
    return value


def milliseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def moment(text: str, where: str) -> datetime:
    """A time in the one spelling that trust files use."""
    try:
        if _TIME.fullmatch(text):
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise wrong(where, "a time such as 2026-06-01T00:00:00Z expected")


def _moment(document: Section, name: str) -> datetime:
    return moment(document.text(name), name)


def _text(value: object, where: str, pattern: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise wrong(where, f"a text of the form {pattern} expected")
    return value


def _members(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    names = [name for name, _ in pairs]
    return _Repeated(next(name for name in names if names.count(name) > 1))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _check(value: object, where: str, depth: int) -> None:
    """That the whole tree is shallow and has no repeated members and no floats, where nobody takes them as well."""
    if depth > MAX_DEPTH:
        raise wrong(where, f"nested deeper than {MAX_DEPTH}")
    match value:
        case _Repeated(name):
            raise wrong(f"{where}.{name}".strip("."), "stands there twice; remove one")
        case _Float(text):
            raise wrong(where, f"{text[:32]} is no whole number; write one")
        case bool():
            return
        case int() if abs(value) > _MAX_NUMBER:
            raise wrong(where, "a number beyond 2^53")
        case dict():
            for name, inner in value.items():
                _check(inner, f"{where}.{name[:64]}".strip("."), depth + 1)
        case list():
            for index, inner in enumerate(value):
                _check(inner, f"{where}[{index}]", depth + 1)
