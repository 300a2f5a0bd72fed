import datetime as dt
import hashlib
import hmac
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gateway.enforce.actions import Masker, canonical_text
from gateway.enforce.plan import ColumnRule, Generalize
from tests.fakes.canary import CanaryScanner, buffers

KEY = bytes(range(32))
KEEP, NULL, DEFAULT = ColumnRule("keep"), ColumnRule("null"), ColumnRule("mask-to-default")
PSEUDONYM = ColumnRule("pseudonymize")


def generalize(**how: Any) -> ColumnRule:
    return ColumnRule("generalize", generalize=Generalize(**how))


MASKS = (NULL, DEFAULT, PSEUDONYM, generalize(to="year"), generalize(prefix=2), generalize(bin=10))
KINDS = [
    pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(),
    pa.string_view(), pa.binary(), pa.binary(5), pa.binary_view(), pa.date32(), pa.date64(), pa.timestamp("s"),
    pa.timestamp("ns", "Europe/Berlin"), pa.time32("s"), pa.time64("ns"), pa.duration("us"), pa.decimal128(5, 2),
    pa.decimal256(50, 3), pa.list_(pa.string()), pa.struct([("a", pa.dictionary(pa.int8(), pa.string()))]), pa.null(),
    pa.month_day_nano_interval(), pa.dictionary(pa.int32(), pa.string()), pa.run_end_encoded(pa.int32(), pa.string()),
    pa.map_(pa.string(), pa.int8()), pa.dictionary(pa.int8(), pa.timestamp("us")),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("rule", [KEEP, *MASKS], ids=lambda rule: f"{rule.action}-{rule.generalize}")
def test_every_action_takes_every_type_and_gives_the_type_it_announced(rule: ColumnRule, kind: pa.DataType) -> None:
    masker = Masker(KEY)
    masked = masker.apply(rule, pa.nulls(3, kind))
    assert masked.type == masker.output_type(rule, kind)
    assert len(masked) == 3
    masked.validate(full=True)


def _ways(emails: pa.Array) -> dict[str, pa.Array]:
    """The constructions of anchors/reliability.md §5.9 and their neighbours, as input columns."""
    count = len(emails)
    coded = emails.dictionary_encode()
    return {
        "plain": emails,
        "if_else": pc.if_else(pa.array([True] * count), pa.scalar(None, pa.string()), emails),
        "bitmap": pa.Array.from_buffers(pa.string(), count, [pa.py_buffer(bytes(count)), *emails.buffers()[1:]]),
        "dictionary": coded,
        "dictionary filtered": coded.filter(pa.array([i < 10 for i in range(count)])),
        "dictionary sliced": coded.slice(0, 10),
        "dictionary all null": pa.DictionaryArray.from_arrays(pa.nulls(count, pa.int32()), coded.dictionary),
        "view sliced": emails.cast(pa.string_view()).slice(0, 10),
        "sliced": emails.slice(5, 10),
        "run ends": pc.run_end_encode(emails),
        "struct with null parent": pa.StructArray.from_arrays([emails], ["a"], mask=pa.array([True] * count)),
        "list": pa.array([[email] for email in emails.to_pylist()]),
        "dictionary in struct": pa.StructArray.from_arrays([coded.slice(0, 10)], ["a"]),
    }


EMAILS = pa.array([f"canary{i:04}@example.org" for i in range(300)])
SCANNER = CanaryScanner(EMAILS.to_pylist())


@pytest.mark.parametrize("way", _ways(EMAILS))
@pytest.mark.parametrize("rule", MASKS, ids=lambda rule: f"{rule.action}-{rule.generalize}")
def test_no_buffer_of_a_masked_column_holds_a_value(rule: ColumnRule, way: str) -> None:
    column = _ways(EMAILS)[way]
    assert any(SCANNER.scan(buffer.to_pybytes()) for buffer in buffers(column)) or way in {"run ends", "view sliced"}
    masked = Masker(KEY).apply(rule, column)
    assert [SCANNER.scan(buffer.to_pybytes()) for buffer in buffers(masked) if SCANNER.scan(buffer.to_pybytes())] == []


def test_keep_shows_only_values_that_rows_use() -> None:
    for way in ("dictionary sliced", "dictionary filtered"):
        kept = Masker(None).apply(KEEP, _ways(EMAILS)[way])
        assert kept.type == pa.string()
        shown = {finding.canary for buffer in buffers(kept) for finding in SCANNER.scan(buffer.to_pybytes())}
        assert shown == set(range(10))


def test_defaults_hide_which_rows_were_null() -> None:
    masker = Masker(None)
    for kind in KINDS:
        values = pa.nulls(4, kind)
        assert masker.apply(DEFAULT, values).equals(masker.constant(DEFAULT, kind, 4))
    assert masker.apply(DEFAULT, pa.array(["x", None])).to_pylist() == ["XXXX", "XXXX"]
    assert masker.apply(DEFAULT, pa.array([7, None])).to_pylist() == [0, 0]
    assert masker.apply(DEFAULT, pa.array([dt.date(1980, 1, 1), None])).to_pylist() == [dt.date(1970, 1, 1)] * 2


def test_a_pseudonym_is_the_one_of_the_specification() -> None:
    message = b"demesne/pseudonym/1\x00\x00anna@example.org"
    expected = "p_" + hmac.new(KEY, message, hashlib.sha256).hexdigest()[:32]
    masked = Masker(KEY).apply(PSEUDONYM, pa.array(["anna@example.org", None, "anna@example.org"]))
    assert masked.to_pylist() == [expected, None, expected]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([4711]), pa.array([4711], pa.uint16()), pa.array([4711.0]), pa.array(["4711"]),
        pa.array([b"4711"]), pa.array([Decimal("4711.00")]), pa.array(["4711"]).dictionary_encode(),
        pa.array(["4711"], pa.large_string()),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_one_identifier_has_one_pseudonym_whatever_carries_it(column: pa.Array) -> None:
    masker = Masker(KEY)
    assert masker.apply(PSEUDONYM, column).equals(masker.apply(PSEUDONYM, pa.array(["4711"])))


def test_pseudonyms_part_by_key_and_by_domain() -> None:
    column = pa.array(["anna"])
    seen = {
        Masker(key).apply(ColumnRule("pseudonymize", domain=domain), column)[0].as_py()
        for key in (KEY, bytes(32))
        for domain in ("", "billing")
    }
    assert len(seen) == 4


def test_no_key_no_pseudonym() -> None:
    with pytest.raises(ValueError, match="no key"):
        Masker(None).apply(PSEUDONYM, pa.array(["anna"]))
    with pytest.raises(ValueError, match="32 bytes"):
        Masker(b"short")


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, b"true"), (7, b"7"), (-7.0, b"-7"), (0.0, b"0"), (-0.0, b"0"), (0.5, b"0.5"), (1e300, b"1e+300"),
     (Decimal("1E+3"), b"1000"), (Decimal("0.10"), b"0.1"), (Decimal("0E-9"), b"0"), ("Ä", b"\xc3\x84")],
)  # fmt: skip
def test_canonical_text(value: object, text: bytes) -> None:
    assert canonical_text(value) == text


