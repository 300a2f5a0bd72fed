"""Tags and labels as manifest generations: no body is opened, older generations are refused, the last writer stays."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.fakes.key_holder import grant
from tests.fakes.store import FailOn
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, VaultWorld
from vault.catalog.rows import VersionRow
from vault.catalog.tables import body, manifest_generation, object_version
from vault.errors import Malformed, NotFound, Refused, Unavailable

OTHER = "77" * 16


@pytest.fixture
def world(tmp_path: Path) -> VaultWorld:
    return VaultWorld(tmp_path, versioning="enabled")


def now(world: VaultWorld, row: VersionRow) -> VersionRow:
    found = world.catalog.version(row.dataset_id, row.version_id)
    assert found is not None
    return found


def test_tags_are_another_generation_over_the_same_bodies(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    world.broker.unwraps.clear()
    tagged = world.vault.tag(row, {"project": "müller"}, grant(), OTHER)
    assert tagged == now(world, row) == replace(row, generation=2)
    assert [how for how, _ in world.broker.unwraps] == ["manifest"]
    assert world.vault.describe(tagged, "k", grant()).tags == {"project": "müller"}
    opened = world.vault.open(tagged, "k", grant())
    assert (opened.manifest.tags, opened.manifest.generation) == ({"project": "müller"}, 2)
    assert b"".join(opened.stream()) == b"rows"
    assert not any("müller".encode() in stored for stored in world.memory.objects.values())
    assert world.vault.tag(tagged, {}, grant(), OTHER).generation == 3
    assert world.vault.describe(now(world, row), "k", grant()).tags == {}


def test_the_generation_before_is_swept_and_only_it(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    row = world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 1
    assert len(world.memory.objects) == 2
    assert world.vault.describe(row, "k", grant()).tags == {"a": "1"}
    world.vault.delete(
        world.catalog.dataset("claims"), "k", by=WRITER, run_id=RUN, record=RECORD, version_id=row.version_id
    )
    assert not [name for name in world.memory.objects if name.startswith("m/")]


def test_a_rollback_to_the_older_generation_is_refused(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    first = world.catalog.manifest(row.manifest_id, 1)
    tagged = world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    second = world.catalog.manifest(row.manifest_id, 2)
    stored = world.memory.objects
    stored[second.store_key] = stored[first.store_key]
    with pytest.raises(Malformed, match=r"manifest\.hash"):
        world.vault.open(tagged, "k", grant())
    with pytest.raises(Malformed, match=r"manifest\.hash"):
        world.vault.describe(tagged, "k", grant())
    with pytest.raises(Malformed, match=r"manifest\.hash"):
        world.vault.tag(tagged, {"b": "2"}, grant(), OTHER)


def test_rows_that_go_back_a_generation_by_sql(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    with world.catalog._database.write() as connection:
        connection.execute(
            update(object_version).where(object_version.c.version_id == row.version_id).values(generation=1)
        )
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        world.catalog.version(row.dataset_id, row.version_id)


def test_a_pin_moved_to_the_older_manifest_by_sql(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    first = world.catalog.manifest(row.manifest_id, 1)
    tagged = world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    with world.catalog._database.write() as connection:
        connection.execute(
            update(manifest_generation)
            .where(manifest_generation.c.manifest_id == row.manifest_id, manifest_generation.c.generation == 2)
            .values(sha256=first.sha256, store_key=first.store_key)
        )
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        world.vault.open(tagged, "k", grant())


def test_what_was_overtaken_is_done_again_on_what_is_there(world: VaultWorld) -> None:
    stale = world.put("k", b"rows")
    world.vault.tag(stale, {"first": "1"}, grant(), OTHER)
    done = world.vault.tag(stale, {"second": "2"}, grant(), OTHER)
    assert done.generation == 3
    assert world.vault.describe(done, "k", grant()).tags == {"second": "2"}
    relabelled = world.vault.relabel(stale, "none", grant(), OTHER)
    assert world.vault.describe(relabelled, "k", grant()).tags == {"second": "2"}


def test_two_of_one_generation_never_stay_in_the_store(world: VaultWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """One left by a crash, one of a writer that was overtaken: a rebuild could not tell which of them was pinned."""
    row = world.put("k", b"rows")

    def died(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(world.catalog, "next_generation", died)
        with pytest.raises(KeyboardInterrupt):
            world.vault.tag(row, {"crashed": "1"}, grant(), OTHER)
    assert len([name for name in world.memory.objects if name.startswith("m/")]) == 2
    tagged = world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    pinned = {world.catalog.manifest(row.manifest_id, number).store_key for number in (1, 2)}
    assert {name for name in world.memory.objects if name.startswith("m/")} == pinned
    done = world.vault.tag(row, {"late": "2"}, grant(), OTHER)  # sealed as generation 2 first, by a stale row
    pinned.add(world.catalog.manifest(row.manifest_id, 3).store_key)
    assert {name for name in world.memory.objects if name.startswith("m/")} == pinned
    assert (tagged.generation, done.generation) == (2, 3)


def test_a_label_stands_in_row_and_manifest(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    done = world.vault.relabel(row, "none", grant(), OTHER)
    assert (done.label, done.record, done.key_class) == ("none", OTHER, "raw")
    assert world.vault.describe(done, "k", grant()).label == "none"


def test_tags_of_what_is_deleted(world: VaultWorld) -> None:
    row = world.put("k", b"rows")
    dataset = world.catalog.dataset("claims")
    world.vault.delete(dataset, "k", by=WRITER, run_id=RUN, record=RECORD, version_id=row.version_id)
    with pytest.raises(NotFound, match=r"version|store\.missing"):
        world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    world.vault.delete(dataset, "k", by=WRITER, run_id=RUN, record=RECORD)
    marker = world.catalog.latest(row.dataset_id, "k")
    assert marker is not None
    with pytest.raises(NotFound, match=r"version\.marker"):
        world.vault.tag(marker, {"a": "1"}, grant(), OTHER)


@pytest.mark.parametrize(
    ("call", "moment"),
    [("open_write", "before"), ("write", "before"), ("write", "after"), ("commit", "before"), ("commit", "after")],
)
def test_a_store_that_fails_changes_no_tag_and_leaves_nothing(world: VaultWorld, call: str, moment: str) -> None:
    row = world.put("k", b"rows")
    setattr(world.memory, moment, FailOn(call))
    with pytest.raises(Unavailable):
        world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    setattr(world.memory, moment, lambda *_: None)
    assert now(world, row) == row
    assert world.vault.describe(row, "k", grant()).tags == {}
    world.clock.advance(86_400_001)
    world.vault.sweep()
    world.clock.advance(86_400_001)
    world.vault.sweep()
    states = [found.state for found in world.catalog._database.rows(select(body.c.state), {})]
    assert states == ["live", "live"]
    assert len(world.memory.objects) == 2


def test_a_catalog_that_fails_leaves_the_old_tags(world: VaultWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    row = world.put("k", b"rows")

    def away(*_: object, **__: object) -> None:
        raise Unavailable("catalog.busy")

    with monkeypatch.context() as patched:
        patched.setattr(world.catalog, "next_generation", away)
        with pytest.raises(Unavailable):
            world.vault.tag(row, {"a": "1"}, grant(), OTHER)
    assert world.vault.describe(now(world, row), "k", grant()).tags == {}
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert len(world.memory.objects) == 2


def test_described_is_only_what_the_row_says(world: VaultWorld) -> None:
    row, other = world.put("k", b"one"), world.put("z", b"two")
    with pytest.raises(Malformed, match=r"manifest\.other"):
        world.vault.describe(replace(row, etag="0" * 32), "k", grant())
    with pytest.raises(Malformed, match=r"manifest\.other"):
        world.vault.describe(row, "z", grant())
    with pytest.raises(Malformed, match=r"manifest\.other"):
        world.vault.describe(replace(row, manifest_id=other.manifest_id), "k", grant())


def test_two_facts_of_one_version_never_disagree(world: VaultWorld) -> None:
    assert FACTS.label == "personal"
    row = world.put("k", b"rows")
    assert world.vault.describe(row, "k", grant()).placement == row.placement
