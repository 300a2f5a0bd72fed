"""CSV: every record read once, bad rows set aside with line and reason, changed columns refused.

Strict RFC 4180 with `,`, `;`, tab or `|`: parsers that guess differently about a stray quote would see
different rows, and so different people, in one file.

A row of another width is a bad row while it is the exception. When three in a row have one other width, or
more than `bad_limit` of all rows are bad, the file's columns changed (two files glued together, an export
cut in half) and quarantine would hide that: the file is refused, naming the line where it begins.
"""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ingest.errors import BadFile
from ingest.formats.checked import SAMPLE, BadRow, CheckedFile, Column, Digests
from ingest.formats.csv_types import infer
from ingest.sources.files import SourceFile

BAD_LIMIT = 0.05  # share of bad rows above which the file is refused
_LINE_BYTES = 8 << 20
_RECORD_LINES = 100  # a quoted field may span so many lines; beyond that its quote was never closed
_SAME_WIDTH_RUN = 3
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Record:
    """Lines that belong together, and their fields or the reason why there are none."""

    line: int
    offset: int
    data: bytes
    fields: list[str] | None
    reason: str = ""


@dataclass(slots=True)
class _Tally:
    """What has been seen of the body so far."""

    digests: Digests = field(default_factory=Digests)
    spans: list[tuple[int, int]] = field(default_factory=list)
    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    run: list[tuple[int, int]] = field(default_factory=list)  # (line, width) of wrong rows in succession
    samples: list[list[str]] = field(default_factory=list)

    def keep(self, record: _Record) -> None:
        """The record's bytes go into the object."""
        self.digests.update(record.data)
        start, stop = record.offset, record.offset + len(record.data)
        if self.spans and self.spans[-1][1] == start:
            self.spans[-1] = (self.spans[-1][0], stop)
        else:
            self.spans.append((start, stop))

    def set_aside(self, record: _Record, reason: str) -> None:
        self.bad.append(BadRow(record.line, record.offset, len(record.data), reason))


def check(source: SourceFile, *, bad_limit: float = BAD_LIMIT) -> CheckedFile:
    """Read the file to its end. Raises BadFile naming file, line and fix."""
    with source.path.open("rb") as file:
        header, delimiter, names = _header(source, file)
        tally = _Tally(samples=[[] for _ in names])
        tally.keep(header)
        for record in _records(source, file, header, delimiter):
            _take(source, tally, record, names)
    if len(tally.bad) > bad_limit * (tally.rows + len(tally.bad)):
        raise _too_many(source, tally)
    columns = tuple(Column(name, infer(values)) for name, values in zip(names, tally.samples, strict=True))
    samples = {name: tuple(values) for name, values in zip(names, tally.samples, strict=True)}
    content = tally.digests.content(source.path, tuple(tally.spans))
    return CheckedFile(source, columns, tally.rows, content, tuple(tally.bad), samples)


def _take(source: SourceFile, tally: _Tally, record: _Record, names: list[str]) -> None:
    """Count one record: good, blank, or bad."""
    fields = record.fields
    if fields is None:
        tally.set_aside(record, record.reason)
        tally.run.clear()
    elif fields in ([], [""]) and len(names) > 1:
        tally.keep(record)  # blank lines mean nothing to any reader
    elif len(fields) != len(names):
        tally.set_aside(record, f"{len(fields)} columns where the header has {len(names)}")
        tally.run.append((record.line, len(fields)))
        _refuse_new_width(source, tally, names)
    else:
        tally.run.clear()
        tally.keep(record)
        tally.rows += 1
        _sample(tally, fields)


