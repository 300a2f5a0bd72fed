"""Parquet pages, decompressed one by one, by a reader of our own (thrift compact protocol, PageHeader only).

A decoded column shows what a reader is shown; a page shows what lies in the file: unused dictionary entries, rows
that no row count reaches. Source: apache/parquet-format, parquet.thrift (PageHeader) and the thrift compact spec.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

_DATA_V1, _DICTIONARY, _DATA_V2 = 0, 2, 3
_MAX_PAGE = 256 << 20


def pages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset of the page's header, decompressed page) of every page of every column chunk."""
    metadata = pq.ParquetFile(pa.BufferReader(data), arrow_extensions_enabled=False).metadata
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            starts = [column.data_page_offset]
            if column.has_dictionary_page and column.dictionary_page_offset is not None:
                starts.append(column.dictionary_page_offset)
            yield from _chunk(data, min(starts), column.total_compressed_size, column.compression)


def _chunk(data: bytes, start: int, length: int, codec: str) -> Iterator[tuple[int, bytes]]:
    at, end = start, start + length
    while at < end:
        header, body = _struct(data, at)
        packed, full = _int(header[3]), _int(header[2])
        stored = data[body : body + packed]
        yield at, _decompress(stored, full, codec, header)
        at = body + packed


def _decompress(stored: bytes, full: int, codec: str, header: dict[int, object]) -> bytes:
    if codec == "UNCOMPRESSED":
        return stored
    if not 0 <= full <= _MAX_PAGE:
        raise ValueError("page size")
    if header[1] == _DATA_V2:
        v2 = header[8]
        assert isinstance(v2, dict)
        levels = _int(v2.get(5, 0)) + _int(v2.get(6, 0))
        if v2.get(7, True) is False:
            return stored
        return stored[:levels] + _inflate(stored[levels:], full - levels, codec)
    return _inflate(stored, full, codec)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _inflate(packed: bytes, full: int, codec: str) -> bytes:
    if not full:
        return b""
    name = {"LZ4": "lz4_raw", "LZ4_RAW": "lz4_raw"}.get(codec, codec.lower())
    return bytes(pa.Codec(name).decompress(packed, decompressed_size=full, asbytes=True))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _struct(data: bytes, at: int) -> tuple[dict[int, object], int]:
    """A thrift compact struct as {field id: value}; (it, offset behind it)."""
    found: dict[int, object] = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return found, at
        if head >> 4:
            field += head >> 4
        else:
            field, at = _integer(data, at)
        found[field], at = _value(data, at, head & 0x0F)


def _value(data: bytes, at: int, kind: int) -> tuple[object, int]:
    if kind in {1, 2}:
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in {4, 5, 6}:
        return _integer(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return data[at : at + length], at + length
    if kind == 12:
        return _struct(data, at)
    if kind in {9, 10}:
        return _list(data, at)
    raise ValueError("thrift type")


def _list(data: bytes, at: int) -> tuple[list[object], int]:
    head = data[at]
    at += 1
    count = head >> 4
    if count == 15:
        count, at = _varint(data, at)
    items = []
    for _ in range(count):
        item, at = _value(data, at, head & 0x0F)
        items.append(item)
    return items, at
