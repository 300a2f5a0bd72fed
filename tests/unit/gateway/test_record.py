"""Ledger entries as the gateway shapes them: each is one the ledger takes, none names a person or an object."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decide.decision import Allow, Deny, Reason
from gateway.identity.principal import Principal
from gateway.record import MAX_RANGES, Recorder, Subject, coalesce, rfc3339
from lineage.ledger.entry import encode_entry
from lineage.ledger.shapes import check_entry

KEY = b"k" * 32
ALLOW = Allow("a" * 32, "rev", "raw", "training", None, None, "personal", ("de",), (), ("access/role:trainer",))
REASON = Reason("access/no_role", "access.none", "No", "ask")
DENY = Deny("b" * 32, "rev", (REASON, Reason("x", "access.none", "No", "ask"), Reason("y", "flow.label", "No", "ask")))
WHO = Principal("main", "c" * 32, "ada", "person", frozenset(), "de", frozenset(["p"]), "p", None, "DSTA1")


def recorder() -> Recorder:
    return Recorder("main", "de", KEY)


def intent(decision: Any = ALLOW, **subject: Any) -> dict[str, Any]:
    about = Subject("read", "s3", **({"dataset_id": "d" * 32, "dataset": "claims", "key": "ada.csv"} | subject))
    return recorder().intent(
        decision, WHO, about, at=1_790_000_000_123, run="e" * 32, document=b"{}", residency=[], view="raw"
    )


def test_an_intent_is_the_decision_by_id() -> None:
    entry = intent()
    check_entry(entry)
    assert entry["id"] == entry["decision"]["id"] == ALLOW.decision_id
    assert entry["at"] == "2026-09-21T14:13:20.123Z"
    assert entry["input_sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert entry["decision"]["codes"] == []


def test_a_refusal_names_each_code_once() -> None:
    entry = intent(DENY)
    check_entry(entry)
    assert entry["decision"] == {
        "id": "b" * 32, "allow": False, "revision": "rev", "codes": ["access.none", "flow.label"],
    }  # fmt: skip


def test_persons_and_keys_are_hashed_under_the_zones_key() -> None:
    first, second = intent(), intent(key="bob.csv")
    text = encode_entry(first).decode()
    assert "ada" not in text
    assert WHO.principal_id not in text
    assert first["principal"] == second["principal"]
    assert first["object"] != second["object"]
    other = Recorder("main", "de", b"x" * 32)
    assert other.principal(WHO.principal_id) != first["principal"]
    assert recorder().principal(WHO.principal_id) == first["principal"]


def test_an_intent_without_object_dataset_or_version() -> None:
    entry = intent(dataset=None, dataset_id=None, key=None)
    check_entry(entry)
    assert (entry["object"], entry["dataset"], entry["version"]) == (None, None, None)


def test_outcomes() -> None:
    made = recorder()
    entry = made.outcome("a" * 32, "complete", 10, [[0, 10]], at=1)
    check_entry(entry)
    assert (entry["ranges"], entry["reason"]) == ([[0, 10]], None)
    many = made.outcome("a" * 32, "aborted", 10, [[n * 2, n * 2 + 1] for n in range(MAX_RANGES + 1)], at=1, reason="x")
    check_entry(many)
    assert many["ranges"] == "whole"  # rather too much than too little


def test_commits_and_events() -> None:
    made = recorder()
    commit = made.commit(
        at=1, dataset_id="d" * 32, dataset="claims", key="ada.csv", version="v", sequence=1, run=None,
        principal_id=WHO.principal_id, label="personal", placement=("de",), size=1, data_format="csv", intent="a" * 32,
    )  # fmt: skip
    check_entry(commit)
    assert "ada" not in encode_entry(commit).decode()
    events = [made.event("integrity", 1, what="object"), made.event("integrity", 1, what="object")]
    for event in events:
        check_entry(event)
    assert events[0]["id"] != events[1]["id"]


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1, "1970-01-01T00:00:00.001Z"), (999, "1970-01-01T00:00:00.999Z"),
     (1_790_000_000_999, "2026-09-21T14:13:20.999Z")],
)  # fmt: skip
def test_times_to_the_millisecond(ms: int, text: str) -> None:
    assert rfc3339(ms) == text


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30))
def test_coalesced_ranges_cover_exactly_what_was_added(added: list[tuple[int, int]]) -> None:
    ranges: list[list[int]] = []
    for start, length in added:
        coalesce(ranges, start, start + length)
    covered = {byte for start, stop in ranges for byte in range(start, stop)}
    assert covered == {byte for start, length in added for byte in range(start, start + length)}
    assert all(start < stop for start, stop in ranges)


def test_slabs_of_one_stream_are_one_range() -> None:
    ranges: list[list[int]] = []
    for at in range(0, 50, 10):
        coalesce(ranges, at, at + 10)
    assert ranges == [[0, 50]]
    coalesce(ranges, 60, 70)
    coalesce(ranges, 70, 80)
    assert ranges == [[0, 50], [60, 80]]
