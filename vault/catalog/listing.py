"""LIST: keyset pages in byte order. A page costs its own rows, wherever in the dataset it begins.

Under a delimiter a whole common prefix is stepped over by one seek to the first key after it.

A caller who may not see every key says which it may (`shown`): common prefixes, the end of a page and whether it is
the last are made of those keys alone. Taking the others out afterwards would leave their names in all three.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, bindparam

from vault.catalog.mapping import VERSION
from vault.catalog.rows import VersionRow
from vault.catalog.section import Section, same
from vault.catalog.tables import object_version

_key = object_version.c.key
_LISTED = VERSION.select.where(
    same(object_version, "dataset_id"),
    object_version.c.is_latest.is_(True),
    object_version.c.delete_marker.is_(False),
)
_BATCH = 256
Shown = Callable[[Sequence[VersionRow]], Sequence[VersionRow]]
"""The rows of a batch that the caller may see, in the same order."""


def _statement(*, inclusive: bool, bounded: bool) -> Select[tuple[object, ...]]:
    statement = _LISTED.where(_key >= bindparam("low") if inclusive else _key > bindparam("low"))
    if bounded:
        statement = statement.where(_key < bindparam("high"))
    return statement.order_by(_key).limit(bindparam("limit"))


_PAGES = {
    (inclusive, bounded): _statement(inclusive=inclusive, bounded=bounded)
    for inclusive in (True, False)
    for bounded in (True, False)
}


def after_prefix(prefix: str) -> str | None:
    """The smallest string greater than every string that begins with `prefix`, in code point order, which is UTF-8
    byte order; None when there is none."""
    trimmed = prefix.rstrip("\U0010ffff")
    if not trimmed:
        return None
    following = ord(trimmed[-1]) + 1
    if following == 0xD800:  # surrogates are not characters
        following = 0xE000
    return trimmed[:-1] + chr(following)


@dataclass(frozen=True, slots=True)
class ListPage:
    """`last`: what to pass as `after` for the next page; None when `truncated` is not set."""

    versions: tuple[VersionRow, ...]
    common_prefixes: tuple[str, ...]
    truncated: bool
    last: str | None


class Listing(Section):
    def list_versions_page(
        self, dataset_id: str, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[VersionRow]:
        """Latest living versions whose key begins with `prefix` and is greater than `after`."""
        inclusive = prefix > after
        return self._range(dataset_id, prefix if inclusive else after, inclusive, after_prefix(prefix), limit)

    def list_page(
        self, dataset_id: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000,
        shown: Shown = lambda rows: rows,
    ) -> ListPage:  # fmt: skip
        """`limit` counts keys and common prefixes together, as S3 does; 0 answers an empty, untruncated page."""
        if limit <= 0:
            return ListPage((), (), False, None)
        low, inclusive = (prefix, True) if prefix > after else (after, False)
        given = rolled(after, prefix, delimiter)
        if given is not None and given == after:
            # The previous page ended with this common prefix: everything below it was answered by it.
            following = after_prefix(after)
            if following is None:
                return ListPage((), (), False, None)
            low, inclusive = following, True
        return self._page(dataset_id, (prefix, delimiter), low, inclusive, limit=limit, shown=shown)

    def _page(
        self, dataset_id: str, rolling: tuple[str, str], low: str, inclusive: bool, *, limit: int, shown: Shown
    ) -> ListPage:
        prefix, delimiter = rolling
        high = after_prefix(prefix)
        versions: list[VersionRow] = []
        prefixes: list[str] = []
        last = ""
        while True:
            left = limit - len(versions) - len(prefixes) + 1
            wanted = min(_BATCH, left) if delimiter else left
            batch = self._range(dataset_id, low, inclusive, high, wanted)
            current: str | None = None
            for row in shown(batch):
                if current is not None and row.key.startswith(current):
                    continue
                if len(versions) + len(prefixes) == limit:
                    return ListPage(tuple(versions), tuple(prefixes), True, last)
                current = rolled(row.key, prefix, delimiter)
                if current is None:
                    versions.append(row)
                    last = row.key
                else:
                    prefixes.append(current)
                    last = current
            if len(batch) < wanted:
                return ListPage(tuple(versions), tuple(prefixes), False, None)
            low, inclusive = batch[-1].key, False
            if current is not None and low.startswith(current):
                following = after_prefix(current)
                if following is None:
                    return ListPage(tuple(versions), tuple(prefixes), False, None)
                low, inclusive = following, True

    def _range(self, dataset_id: str, low: str, inclusive: bool, high: str | None, limit: int) -> list[VersionRow]:
        statement = _PAGES[inclusive, high is not None]
        bound = {"high": high} if high is not None else {}
        return self._all(VERSION, statement, dataset_id=dataset_id, low=low, limit=limit, **bound)


def rolled(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix `key` falls under, or None."""
    if not delimiter or not key.startswith(prefix):
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]
