"""OPA server and regorus give the same answer to the same question, or one of them is wrong.

The questions: every request a role may make, every one with a field changed, and every one with a field taken
away. Needs an OPA binary (PATH or OPA_BINARY); without one it is one skip line.
"""

import asyncio
import copy
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.decide.bundle import bundle_of, read_bundle
from gateway.decide.decision import Allow, Deny
from gateway.decide.doctrine import APPRAISAL, DECISION, PLANS, Doctrine
from gateway.decide.engine import BundleRefused, Engine, EngineError, EngineFailed, EngineTimeout, EngineUnavailable
from gateway.decide.opa import Opa
from gateway.decide.regorus import Regorus
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES
from tests.fakes.opa_server import opa_binary, opa_server

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(opa_binary() is None, reason="no OPA binary on PATH or in OPA_BINARY"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with opa_server() as started:
        yield started


def roads() -> list[dict[str, Any]]:
    """One permitted request for each way through the rules."""
    return [
        given.analyst_reads(),
        given.document("list", given.ANALYST, "analytics"),
        given.trainer_reads(),
        given.trainer_writes(),
        given.trainer_writes({"request.action": "head"}, object=given.MODEL),
        given.steward("write"),
        given.steward("head", object=given.PARQUET),
        given.steward("declassify", dataset=given.MODELS, object=given.MODEL),
        given.document("session", given.TRAINER, "claims-risk-model", dataset=None),
    ]


CHANGES: dict[str, list[Any]] = {
    "request.action": ["read", "head", "list", "write", "delete", "session", "ledger", "copy", 1],
    "request.require_view": ["raw"],
    "request.ref.tenant": ["other", ""],
    "request.ref.zone": ["fr"],
    "principal.roles": [[], ["steward"], ["trainer"], ["analyst", "trainer"], ["auditor"]],
    "principal.jurisdiction": ["us", ""],
    "principal.purposes": [[], ["analytics", "stewardship", "marketing", "claims-risk-model", "audit"]],
    "purpose": ["analytics", "marketing", "claims-risk-model", "stewardship", "audit", "curiosity", ""],
    "session": [None],
    "session.fresh": [False, "yes"],
    "session.kind": ["identity"],
    "session.tier": ["affirming", "none"],
    "session.scope": [[], ["models"]],
    "session.claims": [{}, {"hardware": True, "synthetic_only": False}],
    "dataset": [None],
    "dataset.label": ["none"],
    "dataset.zone": ["fr"],
    "dataset.synthetic": [False],
    "dataset.contract": [None],
    "dataset.contract.purposes": [[]],
    "dataset.contract.keys_personal": [True, None],
    "dataset.contract.columns": [[], [{"name": "x"}], [{"name": "ü\u0001", "type": "", "label": "pii.new"}]],
    "object": [None],
    "object.label": ["none"],
    "object.format": ["opaque", "csv"],
    "object.run": ["", None],
    "object.written_by": ["s1", "t1", None],
    "object.declassified": [{"name": "review"}, {"name": ""}],
    "zone.state": ["closed"],
    "zone.posture": ["production", "other"],
    "zone.strength": ["none", "attested"],
    "run": [None],
    "run.label": ["personal", None],
    "run.placement": [[], ["fr"], ["de", "fr"], None],
    "schema": ["demesne.input/2"],
}  # fmt: skip


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any] | None:
    """The document with one field changed; None when the road has no such field."""
    copied = copy.deepcopy(document)
    place: Any = copied
    *parents, name = path.split(".")
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or name not in place:
        return None
    place[name] = value
    return copied


