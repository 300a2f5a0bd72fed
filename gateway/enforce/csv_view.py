"""A CSV object under a plan (docs/spec/views.md §3): every cell is text, the output is written anew.

pyarrow parses (bounded: one block of 1 MiB at a time), because its parser is fast and knows quotes over
line ends; the header is read here, so that names are exact and a hostile header costs at most one block.
"""

import csv
import io
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gateway.enforce.actions import Masker
from gateway.enforce.columns import whole_object
from gateway.enforce.errors import Undecodable
from gateway.enforce.limits import Limits, Meter
from gateway.enforce.plan import Effect
from gateway.enforce.rendered import Rendered, Source, SourceFile

DELIMITERS = (",", ";", "\t", "|")
_BOM = b"\xef\xbb\xbf"
_NEEDS_QUOTES = r'[",\r\n]'


def describe_csv(source: Source, limits: Limits) -> Rendered:
    """Names from the header line; every column lies in the whole object, since rows interleave them.

    The number of cells is not known without parsing the rows: it is given as 0.
    """
    names, _, _ = _header(source, limits)
    return Rendered(rows=0, source_columns=whole_object(names, source.size, 0))


def render_csv(
    source: Source,
    effect: Effect,
    masker: Masker,
    send: Callable[[bytes], None],
    *,
    limits: Limits,
    progress: Callable[[int], None] = lambda _: None,
) -> Rendered:
    """Write the view of `source` under `effect` to `send`. Raises Undecodable with a csv reason."""
    names, delimiter, start = _header(source, limits)
    shown = [name for name in names if effect.rule(name).action != "drop"]
    if not shown:
        raise Undecodable("columns.none")
    meter = Meter(limits, source.size)
    written = _counted(send)
    written(_lines([pa.array([name]) for name in shown]))
    file = SourceFile(source, start)
    for batch in _batches(file, names, delimiter, limits):
        meter.charge(batch.num_rows, batch.nbytes)
        columns = []
        for name in shown:
            rule = effect.rule(name)
            values = batch.column(name)
            masked = masker.apply(rule, values) if rule.decodes else masker.constant(rule, pa.string(), len(values))
            columns.append(masked)
        if batch.num_rows:
            written(_lines(columns))
        progress(min(99, (start + file.tell()) * 100 // max(1, source.size)))
    described = whole_object(names, source.size, meter.rows)
    return Rendered(meter.rows, whole_object(shown, written(b""), meter.rows), described)


def _counted(send: Callable[[bytes], None]) -> Callable[[bytes], int]:
    total = 0

    def write(data: bytes) -> int:
        nonlocal total
        if data:
            send(data)
        total += len(data)
        return total

    return write


def _header(source: Source, limits: Limits) -> tuple[list[str], str, int]:
    """(names, delimiter, offset of the first row). Raises Undecodable."""
    head = source.read_at(0, min(source.size, limits.csv_row))
    skip = len(_BOM) if head.startswith(_BOM) else 0
    end = _line_end(head, skip)
    if end is None:
        if len(head) < source.size:
            raise Undecodable("csv.row-too-long")
        end = len(head)
    try:
        line = head[skip:end].decode()
    except UnicodeDecodeError:
        raise Undecodable("csv.encoding") from None
    delimiter = _delimiter(line)
    try:
        rows = list(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        raise Undecodable("csv.malformed") from None
    if len(rows) != 1 or not rows[0]:
        raise Undecodable("csv.malformed")
    names = rows[0]
    if len(names) > limits.columns:
        raise Undecodable("columns.limit")
    if len(set(names)) != len(names):
        raise Undecodable("columns.duplicate")
    return names, delimiter, end


def _line_end(head: bytes, start: int) -> int | None:
    """Offset behind the first line end that is not inside quotes."""
    quoted = False
    for at in range(start, len(head)):
        byte = head[at]
        if byte == 0x22:
            quoted = not quoted
        elif byte == 0x0A and not quoted:
            return at + 1
        elif byte == 0x0D and not quoted:
            return at + 2 if head[at + 1 : at + 2] == b"\n" else at + 1
    return None


def _delimiter(line: str) -> str:
    bare = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def _batches(file: SourceFile, names: list[str], delimiter: str, limits: Limits) -> Iterator[pa.RecordBatch]:
    if not file.size():
        return
    uneven = False

    def refuse(_: pacsv.InvalidRow) -> str:
        nonlocal uneven
        uneven = True
        return "error"

    try:
        yield from pacsv.open_csv(
            pa.PythonFile(file, mode="r"),
            read_options=pacsv.ReadOptions(use_threads=False, block_size=limits.csv_row, column_names=names),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse, ignore_empty_lines=True
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True,
                quoted_strings_can_be_null=True, check_utf8=True,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid as error:
        # The message quotes the row; only its kind may go further.
        raise Undecodable("csv.columns" if uneven else _kind(str(error))) from None


def _kind(message: str) -> str:
    if "straddling" in message:
        return "csv.row-too-long"
    return "csv.encoding" if "UTF8" in message else "csv.malformed"


def _lines(columns: list[pa.Array]) -> bytes:
    """Rows as CSV text with minimal quotes; made of visible values only, and cut to them."""
    cells = [_quoted(column) for column in columns]
    # A line that is empty would be skipped by readers: a lone null is written as a quoted empty cell.
    absent = '""' if len(columns) == 1 else ""
    rows = pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement=absent)
    lines = pc.binary_join_element_wise(rows, "\n", "")
    # A kernel's fresh result lies in one piece from its start: the buffer, cut to the lines, is the text.
    total = pc.sum(pc.binary_length(lines)).as_py()
    return bytes(memoryview(lines.buffers()[2])[:total])


def _quoted(column: pa.Array) -> pa.Array:
    needs = pc.match_substring_regex(column, _NEEDS_QUOTES)
    if not pc.any(needs).as_py():
        return column
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
    return pc.if_else(needs, quoted, column)
