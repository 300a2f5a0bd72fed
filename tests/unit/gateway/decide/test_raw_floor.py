"""Whatever tiers a careless author lists, in whatever table: sample evidence never satisfies a production doctrine, and
a session that only says who it is never gets raw data. The whole doctrine as shipped, with its tables rewritten."""

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.decide.bundle import read_bundle
from gateway.decide.regorus_child import engine_of
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES

TIERS = ("affirming", "warning", "contraindicated", "none")
SUBSETS = [list(chosen) for count in range(5) for chosen in itertools.combinations(TIERS, count)]
MACHINE = {"kind": "snp", "tee": "sev-snp", "hardware": True, "synthetic_only": False, "debug": False}
SAMPLE = {"kind": "sample", "tee": "none", "hardware": False, "synthetic_only": True, "debug": True}
BUNDLE = read_bundle(POLICIES)


def engine(**tables: Any) -> Any:
    data = copy.deepcopy(BUNDLE.data)
    data["data"]["attestation"] |= tables
    return engine_of({"modules": BUNDLE.modules, "data": data})


def decide(rules: Any, document: dict[str, Any]) -> dict[str, Any]:
    rules.set_input_json(json.dumps(document))
    answer: dict[str, Any] = json.loads(rules.eval_rule_as_json("data.demesne.main.decision"))
    return answer


def reads(kind: str, tier: str, claims: dict[str, Any], posture: str, *, synthetic: bool) -> dict[str, Any]:
    return given.trainer_reads({
        "session.kind": kind, "session.tier": tier, "session.claims": claims, "zone.posture": posture,
        "dataset.synthetic": synthetic,
    })  # fmt: skip


def never() -> Iterator[dict[str, Any]]:
    """Requests that no table may open."""
    for tier, synthetic in itertools.product(TIERS, (True, False)):
        for claims in (SAMPLE, {}, SAMPLE | {"hardware": True}, MACHINE | {"kind": "sample"}, MACHINE | {"debug": True},
                       MACHINE | {"synthetic_only": True}, MACHINE | {"hardware": False}):  # fmt: skip
            yield reads("attested", tier, claims, "production", synthetic=synthetic)
        for claims, posture in itertools.product((MACHINE, SAMPLE, {}), ("development", "production", "")):
            yield reads("identity", tier, claims, posture, synthetic=synthetic)
    for tier in TIERS[1:]:
        yield reads("attested", tier, MACHINE, "production", synthetic=False)


@pytest.mark.parametrize("listed", SUBSETS, ids=lambda listed: "+".join(listed) or "nothing")
def test_no_list_of_tiers_goes_under_the_floor(listed: list[str]) -> None:
    rules = engine(raw_tiers={"development": listed, "production": listed, "": listed})
    for document in never():
        answer = decide(rules, document)
        assert answer["allow"] is False, (listed, document["session"], document["zone"])


def test_the_machine_that_was_affirmed_is_permitted_so_the_refusals_above_mean_something() -> None:
    answer = decide(engine(), reads("attested", "affirming", MACHINE, "production", synthetic=False))
    assert (answer["allow"], answer["view"]) == (True, "raw")


WIDE: dict[str, Any] = {
    "raw_tiers": {"development": list(TIERS), "production": list(TIERS)},
    "required": [],
    "products": {"": "affirming", "none": "affirming"},
    "tcb_statuses": {"": "affirming", "none": "affirming"},
    "interactive": dict.fromkeys(("console", "override", "secure_boot_off"), "affirming"),
    "space_models": {"none": "affirming", "": "affirming"},
    "revocation": {"unchecked": "affirming"},
    "identifying": {kind: [] for kind in ("sample", "snp", "tpm")},
}


@pytest.mark.parametrize("tables", [{name: value} for name, value in WIDE.items()] + [WIDE], ids=[*WIDE, "all of them"])
@pytest.mark.parametrize("posture", ["development", "production"])
def test_no_table_makes_sample_evidence_more_than_a_warning(tables: dict[str, Any], posture: str) -> None:
    rules = engine(**tables)
    reference = [{"name": "mine", "kind": "sample", "measurement": ["00"], "match": {"tee": ["none"]}}]
    for claims, synthetic in itertools.product((SAMPLE, SAMPLE | {"platform": {"bound": True}}), (True, False)):
        rules.set_input_json(json.dumps({
            "claims": claims | {"measurement": "00"}, "posture": posture, "purpose": "claims-risk-model",
            "dataset_scope": [{"name": "a", "synthetic": synthetic, "label": "personal"}], "reference": reference,
        }))  # fmt: skip
        tier = json.loads(rules.eval_rule_as_json("data.demesne.evidence.appraisal"))["tier"]
        assert tier == ("warning" if posture == "development" and synthetic else "contraindicated")


MISSPELT: list[Any] = [
    {"purpose": "gpu-training", "submods": "gpu0"}, {"purpose": "gpu-training", "submods": []},
    {"purpose": "gpu-training", "submods": [7]}, {"purpose": "gpu-training"},
    {"purpose": "gpu-trainig", "submods": ["gpu0"]}, {"class": "trainings", "submods": ["gpu0"]},
    {"posture": "prod", "submods": ["gpu0"]}, {"label": "Personal", "submods": ["gpu0"]},
    {"porpuse": "gpu-training", "submods": ["gpu0"]}, "gpu0",
]  # fmt: skip


@pytest.mark.parametrize("entry", [None, *MISSPELT], ids=str)
def test_a_misspelt_entry_of_required_parts_refuses_and_is_not_passed_over(entry: Any) -> None:
    rules = engine(required=[{"purpose": "gpu-training", "submods": ["gpu0"]}] if entry is None else [entry])
    rules.set_input_json(json.dumps({
        "claims": SAMPLE | {"platform": {"bound": True}, "measurement": "00"}, "posture": "development",
        "purpose": "claims-risk-model", "dataset_scope": [{"name": "a", "synthetic": True, "label": "personal"}],
        "reference": [],
    }))  # fmt: skip
    answer = json.loads(rules.eval_rule_as_json("data.demesne.evidence.appraisal"))
    codes = {reason["code"] for reason in answer["reasons"]}
    assert ("attestation.purpose" in codes) == (entry is not None), answer
    assert (answer["tier"] == "contraindicated") == (entry is not None), answer
