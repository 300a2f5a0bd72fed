"""Entries: one spelling, closed shapes."""

import json
from collections.abc import Callable

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import Malformed
from lineage.ledger.entry import decode_entry, encode_entry, leaf_hash
from lineage.ledger.shapes import check_entry
from tests.fakes.ledger import commit, entry_id, intent, outcome

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | text | st.integers(-(2**53) + 1, 2**53 - 1)
documents = st.dictionaries(
    st.text(st.characters(max_codepoint=127), max_size=8),
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
)


@given(documents)
def test_the_fast_encoder_writes_rfc_8785(document: dict[str, object]) -> None:
    assert encode_entry(document) == rfc8785.dumps(document)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.5, "entry.value"),
        (float("nan"), "entry.value"),
        (2**53, "entry.value"),
        (-(2**53), "entry.value"),
        ("\ud800", "entry.value"),
        (b"bytes", "entry.value"),
        ([[[[[[[1]]]]]]], "entry.value"),
        ("x" * 70_000, "entry.size"),
    ],
)
def test_values_that_have_no_one_spelling_are_refused(value: object, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        encode_entry(intent(purpose=value))
    assert caught.value.reason == reason


@pytest.mark.parametrize("entry", [intent(1), outcome(entry_id(1)), commit()])
def test_well_formed_entries_survive_the_round_trip(entry: dict[str, object]) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2}, {"v": True}, {"type": "gossip"}, {"type": None}, {"id": "A" * 32}, {"at": "2026-11-21T21:00:00Z"},
        {"at": "٢026-11-21T21:00:00.000Z"}, {"surplus": 1}, {"decision": {"id": "0" * 32}}, {"view": ""},
        {"principal": "alice"}, {"object": "part-0.parquet"}, {"residency": [{"what": "store"}]}, {"residency": "de"},
        {"decision": {"id": "0" * 32, "allow": True, "revision": "", "codes": []}},
        {"decision": {"id": entry_id(0), "allow": 1, "revision": "", "codes": []}},
    ],
)  # fmt: skip
def test_an_intent_of_another_shape_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        decode_entry(encode_entry(intent() | changes))


@pytest.mark.parametrize("field", sorted(intent()))
def test_every_field_of_an_intent_is_required(field: str) -> None:
    entry = intent()
    del entry[field]
    with pytest.raises(Malformed):
        check_entry(entry)


@pytest.mark.parametrize("ranges", [[[5, 2]], [[1]], "all", [[-1, 2]], [[1.0, 2]], None])
def test_impossible_ranges_are_refused(ranges: object) -> None:
    with pytest.raises(Malformed):
        check_entry(outcome(entry_id(1), ranges=ranges))


@pytest.mark.parametrize(
    "spelling",
    [
        lambda e: json.dumps(e).encode(),
        lambda e: json.dumps(e, sort_keys=True, separators=(",", ":")).encode() + b" ",
        lambda e: b'{"v":1,' + encode_entry(e)[1:],
        lambda e: encode_entry(e).replace(b"acme", b"\\u0061cme"),
        lambda e: encode_entry(e).replace(b'"v":1,', b'"v":1.0,'),
        lambda e: b"[" * 10_000,
        lambda e: b"\xff" + encode_entry(e),
    ],
)  # fmt: skip
def test_another_spelling_of_the_same_entry_is_refused(spelling: Callable[[dict[str, object]], bytes]) -> None:
    with pytest.raises(Malformed):
        decode_entry(spelling(intent()))


def test_flat_types_take_flat_fields_only() -> None:
    flat = {"v": 1, "type": "session", "id": "0" * 32, "at": "2026-11-21T21:00:00.000Z", "zone": "de", "tenant": "t"}
    check_entry(flat | {"session": "x", "fresh": True, "count": 3, "scope": ["claims"], "reason": None})
    wrong: list[dict[str, object]] = [{"x": {}}, {"x": [[1]]}, {"X": 1}, {"x-y": 1}, {"x": 1.5}]
    for changes in wrong:
        with pytest.raises(Malformed):
            check_entry(flat | changes)


def test_a_leaf_is_prefixed_so_that_no_node_can_pose_as_one() -> None:
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