def test_times_have_one_text_in_every_zone_and_unit() -> None:
    masker, when = Masker(KEY), dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
    kinds = [pa.timestamp("s", "UTC"), pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ns", "UTC")]
    assert len({masker.apply(PSEUDONYM, pa.array([when], kind))[0].as_py() for kind in kinds}) == 1
    text = masker.apply(PSEUDONYM, pa.array(["2024-02-29T12:00:00Z"]))
    assert text.equals(masker.apply(PSEUDONYM, pa.array([when], pa.timestamp("ms", "UTC"))))


@pytest.mark.parametrize(
    ("to", "values", "expected"),
    [
        ("year", ["1985-07-14", "1985-07-14T10:00", "1985-07-14 x", None], ["1985", "1985", "1985", None]),
        ("decade", ["1985-07-14", "1899-12-31"], ["1980s", "1890s"]),
        ("month", ["1985-07-14"], ["1985-07"]),
        ("year", ["1985-02-30", "14.07.1985", "1985-07-141", "1985-W28-1", "", "１985-07-14"], [None] * 6),
        ("year", [dt.date(1985, 7, 14), dt.date(1969, 12, 31)], [dt.date(1985, 1, 1), dt.date(1969, 1, 1)]),
        ("decade", [dt.date(1985, 7, 14), dt.date(1901, 1, 1)], [dt.date(1980, 1, 1), dt.date(1900, 1, 1)]),
        ("month", [dt.datetime(1985, 7, 14, 3)], [dt.datetime(1985, 7, 1)]),
        ("year", [5, None], [None, None]),
    ],
)  # fmt: skip
def test_generalized_dates(to: str, values: list[Any], expected: list[Any]) -> None:
    assert Masker(None).apply(generalize(to=to), pa.array(values)).to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["80331", "80", "8", "", None, "äöü"], ["80", None, None, None, None, "äö"]), ([80331, 7], ["80", None]),
     ([80331.0, None], ["80", None]), ([True, False], [None, None])],
)  # fmt: skip
def test_prefix_never_shows_a_whole_value(values: list[Any], expected: list[Any]) -> None:
    assert Masker(None).apply(generalize(prefix=2), pa.array(values)).to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 9, 10, -1, None], pa.int64(), [0, 0, 10, -10, None]),
        ([-128, 127], pa.int8(), [None, 120]),
        ([2**64 - 1], pa.uint64(), [2**64 - 6]),
        ([9.99, -0.1, float("nan"), float("inf")], pa.float64(), [0.0, -10.0, None, None]),
        (["12", "-3.5", "1e3", "x", "9007199254740993", " 5"], pa.string(), ["10", "-10", None, None, None, None]),
    ],
)
def test_bins(values: list[Any], kind: pa.DataType, expected: list[Any]) -> None:
    assert Masker(None).apply(generalize(bin=10), pa.array(values, kind)).to_pylist() == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([{"email": "anna@example.org"}]),
        pa.array([[{"email": "anna@example.org"}]]),
        pa.array([[("email", "anna@example.org")]], pa.map_(pa.string(), pa.string())),
    ],
    ids=["struct", "list of structs", "map"],
)
def test_named_parts_have_no_label_and_are_not_kept(values: pa.Array) -> None:
    """A contract labels the column `none`; nobody labelled what is inside it."""
    kept = Masker(None).apply(ColumnRule("keep"), values)
    assert kept.null_count == len(values)
    assert kept.type == values.type
    assert Masker(None).apply(ColumnRule("keep"), pa.array([[1, 2]])).to_pylist() == [[1, 2]]
