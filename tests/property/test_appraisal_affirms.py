"""What is appraised as affirming, over claims and reference values that are nearly right: every part of it is bound,
closed hardware whose software a reference value of its own kind names. The oracle below reads no Rego and no table."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.decide.bundle import read_bundle
from gateway.decide.regorus_child import engine_of
from tests.conformance.test_appraisal_engines import KINDS, MATCHES, REFERENCE
from tests.fakes.doctrine import POLICIES

DEVICES = [*KINDS["gpu"]["devices"], KINDS["snp"], KINDS["tpm"], KINDS["sample"]]
ENDORSED = {"endorsement_issuer": "did:a", "endorsement_feed": "uvm"}
VALUES: list[Any] = [None, True, False, 0, 1, "", " ", "*", ".*", "11", "22", "SNP", "snp", "tdx", "nvgpu", [], ["11"],
                     ["*"], [""], [None], [""], {}, {"": ""}]  # fmt: skip
PATHS = ["measurement", "tee", "platform.host_data", "platform.rtmr1", "platform.pcr4", "platform.nothing", "platform",
         "platform.bound", "platform.endorsement_issuer", "platform.endorsement_feed", "", "*"]  # fmt: skip


@pytest.fixture(scope="module")
def rules() -> Any:
    bundle = read_bundle(POLICIES)
    return engine_of({"modules": bundle.modules, "data": bundle.data})


def appraise(rules: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    rules.set_input_json(json.dumps(document))
    answer: dict[str, Any] = json.loads(rules.eval_rule_as_json("data.demesne.evidence.appraisal"))
    return answer


@st.composite
def changed(draw: st.DrawFn, document: Mapping[str, Any], most: int) -> dict[str, Any]:
    """A copy with some fields of it, or one level below it, missing or of another value."""
    made = copy.deepcopy(dict(document))
    for _ in range(draw(st.integers(0, most))):
        inside = [value for value in made.values() if isinstance(value, dict)]
        place = draw(st.sampled_from([made, *inside]))
        if not place:
            continue
        name = draw(st.sampled_from(sorted(place)))
        if draw(st.booleans()):
            del place[name]
        else:
            place[name] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return made


@st.composite
def entries(draw: st.DrawFn) -> list[Any]:
    """Reference values, some of which may hold."""
    made: list[Any] = []
    for _ in range(draw(st.integers(0, 3))):
        entry = draw(st.sampled_from(REFERENCE)) | {"match": dict(draw(st.sampled_from([{}, *MATCHES.values()])))}
        if draw(st.booleans()):
            entry |= {"match": MATCHES.get(entry["kind"], {})}
        if draw(st.booleans()):
            entry["match"] = entry["match"] | {name: [value] for name, value in (
                ("platform.endorsement_issuer", "did:a"), ("platform.endorsement_feed", "uvm"))}  # fmt: skip
        for path in draw(st.lists(st.sampled_from(PATHS), max_size=1)):
            entry["match"] = entry["match"] | {path: draw(st.sampled_from(VALUES))}
        made.append(draw(changed(entry, 2)))
    return made


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    claims = draw(changed(draw(st.sampled_from(list(KINDS.values()))), 2))
    if isinstance(claims.get("platform"), dict) and draw(st.booleans()):
        claims["platform"] |= ENDORSED
    if draw(st.booleans()):
        claims["devices"] = [
            draw(changed(device, 1)) for device in draw(st.lists(st.sampled_from(DEVICES), max_size=16))
        ]
    genuine = draw(st.sampled_from([REFERENCE, []]))
    return {
        "claims": claims, "posture": draw(st.sampled_from(["production", "production", "development"])),
        "purpose": draw(st.sampled_from(["claims-risk-model", "gpu-training"])),
        "dataset_scope": [{"name": "a", "synthetic": draw(st.booleans()), "label": "personal"}],
        "reference": genuine + draw(entries()),
    }  # fmt: skip


def holds(entry: Any, claims: Mapping[str, Any]) -> bool:
    """Whether `entry` says of these claims' software, by its kind, that it is expected."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or entry.get("kind") != claims["kind"]:
        return False
    if not isinstance(match := entry.get("match", {}), dict) or entry.get("tee", claims["tee"]) != claims["tee"]:
        return False
    said = {f"platform.{name}": value for name, value in claims["platform"].items()}
    said |= {"measurement": claims["measurement"], "tee": claims["tee"]}
    if not all(within(said.get(path), allowed) for path, allowed in match.items()):
        return False
    if "measurement" in entry:
        return bool(claims["measurement"]) and claims["measurement"] in entry["measurement"]
    if claims["kind"] in ("snp", "azure-vtpm"):
        return {"platform.endorsement_issuer", "platform.endorsement_feed"} <= match.keys()
    return claims["kind"] in ("nvgpu", "nras") and bool(match)


def within(value: Any, allowed: Any) -> bool:
    values: Sequence[Any] = value if isinstance(value, list) else [value]
    return isinstance(allowed, list) and len(values) > 0 and all(
        any(one == each and type(one) is type(each) for each in allowed) for one in values
    )  # fmt: skip


def worth_affirming(claims: Any, references: Sequence[Any]) -> bool:
    if (claims["hardware"], claims["debug"], claims["synthetic_only"]) != (True, False, False):
        return False
    if claims["platform"]["bound"] is not True or claims["kind"] in ("tpm", "sample"):
        return False
    golden = claims["kind"] == "nvgpu" and claims["platform"].get("golden_complete") is True
    return golden or any(holds(entry, claims) for entry in references)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=questions())
def test_affirming_is_bound_closed_expected_hardware_through_and_through(rules: Any, document: dict[str, Any]) -> None:
    answer = appraise(rules, document)
    claims = document["claims"]
    if answer["tier"] == "affirming":
        parts = [claims, *claims.get("devices", [])]
        assert all(worth_affirming(part, document["reference"]) for part in parts), answer
        assert all(part["kind"] not in ("nvgpu", "nras") for part in parts[:1])
        assert all(part["kind"] in ("nvgpu", "nras") for part in parts[1:])
        assert answer["reasons"] == []
    for name, submod in answer["submods"].items():
        if name.startswith(("tpm", "unknown", "device")):
            assert submod["tier"] != "affirming", answer


def test_the_sentence_above_is_about_something(rules: Any) -> None:
    """Every kind that can be is affirming unchanged, and the oracle agrees."""
    for name, claims in KINDS.items():
        answer = appraise(rules, {
            "claims": claims, "posture": "production", "purpose": "claims-risk-model", "reference": REFERENCE,
            "dataset_scope": [{"name": "a", "synthetic": False, "label": "personal"}],
        })  # fmt: skip
        assert (answer["tier"] == "affirming") == (name not in ("tpm", "sample")), answer
        assert worth_affirming(claims | {"platform": claims.get("platform", {"bound": True})}, REFERENCE) == (
            name not in ("tpm", "sample")
        )
