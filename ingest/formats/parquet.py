"""Parquet: read to the last page, so that a broken file is known before anything is created.

The file is somebody else's: limits on the footer, page checksums verified where present, no extension
types. It is decoded in this process, with the rights of whoever runs ingest; the gateway decodes in its
sandbox and does not rely on this check.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.errors import BadFile
from ingest.formats.checked import SAMPLE, CheckedFile, Column, whole_file
from ingest.sources.files import SourceFile

_BATCH_ROWS = 1 << 14
_THRIFT_BYTES = 64 << 20  # a footer's strings
_THRIFT_ITEMS = 1 << 20  # its lists: columns times row groups
_REMEDY = "write the file again, or take it out of the directory"


def check(source: SourceFile) -> CheckedFile:
    """Decode every page; sample values; digest the bytes. Raises BadFile naming the file."""
    try:
        with pq.ParquetFile(
            source.path,
            page_checksum_verification=True,
            thrift_string_size_limit=_THRIFT_BYTES,
            thrift_container_size_limit=_THRIFT_ITEMS,
            arrow_extensions_enabled=False,  # type: ignore[call-arg, unused-ignore]
        ) as file:
            columns = _columns(source, file.schema_arrow)
            samples: dict[str, list[str]] = {column.name: [] for column in columns}
            rows = _read_all(file, samples)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadFile("file.parquet", source.path, f"cannot be read as Parquet: {why}", remedy=_REMEDY) from error
    found = {name: tuple(values) for name, values in samples.items()}
    return CheckedFile(source, columns, rows, whole_file(source.path), (), found)


def _read_all(file: Any, samples: dict[str, list[str]]) -> int:
    """Decode everything, one batch at a time; returns the rows. Samples are spread over all batches."""
    expected = max(1, -(-file.metadata.num_rows // _BATCH_ROWS))
    each = max(8, SAMPLE // expected)
    rows = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
        rows += batch.num_rows
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            if len(samples[name]) < SAMPLE:
                samples[name].extend(_sample(array, each))
    if rows != file.metadata.num_rows:
        raise ValueError(f"the footer promises {file.metadata.num_rows} rows, {rows} were read")
    return rows


def _sample(array: Any, count: int) -> Iterator[str]:
    """Up to `count` non-null values as text, evenly spaced."""
    step = max(1, len(array) // count)
    for value in array.take(pa.array(range(0, len(array), step))).to_pylist():
        if isinstance(value, bytes):
            yield value.decode("utf-8", "replace")
        elif value is not None and not isinstance(value, list | dict):
            yield str(value)


def _columns(source: SourceFile, schema: Any) -> tuple[Column, ...]:
    names = list(schema.names)
    if not names:
        raise BadFile("file.columns", source.path, "has no columns", remedy=_REMEDY)
    for name in names:
        if names.count(name) > 1:
            raise BadFile("file.columns", source.path, f"has column {name!r} twice", remedy="rename one of them")
        if not name.strip():
            raise BadFile("file.columns", source.path, "has a column without a name", remedy="name every column")
    return tuple(Column(field.name, type_name(field.type)) for field in schema)


def type_name(kind: Any) -> str:
    """An Arrow type as the contract's word for it."""
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    words = (
        ("boolean", pa.types.is_boolean),
        ("integer", pa.types.is_integer),
        ("number", pa.types.is_floating),
        ("number", pa.types.is_decimal),
        ("date", pa.types.is_date),
        ("timestamp", pa.types.is_timestamp),
        ("binary", pa.types.is_binary),
        ("binary", pa.types.is_large_binary),
        ("binary", pa.types.is_fixed_size_binary),
        ("nested", pa.types.is_nested),
    )
    return next((word for word, matches in words if matches(kind)), "string")
