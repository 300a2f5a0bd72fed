"""Masking under Hypothesis: what a masked column gives away is its declared leakage and nothing else."""

import io
import string
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gateway.enforce.actions import Masker
from gateway.enforce.columns import columns_charged
from gateway.enforce.csv_view import render_csv
from gateway.enforce.errors import PlanRefused
from gateway.enforce.leakage import leakage
from gateway.enforce.limits import Limits
from gateway.enforce.parquet_view import describe_parquet, render_parquet
from gateway.enforce.plan import ColumnRule, Generalize, parse_effect
from tests.fakes.canary import CanaryScanner
from tests.fakes.sealed_bodies import PlainSource, columns

KEY = bytes(range(32))
LIMITS = Limits()
_TEXT = st.one_of(
    st.text(string.ascii_letters + "0123456789@.-", max_size=12),
    st.dates().map(str), st.integers(-(10**6), 10**6).map(str), st.decimals(-999, 999, places=2).map(str),
)  # fmt: skip
_KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.string(), _TEXT),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    (pa.float64(), st.one_of(st.floats(-1e9, 1e9), st.integers(-99, 99).map(float))),
    (pa.date32(), st.dates(date(1700, 1, 1), date(2200, 1, 1))),
    (pa.timestamp("us"), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))),
    (pa.bool_(), st.booleans()),
]
_RULES = [
    ColumnRule("keep"), ColumnRule("null"), ColumnRule("mask-to-default"), ColumnRule("pseudonymize"),
    *(ColumnRule("generalize", generalize=how) for how in (
        Generalize(to="year"), Generalize(to="decade"), Generalize(to="month"), Generalize(prefix=1),
        Generalize(prefix=3), Generalize(bin=2), Generalize(bin=100),
    )),
]  # fmt: skip


def _pair(rule: ColumnRule, values: list[Any], more: list[Any]) -> list[Any] | None:
    """Another column of the same leakage: each value replaced by one of `more` where that changes nothing known."""
    if rule.action in {"null", "mask-to-default"}:
        return [more[i % len(more)] for i in range(len(values))]
    if rule.action == "generalize":
        same = {leakage(rule, [value]): value for value in more}
        return [same.get(leakage(rule, [value]), value) for value in values]
    return None


@given(st.data(), st.sampled_from(_KINDS), st.sampled_from(_RULES))
@settings(max_examples=300, deadline=None)
def test_equal_leakage_gives_equal_output(
    data: st.DataObject, kind: tuple[pa.DataType, st.SearchStrategy[Any]], rule: ColumnRule
) -> None:
    arrow, one = kind
    cells = st.one_of(st.none(), one)
    values = data.draw(st.lists(cells, max_size=20))
    other = _pair(rule, values, data.draw(st.lists(cells, min_size=1, max_size=60)))
    assume(other is not None)
    assert other is not None
    assume(leakage(rule, values) == leakage(rule, other))
    masker = Masker(KEY)
    first, second = masker.apply(rule, pa.array(values, arrow)), masker.apply(rule, pa.array(other, arrow))
    assert first.to_pylist() == second.to_pylist()
    assert len(first) == len(values)


@given(st.lists(st.one_of(st.none(), _TEXT), max_size=30), st.lists(st.one_of(st.none(), _TEXT), max_size=30))
def test_pseudonyms_keep_equality_and_nulls_and_nothing_else(left: list[Any], right: list[Any]) -> None:
    rule, masker = ColumnRule("pseudonymize"), Masker(KEY)
    masked_left = masker.apply(rule, pa.array(left, pa.string())).to_pylist()
    masked_right = masker.apply(rule, pa.array(right, pa.string()).dictionary_encode()).to_pylist()
    for a, x in zip([*left, *right], [*masked_left, *masked_right], strict=True):
        assert (a is None) == (x is None)
        assert x is None or (x.startswith("p_") and len(x) == 34)
        for b, y in zip(right, masked_right, strict=True):
            assert (a == b) == (x == y)


@given(
    emails=st.lists(
        st.one_of(st.none(), st.text(string.ascii_lowercase, min_size=9, max_size=20)), min_size=1, max_size=40
    ),
    rule=st.sampled_from(["null", "mask-to-default", "pseudonymize", "drop"]),
    dictionary=st.booleans(),
    groups=st.integers(1, 40),
)
@settings(max_examples=80, deadline=None)
def test_no_value_survives_in_a_parquet_or_csv_view(
    emails: list[str | None], rule: str, dictionary: bool, groups: int
) -> None:
    table = pa.table({"email": pa.array(emails, pa.string()), "n": range(len(emails))})
    sink = io.BytesIO()
    pq.write_table(table, sink, use_dictionary=dictionary, row_group_size=groups)
    rows = "email,n\n" + "".join(f"{email or ''},{i}\n" for i, email in enumerate(emails))
    document = columns(email=rule, n="keep")
    canaries = CanaryScanner({email for email in emails if email is not None})
    for render, data in ((render_parquet, sink.getvalue()), (render_csv, rows.encode())):
        out = bytearray()
        found = render(PlainSource(data), parse_effect(document), Masker(KEY), out.extend, limits=LIMITS)
        assert found.rows == len(emails)
        assert canaries.scan(bytes(out)) == []


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | st.floats() | st.text(max_size=5)
    | st.sampled_from(["keep", "generalize", "name", "action"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["columns", "name", "action", "params", "identity", "to", "bin", "x"]), inner),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=300)
def test_a_plan_parses_or_is_refused(document: object) -> None:
    try:
        effect = parse_effect(document)
    except PlanRefused:
        return
    assert effect.identity or effect.rules


@given(
    st.integers(1, 200), st.integers(1, 200),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), max_size=5),
)  # fmt: skip
@example(1, 1, [(0, 5000)])
@settings(max_examples=100, deadline=None)
def test_every_byte_of_a_read_is_charged(rows: int, group: int, ranges: list[tuple[int, int]]) -> None:
    """Against the slow definition: a column is charged for each byte of its chunks; a stray byte charges all."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": range(rows), "b": ["x" * (i % 7) for i in range(rows)]}), sink, row_group_size=group)
    raw = sink.getvalue()
    extents = describe_parquet(PlainSource(raw), LIMITS).source_columns
    owner = {at: name for name, parts in extents for start, long, _ in parts for at in range(start, start + long)}
    expected: set[str] = set()
    for start, stop in ranges:
        for at in range(start, stop):
            expected |= {"a", "b"} if at not in owner else {owner[at]}
    assert set(columns_charged(extents, ranges)) == expected - {""}
