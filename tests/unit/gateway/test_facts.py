"""What a decision is made on: each row fresh enough, sealed, and never the caller's word."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.facts import ZONE_CACHE_MS, decision_input
from gateway.known_sessions import SESSION_CACHE_MS
from tests.fakes.gateway_world import CSV, FRESHNESS_MS, WINDOW_MS, GatewayWorld, contract_for
from tests.fakes.gateway_world import GENESIS as RECORD
from vault.errors import Refused


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def document(world: GatewayWorld, who: Any, key: str | None = "a.csv", dataset: str | None = "claims") -> Any:
    facts = world.facts.gather(who, dataset, key, run_labels=True)
    return decision_input(
        who, facts, action="read", interface="s3", request_id="r", now="2026-01-01T00:00:00.000Z", dataset=dataset,
        key=key,
    )  # fmt: skip


def test_the_document_of_an_attested_read(world: GatewayWorld) -> None:
    version = world.put("a.csv", CSV)
    who = world.attested(run="train")
    found = document(world, who)
    assert who.session is not None
    assert found["session"] == {
        "id": who.session.session_id, "kind": "attested", "tier": "warning", "fresh": True, "scope": ["claims"],
        "run": who.session.run_id,
        "claims": {"kind": "sample", "tee": "none", "measurement": "sample", "debug": True, "hardware": False,
                   "synthetic_only": True},
    }  # fmt: skip
    assert found["object"]["written_by"] == version.written_by == world.steward.principal_id
    assert found["object"]["placement"] == ["de"]
    assert found["dataset"]["contract"]["purposes"] == ["analytics", "claims-risk-model"]
    assert found["zone"] == {
        "name": "de", "jurisdiction": "de", "posture": "development", "state": "open", "strength": "self-reported",
    }  # fmt: skip
    assert found["run"] == {"id": who.session.run_id, "label": "none", "placement": None, "inputs": 0}
    json.dumps(found, allow_nan=False)


def test_freshness_is_of_the_row_and_not_of_the_token(world: GatewayWorld) -> None:
    who = world.attested()
    assert who.session is not None
    eternal = replace(who, session=replace(who.session, expires_at=2**52))
    world.clock.advance(FRESHNESS_MS + 1)
    facts = world.facts.gather(eternal, None)
    assert (facts.fresh, facts.lapsed_ms) == (False, 1)


def test_a_session_without_a_row_is_nothing(world: GatewayWorld) -> None:
    who = world.attested()
    assert who.session is not None
    unknown = replace(who, session=replace(who.session, session_id="f" * 32))
    facts = world.facts.gather(unknown, None)
    assert (facts.session, facts.fresh) == (None, False)
    assert document(world, unknown)["session"]["tier"] == "none"


def test_a_session_is_remembered_for_seconds(world: GatewayWorld) -> None:
    who = world.attested()
    assert who.session is not None
    session_id = who.session.session_id
    assert world.facts.gather(who, None).fresh
    world.catalog.revoke_session(session_id)
    assert world.facts.gather(who, None).fresh
    world.clock.advance(SESSION_CACHE_MS)
    assert not world.facts.gather(who, None).fresh


def test_forgetting_a_session_looks_again_at_once(world: GatewayWorld) -> None:
    who = world.attested()
    assert who.session is not None
    world.facts.gather(who, None)
    world.catalog.revoke_session(who.session.session_id)
    world.facts.forget_session(who.session.session_id)
    assert not world.facts.gather(who, None).fresh


def test_a_zone_is_closed_until_seen_and_when_seen_too_long_ago(world: GatewayWorld) -> None:
    never = world.facts
    assert never.zone().state == "open"
    world.clock.advance(180_001)
    zone = never.zone()
    assert (zone.state, zone.reason) == ("closed", "the last observation is too old")
    world.open_zone()
    assert world.new_facts().zone().state == "open"
    world.sql("delete from zone")
    zone = world.new_facts().zone()
    assert (zone.state, zone.reason) == ("closed", "not observed yet")


def test_a_zone_that_closes_is_noticed_within_seconds(world: GatewayWorld) -> None:
    assert world.facts.zone().state == "open"
    world.open_zone("closed", "store.elsewhere")
    world.clock.advance(ZONE_CACHE_MS)
    zone = world.facts.zone()
    assert (zone.state, zone.reason) == ("closed", "store.elsewhere")


def test_only_an_explicit_none_is_not_personal(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    facts = world.facts.gather(world.analyst, "claims", "a.csv")
    assert facts.dataset is not None
    assert facts.version is not None
    odd = replace(facts, dataset=replace(facts.dataset, label="secret"), version=replace(facts.version, label="secret"))
    found = decision_input(
        world.analyst, odd, action="read", interface="s3", request_id="r", now="n", dataset="claims", key="a.csv"
    )
    assert (found["dataset"]["label"], found["object"]["label"]) == ("personal", "personal")


def test_a_pointer_has_no_objects_and_no_jurisdiction_of_ours(world: GatewayWorld) -> None:
    world.catalog.create_dataset("far-away", "fr", "personal", True, RECORD)
    found = document(world, world.analyst, dataset="far-away")
    assert (found["dataset"]["zone"], found["dataset"]["jurisdiction"], found["object"]) == ("fr", "fr", None)
    assert found["request"]["ref"]["zone"] == "fr"


@pytest.mark.parametrize("name", [None, "nowhere"])
def test_no_dataset_no_facts_of_one(world: GatewayWorld, name: str | None) -> None:
    found = document(world, world.analyst, key=None, dataset=name)
    assert (found["dataset"], found["object"]) == (None, None)


def test_null_names_the_unversioned_object(world: GatewayWorld) -> None:
    version = world.put("a.csv", CSV)
    facts = world.facts.gather(world.analyst, "claims", "a.csv", "null")
    assert facts.version == version
    assert world.facts.gather(world.analyst, "claims", "b.csv", "null").version is None


# --- runs


def inputs(world: GatewayWorld, *rows: tuple[str, tuple[str, ...]]) -> Any:
    who = world.attested(run="r")
    assert who.session is not None
    for number, (label, placement) in enumerate(rows):
        version_id = f"{number:032x}"
        world.catalog.add_io(
            who.session.run_id, "in", world.dataset.dataset_id, version_id, "raw", label, placement, RECORD
        )
    return world.facts.gather(who, None, run_labels=True).run


def test_one_personal_input_makes_the_run_personal(world: GatewayWorld) -> None:
    found = inputs(world, ("none", ()), ("personal", ("de",)), ("none", ()))
    assert (found.label, found.placement, found.inputs) == ("personal", ("de",), 3)


def test_a_run_may_lie_only_where_all_it_read_may(world: GatewayWorld) -> None:
    assert inputs(world, ("personal", ("de", "fr")), ("personal", ("de", "nl"))).placement == ("de",)


def test_inputs_that_may_lie_nowhere_together_leave_nowhere(world: GatewayWorld) -> None:
    assert inputs(world, ("personal", ("de",)), ("personal", ("fr",))).placement == ()


def test_open_inputs_bind_nothing(world: GatewayWorld) -> None:
    found = inputs(world, ("none", ("fr",)))
    assert (found.label, found.placement, found.inputs) == ("none", None, 1)


def test_an_edited_input_is_refused(world: GatewayWorld) -> None:
    who = world.attested(run="r")
    assert who.session is not None
    world.catalog.add_io(
        who.session.run_id, "in", world.dataset.dataset_id, "a" * 32, "raw", "personal", ("de",), RECORD
    )
    world.sql("update run_io set label = 'none'")
    with pytest.raises(Refused) as caught:
        world.facts.gather(who, None, run_labels=True)
    assert caught.value.reason == "catalog.row-edited"


def test_what_a_run_wrote_is_not_read_again_at_each_write(world: GatewayWorld) -> None:
    """It was: the thousandth PUT of an ingestion cost ten times the first. An unreadable row shows who reads it."""
    who = world.attested(run="r")
    assert who.session is not None
    world.catalog.add_io(
        who.session.run_id, "out", world.dataset.dataset_id, "a" * 32, "raw", "personal", ("de",), RECORD
    )
    world.sql("update run_io set label = 'none'")
    assert world.facts.gather(who, None, run_labels=True).run.inputs == 0


def test_inputs_that_vanish_are_missed(world: GatewayWorld) -> None:
    """A label is shed by deleting a row, if nobody remembers how many there were."""
    who = world.attested(run="r")
    assert who.session is not None
    world.catalog.add_io(
        who.session.run_id, "in", world.dataset.dataset_id, "a" * 32, "raw", "personal", ("de",), RECORD
    )
    assert world.facts.gather(who, None, run_labels=True).run.label == "personal"
    world.sql("delete from run_io")
    with pytest.raises(Refused) as caught:
        world.facts.gather(who, None, run_labels=True)
    assert caught.value.reason == "catalog.row-older"


def test_a_contract_put_back_is_refused(world: GatewayWorld) -> None:
    kept = world.rows("select * from dataset where name = 'claims'")[0]
    names = [row[1] for row in world.rows("pragma table_info(dataset)")]
    columns = contract_for("claims")["columns"]
    columns[2] = {**columns[2], "label": "pii.note"}
    world.contract("claims", columns=columns)
    world.facts.gather(world.analyst, "claims")
    assignments = ", ".join(f"{name} = ?" for name in names)
    world.sql(f"update dataset set {assignments} where name = 'claims'", *kept)
    with pytest.raises(Refused) as caught:
        world.facts.gather(world.analyst, "claims")
    assert caught.value.reason == "catalog.row-older"


def test_unnamed_runs_are_told_apart_by_key_and_end_with_the_window(world: GatewayWorld) -> None:
    def run_of(who: Any) -> str:
        return world.new_facts().gather(who, None).run.run_id

    first = run_of(world.analyst)
    assert run_of(world.analyst) == first
    assert run_of(replace(world.analyst, access_key_id="DSTAOTHER")) != first
    world.clock.advance(WINDOW_MS + 1)
    assert run_of(world.analyst) != first


def test_a_session_acts_in_the_run_of_its_token(world: GatewayWorld) -> None:
    who = world.attested(run="train")
    assert who.session is not None
    assert world.facts.gather(who, None).run.run_id == who.session.run_id
