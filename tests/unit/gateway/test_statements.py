"""A job's words about its run: kept, hashed into the ledger, and taken from nobody else."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.principal import Principal, SessionClaims
from gateway.statements import MOST, Statements
from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.ledger import ledger_down

SAID = {"status": "completed", "name": "risk-v7", "models": {"s3://models/risk": "ab" * 32}}
PURPOSE = "claims-risk-model"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def run_id(world: GatewayWorld) -> str:
    return world.catalog.ensure_run(world.trainer.principal_id, PURPOSE, "nightly", "w", 1000)


def say(world: GatewayWorld, who: Principal, run_id: str, said: dict[str, Any] = SAID) -> Any:
    return Statements(world.guard, world.catalog).state(who, run_id, said, "r")


def kept(world: GatewayWorld) -> list[Any]:
    return world.rows("select document from run_statement")


def test_words_are_kept_and_their_hash_is_on_record(world: GatewayWorld, run_id: str) -> None:
    made = world.run(say(world, world.trainer, run_id))
    ((document,),) = kept(world)
    assert json.loads(document) == SAID
    entry = world.entries("run-statement")[-1]
    assert entry["sha256"] == hashlib.sha256(document.encode()).hexdigest()
    assert (entry["run"], entry["statement"], entry["purpose"]) == (run_id, made["statement_id"], PURPOSE)
    assert "risk-v7" not in json.dumps(entry)


def test_a_session_speaks_of_its_own_run_only(world: GatewayWorld, run_id: str) -> None:
    other = world.catalog.ensure_run(world.trainer.principal_id, PURPOSE, "another", "w", 1000)
    claims = SessionClaims("5" * 32, PURPOSE, (), run_id, "attested", 0)
    job = replace(world.trainer, session=claims)
    assert world.refused(say(world, job, other)).code == "NoSuchRun"
    assert kept(world) == []


@pytest.mark.parametrize("who", ["steward", "analyst"])
def test_nobody_speaks_of_the_run_of_another(world: GatewayWorld, run_id: str, who: str) -> None:
    error = world.refused(say(world, getattr(world, who), run_id))
    assert (error.status, error.code) == (404, "NoSuchRun")
    assert kept(world) == []
    assert world.entries("run-statement") == []


def test_an_unknown_run_is_answered_like_another_ones(world: GatewayWorld) -> None:
    assert world.refused(say(world, world.trainer, "0" * 32)).code == "NoSuchRun"


def test_a_principal_who_may_not_act_for_the_purpose_any_more(world: GatewayWorld) -> None:
    run = world.catalog.ensure_run(world.trainer.principal_id, "payroll", "old", "w", 1000)
    assert world.refused(say(world, world.trainer, run)).status == 403
    assert kept(world) == []


def test_without_a_ledger_nothing_is_acknowledged(world: GatewayWorld, run_id: str) -> None:
    world.ledger.fault = ledger_down
    assert world.refused(say(world, world.trainer, run_id)).status == 503


def test_a_run_holds_so_many_and_no_more(world: GatewayWorld, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST == 1000
    monkeypatch.setattr("gateway.statements.MOST", 2)
    for _ in range(2):
        world.run(say(world, world.trainer, run_id))
    assert world.refused(say(world, world.trainer, run_id)).rule == "run.statements"
    assert len(kept(world)) == 2
