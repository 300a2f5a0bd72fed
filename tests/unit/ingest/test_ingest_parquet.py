"""Parquet: read to the last page, so a broken file is known before anything is created."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.errors import BadFile
from ingest.formats import parquet
from ingest.formats.checked import CheckedFile
from ingest.sources.files import find


def _table(rows: int = 5000) -> pa.Table:
    return pa.table({
        "id": pa.array(range(rows), pa.int64()),
        "name": pa.array([f"name {n}" for n in range(rows)]).dictionary_encode(),
        "score": pa.array([n / 3 for n in range(rows)]),
        "born": pa.array(list(range(rows)), pa.date32()),
        "tags": pa.array([["a"]] * rows),
        "raw": pa.array([b"\xff"] * rows),
    })  # fmt: skip


def _bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def _check(tmp_path: Path, data: bytes) -> CheckedFile:
    path = tmp_path / "part-0.parquet"
    path.write_bytes(data)
    return parquet.check(find(path)[0])


def test_a_good_file_yields_columns_rows_samples_and_its_bytes(tmp_path: Path) -> None:
    data = _bytes(_table())
    checked = _check(tmp_path, data)
    assert checked.rows == 5000
    assert [column.type for column in checked.columns] == ["integer", "string", "number", "date", "nested", "binary"]
    assert 900 <= len(checked.samples["name"]) <= 1100
    assert b"".join(checked.content.chunks()) == data
    assert "name 1" not in repr(checked)


def test_an_empty_table_is_fine(tmp_path: Path) -> None:
    assert _check(tmp_path, _bytes(_table(0))).rows == 0


@pytest.mark.parametrize("keep", [0, 3, 4, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused_naming_it(tmp_path: Path, keep: float) -> None:
    data = _bytes(_table())
    with pytest.raises(BadFile, match=r"part-0\.parquet: cannot be read as Parquet") as caught:
        _check(tmp_path, data[: int(keep * len(data)) if isinstance(keep, float) else int(keep)])
    assert caught.value.remedy


def test_one_flipped_byte_in_a_page_is_found(tmp_path: Path) -> None:
    data = bytearray(_bytes(_table()))
    data[2000] ^= 1
    with pytest.raises(BadFile, match="cannot be read"):
        _check(tmp_path, bytes(data))


def test_a_csv_called_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read as Parquet"):
        _check(tmp_path, b"id,name\n1,2\n" * 100)


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    data = _bytes(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(BadFile, match="'a' twice"):
        _check(tmp_path, data)


def test_sources_are_sorted_and_unknown_formats_refused(tmp_path: Path) -> None:
    for name in ("b.csv", "sub/a.parquet", ".hidden.csv", "_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")
    assert [source.key for source in find(tmp_path)] == ["b.csv", "sub/a.parquet"]
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(BadFile, match=r"readme\.txt: not a format"):
        find(tmp_path)


def test_an_absent_path_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        find(tmp_path / "absent")
    with pytest.raises(BadFile, match="no files"):
        find(tmp_path)