def _sample(tally: _Tally, fields: list[str]) -> None:
    """The first values, then ever fewer of the rest, in place of older ones: spread over the file, no randomness."""
    for values, value in zip(tally.samples, fields, strict=True):
        if not value:
            continue
        if len(values) < SAMPLE:
            values.append(value)
        elif tally.rows % 97 == 0:
            values[(tally.rows // 97) % SAMPLE] = value


def _refuse_new_width(source: SourceFile, tally: _Tally, names: list[str]) -> None:
    last = tally.run[-_SAME_WIDTH_RUN:]
    if len(last) == _SAME_WIDTH_RUN and len({width for _, width in last}) == 1:
        line, width = last[0]
        raise BadFile(
            "file.columns-change",
            source.path,
            f"the columns change here: {width} from this line on, {len(names)} in the header",
            line=line,
            remedy="split the file where its columns change, or repair the export",
        )


def _too_many(source: SourceFile, tally: _Tally) -> BadFile:
    first, total = tally.bad[0], tally.rows + len(tally.bad)
    code = "file.columns-change" if "columns where" in first.reason else "file.csv"
    said = f"{first.reason}; {len(tally.bad)} of {total} rows are bad, too many to set aside"
    remedy = "repair these rows so that each has the header's columns, or allow more with --bad-rows PERCENT"
    if "UTF-8" in first.reason:
        remedy = "convert the file first, for example: iconv -f latin1 -t utf-8"
    return BadFile(code, source.path, said, line=first.line, remedy=remedy)


def _header(source: SourceFile, file: BinaryIO) -> tuple[_Record, str, list[str]]:
    """The header record, the delimiter it uses, and the column names. Raises BadFile."""
    data = file.readline(_LINE_BYTES)
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        remedy = "convert the file first, for example: iconv -f latin1 -t utf-8"
        raise BadFile("file.csv", source.path, "the header is not UTF-8", line=1, remedy=remedy) from error
    delimiter = max(",;\t|", key=text.count)
    names, reason = _parse(text, delimiter)
    remedy = "the first line must name the columns"
    if names is None or not text.strip():
        raise BadFile("file.csv", source.path, f"no header: {reason or 'the file is empty'}", line=1, remedy=remedy)
    for name in names:
        if not name.strip():
            raise BadFile("file.columns", source.path, "a column without a name", line=1, remedy=remedy)
        if names.count(name) > 1:
            raise BadFile("file.columns", source.path, f"column {name!r} twice", line=1, remedy="rename one of them")
    return _Record(1, 0, data, names), delimiter, names


def _records(source: SourceFile, file: BinaryIO, header: _Record, delimiter: str) -> Iterator[_Record]:
    """Every record after the header. A line whose quotes do not balance takes in the next ones; if that makes
    no record, only its first line is bad and the others are read again on their own."""
    waiting: deque[_Line] = deque()
    lines = _lines(source, file, offset=len(header.data))
    while True:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        if line.data.count(b'"') % 2 == 0:
            yield _record([line], delimiter)
            continue
        group = [line]
        while len(group) < _RECORD_LINES:
            more = waiting.popleft() if waiting else next(lines, None)
            if more is None:
                break
            group.append(more)
            if more.data.count(b'"') % 2:
                break
        whole = _record(group, delimiter)
        if whole.fields is not None and len(whole.fields) == len(header.fields or ()):
            yield whole
        else:
            yield _Record(line.number, line.offset, line.data, None, "a quote is opened here and not closed")
            waiting.extendleft(reversed(group[1:]))


def _record(group: list[_Line], delimiter: str) -> _Record:
    first, data = group[0], b"".join(line.data for line in group)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _Record(first.number, first.offset, data, None, f"not UTF-8 at byte {error.start + 1} of the row")
    if "\x00" in text:
        return _Record(first.number, first.offset, data, None, "a NUL byte")
    fields, reason = _parse(text, delimiter)
    return _Record(first.number, first.offset, data, fields, reason)


def _parse(text: str, delimiter: str) -> tuple[list[str] | None, str]:
    """One record's fields, or None and why. Strict: `"abc"def` is an error and not `abcdef`."""
    if '"' not in text:  # most rows: a split says the same, four times as fast
        line = text.removesuffix("\n").removesuffix("\r")
        if "\r" in line or "\n" in line:
            return None, "a line break inside a field without quotes"
        return line.split(delimiter), ""
    try:
        rows = list(csv.reader((text,), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return None, f"does not parse: {error}"
    if len(rows) > 1:
        return None, "a line break inside a field without quotes"
    return (rows[0] if rows else []), ""


def _lines(source: SourceFile, file: BinaryIO, *, offset: int) -> Iterator[_Line]:
    number = 1
    while data := file.readline(_LINE_BYTES):
        number += 1
        if len(data) == _LINE_BYTES and not data.endswith(b"\n"):
            raise BadFile(
                "file.csv", source.path, f"a line of more than {_LINE_BYTES >> 20} MiB", line=number,
                remedy="is this CSV? its lines must end with a line feed",
            )  # fmt: skip
        yield _Line(number, offset, data)
        offset += len(data)
