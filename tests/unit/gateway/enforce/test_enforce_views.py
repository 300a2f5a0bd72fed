import csv
import datetime as dt
import io
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from gateway.enforce import parquet_view
from gateway.enforce.actions import Masker
from gateway.enforce.columns import FOOTER, columns_charged, parquet_extents, schema_leaves, whole_object
from gateway.enforce.csv_view import render_csv
from gateway.enforce.errors import Undecodable
from gateway.enforce.limits import Limits
from gateway.enforce.parquet_view import describe_parquet, render_parquet
from gateway.enforce.plan import parse_effect
from gateway.enforce.rendered import Rendered
from gateway.enforce.sniff import format_of
from tests.fakes.canary import CanaryScanner
from tests.fakes.sealed_bodies import PlainSource, columns

KEY = bytes(range(32))
COUNT = 2000
EMAILS = [f"canary{i:05}@example.org" for i in range(COUNT)]
SCANNER = CanaryScanner(EMAILS)


def written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def view(data: bytes, effect: dict[str, object], limits: Limits | None = None) -> tuple[bytes, Rendered]:
    out = bytearray()
    render = render_parquet if data[:4] == b"PAR1" else render_csv
    found = render(PlainSource(data), parse_effect(effect), Masker(KEY), out.extend, limits=limits or Limits())
    return bytes(out), found


def shown(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))


MASKED = [
    columns(email="drop", n="keep"), columns(email="null", n="keep"), columns(email="mask-to-default", n="keep"),
    columns(email="pseudonymize", n="keep"), columns(email=("generalize", {"prefix": 3}), n="keep"),
    columns(email=("generalize", {"to": "year"}), n="keep"), columns(n="keep"),
]  # fmt: skip


@pytest.mark.parametrize("effect", MASKED, ids=str)
@pytest.mark.parametrize("dictionary", [True, False])
def test_no_value_of_a_masked_column_is_anywhere_in_the_view(effect: dict[str, object], dictionary: bool) -> None:
    """Values, unused dictionary entries, statistics, page index, bloom filter, schema and table metadata."""
    coded = pa.array([*EMAILS, *EMAILS]).dictionary_encode().slice(0, COUNT)
    field = pa.field("email", coded.type, metadata={"sample": EMAILS[7]})
    schema = pa.schema([field, pa.field("n", pa.int64())], metadata={"pandas": str(EMAILS[:2]), "note": EMAILS[3]})
    raw = written(
        pa.Table.from_arrays([coded, pa.array(range(COUNT))], schema=schema), use_dictionary=dictionary,
        write_page_index=True, sorting_columns=[pq.SortingColumn(0)], row_group_size=300,
        bloom_filter_options={"email": {"ndv": COUNT}},
    )  # fmt: skip
    assert SCANNER.scan(raw)
    out, _ = view(raw, effect)
    assert SCANNER.scan(out) == []
    assert shown(out)["n"].to_pylist() == list(range(COUNT))
    metadata = pq.ParquetFile(pa.BufferReader(out)).metadata
    assert metadata.metadata is None
    assert metadata.row_group(0).sorting_columns == ()
    assert shown(out).schema.metadata is None


