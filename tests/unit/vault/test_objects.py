"""Objects in and out: what is read is what was written, and nothing else is ever read."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.fakes.key_holder import grant
from tests.fakes.store import FailOn
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, VaultWorld, random_bytes
from vault.catalog.tables import manifest_generation, object_version
from vault.catalog.versions import NewView, Precondition
from vault.errors import Broken, Conflict, Malformed, NotFound, Refused, Unavailable, VaultError


@pytest.fixture
def world(tmp_path: Path) -> VaultWorld:
    return VaultWorld(tmp_path)


def read(world: VaultWorld, key: str, start: int = 0, stop: int | None = None) -> bytes:
    row = world.catalog.latest(world.dataset.dataset_id, key)
    assert row is not None
    reader = world.vault.open(row, key, grant())
    try:
        return b"".join(reader.stream(start, stop))
    finally:
        reader.close()


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_what_is_put_is_read(world: VaultWorld, size: int) -> None:
    data = random_bytes(size)
    row = world.put("a/b.csv", [data[at : at + 70_001] for at in range(0, size, 70_001)])
    assert (row.size, row.etag) == (size, hashlib.md5(data).hexdigest())
    assert read(world, "a/b.csv") == data
    assert world.memory.closed == world.memory.opened


def test_ranges(world: VaultWorld) -> None:
    data = random_bytes(200_000)
    world.put("k", data)
    for start, stop in [(0, 1), (0, 0), (199_999, 200_000), (200_000, 200_000), (16_384, 32_768), (16_383, 16_385)]:
        assert read(world, "k", start, stop) == data[start:stop]
    with pytest.raises(Broken):
        read(world, "k", 0, 200_001)


def test_a_piece_that_is_held_keeps_its_bytes(world: VaultWorld) -> None:
    data = random_bytes(5 << 20)
    row = world.put("k", data)
    reader = world.vault.open(row, "k", grant())
    assert b"".join(list(reader.stream())) == data


def test_metadata_comes_back_and_lies_nowhere_in_the_clear(world: VaultWorld, tmp_path: Path) -> None:
    sealed = world.seal("patients/erika.csv", b"secret rows", patient="erika-mustermann")
    row = world.vault.commit(sealed, written_by=WRITER, run_id=RUN, record=RECORD)
    reader = world.vault.open(row, "patients/erika.csv", grant())
    assert reader.user_metadata == {"patient": "erika-mustermann"}
    assert reader.content_type == "text/csv"
    for name, stored in world.memory.objects.items():
        for told in (b"erika", b"patients", b"secret rows", b"text/csv"):
            assert told not in stored
            assert told.decode() not in name
    for file in tmp_path.iterdir():
        assert b"erika-mustermann" not in file.read_bytes()


def test_nothing_is_visible_before_the_commit(world: VaultWorld) -> None:
    writer = world.vault.begin(world.dataset, "k", "raw", "", {})
    writer.write(b"x" * 100_000)
    assert world.catalog.latest(world.dataset.dataset_id, "k") is None
    sealed = writer.finish(FACTS)
    assert world.catalog.latest(world.dataset.dataset_id, "k") is None
    assert {row.state for row in world.bodies()} == {"writing"}
    world.vault.commit(sealed, written_by=WRITER, run_id=RUN, record=RECORD)
    assert world.catalog.latest(world.dataset.dataset_id, "k") is not None
    assert {row.state for row in world.bodies()} == {"live"}


def test_an_aborted_write_leaves_nothing(world: VaultWorld) -> None:
    writer = world.vault.begin(world.dataset, "k", "raw", "", {})
    writer.write(b"x" * 100_000)
    writer.abort()
    writer.abort()
    assert not world.memory.objects
    assert not world.memory.unfinished
    assert {row.state for row in world.bodies()} == {"orphan"}
    with pytest.raises(Broken):
        writer.write(b"x")
    with pytest.raises(Broken):
        writer.finish(FACTS)


def test_what_a_refused_commit_sealed_is_swept_and_the_winner_stays(world: VaultWorld) -> None:
    first = world.put("k", b"first")
    sealed = world.seal("k", b"second")
    with pytest.raises(Conflict, match="precondition"):
        world.vault.commit(
            sealed, written_by=WRITER, run_id=RUN, record=RECORD, expect=Precondition(if_none_match="*")
        )
    assert world.catalog.latest(world.dataset.dataset_id, "k") == first
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 2
    assert len(world.memory.objects) == 2
    assert read(world, "k") == b"first"


def test_an_overwritten_body_waits_for_its_readers_and_goes(world: VaultWorld) -> None:
    row = world.put("k", b"old")
    reader = world.vault.open(row, "k", grant())
    world.put("k", b"new")
    assert world.vault.sweep() == 0
    assert b"".join(reader.stream()) == b"old"
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 2
    assert world.vault.sweep() == 0
    assert read(world, "k") == b"new"
    assert len(world.memory.objects) == 2
    assert len(world.bodies()) == 2


def test_a_write_that_lasted_too_long_is_swept_and_cannot_be_committed(world: VaultWorld) -> None:
    sealed = world.seal("k", b"late")
    world.clock.advance(86_400_001)
    world.vault.sweep()
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert not world.memory.objects
    with pytest.raises(Conflict, match=r"body\.gone"):
        world.vault.commit(sealed, written_by=WRITER, run_id=RUN, record=RECORD)
    assert world.catalog.latest(world.dataset.dataset_id, "k") is None


def test_a_dataset_of_another_zone_is_not_written_here(world: VaultWorld) -> None:
    elsewhere = world.catalog.create_dataset("ventes", "fr", "personal", True, RECORD)
    with pytest.raises(Refused, match=r"zone\.other"):
        world.vault.begin(elsewhere, "k", "raw", "", {})
    assert not world.bodies()


# --- what an attacker with the store, or with the catalog's file, may try ---------------------------------------------


def lies(world: VaultWorld, kind: str, change: object) -> None:
    world.memory.lie = lambda key, data: change(data) if key.startswith(kind) else data  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"\0", "length"),
        (lambda data: b"", "short"),
        (lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:], "commitment"),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "commitment"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "tag"),
    ],
)
def test_a_changed_body_gives_no_byte(world: VaultWorld, change: object, reason: str) -> None:
    row = world.put("k", random_bytes(50_000))
    lies(world, "b/", change)
    reader = world.vault.open(row, "k", grant())
    with pytest.raises(Malformed, match=reason):
        next(reader.stream(0, 10))


def test_a_body_cut_short_is_seen_by_an_early_range(world: VaultWorld) -> None:
    row = world.put("k", random_bytes(100_000))
    lies(world, "b/", lambda data: data[: 56 + 2 * 16_400])
    reader = world.vault.open(row, "k", grant())
    with pytest.raises(Malformed):
        reader.stream(0, 10)


def test_two_bodies_swapped_in_the_store_do_not_open(world: VaultWorld) -> None:
    one, two = world.put("one", b"1" * 100), world.put("two", b"2" * 100)
    objects = world.memory.objects
    first, second = [name for name in objects if name.startswith("b/")]
    objects[first], objects[second] = objects[second], objects[first]
    for row in (one, two):
        with pytest.raises(Malformed, match="commitment"):
            world.vault.open(row, row.key, grant()).stream()


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1], lambda data: data[:-1] + b"x"])
def test_a_changed_manifest_is_refused_before_any_key_is_asked_for(world: VaultWorld, change: object) -> None:
    row = world.put("k", b"data")
    lies(world, "m/", change)
    with pytest.raises(Malformed, match=r"manifest\.hash"):
        world.vault.open(row, "k", grant())
    assert world.broker.unwraps == []


def test_an_older_genuine_manifest_is_not_the_one_the_catalog_pins(world: VaultWorld) -> None:
    old = world.put("k", b"old")
    old_manifest = world.catalog.manifest(old.manifest_id, 1)
    stored = world.memory.objects[old_manifest.store_key]
    new = world.put("k", b"new")
    world.memory.objects[world.catalog.manifest(new.manifest_id, 1).store_key] = stored
    with pytest.raises(Malformed, match=r"manifest\.hash"):
        world.vault.open(new, "k", grant())


def test_the_manifest_row_of_another_version_is_refused(world: VaultWorld) -> None:
    one, two = world.put("one", b"1"), world.put("two", b"2")
    with world.catalog._database.write() as connection:
        swapped = update(object_version).where(object_version.c.key == "two").values(manifest_id=one.manifest_id)
        connection.execute(swapped)
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        world.catalog.latest(world.dataset.dataset_id, "two")
    with world.catalog._database.write() as connection:
        connection.execute(
            update(manifest_generation)
            .where(manifest_generation.c.manifest_id == two.manifest_id)
            .values(store_key=world.catalog.manifest(one.manifest_id, 1).store_key)
        )
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        world.vault.open(two, "two", grant())


def test_the_key_the_request_names_is_the_key_the_manifest_names(world: VaultWorld) -> None:
    row = world.put("one", b"1")
    with pytest.raises(Malformed, match=r"manifest\.other"):
        world.vault.open(row, "two", grant())


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_refused_key_opens_nothing(world: VaultWorld) -> None:
    row = world.put("k", b"data")
    world.broker.refuse = "session.stale"
    with pytest.raises(Refused, match=r"session\.stale"):
        world.vault.open(row, "k", grant())
    assert world.memory.opened == 0


def test_a_key_is_kept_for_half_a_minute_and_for_its_holder_alone(world: VaultWorld) -> None:
    row = world.put("k", b"data")
    for _ in range(3):
        world.vault.open(row, "k", grant("1" * 32))
        world.clock.advance(9_999)
    assert len(world.broker.unwraps) == 1
    world.vault.open(row, "k", grant("2" * 32))
    world.vault.open(row, "k", grant(None, "someone", "open"))
    world.vault.open(row, "k", grant(None, "another", "open"))
    assert len(world.broker.unwraps) == 4
    world.clock.advance(4)
    world.vault.open(row, "k", grant("1" * 32))
    assert len(world.broker.unwraps) == 5


def test_a_forgotten_session_asks_again(world: VaultWorld) -> None:
    row = world.put("k", b"data")
    world.vault.open(row, "k", grant("1" * 32))
    world.vault.forget_session("1" * 32)
    world.broker.refuse = "session.revoked"
    with pytest.raises(Refused):
        world.vault.open(row, "k", grant("1" * 32))


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open_write", "write", "commit"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_store_that_fails_at_any_call_leaves_nothing_visible(
    world: VaultWorld, call: str, when: str, nth: int
) -> None:
    world.put("kept", b"kept")
    fault = FailOn(call, nth, "store.full")
    setattr(world.memory, when, fault)
    with suppress(Unavailable):
        world.put("k", [b"x" * 20_000, b"y" * 20_000])
    visible = world.catalog.latest(world.dataset.dataset_id, "k") is not None
    assert visible == (fault.seen < nth)
    world.memory.before = world.memory.after = lambda _call, _key: None
    assert read(world, "kept") == b"kept"
    assert not world.memory.unfinished
    world.clock.advance(86_400_001 + 3_600_001)
    world.vault.sweep()
    world.clock.advance(3_600_001)
    world.vault.sweep()
    live = {row.store_key for row in world.bodies("live")}
    assert set(world.memory.objects) == live


def test_a_reader_that_was_closed_gives_nothing(world: VaultWorld) -> None:
    row = world.put("k", b"data")
    reader = world.vault.open(row, "k", grant())
    reader.close()
    with pytest.raises(Broken):
        reader.stream()
    assert world.memory.opened == world.memory.closed


def test_several_threads_write_one_key_and_one_of_them_wins_each_time(world: VaultWorld) -> None:
    errors: list[VaultError] = []

    def write(number: int) -> None:
        try:
            world.put("k", b"%d" % number * 1000)
        except VaultError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    found = world.catalog.find_dataset(world.dataset.dataset_id)
    assert found is not None
    assert found.sequence == 6
    assert len(set(read(world, "k"))) == 1
    assert len(world.bodies("live")) == 2


# --- views ------------------------------------------------------------------------------------------------------------


def test_a_view_is_an_object_of_its_own_key(world: VaultWorld) -> None:
    row = world.put("k", b"raw rows", views=[NewView("plan1", "b1")])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    assert view.state == "queued"
    with pytest.raises(NotFound, match=r"view\.building"):
        world.vault.open(view, "k", grant(None, "p", "plan1"))
    ready = world.vault.put_view(row, view, [b"masked ", b"rows"], "text/csv", RECORD, columns=[["a", [[0, 5, 1]]]])
    reader = world.vault.open(ready, "k", grant(None, "p", "plan1"))
    assert b"".join(reader.stream()) == b"masked rows"
    assert reader.manifest.kind == "view"
    assert world.catalog.columns(view.view_id) == (["a", [[0, 5, 1]]],)
    assert world.broker.unwraps == [("unwrap", view.view_id)]


def test_the_first_build_wins(world: VaultWorld) -> None:
    row = world.put("k", b"raw rows", views=[NewView("plan1", "b1")])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    first = world.vault.put_view(row, view, [b"first"], "text/csv", RECORD)
    assert world.vault.put_view(row, view, [b"second!"], "text/csv", RECORD) == first
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 2
    assert b"".join(world.vault.open(first, "k", grant()).stream()) == b"first"


def test_a_build_that_fails_leaves_nothing(world: VaultWorld) -> None:
    row = world.put("k", b"raw rows", views=[NewView("plan1", "b1")])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    before = set(world.memory.objects)

    def build() -> Iterator[bytes]:
        yield b"half"
        raise ValueError

    with pytest.raises(ValueError):
        world.vault.put_view(row, view, build(), "text/csv", RECORD)
    assert set(world.memory.objects) == before
    assert not world.memory.unfinished


def test_a_view_of_a_deleted_version_is_not_committed_and_its_bodies_go(world: VaultWorld) -> None:
    row = world.put("k", b"raw rows", views=[NewView("plan1", "b1")])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    world.catalog.put_delete(world.dataset.dataset_id, "k", WRITER, RUN, RECORD)
    with pytest.raises(NotFound):
        world.vault.put_view(row, view, [b"late"], "text/csv", RECORD)
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert not world.memory.objects


def test_the_views_of_an_overwritten_version_are_swept_with_it(world: VaultWorld) -> None:
    row = world.put("k", b"raw rows", views=[NewView("plan1", "b1")])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    world.vault.put_view(row, view, [b"masked"], "text/csv", RECORD)
    world.put("k", b"new rows")
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 4
    assert len(world.memory.objects) == 2
    gone = world.catalog.find_view(view.view_id)
    assert gone is not None
    assert (gone.state, gone.reason) == ("failed", "version.deleted")


def test_the_builder_opens_by_its_lease_and_nothing_of_it_is_cached(world: VaultWorld) -> None:
    row = world.put("k", b"raw rows")
    for _ in range(2):
        reader = world.vault.open_for_build(row, "job", 1)
        assert b"".join(reader.stream()) == b"raw rows"
    assert world.broker.unwraps == [("builder", row.version_id)] * 2
