"""The strict reading of the doctrine's output: each way of being not quite a decision is a Deny."""

from typing import Any

import pytest

from gateway.decide.answer import MalformedAnswer, read_appraisal, read_decision, read_plans
from gateway.decide.decision import Allow, Deny, plan_id_of
from tests.fakes.doctrine import allowing, appraising, refusing

COLUMN = {"name": "a", "action": "null", "params": {}}
PLAN = {"columns": [COLUMN]}


def read(value: object, action: str = "read") -> Allow | Deny:
    return read_decision(value, "0" * 32, "r1", action)


def test_an_allow_is_read_whole() -> None:
    decision = read(allowing("masked", plan=PLAN, placement=["de"], allow_by=["b", "a"]))
    effect = {"columns": [COLUMN], "purpose_class": "analytics"}
    assert decision == Allow(
        decision_id="0" * 32, revision="r1", view="masked", purpose_class="analytics", plan_id=plan_id_of(effect),
        plan_effect=effect, label="personal", placement=("de",), obligations=(), allow_by=("a", "b"),
    )  # fmt: skip


def test_the_id_of_a_plan_is_the_hash_of_its_effect_and_class() -> None:
    one = read(allowing("masked", plan=PLAN))
    other = read(allowing("masked", plan=PLAN, purpose_class="research"))
    assert isinstance(one, Allow)
    assert isinstance(other, Allow)
    assert one.plan_id != other.plan_id  # equal columns, other pseudonyms


MALFORMED: dict[str, Any] = {
    "null": None,
    "a text": "allow",
    "true": True,
    "a list": [allowing("raw")],
    "an unknown field": allowing("raw", extra=1),
    "a missing field": {name: value for name, value in allowing("raw").items() if name != "obligations"},
    "allow as a text": allowing("raw", allow="true"),
    "allow as one": allowing("raw", allow=1),
    "allow null": allowing("raw", allow=None),
    "an unknown view": allowing("everything"),
    "a view reads cannot have": allowing("writer"),
    "no view at all": allowing("none"),
    "masked without a plan": allowing("masked"),
    "raw with a plan": allowing("raw", plan=PLAN),
    "an unknown action": allowing("masked", plan={"columns": [COLUMN | {"action": "blur"}]}),
    "an unknown plan field": allowing("masked", plan=PLAN | {"filter": "x"}),
    "an unknown column field": allowing("masked", plan={"columns": [COLUMN | {"when": "x"}]}),
    "a column twice": allowing("masked", plan={"columns": [COLUMN, COLUMN]}),
    "a nameless column": allowing("masked", plan={"columns": [COLUMN | {"name": ""}]}),
    "a float parameter": allowing("masked", plan={"columns": [COLUMN | {"params": {"bin": 1.5}}]}),
    "a bool parameter": allowing("masked", plan={"columns": [COLUMN | {"params": {"prefix": True}}]}),
    "an unknown label": allowing("raw", label="secret"),
    "an unknown obligation": allowing("raw", obligations=["pay"]),
    "allowed with reasons": allowing("raw") | {"reasons": refusing()["reasons"]},
    "allowed by nothing": allowing("raw", allow_by=[]),
    "refused without a reason": refusing() | {"reasons": []},
    "a reason without a remedy": refusing(remedy=""),
    "a placement of numbers": allowing("raw", placement=[1]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_anything_else_is_refused(name: str) -> None:
    decision = read(MALFORMED[name])
    assert isinstance(decision, Deny), name
    assert decision.codes == ("doctrine.malformed",)
    assert not decision.retry


@pytest.mark.parametrize(("action", "view"), [("write", "raw"), ("delete", "open"), ("list", "none"), ("", "raw")])
def test_a_view_belongs_to_actions(action: str, view: str) -> None:
    assert isinstance(read(allowing(view), action), Deny)


def test_reasons_are_ordered_and_each_told_once() -> None:
    reasons = [refusing(code)["reasons"][0] for code in ("access.none", "residency.principal", "ReattestationRequired")]
    decision = read(refusing() | {"reasons": [*reasons, reasons[0]]})
    assert isinstance(decision, Deny)
    assert decision.codes == ("ReattestationRequired", "residency.principal", "access.none")
    assert decision.reason.code == "ReattestationRequired"


def test_only_a_refusal_that_may_pass_is_worth_a_retry() -> None:
    closed, none = refusing("residency.zone-closed"), refusing("access.none")
    assert read(closed).retry  # type: ignore[union-attr]
    assert not read(closed | {"reasons": closed["reasons"] + none["reasons"]}).retry  # type: ignore[union-attr]


def test_plans_are_read_whole_or_not_at_all() -> None:
    assert [plan.purpose_class for plan in read_plans([{"purpose_class": "a", **PLAN}])] == ["a"]
    with pytest.raises(MalformedAnswer):
        read_plans([{"purpose_class": "a", **PLAN}, {"purpose_class": "b"}])
    with pytest.raises(MalformedAnswer, match="16"):
        read_plans([{"purpose_class": str(index), **PLAN} for index in range(17)])


GOOD = appraising("affirming")
CPU = GOOD["submods"]["cpu0"]


def with_cpu(**fields: Any) -> dict[str, Any]:
    return GOOD | {"submods": {"cpu0": CPU | fields}}


def test_an_appraisal_is_read_whole() -> None:
    read_back = read_appraisal(GOOD, "r1")
    assert (read_back.tier, read_back.revision, read_back.reasons) == ("affirming", "r1", ())
    assert read_back.as_record() == ["cpu0 affirming known good"]
    assert read_appraisal(appraising("warning"), "r1").reasons[0].code == "attestation.test"


NOT_APPRAISALS: dict[str, Any] = {
    "nothing": None,
    "empty": {},
    "an unknown tier": GOOD | {"tier": "good"},
    "no tier": GOOD | {"tier": "none"},
    "a number": GOOD | {"tier": 2},
    "the answer of before": {"tier": "warning", "status": {}, "reasons": []},
    "another field": GOOD | {"status": {}},
    "affirming nothing": GOOD | {"submods": {}},
    "a warning about nothing": appraising("warning", submods={}),
    "a list of submodules": GOOD | {"submods": [CPU]},
    "too many": GOOD | {"submods": {f"gpu{index}": CPU for index in range(65)}},
    "a nameless submodule": GOOD | {"submods": {"": CPU}},
    "better than its parts": GOOD | {"submods": {"cpu0": CPU, "gpu0": appraising("warning")["submods"]["cpu0"]}},
    "a part better than its vector": with_cpu(vector=CPU["vector"] | {"configuration": "warning"}),
    "a part of no tier": with_cpu(tier="none"),
    "an unknown tier in the vector": with_cpu(vector=CPU["vector"] | {"hardware": "fine"}),
    "a vector without one claim": with_cpu(vector={k: v for k, v in CPU["vector"].items() if k != "hardware"}),
    "a vector with another claim": with_cpu(vector=CPU["vector"] | {"luck": "affirming"}),
    "affirming without a reference value": with_cpu(reference=None),
    "an empty reference value": with_cpu(reference=""),
    "affirming without knowing what runs": with_cpu(vector=CPU["vector"] | {"executables": "none"}),
    "affirming with a reason": GOOD | {"reasons": refusing()["reasons"]},
    "a warning without a reason": appraising("warning", reasons=[]),
}


@pytest.mark.parametrize("name", NOT_APPRAISALS)
def test_an_appraisal_is_read_strictly(name: str) -> None:
    with pytest.raises(MalformedAnswer):
        read_appraisal(NOT_APPRAISALS[name], "r1")
