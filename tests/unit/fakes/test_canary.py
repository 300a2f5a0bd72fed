"""The scanner itself: it must find every dress, and the leaks that were measured, or its silence means nothing."""

import base64
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.fakes.canary import CanaryScanner, forms, scan

CANARY = "ingrid.weber@example.org"
NOISE = bytes(range(256)) * 40


@pytest.mark.parametrize("form", [name for name, _ in forms(CANARY)])
@pytest.mark.parametrize("offset", [0, 1, 7, 8191])
def test_each_form_is_found_at_any_place(form: str, offset: int) -> None:
    pattern = dict(forms(CANARY))[form]
    found = scan(NOISE[:offset] + pattern + NOISE, [CANARY])
    assert form in {finding.form for finding in found}


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_base64_is_found_at_every_alignment(before: int, after: int) -> None:
    assert scan(base64.b64encode(b"x" * before + CANARY.encode() + b"y" * after), [CANARY])


def test_a_canary_over_a_block_border_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.canary._BLOCK", 1000)
    for offset in range(975, 1010):
        assert scan(bytes(offset) + CANARY.encode() + bytes(50), [CANARY])


def test_short_canaries_and_short_data() -> None:
    assert scan(b"AB12", ["AB12"])
    assert scan("x AB12 y", ["AB12"])
    assert not scan(b"AB1", ["AB12"])
    with pytest.raises(ValueError, match="too short"):
        CanaryScanner(["abc"])


def test_findings_name_the_canary_by_number_only() -> None:
    found = scan(b"..." + CANARY.encode(), ["other-value-1", CANARY])
    assert {finding.canary for finding in found} == {1}
    assert CANARY not in repr(found)


def test_directories_names_and_gzip(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.gz").write_bytes(gzip.compress(NOISE + CANARY.encode() + NOISE))
    assert scan(tmp_path, [CANARY])
    (tmp_path / "deep" / "a.gz").unlink()
    assert not scan(tmp_path, [CANARY])
    (tmp_path / "deep" / f"{CANARY}.txt").write_bytes(b"")
    assert scan(tmp_path, [CANARY])


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_compressed_parquet_is_opened(codec: str, version: str, dictionary: bool) -> None:
    sink = io.BytesIO()
    table = pa.table({"x": [CANARY] * 500, "y": list(range(500)), "z": [[1, 2]] * 500})
    pq.write_table(
        table, sink, compression=codec, data_page_version=version, use_dictionary=dictionary, write_statistics=False
    )
    assert any("page" in finding.place for finding in scan(sink.getvalue(), [CANARY]))


def test_delta_encoded_text_is_found_by_decoding() -> None:
    values = [f"ingrid.weber@example.{end}" for end in ("com", "org", "net")] * 50
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"x": sorted(values)}), sink, use_dictionary=False, column_encoding={"x": "DELTA_BYTE_ARRAY"},
        write_statistics=False,
    )  # fmt: skip
    assert any("batch" in finding.place for finding in scan(sink.getvalue(), [CANARY]))


def _ipc(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_the_measured_leaks_are_seen() -> None:
    """The ways of anchors/reliability.md §5.9 that leave values in the buffers."""
    emails = pa.array([f"canary{i:04}@example.org" for i in range(200)])
    canaries = emails.to_pylist()
    hidden = pc.if_else(pa.array([True] * 200), pa.scalar(None, pa.string()), emails)
    coded = emails.dictionary_encode()
    for leaking in (hidden, coded.slice(0, 10), coded.filter(pa.array([i < 10 for i in range(200)]))):
        for options in ({}, {"compression": "zstd"}):
            found = {finding.canary for finding in scan(_ipc(pa.table({"x": leaking}), **options), canaries)}
            assert len(found) == 200
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": coded.slice(0, 10)}), sink)
    assert len({finding.canary for finding in scan(sink.getvalue(), canaries)}) == 200
    clean = _ipc(pa.table({"x": pa.nulls(200, pa.string())}))
    assert scan(clean, canaries) == []
