"""A contract is taken whole and typed or not at all, and each refusal names its field."""

from typing import Any

import pytest

from gateway.contract import LABELS, MAX_COLUMNS, check_contract
from gateway.errors import BadRequest
from tests.fakes.gateway_world import contract_for


def column(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "type": "string", "label": "none"} | changes


def refusal(document: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        check_contract(document, "claims")
    assert (caught.value.status, caught.value.code, caught.value.rule) == (400, "InvalidContract", "contract.schema")
    assert caught.value.remedy
    return caught.value


def test_a_good_one_comes_back_as_it_was() -> None:
    document = contract_for("claims", columns=[column(finding={"detector": "iban", "confidence": 99})])
    assert check_contract(document, "claims") == document


@pytest.mark.parametrize("label", sorted(LABELS))
def test_every_label_of_the_doctrine_is_one(label: str) -> None:
    check_contract(contract_for("claims", columns=[column(label=label)]), "claims")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"v": 2}, "v"),
        ({"v": "1"}, "v"),
        ({"dataset": "other"}, "dataset"),
        ({"owner": ""}, "owner"),
        ({"owner": None}, "owner"),
        ({"keys_personal": "no"}, "keys_personal"),
        ({"keys_personal": 0}, "keys_personal"),
        ({"purposes": "analytics"}, "purposes"),
        ({"purposes": ["Analytics"]}, "purposes"),
        ({"purposes": ["a\n"]}, "purposes"),
        ({"purposes": [1]}, "purposes"),
        ({"columns": {}}, "columns"),
        ({"columns": [column()] * 2}, "columns[1].name"),
        ({"columns": [column(name="")]}, "columns[0].name"),
        ({"columns": [column(name=1)]}, "columns[0].name"),
        ({"columns": [column(label="pii.nose")]}, "columns[0].label"),
        ({"columns": [column(label=None)]}, "columns[0].label"),
        ({"columns": [column(type=None)]}, "columns[0].type"),
        ({"columns": [column(extra=1)]}, "columns[0]"),
        ({"columns": [{"name": "a"}]}, "columns[0]"),
        ({"columns": ["a"]}, "columns[0]"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal(contract_for("claims") | changes).message.startswith(f"{field}: ")


@pytest.mark.parametrize("document", [None, [], "x", 1, {}])
def test_what_is_no_contract(document: Any) -> None:
    refusal(document)


def test_a_missing_field_is_named() -> None:
    document = contract_for("claims")
    del document["owner"]
    assert refusal(document).message == "owner: expected a value, and it is missing; see docs/spec/contract.md"


def test_more_columns_than_a_plan_may_have() -> None:
    many = [column(name=f"c{number}") for number in range(MAX_COLUMNS + 1)]
    assert refusal(contract_for("claims", columns=many)).message.startswith("columns: ")
    check_contract(contract_for("claims", columns=many[:-1]), "claims")
