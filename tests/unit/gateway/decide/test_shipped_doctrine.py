"""The shipped doctrine through the whole of `gateway.decide`: what the demo and the README promise."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.decide.decision import Allow, Decision, Deny, plan_id_of
from gateway.decide.doctrine import Doctrine
from gateway.decide.document import DatasetFacts, ObjectFacts
from gateway.decide.regorus import Regorus
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES

REPO = POLICIES.parent


class Asking:
    """A loaded doctrine and the loop its child belongs to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        # Patient: these tests are about answers, and the machine may be busy.
        self.doctrine = Doctrine(Regorus(deadline=5.0, patience=20.0), POLICIES, lambda: time.time_ns() // 1_000_000)
        assert self.loop.run_until_complete(self.doctrine.reload()), self.doctrine.status

    def decide(self, document: dict[str, Any]) -> Decision:
        jsonschema.validate(document, SCHEMA)
        return self.loop.run_until_complete(self.doctrine.decide(document))


SCHEMA = json.loads((POLICIES / "schemas" / "input.schema.json").read_text())


@pytest.fixture(scope="module")
def asking() -> Iterator[Asking]:
    started = Asking()
    yield started
    started.loop.run_until_complete(started.doctrine.close())
    started.loop.close()


FR = DatasetFacts(
    dataset_id="d9", name="models-fr", zone="fr", jurisdiction="fr", synthetic=True, label="personal", contract=None
)

MODEL: dict[str, Any] = {"dataset": given.MODELS, "object": given.MODEL}
JOB = (given.TRAINER, "claims-risk-model")

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "raw without attestation": (given.analyst_reads(require_view="raw"), "attestation.required"),
    "a training key without a session": (given.trainer_reads(session=None), "attestation.required"),
    "a purpose that was not granted": (given.trainer_reads({"purpose": "fraud-model"}), "purpose.not-granted"),
    "a purpose the contract does not list": (given.analyst_reads({"purpose": "marketing"}), "purpose.not-in-contract"),
    "the right job with the wrong purpose": (given.trainer_reads({"purpose": "marketing"}), "purpose.not-in-contract"),
    "another jurisdiction": (given.analyst_reads({"principal.jurisdiction": "us"}), "residency.principal"),
    "what a run read in de into fr": (given.trainer_writes(dataset=FR), "residency.placement"),
    "a stale session": (given.trainer_reads({"session.fresh": False}), "ReattestationRequired"),
    "a stale session that writes": (given.trainer_writes({"session.fresh": False}), "ReattestationRequired"),
    "a model for an analyst": (given.analyst_reads(**MODEL), "label.inherited"),
    "its head as well": (
        given.document("head", given.ANALYST, "analytics", **MODEL), "label.inherited",
    ),
    "a closed zone": (given.analyst_reads({"zone.state": "closed"}), "residency.zone-closed"),
    "a steward who reads": (given.steward("read", object=given.PARQUET), "access.steward-reads"),
    "a steward's head of a model": (given.steward("head", **MODEL), "access.not-author"),
    "personal data into an open dataset": (given.trainer_writes({"dataset.label": "none"}), "flow.label"),
    "an analyst who writes": (given.document("write", given.ANALYST, "analytics"), "access.none"),
    "an analyst who declassifies": (given.document("declassify", given.ANALYST, "analytics"), "access.none"),
    "a trainer who administers": (given.document("administer", *JOB), "access.none"),
    "a class without masking": (given.analyst_reads({"purpose": "audit"}), "purpose.not-granted"),
    "another tenant": (given.analyst_reads({"request.ref.tenant": "other"}), "access.tenant"),
    "sample evidence on real data": (given.trainer_reads({"dataset.synthetic": False}), "attestation.sample"),
    "sample evidence in production": (given.trainer_reads({"zone.posture": "production"}), "attestation.sample"),
    "a dataset out of scope": (given.trainer_reads({"session.scope": ["models"]}), "attestation.scope"),
    "a dataset of another zone": (given.analyst_reads(dataset=FR), "residency.other-zone"),
    "a session for another jurisdiction": (
        given.document("session", *JOB, {"principal.jurisdiction": "us"}, dataset=None),
        "residency.principal",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=list(REFUSED))
def test_refused_with_a_reason_and_a_remedy(case: str, asking: Asking) -> None:
    document, code = REFUSED[case]
    decision = asking.decide(document)
    assert isinstance(decision, Deny), decision
    assert code in decision.codes, decision.codes
    for reason in decision.reasons:
        assert (POLICIES / reason.rule / f"{reason.rule.rpartition('/')[2]}.rego").is_file()
        assert len(reason.message) > 10
        assert len(reason.remedy) > 5


FIRST = ("attestation.required", "residency.placement", "ReattestationRequired", "label.inherited")


@pytest.mark.parametrize("case", [name for name, (_, code) in REFUSED.items() if code in FIRST])
def test_the_first_reason_is_the_one_to_act_on(case: str, asking: Asking) -> None:
    document, code = REFUSED[case]
    decision = asking.decide(document)
    assert isinstance(decision, Deny)
    assert decision.reason.code == code


OPEN = DatasetFacts(
    dataset_id="d3", name="public", zone="de", jurisdiction="de", synthetic=False, label="none", contract=None
)
OPEN_OBJECT = ObjectFacts(label="none", format="opaque", key_class="view", placement=[], written_by="s1")
DECLASSIFIED = ObjectFacts(
    label="none", format="opaque", key_class="raw", placement=["de"], written_by="t1", run="n2",
    declassified="review 17",
)

ALLOWED: dict[str, tuple[dict[str, Any], str, str]] = {
    "masked": (given.analyst_reads(), "masked", "personal"),
    "masked list": (given.document("list", given.ANALYST, "analytics"), "masked", "personal"),
    "masked list of models": (
        given.document("list", given.ANALYST, "analytics", dataset=given.MODELS), "masked", "personal",
    ),
    "raw": (given.trainer_reads(require_view="raw"), "raw", "personal"),
    "raw head": (given.trainer_reads({"request.action": "head"}), "raw", "personal"),
    "raw list": (given.trainer_reads({"request.action": "list"}, object=None), "raw", "personal"),
    "a model is written": (given.trainer_writes(), "none", "personal"),
    "and completed": (given.trainer_writes({"request.action": "complete"}), "none", "personal"),
    "and looked at by who wrote it": (
        given.trainer_writes({"request.action": "head"}, object=given.MODEL), "writer", "personal",
    ),
    "and listed": (given.trainer_writes({"request.action": "list"}), "writer", "personal"),
    "and read after its declassification": (
        given.analyst_reads(dataset=given.MODELS, object=DECLASSIFIED), "open", "personal",
    ),
    "a steward writes before a contract": (given.steward("write", {"dataset.contract": None}), "none", "personal"),
    "a steward verifies its upload": (given.steward("head", object=given.PARQUET), "writer", "personal"),
    "a steward lists": (given.steward("list"), "writer", "personal"),
    "a steward creates": (given.steward("create-dataset", dataset=None), "none", "personal"),
    "a steward declassifies": (given.steward("declassify", **MODEL), "none", "personal"),
    "anyone reads open data": (given.analyst_reads(dataset=OPEN, object=OPEN_OBJECT), "open", "none"),
    "a steward reads open data": (given.steward("read", dataset=OPEN, object=OPEN_OBJECT), "open", "none"),
    "open data takes open data": (given.steward("write", dataset=OPEN), "none", "none"),
    "a session is asked for": (given.document("session", *JOB, dataset=None), "none", "personal"),
    "a closed zone's ledger": (given.steward("ledger", {"zone.state": "closed"}, dataset=None), "none", "personal"),
}  # fmt: skip


@pytest.mark.parametrize("case", ALLOWED, ids=list(ALLOWED))
def test_allowed_as_promised(case: str, asking: Asking) -> None:
    document, view, label = ALLOWED[case]
    decision = asking.decide(document)
    assert isinstance(decision, Allow), decision
    assert decision.view == view
    if document["request"]["action"] in ("write", "complete"):
        assert decision.label == label
    assert (decision.plan_id is not None) == (view == "masked")
    assert decision.revision == asking.doctrine.revision
    assert ("recheck-session" in decision.obligations) == (view == "raw")


def test_the_plan_of_a_read_is_one_that_was_declared(asking: Asking) -> None:
    decision = asking.decide(given.analyst_reads())
    assert isinstance(decision, Allow)
    declared = asking.loop.run_until_complete(asking.doctrine.plans(given.CLAIMS.as_document()))
    assert [plan.plan_id for plan in declared] == [decision.plan_id]
    assert declared[0].effect == decision.plan_effect
    assert decision.plan_id == plan_id_of(declared[0].effect) == decision.view_name
    actions = {column["name"]: column["action"] for column in declared[0].effect["columns"]}
    assert actions["mystery"] == "null"  # no label in the contract is a label: personal
    assert actions["visits"] == "keep"


def test_a_contract_without_columns_declares_no_plan(asking: Asking) -> None:
    assert asking.loop.run_until_complete(asking.doctrine.plans(given.MODELS.as_document())) == []


def test_sample_evidence_is_a_warning_at_most(asking: Asking) -> None:
    claims = {"kind": "sample", "synthetic_only": True, "hardware": False}
    document = {
        "claims": claims, "posture": "development", "dataset_scope": [{"name": "claims", "synthetic": True}],
        "purpose": "claims-risk-model", "reference": [],
    }  # fmt: skip
    assert asking.loop.run_until_complete(asking.doctrine.appraise(document)).tier == "warning"
    refused = asking.loop.run_until_complete(asking.doctrine.appraise(document | {"posture": "production"}))
    assert refused.tier == "contraindicated"
    assert refused.reasons[0].code == "attestation.sample-posture"


def test_every_rule_is_told_the_same_three_times() -> None:
    """METADATA, reason and spec name one code; every rule has its test beside it and is counted in main."""
    spec = (REPO / "docs" / "spec" / "decision.md").read_text()
    main = (POLICIES / "main" / "main.rego").read_text()
    rules = [path for path in sorted(POLICIES.rglob("*.rego")) if "\ndeny contains" in path.read_text()]
    assert len(rules) >= 27
    for path in rules:
        text = path.read_text()
        folder = path.parent.relative_to(POLICIES).as_posix()
        found = re.search(r"^#   code: (\S+)$", text, re.MULTILINE)
        assert found is not None, folder
        assert f'"code": "{found[1]}"' in text
        assert f'"rule": "{folder}"' in text
        assert f"package demesne.{folder.replace('/', '.')}\n" in text
        assert f"data.demesne.{folder.replace('/', '.')}.deny" in main, f"main does not ask {folder}"
        assert f"| `{found[1]}` | `{folder}`" in spec
        assert re.search(r"^#   severity: (critical|high|medium)$", text, re.MULTILINE), folder
    for path in sorted(POLICIES.rglob("*.rego")):
        if not path.stem.endswith("_test"):
            assert path.with_name(f"{path.stem}_test.rego").is_file(), path
            assert path.read_text().startswith("# METADATA\n# title: "), path


def test_the_decision_schema_takes_what_the_doctrine_gives(asking: Asking) -> None:
    schema = json.loads((POLICIES / "schemas" / "decision.schema.json").read_text())
    engine = Regorus(deadline=5.0, patience=20.0)

    async def values() -> list[Any]:
        from gateway.decide.bundle import read_bundle

        await engine.load(read_bundle(POLICIES))
        documents = [case[0] for case in (*ALLOWED.values(), *REFUSED.values())]
        try:
            return [await engine.evaluate("demesne/main/decision", document) for document in documents]
        finally:
            await engine.close()

    for value in asyncio.run(values()):
        jsonschema.validate(value, schema)


def test_no_rule_imports_python_or_names_a_person() -> None:
    names = {path.suffix for path in Path(POLICIES).rglob("*") if path.is_file()}
    assert names <= {".rego", ".json", ".md"}