def test_masked_text_is_found_when_the_masking_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan of the test above can fail: with masks that keep, it does."""
    monkeypatch.setattr(Masker, "apply", lambda self, rule, values: values)
    raw = written(pa.table({"email": EMAILS, "n": range(COUNT)}))
    assert SCANNER.scan(view(raw, columns(email="pseudonymize", n="keep"))[0])


def _world(secret: str) -> pa.Table:
    born = [dt.date(1980 + i % 9, 1 + len(secret) % 12, 3) for i in range(COUNT)]
    return pa.table(
        {
            "email": [f"{secret}{i}@{'x' * len(secret)}.org" for i in range(COUNT)],
            "note": [None if secret == "anna" and i % 2 else secret * i for i in range(COUNT)],
            "born": born,
            "n": range(COUNT),
        }
    )


@pytest.mark.parametrize("layout", [{}, {"row_group_size": 100, "use_dictionary": False, "compression": "gzip"}])
def test_two_worlds_that_differ_only_in_masked_values_have_one_view(layout: dict[str, Any]) -> None:
    effect = columns(email="mask-to-default", note="null", born=("generalize", {"to": "year"}), n="keep")
    first, _ = view(written(_world("anna")), effect)
    second, _ = view(written(_world("maximilian"), **layout), effect)
    assert first == second
    text = columns(email="mask-to-default", note="null", n="keep")
    csvs = []
    for secret in ("anna", "maximilian"):
        sink = io.BytesIO()
        pacsv.write_csv(_world(secret), sink)
        csvs.append(view(sink.getvalue(), text)[0])
    assert csvs[0] == csvs[1]


def test_the_layout_of_the_view_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_view, "SLICE_ROWS", 64)
    monkeypatch.setattr(parquet_view, "GROUP_ROWS", 512)
    table = pa.table({"n": range(1300), "s": ["ä" * (i % 40) for i in range(1300)]})
    outs = {view(written(table, row_group_size=size), columns(n="keep", s="keep"))[0] for size in (1, 77, 1300)}
    assert len(outs) == 1
    metadata = pq.ParquetFile(pa.BufferReader(outs.pop())).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [512, 512, 276]


def test_rows_and_kept_columns_come_through_unchanged() -> None:
    table = pa.table(
        {
            "l": [[1, None], [], None], "m": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int8())),
            "s": [{"x": "a", "y": [b"q"]}, None, {"x": None, "y": None}], "f": [1.5, float("nan"), None],
            "t": pa.array([0, 1, None], pa.timestamp("us", "Europe/Berlin")), "d": ["a", "b", "a"],
        }
    )  # fmt: skip
    table = table.set_column(5, "d", table["d"].dictionary_encode())
    out, found = view(written(table), columns(l="keep", m="keep", s="keep", f="keep", t="keep", d="keep"))
    back = shown(out)
    assert found.rows == 3
    for name in ("l", "d"):
        assert back[name].to_pylist() == table[name].to_pylist()
    for name in ("m", "s"):  # their parts have no label of their own
        assert back[name].to_pylist() == [None] * 3
    assert str(back["f"].to_pylist()) == str(table["f"].to_pylist())
    assert back["t"].cast(pa.int64()).to_pylist() == [0, 1, None]
    empty, nothing = view(written(table.slice(0, 0)), columns(l="keep", d="pseudonymize"))
    assert (shown(empty).num_rows, nothing.rows) == (0, 0)


@pytest.mark.parametrize(
    ("table", "effect", "limits", "reason"),
    [
        (pa.table({"a": [1]}), columns(b="keep"), Limits(), "columns.none"),
        (pa.table({"a": [1]}), columns(a="drop"), Limits(), "columns.none"),
        (pa.table([[1], [2]], names=["a", "a"]), columns(a="keep"), Limits(), "columns.duplicate"),
        (pa.table({"a": [1], "b": [1]}), columns(a="keep"), Limits(columns=1), "columns.limit"),
        (pa.table({"a": range(9)}), columns(a="keep"), Limits(rows=8), "rows.limit"),
        (pa.table({"a": range(9)}), columns(a="null"), Limits(rows=8), "rows.limit"),
        (pa.table({"a": ["x" * 99] * 900}), columns(a="keep"), Limits(decoded_base=1, decoded_factor=1),
         "decoded.limit"),
    ],
)  # fmt: skip
def test_limits(table: pa.Table, effect: dict[str, object], limits: Limits, reason: str) -> None:
    with pytest.raises(Undecodable) as caught:
        view(written(table), effect, limits)
    assert caught.value.reason == reason


def test_csv_is_read_by_readers_as_it_was_meant() -> None:
    rows = [["name", "e,m", "n"], ['A "x" B', "a\nb", "1"], ["", "ü,;", ""], ["plain", "", "3"]]
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator="\r\n").writerows(rows)
    for data in (sink.getvalue().encode(), b"\xef\xbb\xbf" + sink.getvalue().encode()):
        out, found = view(data, {"columns": [{"name": n, "action": "keep", "params": {}} for n in rows[0]]})
        assert list(csv.reader(io.StringIO(out.decode(), newline=""))) == rows
        assert found.rows == 3
        assert found.columns == whole_object(rows[0], len(out), 3)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiters(delimiter: str) -> None:
    data = delimiter.join(["a", '"x,;|"', "c"]) + "\n" + delimiter.join(["1", "2", "3"]) + "\n"
    out, _ = view(data.encode(), columns(a="keep", c="keep"))
    assert out == b"a,c\n1,3\n"


def test_a_lone_empty_cell_is_still_a_row() -> None:
    out, _ = view(b"a,b\n,1\nx,2\n", columns(a="keep"))
    assert out == b'a\n""\nx\n'
    assert list(csv.reader(io.StringIO(out.decode()))) == [["a"], [""], ["x"]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b\n1,2\n3\n", "csv.columns"),
        (b"a,b\n1,2\n3,4,5\n", "csv.columns"),
        (b"a,b\n1,\xff\xfe\n", "csv.encoding"),
        (b"a\xff,b\n1,2\n", "csv.encoding"),
        (b"a,b\n1," + b"x" * 3_000_000 + b"\n", "csv.row-too-long"),
        (b'a,b\n1,"' + b"x" * 3_000_000, "csv.row-too-long"),
        (b"a" * 2_000_000, "csv.row-too-long"),
        (b'a,"b\n1,2\n', "csv.malformed"),
        (b"a,a\n1,2\n", "columns.duplicate"),
        (b"", "csv.malformed"),
        (b"x@y.org,1\nz@y.org,2\n", "columns.none"),
    ],
)
def test_csv_that_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Undecodable) as caught:
        view(data, columns(a="keep", b="keep"))
    assert caught.value.reason == reason


def test_csv_header_alone() -> None:
    assert view(b"a,b", columns(a="keep"))[0] == b"a\n"
    assert view(b"a,b\n", columns(a="keep"))[0] == b"a\n"


def test_a_range_is_charged_to_the_chunks_it_overlaps() -> None:
    raw = written(pa.table({"a": range(100), "b": ["x"] * 100, "c": [{"p": 1, "q": 2}] * 100}), row_group_size=50)
    extents = describe_parquet(PlainSource(raw), Limits()).source_columns
    assert [name for name, _ in extents] == [FOOTER, "a", "b", "c"]
    assert [len(parts) for _, parts in extents] == [2, 2, 2, 4]
    b = next(parts for name, parts in extents if name == "b")[0]
    size = len(raw)
    assert columns_charged(extents, [(b[0], b[0] + 1)]) == ["b"]
    assert columns_charged(extents, [(b[0] - 1, b[0] + b[1] + 1)]) == ["a", "b", "c"]
    assert columns_charged(extents, [(size - 8, size)]) == []
    assert columns_charged(extents, [(0, 4)]) == []
    assert columns_charged(extents, [(0, size)]) == ["a", "b", "c"]
    assert columns_charged(extents, None) == ["a", "b", "c"]
    assert columns_charged(extents, []) == []
    assert columns_charged(extents, [(size, size + 5)]) == ["a", "b", "c"]


def test_bytes_in_no_extent_are_charged_to_all() -> None:
    raw = written(pa.table({"a": range(100), "b": ["x"] * 100}), write_page_index=True)
    extents = describe_parquet(PlainSource(raw), Limits()).source_columns
    last = max(offset + length for name, parts in extents if name != FOOTER for offset, length, _ in parts)
    assert columns_charged(extents, [(last, last + 1)]) == ["a", "b"]


def test_a_footer_that_lies_charges_everything() -> None:
    raw = written(pa.table({"a": range(100), "b": range(100)}))
    metadata = pq.ParquetFile(pa.BufferReader(raw)).metadata
    leaves = schema_leaves(pa.schema([("a", pa.int64()), ("b", pa.int64())]))
    honest = parquet_extents(metadata, leaves, len(raw), metadata.serialized_size)
    assert honest[0][0] == FOOTER
    for size, footer in ((50, metadata.serialized_size), (len(raw), len(raw)), (len(raw), len(raw) - 20)):
        assert parquet_extents(metadata, leaves, size, footer) == whole_object(["a", "b"], size, 100)
    wrong = schema_leaves(pa.schema([("a", pa.int64())]))
    assert parquet_extents(metadata, wrong, len(raw), metadata.serialized_size) == whole_object(["a"], len(raw), 100)


@pytest.mark.parametrize(
    ("head", "tail", "key", "kind", "expected"),
    [
        (b"PAR1....", b"PAR1", "x.bin", "", "parquet"),
        (b"PAR1....", b"PARE", "x.parquet", "", "opaque"),
        (b"a,b\n1,2", b",2", "x.CSV", "", "csv"),
        (b"a,b\n1,2", b",2", "x", "text/csv; charset=utf-8", "csv"),
        (b"a,b\n1,2", b",2", "x.txt", "text/plain", "opaque"),
        (b"a\x00b", b"", "x.csv", "", "opaque"),
        (b"\x80\x04pickle", b"", "x.csv", "text/csv", "opaque"),
        ("a,ü".encode()[:-1], b"", "x.csv", "", "csv"),
        (b"", b"", "x.csv", "", "opaque"),
    ],
)
def test_formats_are_told_by_bytes(head: bytes, tail: bytes, key: str, kind: str, expected: str) -> None:
    assert format_of(head, tail, key, kind) == expected
