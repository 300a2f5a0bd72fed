import copy
from typing import Any

import pytest

from gateway.enforce.errors import EnforceError, PlanRefused
from gateway.enforce.plan import parse_effect, plan_id

COLUMN = {"name": "email", "action": "pseudonymize", "params": {}}
GOOD: dict[str, Any] = {
    "columns": [
        COLUMN,
        {"name": "born", "action": "generalize", "params": {"to": "year"}},
        {"name": "city", "action": "keep", "params": {}},
        {"name": "note", "action": "replace-with-null", "params": {}},
    ]
}


def test_a_plan_is_what_it_does() -> None:
    effect = parse_effect(GOOD)
    assert effect.rule("email").action == "pseudonymize"
    assert effect.rule("note").action == "null"
    assert effect.pseudonymizes
    assert effect.plan_id == plan_id(copy.deepcopy(GOOD))
    assert plan_id({"columns": [dict(reversed(COLUMN.items()))]}) == plan_id({"columns": [COLUMN]})
    assert plan_id({"columns": [{**COLUMN, "action": "keep"}]}) != plan_id({"columns": [COLUMN]})


def test_an_unnamed_column_is_dropped() -> None:
    assert parse_effect(GOOD).rule("grown-later").action == "drop"
    assert parse_effect(GOOD).rule("Email").action == "drop"


def test_identity_is_explicit() -> None:
    assert parse_effect({"identity": True}).identity
    for wrong in ({"identity": False}, {"identity": 1}, {"identity": "true"}):
        with pytest.raises(PlanRefused):
            parse_effect(wrong)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (None, "plan.malformed"),
        ([], "plan.malformed"),
        ({}, "plan.malformed"),
        ({"columns": None}, "plan.malformed"),
        ({"columns": []}, "plan.empty"),
        ({"columns": [COLUMN], "rows": []}, "plan.field"),
        ({"columns": [COLUMN], "identity": True}, "plan.field"),
        ({"columns": ["email"]}, "plan.malformed"),
        ({"columns": [COLUMN, COLUMN]}, "plan.duplicate"),
        ({"columns": [{**COLUMN, "where": "x"}]}, "plan.field"),
        ({"columns": [{**COLUMN, "name": 1}]}, "plan.malformed"),
        ({"columns": [{**COLUMN, "params": []}]}, "plan.malformed"),
        ({"columns": [{"name": "x", "params": {}}]}, "plan.action"),
        ({"columns": [{**COLUMN, "action": "show"}]}, "plan.action"),
        ({"columns": [{**COLUMN, "action": "KEEP"}]}, "plan.action"),
        ({"columns": [{**COLUMN, "action": ["keep"]}]}, "plan.action"),
        ({"columns": [{**COLUMN, "params": {"salt": "x"}}]}, "plan.params"),
        ({"columns": [{**COLUMN, "params": {"domain": 1}}]}, "plan.params"),
        ({"columns": [{**COLUMN, "params": {"domain": "a\x00b"}}]}, "plan.params"),
        ({"columns": [{**COLUMN, "action": "keep", "params": {"prefix": 2}}]}, "plan.params"),
        ({"columns": [COLUMN], "purpose_class": ""}, "plan.malformed"),
    ],
)
def test_what_is_not_understood_is_refused(document: object, reason: str) -> None:
    with pytest.raises(PlanRefused) as caught:
        parse_effect(document)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "params",
    [{}, {"to": "day"}, {"to": 1}, {"to": "year", "bin": 2}, {"prefix": 0}, {"prefix": 9}, {"prefix": True},
     {"prefix": 2.0}, {"bin": 1}, {"bin": -5}, {"bin": "5"}, {"width": 5}],
)  # fmt: skip
def test_generalize_wants_exactly_one_good_parameter(params: dict[str, Any]) -> None:
    with pytest.raises(PlanRefused, match=r"plan\.params"):
        parse_effect({"columns": [{"name": "x", "action": "generalize", "params": params}]})


def test_a_plan_of_one_purpose_class_is_not_built_for_another() -> None:
    bound = {**GOOD, "purpose_class": "analytics"}
    assert parse_effect(bound, purpose_class="analytics").purpose_class == "analytics"
    with pytest.raises(PlanRefused, match=r"plan\.purpose-class"):
        parse_effect(bound, purpose_class="marketing")


def test_a_reason_cannot_carry_a_value() -> None:
    with pytest.raises(ValueError, match="closed list"):
        EnforceError("csv.columns: expected 3, got alice@example.org")
