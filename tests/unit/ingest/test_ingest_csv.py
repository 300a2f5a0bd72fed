"""CSV: what is good, what is set aside, what is refused; and that not one byte of a row is lost."""

import hashlib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BadFile
from ingest.formats import csv
from ingest.formats.checked import CheckedFile
from ingest.sources.files import find

GOOD = "".join(f"{n},name{n},{n * 2}\n" for n in range(100))


def _check(tmp_path: Path, text: str | bytes, **options: float) -> CheckedFile:
    path = tmp_path / "part.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return csv.check(find(path)[0], **options)


def _body(checked: CheckedFile) -> bytes:
    return b"".join(checked.content.chunks())


def test_a_good_file_is_taken_byte_for_byte(tmp_path: Path) -> None:
    data = ("id,name,score\r\n" + GOOD.replace("\n", "\r\n")).encode()
    checked = _check(tmp_path, data)
    assert (checked.rows, checked.bad_rows) == (100, ())
    assert [(column.name, column.type) for column in checked.columns] == [
        ("id", "integer"), ("name", "string"), ("score", "integer"),
    ]  # fmt: skip
    assert _body(checked) == data
    assert checked.content.sha256 == hashlib.sha256(data).hexdigest()
    assert checked.content.md5 == hashlib.md5(data).hexdigest()


BAD_ROWS = [
    ("1,2\n", "2 columns where the header has 3"),
    ("1,2,3,4\n", "4 columns where the header has 3"),
    ('1,"open,3\n', "a quote is opened here and not closed"),
    ('1,"a"b,3\n', "does not parse"),
    (b"1,\xff\xfe,3\n", "not UTF-8 at byte 3"),
    ("1,\x00,3\n", "a NUL byte"),
    ("1,a\rb,3\n", "a line break inside a field|does not parse"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_row_that_does_not_parse_is_set_aside_with_line_and_reason(
    tmp_path: Path, row: str | bytes, reason: str
) -> None:
    raw = row if isinstance(row, bytes) else row.encode()
    head = b"id,name,score\n" + GOOD.encode()
    checked = _check(tmp_path, head + raw + GOOD.encode())
    assert checked.rows == 200
    (bad,) = checked.bad_rows
    assert bad.line == 102
    assert any(part in bad.reason for part in reason.split("|"))
    whole = checked.source.path.read_bytes()
    assert whole[bad.offset : bad.offset + bad.length] == raw
    assert _body(checked) == head + GOOD.encode()


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("1,2,3\n4,5\n", 3),
        (GOOD + "1,2\n3,4\n5,6\n" + GOOD, 102),
        (GOOD + "id,name,mail,score\n" + "1,a,b,2\n" * 50, 102),
        ("1,2\n" * 3 + GOOD, 2),
    ],
)
def test_columns_that_change_are_refused_naming_file_line_and_fix(tmp_path: Path, body: str, line: int) -> None:
    with pytest.raises(BadFile, match=r"file\.columns-change") as caught:
        _check(tmp_path, "id,name,score\n" + body)
    assert caught.value.line == line
    assert "part.csv" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"a,,c\n1,2,3\n", "without a name"),
        (b"a,b,a\n1,2,3\n", "twice"),
        (b"\xff\xfea,b\n", "not UTF-8"),
        ("a,b\n" + "é,1\n" * 30, "not UTF-8"),
    ],
)
def test_a_file_without_a_usable_header_or_encoding_is_refused(tmp_path: Path, text: bytes | str, why: str) -> None:
    raw = text if isinstance(text, bytes) else text.encode("latin1")
    with pytest.raises(BadFile, match=why):
        _check(tmp_path, raw)


def test_quoted_line_breaks_belong_to_the_row(tmp_path: Path) -> None:
    data = 'id,note\n1,"two\nlines, and a ""quote"""\n2,plain\n'
    checked = _check(tmp_path, data)
    assert checked.rows == 2
    assert checked.samples["note"][0] == 'two\nlines, and a "quote"'


def test_a_stray_quote_takes_no_other_row_with_it(tmp_path: Path) -> None:
    checked = _check(tmp_path, "id,name,score\n" + GOOD + '5" pipe,x,1\n' + GOOD)
    assert (checked.rows, len(checked.bad_rows)) == (200, 1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_headers_delimiter_is_used(tmp_path: Path, delimiter: str) -> None:
    checked = _check(tmp_path, delimiter.join(["a", "b"]) + "\n" + delimiter.join(["1", "x"]) + "\n")
    assert [column.name for column in checked.columns] == ["a", "b"]


def test_a_bom_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert _check(tmp_path, b"\xef\xbb\xbfid,x\n1,2\n").columns[0].name == "id"


def test_leading_zeros_are_text(tmp_path: Path) -> None:
    checked = _check(tmp_path, "plz,n\n01067,1\n10115,2\n")
    assert [column.type for column in checked.columns] == ["string", "integer"]


def test_zero_percent_refuses_the_first_bad_row(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="line 102"):
        _check(tmp_path, "id,name,score\n" + GOOD + "1\n", bad_limit=0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b"1,a,2\n", b"1,a\n", b'1,"a\n', b'"x\ny",2,3\n', b"\xff,1,2\n", b"\n"]), max_size=40))
def test_every_byte_is_either_written_or_set_aside(tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]) -> None:
    data = b"a,b,c\n" + b"".join(rows)
    try:
        checked = _check(tmp_path_factory.mktemp("csv"), data, bad_limit=1.0)
    except BadFile as refused:
        if refused.code != "file.columns-change":
            raise
        return
    kept = sorted([*checked.content.spans, *((b.offset, b.offset + b.length) for b in checked.bad_rows)])
    assert kept[0][0] == 0
    assert kept[-1][1] == len(data)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(kept))
