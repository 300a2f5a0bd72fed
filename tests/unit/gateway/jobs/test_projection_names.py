"""Lineage asks the catalog for what the ledger does not hold; what the catalog no longer knows is left out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs.projection import CatalogNames, Projection
from gateway.plans import IDENTITY_PLAN
from lineage.questions import Lineage
from tests.fakes.gateway_world import CSV, GENESIS, GatewayWorld
from tests.unit.lineage.ledger.running import write_ledger
from vault.errors import Refused

FIELDS = (("name", "string"), ("iban", "string"), ("amount", "int64"))
EXTENTS = [["name", [[0, 100, 1]]], ["iban", [[100, 100, 1]]], ["amount", [[200, 100, 1]]]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.build(made.put("a.csv", CSV))
    yield made
    made.close()


@pytest.fixture
def names(world: GatewayWorld) -> CatalogNames:
    return CatalogNames(world.catalog)


def test_a_version_by_its_names(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    found = names.version(version.dataset_id, version.version_id)
    assert found is not None
    assert (found.dataset, found.key, found.contract_version, found.fields) == ("claims", "a.csv", 1, FIELDS)


def test_fields_are_those_the_file_really_has(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    world.catalog.set_columns(version.dataset_id, version.version_id, EXTENTS[:2], GENESIS)
    found = names.version(version.dataset_id, version.version_id)
    assert found is not None
    assert found.fields == FIELDS[:2]


def test_an_opaque_object_has_no_fields(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.put("model.bin", b"\x00\x01")
    found = names.version(version.dataset_id, version.version_id)
    assert found is not None
    assert found.fields == ()


def test_what_is_not_there(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    assert names.version("f" * 32, version.version_id) is None
    assert names.version(version.dataset_id, "f" * 32) is None
    assert names.run("f" * 32) is None
    assert list(names.columns(version.dataset_id, "f" * 32, "raw", None)) == []


def test_runs_by_name_purpose_and_principal(world: GatewayWorld, names: CatalogNames) -> None:
    who = world.attested(run="train")
    assert who.session is not None
    found = names.run(who.session.run_id)
    assert found is not None
    assert (found.name, found.purpose, found.principal) == ("train", "claims-risk-model", "trainer")


def test_ranges_are_charged_to_the_columns_they_touch(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    world.catalog.set_columns(version.dataset_id, version.version_id, EXTENTS, GENESIS)

    def charged(*ranges: list[int]) -> set[str]:
        return set(names.columns(version.dataset_id, version.version_id, "raw", list(ranges)))

    assert charged([0, 50]) == {"name"}
    assert charged([150, 250]) == {"iban", "amount"}
    assert charged([99, 100]) == {"name"}
    assert charged([100, 101]) == {"iban"}
    assert set(names.columns(version.dataset_id, version.version_id, "raw", None)) == {"name", "iban", "amount"}


def test_what_was_not_described_is_charged_to_every_column(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    (view,) = world.catalog.views(version.dataset_id)
    for rendering in ("raw", view.plan_id, IDENTITY_PLAN, "f" * 32):
        found = names.columns(version.dataset_id, version.version_id, rendering, [[0, 1]])
        assert set(found) == {"name", "iban", "amount"}, rendering


def test_a_masked_read_is_charged_in_the_views_own_layout(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    (view,) = world.catalog.views(version.dataset_id)
    world.catalog.set_columns(version.dataset_id, version.version_id, EXTENTS, GENESIS)
    world.catalog.set_columns(version.dataset_id, view.view_id, [["amount", [[0, 50, 1]]]], GENESIS)
    assert list(names.columns(version.dataset_id, version.version_id, view.plan_id, [[0, 10]])) == ["amount"]


def test_a_declassified_read_is_charged_to_every_column(world: GatewayWorld, names: CatalogNames) -> None:
    """Its bytes are the object's own; a description of the view would have to be believed about raw rows."""
    world.run(world.registry.declassify(
        world.steward, dataset="claims", key="a.csv", name="n", reason="r", request_id="r"
    ))  # fmt: skip
    version = world.version("a.csv")
    (view,) = world.build(version)
    assert view.plan_id == IDENTITY_PLAN
    world.catalog.set_columns(version.dataset_id, view.view_id, [["amount", [[0, 50, 1]]]], GENESIS)
    found = names.columns(version.dataset_id, version.version_id, IDENTITY_PLAN, [[0, 10]])
    assert set(found) == {"name", "iban", "amount"}


def test_an_edited_row_stops_the_projection_instead_of_being_told(world: GatewayWorld, names: CatalogNames) -> None:
    version = world.version("a.csv")
    world.sql("update object_version set key = 'innocent.csv'")
    with pytest.raises(Refused):
        names.version(version.dataset_id, version.version_id)


def test_a_round_projects_what_is_published_and_delivers_it(world: GatewayWorld, tmp_path: Path) -> None:
    who = world.attested(run="train")
    assert world.read(who, "a.csv").body == CSV
    world.written(who, "model.bin", b"weights")
    write_ledger(tmp_path, world.ledger.entries)
    events = tmp_path / "openlineage.jsonl"
    round_ = Projection(tmp_path / "ledger", tmp_path / "lineage.sqlite3", events, world.catalog, "de")
    round_()
    told: list[Any] = [json.loads(line) for line in events.read_text().splitlines()]
    complete = [e for e in told if e["eventType"] == "COMPLETE" and e["outputs"][0]["name"].endswith("model.bin")]
    assert len(complete) == 1
    assert [item["name"] for item in complete[0]["inputs"]] == ["a.csv"]
    round_()
    assert len(events.read_text().splitlines()) == len(told)
    round_.close()
    found = Lineage(tmp_path / "lineage.sqlite3").neighbourhood(dataset="claims", run=None)
    assert found
