"""The contract: who wins when a person, the present contract and a detector disagree; and what is rejected."""

import copy
from typing import Any

import pytest

from ingest import contract
from ingest.classify.columns import Finding
from ingest.errors import BadContract
from ingest.formats.checked import Column

COLUMNS = [Column("email", "string"), Column("score", "number"), Column("memo", "string")]
FINDINGS = {"email": Finding("pii.email", "value.email", 100, 10, 10)}


def _build(**options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "dataset": "claims", "owner": "steward", "purposes": ("b", "a"), "keys_personal": False,
        "columns": COLUMNS, "findings": FINDINGS, "said": {},
    }  # fmt: skip
    return contract.build(**(given | options))


def _labels(document: dict[str, Any]) -> list[str]:
    return [column["label"] for column in document["columns"]]


def test_no_finding_is_unknown_and_measures_only_when_said() -> None:
    assert _labels(_build()) == ["pii.email", "unknown", "unknown"]
    assert _labels(_build(numeric_is="none")) == ["pii.email", "none", "unknown"]
    assert _build()["purposes"] == ["a", "b"]


def test_a_persons_word_wins_over_everything_and_is_marked() -> None:
    document = _build(said={"email": "none"}, present=_build())
    assert _labels(document)[0] == "none"
    assert document["columns"][0]["finding"]["detector"] == "steward"


def test_the_present_label_wins_over_a_new_finding() -> None:
    present = _build(said={"email": "pii.id"})
    assert _labels(_build(present=present))[0] == "pii.id"


def test_the_present_unknown_without_a_finding_does_not_bind() -> None:
    assert _labels(_build(numeric_is="none", present=_build()))[1] == "none"


def test_building_again_yields_the_same_document() -> None:
    first = _build(said={"memo": "pii.note"}, numeric_is="none")
    assert _build(present=first, numeric_is="none") == first


def test_columns_of_other_files_stay_and_types_widen() -> None:
    present = _build()
    again = _build(columns=[Column("score", "string"), Column("new", "integer")], findings={}, present=present)
    assert [(c["name"], c["type"]) for c in again["columns"]] == [
        ("email", "string"), ("score", "string"), ("memo", "string"), ("new", "integer"),
    ]  # fmt: skip


def test_a_contract_written_by_hand_is_understood() -> None:
    present = _build()
    present["purposes"] = ["b", "a", "a"]
    present["columns"][1] = {"name": "score", "type": "double", "label": "none"}
    assert _labels(_build(present=present)) == ["pii.email", "none", "unknown"]


def test_labels_for_an_absent_column_or_of_an_unknown_kind_are_refused_naming_the_field() -> None:
    with pytest.raises(BadContract, match=r"--label mail.*email, memo, score"):
        _build(said={"mail": "pii.email"})
    with pytest.raises(BadContract, match=r"--label email: unknown label 'personal'"):
        _build(said={"email": "personal"})


def test_a_contract_naming_an_absent_column_is_refused_naming_the_field() -> None:
    with pytest.raises(BadContract, match=r"columns\[2\]\.name: names column 'memo'") as caught:
        contract.require_present(_build(), COLUMNS[:2])
    assert caught.value.field == "columns[2].name"


REJECTED: list[tuple[str, Any, str]] = [
    ("v", 2, "v"), ("v", True, "v"), ("dataset", "other", "dataset"), ("owner", "", "owner"), ("owner", 3, "owner"),
    ("purposes", ["b", "a"], "purposes"), ("purposes", ["A b"], "purposes"), ("purposes", "a", "purposes"),
    ("keys_personal", 0, "keys_personal"), ("columns", [], "columns"), ("columns", [3], "columns[0]"),
    ("extra", 1, "contract.extra"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "named"), REJECTED)
def test_the_must_reject_list(field: str, value: Any, named: str) -> None:
    with pytest.raises(BadContract) as caught:
        contract.validate(_build() | {field: value}, "claims")
    assert caught.value.field == named


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"label": "pii.emial"}, "columns[0].label"), ({"label": None}, "columns[0].label"),
        ({"type": "double"}, "columns[0].type"), ({"type": []}, "columns[0].type"), ({"name": ""}, "columns[0].name"),
        ({"name": "score"}, "columns[1].name"), ({"lable": "none"}, "columns[0].lable"),
        ({"finding": []}, "columns[0].finding"), ({"finding": {}}, "columns[0].finding.confidence"),
        ({"finding": {"detector": "x", "confidence": 101, "sampled": 1, "matched": 1}}, "columns[0].finding"),
        ({"finding": {"detector": "x", "confidence": 1, "sampled": 1, "matched": 2}}, "columns[0].finding"),
        ({"finding": {"detector": "x", "confidence": 0.5, "sampled": 1, "matched": 1}}, "columns[0].finding"),
    ],
)  # fmt: skip
def test_the_must_reject_list_of_a_column(change: dict[str, Any], named: str) -> None:
    document = copy.deepcopy(_build())
    document["columns"][0] |= change
    with pytest.raises(BadContract) as caught:
        contract.validate(document, "claims")
    assert caught.value.field == named


@pytest.mark.parametrize("missing", ["v", "dataset", "owner", "purposes", "keys_personal", "columns"])
def test_a_missing_field_is_named(missing: str) -> None:
    document = _build()
    del document[missing]
    with pytest.raises(BadContract, match=f"contract.{missing}: is missing"):
        contract.validate(document, "claims")


def test_no_document_holds_a_float() -> None:
    def floats(value: Any) -> bool:
        if isinstance(value, dict):
            return any(floats(part) for part in value.values())
        return any(map(floats, value)) if isinstance(value, list) else isinstance(value, float)

    assert not floats(_build())
