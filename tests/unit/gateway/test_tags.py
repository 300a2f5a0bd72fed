"""Tags: the writer's words, sealed; decided, recorded, and not shown to who is shown a view."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.principal import Principal
from gateway.s3.ports import Tags
from tests.fakes.gateway_world import CSV, GatewayWorld
from vault.errors import Unavailable

CANARY = {"patient": "erika-mustermann"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    world = GatewayWorld(tmp_path)
    world.contract("open-data")  # so that a job may use it for its purpose too
    yield world
    world.close()


def tags(world: GatewayWorld, who: Principal, key: str = "a.csv", **given: Any) -> Tags:
    return world.run(world.front.get_tags(who, world.ref(key, **given), "req"))


def putting(world: GatewayWorld, who: Principal, given: dict[str, str], key: str = "a.csv", **where: Any) -> Any:
    return world.front.put_tags(who, world.ref(key, **where), given, "req")


async def _count(world: GatewayWorld, who: Principal, key: str) -> int:
    async with world.front.open_read(
        who, world.ref(key), action="head", require_view=None, request_id="req"
    ) as opened:
        return opened.tag_count


def test_tags_come_back_and_lie_nowhere_in_the_clear(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(putting(world, world.steward, CANARY))
    assert tags(world, world.steward).tags == CANARY
    assert tags(world, world.attested()).tags == CANARY
    assert world.run(_count(world, world.attested(), "a.csv")) == 1
    for stored in world.store.objects.values():
        assert b"erika" not in stored
    for file in world.directory.iterdir():
        if file.is_file():
            assert b"erika" not in file.read_bytes()
    assert "erika" not in repr(world.ledger.entries)
    assert world.run(putting(world, world.steward, {})).tags == {}
    assert tags(world, world.steward).tags == {}


def test_no_key_of_a_body_is_opened_for_it(world: GatewayWorld) -> None:
    """A steward tags personal objects that it may not read: the broker gives it manifest keys and refuses the rest."""
    world.put("a.csv", CSV)
    world.run(putting(world, world.steward, CANARY))
    assert world.read(world.steward, "a.csv").refusal.rule == "access.steward-reads"
    assert world.read(world.attested(), "a.csv").body == CSV


def test_a_masked_caller_is_shown_no_tag(world: GatewayWorld) -> None:
    row = world.put("a.csv", CSV)
    world.build(row)
    world.run(putting(world, world.steward, CANARY))
    assert tags(world, world.analyst).tags == {}
    assert world.run(_count(world, world.analyst, "a.csv")) == 0
    with world.unchanged("run"):
        assert world.refused(putting(world, world.analyst, {"a": "b"})).status == 403


def test_each_is_decided_and_recorded(world: GatewayWorld) -> None:
    row = world.put("a.csv", CSV)
    world.run(putting(world, world.steward, CANARY))
    intent = world.entries("intent")[-1]
    assert (intent["action"], intent["version"], intent["view"]) == ("write", row.version_id, "none")
    tags(world, world.steward)
    intent = world.entries("intent")[-1]
    assert (intent["action"], intent["version"], intent["view"]) == ("head", row.version_id, "writer")
    assert world.outcome(intent["id"])["status"] == "complete"


def test_who_did_not_write_it_does_not_tag_it(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    job = world.attested()
    with world.unchanged():
        assert world.refused(putting(world, job, {"a": "b"})).rule == "access.not-author"


def test_a_run_that_read_personal_data_does_not_write_words_on_open_objects(world: GatewayWorld) -> None:
    job = world.attested(scope=("claims", "open-data"))
    world.put("o.csv", b"harmless", dataset="open-data", by=job)
    world.put("a.csv", CSV)
    world.run(putting(world, job, {"fine": "yet"}, "o.csv", dataset="open-data"))
    assert world.read(job, "a.csv").body == CSV
    error = world.refused(putting(world, job, CANARY, "o.csv", dataset="open-data"))
    assert error.rule == "flow.label"
    assert tags(world, world.steward, "o.csv", dataset="open-data").tags == {"fine": "yet"}


def test_what_was_declassified_gets_no_words_that_may_be_personal(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(
        world.registry.declassify(
            world.steward, dataset="claims", key="a.csv", name="release 1", reason="public", request_id="req"
        )
    )
    row = world.version("a.csv")
    assert (row.label, row.generation) == ("none", 2)
    error = world.refused(putting(world, world.steward, CANARY))
    assert (error.status, error.rule) == (403, "flow.label")
    assert world.version("a.csv") == row


def test_tags_of_versions_and_markers(world: GatewayWorld) -> None:
    world.run(world.front.set_versioning(world.steward, world.dataset_ref(), "enabled", "req"))
    first, second = world.put("a.csv", CSV), world.put("a.csv", CSV * 2)
    done = world.run(putting(world, world.steward, {"of": "first"}, version_id=first.version_id))
    assert done.version_id == first.version_id
    assert tags(world, world.steward).tags == {}
    assert tags(world, world.steward, version_id=first.version_id).tags == {"of": "first"}
    assert tags(world, world.steward).version_id == second.version_id
    marker = world.run(world.front.delete(world.steward, world.ref("a.csv"), "req"))
    for version_id, status in ((None, 404), (marker.version_id, 405), ("f" * 32, 404)):
        ref = world.ref("a.csv", version_id=version_id)
        assert world.refused(world.front.get_tags(world.steward, ref, "req")).status == status
        assert world.refused(world.front.put_tags(world.steward, ref, {"a": "b"}, "req")).status == status


def test_tags_given_with_the_object(world: GatewayWorld) -> None:
    async def put() -> None:
        async with world.front.open_write(
            world.steward, world.ref("a.csv"), content_type="", user_metadata={}, condition=None, request_id="req",
            tags=CANARY,
        ) as opened:  # fmt: skip
            await opened.write(CSV)
            await opened.commit()

    world.run(put())
    assert tags(world, world.steward).tags == CANARY


def test_a_store_that_fails_changes_nothing(world: GatewayWorld) -> None:
    row = world.put("a.csv", CSV)

    def broken(call: str, key: str) -> None:
        if call == "commit":
            raise Unavailable("store.full", key)

    world.store.before = broken
    assert world.refused(putting(world, world.steward, CANARY)).status == 503
    world.store.before = lambda *_: None
    assert world.version("a.csv") == row
    assert tags(world, world.steward).tags == {}
