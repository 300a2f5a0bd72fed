"""A Parquet object under a plan: decoded, masked, written anew (docs/spec/views.md §3).

Nothing of the source file is copied: not pages, not the schema's metadata, not statistics, not its layout.
Memory is bounded by one row group of the output (64 MiB of masked columns) and the decoder's own pages.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from gateway.enforce.actions import Masker
from gateway.enforce.columns import Extents, parquet_extents, schema_leaves
from gateway.enforce.errors import Undecodable
from gateway.enforce.limits import MIB, Limits, Meter
from gateway.enforce.plain_types import plain
from gateway.enforce.plan import Effect
from gateway.enforce.rendered import Rendered, SinkFile, Source, SourceFile

SLICE_ROWS = 8192
GROUP_ROWS = 16 * SLICE_ROWS
GROUP_BYTES = 64 * MIB


def open_parquet(source: Source, limits: Limits) -> pq.ParquetFile:
    """The reader with every guard on. Raises Undecodable for what the limits or names refuse; decoder errors pass."""
    file = pq.ParquetFile(
        pa.PythonFile(SourceFile(source), mode="r"),
        buffer_size=MIB,           # column chunks are read in pieces, not whole
        pre_buffer=False,
        thrift_string_size_limit=limits.thrift_string,
        thrift_container_size_limit=limits.thrift_container,
        schema_depth_limit=limits.schema_depth,
        page_checksum_verification=True,
        arrow_extensions_enabled=False,  # CVE-2023-47248: extension types ran code of the file
    )  # fmt: skip
    if file.metadata.num_columns > limits.columns:
        raise Undecodable("columns.limit")
    if file.metadata.num_row_groups > limits.row_groups:
        raise Undecodable("groups.limit")
    names = file.schema_arrow.names
    if len(set(names)) != len(names):
        raise Undecodable("columns.duplicate")
    return file


def describe_parquet(source: Source, limits: Limits) -> Rendered:
    """Column extents of the object, from its footer alone."""
    file = open_parquet(source, limits)
    return Rendered(rows=file.metadata.num_rows, source_columns=_extents(file, source.size))


def render_parquet(
    source: Source,
    effect: Effect,
    masker: Masker,
    send: Callable[[bytes], None],
    *,
    limits: Limits,
    progress: Callable[[int], None] = lambda _: None,
) -> Rendered:
    """Write the view of `source` under `effect` to `send`. Raises Undecodable; decoder errors pass as they are."""
    file = open_parquet(source, limits)
    described = _extents(file, source.size)
    fields = [field for field in file.schema_arrow if effect.rule(field.name).action != "drop"]
    if not fields:
        raise Undecodable("columns.none")
    schema = pa.schema([pa.field(f.name, masker.output_type(effect.rule(f.name), f.type)) for f in fields])
    sink = SinkFile(send)
    written: list[pq.FileMetaData] = []
    total = max(1, file.metadata.num_rows)
    meter = Meter(limits, source.size)
    writer = pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"), schema, version="2.6", data_page_version="1.0", compression="zstd",
        compression_level=1, write_page_checksum=True, store_schema=False, metadata_collector=written,
    )  # fmt: skip
    with writer:
        for group in _groups(_masked(file, schema, effect=effect, masker=masker, meter=meter), schema):
            writer.write_table(group, row_group_size=GROUP_ROWS)
            progress(min(99, meter.rows * 100 // total))
    footer_length = int.from_bytes(sink.tail[:4], "little")
    extents = parquet_extents(written[0], schema_leaves(schema), sink.tell(), footer_length)
    return Rendered(rows=meter.rows, columns=extents, source_columns=described)


def _extents(file: pq.ParquetFile, size: int) -> Extents:
    metadata = file.metadata
    return parquet_extents(metadata, schema_leaves(file.schema_arrow), size, metadata.serialized_size)


def _masked(
    file: pq.ParquetFile, schema: pa.Schema, *, effect: Effect, masker: Masker, meter: Meter
) -> Iterator[pa.Table]:
    """Masked batches in the order of the file. Columns whose values are not needed are never decoded."""
    fields = [file.schema_arrow.field(name) for name in schema.names]
    decoded = [field.name for field in fields if effect.rule(field.name).decodes]
    for values, rows in _batches(file, decoded, meter):
        columns = []
        for field in fields:
            rule = effect.rule(field.name)
            if rule.decodes and values is not None:
                column = plain(values.column(field.name))
                # Decoded, a dictionary of one long text is as many texts as rows: only now is its size known.
                meter.charge(0, column.nbytes)
                columns.append(masker.apply(rule, column))
            else:
                columns.append(masker.constant(rule, field.type, rows))
        yield pa.Table.from_arrays(columns, schema=schema)


def _batches(file: pq.ParquetFile, decoded: list[str], meter: Meter) -> Iterator[tuple[pa.RecordBatch | None, int]]:
    if not decoded:
        left = file.metadata.num_rows
        while left > 0:
            rows = min(left, SLICE_ROWS)
            meter.charge(rows, rows)
            yield None, rows
            left -= rows
        return
    for batch in file.iter_batches(batch_size=SLICE_ROWS, columns=decoded, use_threads=False):
        meter.charge(batch.num_rows, 0)
        batch.validate(full=True)  # text that is not UTF-8, offsets that run out of their buffer
        yield batch, batch.num_rows


def _groups(tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Regroup by rows and masked bytes alone, so that the source's own layout leaves no trace."""
    group: list[pa.Table] = []
    for part in _slices(tables, schema):
        group.append(part)
        if sum(p.num_rows for p in group) >= GROUP_ROWS or sum(p.nbytes for p in group) >= GROUP_BYTES:
            yield pa.concat_tables(group).combine_chunks()
            group = []
    if group:
        yield pa.concat_tables(group).combine_chunks()


def _slices(tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Exactly `SLICE_ROWS` rows each, the last one shorter; each in one chunk of its own."""
    waiting = schema.empty_table()
    for table in tables:
        waiting = pa.concat_tables([waiting, table])
        while waiting.num_rows >= SLICE_ROWS:
            yield waiting.slice(0, SLICE_ROWS).combine_chunks()
            waiting = waiting.slice(SLICE_ROWS)
    if waiting.num_rows:
        yield waiting.combine_chunks()