def without(document: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all fields, so that each can be taken away once."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield (*prefix, name)
            yield from without(value, (*prefix, name))


def questions() -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = [{}]
    for road in roads():
        asked.append(road)
        for path, values in CHANGES.items():
            asked.extend(document for value in values if (document := changed(road, path, value)) is not None)
        for *parents, last in without(road):
            copied = copy.deepcopy(road)
            place = copied
            for name in parents:
                place = place[name]
            del place[last]
            asked.append(copied)
    # Two changes at once, where one alone could hide the other.
    together = ["purpose", "session", "dataset.label", "object.label", "run.label", "zone.posture"]
    for (one, other), road in itertools.product(itertools.combinations(together, 2), roads()[:5]):
        for first, second in itertools.product(CHANGES[one], CHANGES[other]):
            document = changed(road, one, first)
            document = changed(document, other, second) if document is not None else None
            if document is not None:
                asked.append(document)
    return asked


def sorted_answer(value: Any) -> Any:
    """Sets become lists in no promised order; everything else must be equal as it stands."""
    if isinstance(value, dict):
        return {
            name: sorted(item, key=repr) if name in ("reasons", "allow_by") else item for name, item in value.items()
        }
    return sorted(value, key=repr) if isinstance(value, list) else value


async def answer(engine: Engine, path: str, document: Any) -> Any:
    try:
        return sorted_answer(await engine.evaluate(path, document))
    except EngineFailed:
        return "failed"


def test_the_engines_agree(url: str) -> None:
    async def scenario() -> None:
        bundle = read_bundle(POLICIES)
        opa, regorus = Opa(url, deadline=5.0), Regorus(deadline=5.0, patience=30.0)
        try:
            await opa.load(bundle)
            await regorus.load(bundle)
            asked = questions()
            assert len(asked) > 1300
            for document in asked:
                ours, theirs = await answer(regorus, DECISION, document), await answer(opa, DECISION, document)
                assert ours == theirs, document
            for document in asked[:60]:
                ours, theirs = await answer(regorus, PLANS, document), await answer(opa, PLANS, document)
                assert ours == theirs, document
            for claims, posture, scope in itertools.product(
                ({}, {"kind": "sample", "synthetic_only": True}, {"kind": "snp"}), ("development", "production", ""),
                ([], [{"name": "a", "synthetic": True}], [{"name": "a", "synthetic": False}], None),
            ):
                document = {"claims": claims, "posture": posture, "dataset_scope": scope}
                assert await answer(regorus, APPRAISAL, document) == await answer(opa, APPRAISAL, document), document
        finally:
            await opa.close()
            await regorus.close()

    asyncio.run(scenario())


def test_whatever_is_missing_is_refused(url: str) -> None:
    """No request gets more for saying less, in either engine and through the whole of `Doctrine`."""

    async def scenario() -> None:
        for engine in (Opa(url, deadline=5.0), Regorus(deadline=5.0, patience=30.0)):
            doctrine = Doctrine(engine, POLICIES, lambda: 0)
            try:
                assert await doctrine.reload(), doctrine.status
                for road in roads():
                    assert isinstance(await doctrine.decide(road), Allow), road
                    for name in road:
                        less = {field: value for field, value in road.items() if field != name}
                        assert isinstance(await doctrine.decide(less), Deny), name
            finally:
                await doctrine.close()

    asyncio.run(scenario())


def test_a_bundle_opa_refuses_leaves_the_good_one_serving(url: str, tmp_path: Path) -> None:
    root = tmp_path / "doctrine"
    shutil.copytree(POLICIES, root)

    async def scenario() -> None:
        doctrine = Doctrine(Opa(url, deadline=5.0), root, lambda: 5)
        try:
            assert await doctrine.reload(), doctrine.status
            good = doctrine.revision
            rule = root / "access" / "tenant" / "tenant.rego"
            text = rule.read_text()
            rule.write_text(text.replace("deny contains reason if {", "deny contains reason if { no_such(1)"))
            assert not await doctrine.reload()
            assert doctrine.revision == good
            assert doctrine.status.refused is not None
            assert "tenant" in doctrine.status.refused.reason
            assert isinstance(await doctrine.decide(given.analyst_reads()), Allow)
        finally:
            await doctrine.close()

    asyncio.run(scenario())


def test_an_answer_of_another_revision_is_no_answer(url: str) -> None:
    async def scenario() -> None:
        bundle = read_bundle(POLICIES)
        other = bundle_of(list(bundle.modules), bundle.data, (*bundle.builtins, "abs"))
        ours, theirs = Opa(url, deadline=5.0), Opa(url, deadline=5.0)
        try:
            await ours.load(bundle)
            await theirs.load(other)
            with pytest.raises(EngineUnavailable, match="another doctrine"):
                await ours.evaluate(DECISION, given.analyst_reads())
        finally:
            await ours.close()
            await theirs.close()

    asyncio.run(scenario())


SLOW = """package demesne.main

decision := {"allow": false} if not input.n

decision := {"allow": false, "n": n} if {
	input.n == 1
	n := count([1 |
		some a in numbers.range(1, 3000)
		some b in numbers.range(1, 3000)
		a == b + input.n
	])
}

plans := []
"""
NOTHING = """package demesne.evidence

appraisal := {"tier": "contraindicated", "submods": {}, "reasons": []}
"""


def test_opa_has_a_deadline_and_fails_closed(url: str) -> None:
    async def scenario() -> None:
        opa = Opa(url, deadline=0.1)
        try:
            await opa.load(bundle_of([("main/main.rego", SLOW), ("evidence/evidence.rego", NOTHING)], {}, ()))
            with pytest.raises(EngineTimeout):
                await opa.evaluate(DECISION, {"n": 1})
        finally:
            await opa.close()

    asyncio.run(scenario())


def test_no_server_is_no_answer() -> None:
    async def scenario() -> None:
        opa = Opa("http://127.0.0.1:9", deadline=0.5)
        try:
            with pytest.raises(EngineError) as refused:
                await opa.load(read_bundle(POLICIES))
            assert not isinstance(refused.value, BundleRefused)
            with pytest.raises(EngineUnavailable):
                await opa.evaluate(DECISION, {})
        finally:
            await opa.close()

    asyncio.run(scenario())
