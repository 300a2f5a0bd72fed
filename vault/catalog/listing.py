"""LIST: keyset pages in byte order. A page costs its own rows, wherever in the dataset it begins.

Under a delimiter a whole common prefix is stepped over by one seek to the first key after it.
"""

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
        self, dataset_id: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> ListPage:
        """`limit` counts keys and common prefixes together, as S3 does; 0 answers an empty, untruncated page."""
        if limit <= 0:
            return ListPage((), (), False, None)
        if not delimiter:
            found = self.list_versions_page(dataset_id, prefix, after, limit + 1)
            page = found[:limit]
            more = len(found) > limit
            return ListPage(tuple(page), (), more, page[-1].key if more else None)
        return self._rolled_up(dataset_id, prefix, delimiter, after, limit)

    def _rolled_up(self, dataset_id: str, prefix: str, delimiter: str, after: str, limit: int) -> ListPage:
        high = after_prefix(prefix)
        low, inclusive = (prefix, True) if prefix > after else (after, False)
        given = _rolled(after, prefix, delimiter)
        if given is not None and given == after:
            # The previous page ended with this common prefix: everything below it was answered by it.
            following = after_prefix(after)
            if following is None:
                return ListPage((), (), False, None)
            low, inclusive = following, True
        versions: list[VersionRow] = []
        prefixes: list[str] = []
        last = ""
        while True:
            wanted = min(_BATCH, limit - len(versions) - len(prefixes) + 1)
            batch = self._range(dataset_id, low, inclusive, high, wanted)
            current: str | None = None
            for row in batch:
                if current is not None and row.key.startswith(current):
                    continue
                if len(versions) + len(prefixes) == limit:
                    return ListPage(tuple(versions), tuple(prefixes), True, last)
                current = _rolled(row.key, prefix, delimiter)
                if current is None:
                    versions.append(row)
                    last = row.key
                else:
                    prefixes.append(current)
                    last = current
            if len(batch) < wanted:
                return ListPage(tuple(versions), tuple(prefixes), False, None)
            low, inclusive = batch[-1].key, False
            if current is not None:
                following = after_prefix(current)
                if following is None:
                    return ListPage(tuple(versions), tuple(prefixes), False, None)
                low, inclusive = following, True

    def _range(self, dataset_id: str, low: str, inclusive: bool, high: str | None, limit: int) -> list[VersionRow]:
        statement = _PAGES[inclusive, high is not None]
        bound = {"high": high} if high is not None else {}
        return self._all(VERSION, statement, dataset_id=dataset_id, low=low, limit=limit, **bound)


def _rolled(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix `key` falls under, or None."""
    if not key.startswith(prefix):
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]
