"""Which bytes of an object are which column (docs/spec/views.md §4): what lineage charges a range read to."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gateway.enforce.plain_types import leaves

# [[name, [[offset, length, cells], ...]], ...]; JSON as it lies in the catalog.
Extents = list[list[Any]]
FOOTER = ""
_TAIL = 8  # footer length and magic
_MAGIC = 4


def whole_object(names: Sequence[str], size: int, cells: int) -> Extents:
    """Every column lies everywhere: row-wise formats, and footers that cannot be believed."""
    return [[name, [[0, size, cells]]] for name in names]


def parquet_extents(
    metadata: pq.FileMetaData, names_leaves: Sequence[tuple[str, int]], size: int, footer_length: int
) -> Extents:
    """Extents by top-level column of a file of `size` bytes whose footer (without tail) has `footer_length`.

    `names_leaves` are the top-level columns in order with their number of leaf columns. A footer whose
    numbers do not fit the file gives `whole_object`: believing it would let a writer hide reads.
    """
    names = [name for name, _ in names_leaves]
    if FOOTER in names or sum(count for _, count in names_leaves) != metadata.num_columns:
        return whole_object(names, size, metadata.num_rows)
    owners = [name for name, count in names_leaves for _ in range(count)]
    found: dict[str, list[list[int]]] = {name: [] for name in names}
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for leaf, owner in enumerate(owners):
            found[owner].append(_chunk(row_group.column(leaf)))
    spans = sorted((offset, offset + length) for extents in found.values() for offset, length, _ in extents)
    footer = size - _TAIL - footer_length
    if not _plausible(spans, footer):
        return whole_object(names, size, metadata.num_rows)
    own = [FOOTER, [[0, _MAGIC, 0], [footer, size - footer, 0]]]
    return [own, *([name, extents] for name, extents in found.items())]


def schema_leaves(schema: pa.Schema) -> list[tuple[str, int]]:
    """Top-level names of an Arrow schema with their number of Parquet leaves."""
    return [(field.name, leaves(field.type)) for field in schema]


def columns_charged(extents: Extents, ranges: Iterable[tuple[int, int]] | None) -> list[str]:
    """The columns a read of the half-open byte `ranges` is charged to; None = the whole object.

    A range is charged to each column it overlaps. A byte that lies in no extent (a page index, a bloom
    filter, padding) may say something about any of them: all are charged. Order is the file's.
    """
    names = [name for name, _ in extents if name != FOOTER]
    if ranges is None:
        return names
    spans = sorted((offset, offset + length, name) for name, parts in extents for offset, length, _ in parts)
    charged: set[str] = set()
    for start, stop in ranges:
        if start >= stop:
            continue
        position = start
        for low, high, name in spans:
            if high <= start or low >= stop:
                continue
            if low > position:
                return names
            position = max(position, high)
            charged.add(name)
        if position < stop:
            return names
    return [name for name in names if name in charged]


def _chunk(column: pq.ColumnChunkMetaData) -> list[int]:
    starts = [column.data_page_offset]
    if column.has_dictionary_page and column.dictionary_page_offset is not None:
        starts.append(column.dictionary_page_offset)
    return [min(starts), column.total_compressed_size, column.num_values]


def _plausible(spans: list[tuple[int, int]], footer: int) -> bool:
    if footer < _MAGIC or any(start < _MAGIC or stop < start or stop > footer for start, stop in spans):
        return False
    return all(before[1] <= after[0] for before, after in pairwise(spans))

