"""LIST of versions: keyset pages, keys in byte order, within a key the newest first. Only living rows are walked,
however often a key was overwritten.

As in `vault.catalog.listing` the caller says which rows may be shown, and a common prefix is stepped over by one seek.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam

from vault.catalog.listing import Shown, after_prefix, rolled
from vault.catalog.mapping import VERSION
from vault.catalog.rows import VersionRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import object_version

_BATCH = 256
_key, _sequence = object_version.c.key, object_version.c.sequence
_LIVE = VERSION.select.where(same(object_version, "dataset_id"), object_version.c.state == literal("live"))
_OLDER = (
    _LIVE.where(_key == bindparam("key"), _sequence < bindparam("before"))
    .order_by(_sequence.desc())
    .limit(bindparam("limit"))
)
_PLACE = VERSION.select.where(same(object_version, "dataset_id", "version_id"))
_NULL = _LIVE.where(_key == bindparam("key"), object_version.c.is_null.is_(True))
NEWEST = (1 << 63) - 1


def _following(*, inclusive: bool, bounded: bool) -> Select[Any]:
    statement = _LIVE.where(_key >= bindparam("low") if inclusive else _key > bindparam("low"))
    if bounded:
        statement = statement.where(_key < bindparam("high"))
    return statement.order_by(_key, _sequence.desc()).limit(bindparam("limit"))


_PAGES = {(i, b): _following(inclusive=i, bounded=b) for i in (True, False) for b in (True, False)}


@dataclass(frozen=True, slots=True)
class VersionPage:
    """`last_key` and `last_version` (a row's id; None where the last line was a prefix) continue a truncated page."""

    versions: tuple[VersionRow, ...]
    common_prefixes: tuple[str, ...]
    truncated: bool
    last_key: str | None = None
    last: VersionRow | None = None


@dataclass(slots=True)
class _Cursor:
    """What follows: what is older than `before` of `key` (while `before` is set), then the keys from `low` on."""

    key: str
    before: int | None
    low: str
    inclusive: bool


class History(Section):
    def sequence_of(self, dataset_id: str, key: str, version_id: str) -> int | None:
        """Where in the key's history a version stands or stood; None for one that never was. "null" is understood."""
        if version_id == "null":
            row = self._find(VERSION, _NULL, dataset_id=dataset_id, key=key)
            # Gone since the last page: the key begins anew, which repeats lines and leaves none out.
            return NEWEST if row is None else row.sequence
        row = self._find(VERSION, _PLACE, dataset_id=dataset_id, version_id=version_id)
        return None if row is None or row.key != key else row.sequence

    def version_page(
        self, dataset_id: str, *, prefix: str = "", delimiter: str = "", after_key: str = "",
        before: int | None = None, limit: int = 1000, shown: Shown = lambda rows: rows,
    ) -> VersionPage:  # fmt: skip
        """What follows `after_key`: with `before`, its versions older than that sequence first. `limit` counts versions
        and common prefixes together; 0 answers an empty, untruncated page."""
        if limit <= 0:
            return VersionPage((), (), False)
        cursor = _start(prefix, delimiter, after_key, before)
        if cursor is None:
            return VersionPage((), (), False)
        high = after_prefix(prefix)
        versions: list[VersionRow] = []
        prefixes: list[str] = []
        last: tuple[str | None, VersionRow | None] = (None, None)
        while True:
            wanted = min(_BATCH, limit - len(versions) - len(prefixes) + 1)
            batch = self._batch(dataset_id, cursor, high, wanted)
            current: str | None = None
            for row in shown(batch):
                if current is not None and row.key.startswith(current):
                    continue
                if len(versions) + len(prefixes) == limit:
                    return VersionPage(tuple(versions), tuple(prefixes), True, *last)
                current = rolled(row.key, prefix, delimiter)
                if current is None:
                    versions.append(row)
                    last = row.key, row
                else:
                    prefixes.append(current)
                    last = current, None
            following = _advance(cursor, batch, wanted, current)
            if following is None:
                return VersionPage(tuple(versions), tuple(prefixes), False)
            cursor = following

    def _batch(self, dataset_id: str, cursor: _Cursor, high: str | None, limit: int) -> Sequence[VersionRow]:
        if cursor.before is not None:
            return self._all(
                VERSION, _OLDER, dataset_id=dataset_id, key=cursor.key, before=cursor.before, limit=limit
            )
        bound = {"high": high} if high is not None else {}
        statement = _PAGES[cursor.inclusive, high is not None]
        return self._all(VERSION, statement, dataset_id=dataset_id, low=cursor.low, limit=limit, **bound)


def _start(prefix: str, delimiter: str, after_key: str, before: int | None) -> _Cursor | None:
    if before is not None and after_key.startswith(prefix):
        return _Cursor(after_key, before, after_key, False)
    low, inclusive = (prefix, True) if prefix > after_key else (after_key, False)
    given = rolled(after_key, prefix, delimiter)
    if given is not None and given == after_key:
        following = after_prefix(after_key)
        return None if following is None else _Cursor("", None, following, True)
    return _Cursor("", None, low, inclusive)


def _advance(cursor: _Cursor, batch: Sequence[VersionRow], wanted: int, current: str | None) -> _Cursor | None:
    """Where the next batch begins; None at the end."""
    if len(batch) < wanted:
        return None if cursor.before is None else _Cursor("", None, cursor.key, False)
    end = batch[-1]
    if current is not None and end.key.startswith(current):
        following = after_prefix(current)
        return None if following is None else _Cursor("", None, following, True)
    return _Cursor(end.key, end.sequence, end.key, False)
