"""Rows put back to what they were by somebody with SQL, and plans changed under a reader: no silent other answer."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.seen import MAX_SEEN, Seen
from tests.fakes.gateway_world import CSV, GatewayWorld, contract_for
from vault.errors import Refused


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.build(made.put("a.csv", CSV))
    yield made
    made.close()


def rows(world: GatewayWorld, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(world.path)
    try:
        return {table: connection.execute(f"select * from {table}").fetchall() for table in tables}
    finally:
        connection.close()


def put_back(world: GatewayWorld, kept: dict[str, list[tuple[Any, ...]]]) -> None:
    connection = sqlite3.connect(world.path)
    try:
        with connection:
            for table, found in kept.items():
                connection.execute(f"delete from {table}")
                for row in found:
                    connection.execute(f"insert into {table} values ({','.join('?' * len(row))})", row)
    finally:
        connection.close()


def test_a_weaker_contract_put_back_is_refused_and_on_record(world: GatewayWorld) -> None:
    columns = [column | {"label": "none"} for column in contract_for("claims")["columns"]]
    world.contract("claims", columns=columns)  # a slip, corrected at once
    world.build(world.version("a.csv"), CSV)
    weak = rows(world, "dataset", "plan")
    world.contract("claims")
    world.build(world.version("a.csv"))
    assert b"Ada" not in world.read(world.analyst, "a.csv").body
    at = len(world.ledger.entries)
    put_back(world, weak)
    answer = world.read(world.analyst, "a.csv")
    assert answer.refusal.rule == "integrity.catalog.row-older"
    assert answer.body == b""
    assert [entry["reason"] for entry in world.entries("integrity", at)] == ["integrity.catalog.row-older"]


def test_a_revoked_session_put_back_opens_nothing(world: GatewayWorld) -> None:
    job = world.attested()
    assert job.session is not None
    before = rows(world, "session")
    assert world.read(job, "a.csv").body == CSV
    world.run(world.sessions.revoke(world.trainer, job.session.session_id))
    assert world.read(job, "a.csv").refusal.rule == "ReattestationRequired"
    put_back(world, before)
    world.clock.advance(6_000)  # past the row's cache
    assert world.read(job, "a.csv").refusal.rule == "integrity.catalog.row-older"


def test_a_run_does_not_forget_what_it_read(world: GatewayWorld) -> None:
    job = world.attested()
    clean = rows(world, "run_io")
    assert world.read(job, "a.csv").body == CSV
    put_back(world, clean)
    with pytest.raises(GatewayError) as refused:
        world.written(job, "out.csv", CSV, dataset="open-data")
    assert refused.value.rule == "integrity.catalog.row-older"
    assert world.find("out.csv", "open-data") is None


def test_a_row_read_before_another_thread_saw_the_newer_one_is_read_again() -> None:
    seen = Seen()
    seen.at_least("dataset", "d", 2)
    assert seen.newest("dataset", "d", 1, lambda: 2, int) == 2
    with pytest.raises(Refused, match=r"catalog\.row-older"):
        seen.newest("dataset", "d", 1, lambda: 1, int)
    assert seen.newest("dataset", "e", 1, lambda: 1, int) == 1
    assert seen.newest("run", "d", 1, lambda: 1, int) == 1


def test_what_is_remembered_is_bounded() -> None:
    seen = Seen()
    for number in range(MAX_SEEN + 10):
        seen.at_least("session", str(number), 1)
    assert len(seen._highest) == MAX_SEEN


def test_a_plan_changed_after_head_is_told_and_not_served_in_its_place(world: GatewayWorld) -> None:
    """A client that kept size and footer of one rendering must not be handed ranges of another."""
    assert world.read(world.analyst, "a.csv", action="head").error is None
    assert world.read(world.analyst, "a.csv").error is None
    columns = [column | {"label": "unknown"} for column in contract_for("claims")["columns"]]
    world.contract("claims", columns=columns)
    assert world.read(world.analyst, "a.csv").refusal.status == 503  # being built
    assert world.read(world.analyst, "a.csv", action="head").refusal.status == 503
    world.build(world.version("a.csv"), b"name,iban,amount\n,,\n,,\n")
    refusal = world.read(world.analyst, "a.csv", span=(0, 4)).refusal
    assert (refusal.status, refusal.rule) == (412, "view.changed")
    assert world.read(world.analyst, "a.csv", action="head").error is None
    assert world.read(world.analyst, "a.csv").body == b"name,iban,amount\n,,\n,,\n"


def test_who_made_no_head_is_given_the_view_of_now(world: GatewayWorld) -> None:
    other = world.person("second", "analytics", "analyst")
    assert world.read(other, "a.csv").error is None
    columns = [column | {"label": "unknown"} for column in contract_for("claims")["columns"]]
    world.contract("claims", columns=columns)
    world.build(world.version("a.csv"), b"name,iban,amount\n,,\n,,\n")
    assert world.read(other, "a.csv").body == b"name,iban,amount\n,,\n,,\n"
