"""Copies over the same bodies: nothing is sealed again, nothing lost while somebody names it, nothing left after."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.fakes.key_holder import grant
from tests.fakes.store import FailOn
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, VaultWorld
from vault.catalog.rows import VersionRow
from vault.catalog.tables import body, body_share, object_version
from vault.catalog.versions import Precondition
from vault.errors import Conflict, Malformed, NotFound, Refused, Unavailable, VaultError
from vault.objects import Changes, Facts

DAY = 86_400_001


@pytest.fixture(params=["off", "enabled", "suspended"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> VaultWorld:
    return VaultWorld(tmp_path, versioning=request.param, min_part=1)


def copy(
    world: VaultWorld, source: VersionRow, key: str, changes: Changes | None = None, **more: object
) -> VersionRow:
    return world.vault.copy(
        source, key, FACTS, changes or Changes(), grant(), written_by=WRITER, run_id=RUN, record=RECORD,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def read(world: VaultWorld, row: VersionRow) -> bytes:
    reader = world.vault.open(row, row.key, grant())
    try:
        return b"".join(reader.stream())
    finally:
        reader.close()


def gone(world: VaultWorld, row: VersionRow) -> None:
    dataset = world.catalog.dataset("claims")
    version_id = row.version_id if dataset.versioning == "enabled" else "null"
    world.vault.delete(dataset, row.key, by=WRITER, run_id=RUN, record=RECORD, version_id=version_id)


def swept(world: VaultWorld) -> None:
    for _ in range(3):
        world.clock.advance(DAY)
        world.vault.sweep()


def uploaded(world: VaultWorld, key: str, *parts: bytes) -> VersionRow:
    upload = world.vault.begin_upload(
        world.catalog.dataset("claims"), key, "raw", "text/csv", {"a": "b"}, principal_id=WRITER, run_id=RUN
    )
    listed = []
    for number, piece in enumerate(parts, 1):
        writer = world.vault.begin_part(upload, number)
        writer.write(piece)
        listed.append((number, writer.finish().md5.hex()))
    return world.vault.complete_upload(upload, listed, FACTS, written_by=WRITER, run_id=RUN, record=RECORD)


def test_a_copy_is_a_manifest_and_no_byte_is_sealed_again(world: VaultWorld) -> None:
    source = world.put("a", b"rows" * 50_000)
    world.memory.reads.clear()
    before = set(world.memory.objects)
    made = copy(world, source, "b")
    added = set(world.memory.objects) - before
    assert [name[:2] for name in added] == ["m/"]
    assert not [name for name, _, _ in world.memory.reads if name.startswith("b/")]
    assert (made.etag, made.size, made.key_class, made.format) == (source.etag, source.size, "raw", source.format)
    assert made.version_id != source.version_id
    assert read(world, made) == read(world, source) == b"rows" * 50_000


def test_metadata_is_the_sources_or_its_own(world: VaultWorld) -> None:
    sealed = world.seal("a", b"x", patient="erika")
    source = world.vault.commit(
        sealed, written_by=WRITER, run_id=RUN, record=RECORD, checksums={"crc32": "jNyFLg=="},
        checksum_type="FULL_OBJECT",
    )  # fmt: skip
    same = copy(world, source, "b")
    other = copy(world, source, "c", Changes("text/plain", {"new": "1"}, {"t": "v"}, {"sha1": "EfX6="}))
    opened = world.vault.open(same, "b", grant())
    assert (opened.user_metadata, opened.content_type) == ({"patient": "erika"}, "text/csv")
    assert dict(same.checksums) == {"crc32": "jNyFLg==", "type": "FULL_OBJECT"}
    opened = world.vault.open(other, "c", grant())
    assert (opened.user_metadata, opened.content_type) == ({"new": "1"}, "text/plain")
    assert opened.manifest.tags == {"t": "v"}
    assert dict(other.checksums) == {"sha1": "EfX6=", "type": "FULL_OBJECT"}


def test_a_copy_of_what_came_in_parts(world: VaultWorld) -> None:
    source = uploaded(world, "a", b"one" * 9000, b"two")
    made = copy(world, source, "b")
    gone(world, source)
    swept(world)
    assert read(world, made) == b"one" * 9000 + b"two"
    gone(world, made)
    swept(world)
    assert not [name for name in world.memory.objects if name.startswith("b/")]


def test_bodies_stay_until_the_last_who_names_them_is_gone(world: VaultWorld) -> None:
    source = world.put("a", b"shared")
    first = copy(world, source, "b")
    second = copy(world, first, "c")
    for row, left in ((source, (first, second)), (first, (second,)), (second, ())):
        gone(world, row)
        swept(world)
        for each in left:
            assert read(world, each) == b"shared"
        assert len([name for name in world.memory.objects if name.startswith("b/")]) == (1 if left else 0)
    assert not world.memory.objects
    assert not world.bodies()
    assert not world.catalog._database.rows(select(body_share), {})


def test_a_copy_onto_itself_keeps_the_bytes(world: VaultWorld) -> None:
    source = world.put("a", b"mine")
    made = copy(world, source, "a", Changes(user_metadata={"k": "v"}))
    swept(world)
    assert read(world, made) == b"mine"
    latest = world.catalog.latest(world.dataset.dataset_id, "a")
    assert latest == made
    gone(world, made)
    if world.catalog.dataset("claims").versioning == "enabled":
        assert read(world, source) == b"mine"
        gone(world, source)
    swept(world)
    assert not world.memory.objects


def test_an_overwritten_source_leaves_its_copy_alone(world: VaultWorld) -> None:
    source = world.put("a", b"old")
    made = copy(world, source, "b")
    world.put("a", b"new")
    swept(world)
    assert read(world, made) == b"old"


def test_a_source_that_went_meanwhile_is_not_copied(world: VaultWorld) -> None:
    source = world.put("a", b"x")
    manifests = dict(world.memory.objects)
    gone(world, source)
    world.memory.objects.update(manifests)  # a copier that had read the manifest already
    with pytest.raises(VaultError, match=r"copy\.source-gone"):
        copy(world, source, "b")
    assert world.catalog.latest(world.dataset.dataset_id, "b") is None
    world.memory.objects.clear()
    swept(world)
    assert not world.bodies()


def test_a_condition_that_does_not_hold_copies_nothing(world: VaultWorld) -> None:
    source, target = world.put("a", b"x"), world.put("b", b"y")
    with pytest.raises(Conflict, match="precondition"):
        copy(world, source, "b", expect=Precondition(if_none_match="*"))
    assert world.catalog.latest(world.dataset.dataset_id, "b") == target
    assert not world.catalog._database.rows(select(body_share), {})
    swept(world)
    assert len(world.memory.objects) == 4


def test_personal_data_is_not_given_a_key_that_all_readers_open(world: VaultWorld) -> None:
    writer = world.vault.begin(world.dataset, "a", "view", "", {})
    writer.write(b"x")
    source = world.vault.commit(
        writer.finish(Facts("none", ("de",), 1)), written_by=WRITER, run_id=RUN, record=RECORD
    )
    with pytest.raises(Refused, match=r"copy\.class"):
        copy(world, source, "b")
    assert world.catalog.latest(world.dataset.dataset_id, "b") is None


def test_a_marker_is_not_copied(tmp_path: Path) -> None:
    world = VaultWorld(tmp_path, versioning="enabled")
    world.put("a", b"x")
    world.vault.delete(world.catalog.dataset("claims"), "a", by=WRITER, run_id=RUN, record=RECORD)
    marker = world.catalog.latest(world.dataset.dataset_id, "a")
    assert marker is not None
    with pytest.raises(NotFound, match=r"version\.marker"):
        copy(world, marker, "b")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["open_write", "write", "commit"])
def test_a_store_that_fails_while_copying(world: VaultWorld, call: str, moment: str) -> None:
    source = world.put("a", b"x")
    setattr(world.memory, moment, FailOn(call))
    try:
        made = copy(world, source, "b")
    except Unavailable:
        made = None
    setattr(world.memory, moment, lambda *_: None)
    found = world.catalog.latest(world.dataset.dataset_id, "b")
    assert found == made
    swept(world)
    assert read(world, source) == b"x"
    if found is not None:
        assert read(world, found) == b"x"
    gone(world, source)
    if found is not None:
        gone(world, found)
    swept(world)
    assert not world.memory.objects
    assert not world.bodies()


def test_a_copy_is_not_its_source_by_sql(world: VaultWorld) -> None:
    """Rows pointed at the other's manifest: refused by the row's seal, and again by the manifest itself."""
    source, other = world.put("a", b"one"), world.put("z", b"two")
    made = copy(world, source, "b")
    with world.catalog._database.write() as connection:
        connection.execute(
            update(object_version).where(object_version.c.version_id == made.version_id).values(
                manifest_id=other.manifest_id
            )
        )
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        world.catalog.latest(world.dataset.dataset_id, "b")
    with pytest.raises(Malformed, match=r"manifest\.other"):
        world.vault.open(replace(made, manifest_id=other.manifest_id), "b", grant())


def test_swapped_bodies_of_two_copies_do_not_open(world: VaultWorld) -> None:
    one, two = world.put("a", b"one one"), world.put("z", b"two two")
    made = copy(world, one, "b")
    names = [row.store_key for row in world.bodies() if row.subject in {one.version_id, two.version_id}]
    first, second = [name for name in names if name.startswith("b/")]
    objects = world.memory.objects
    objects[first], objects[second] = objects[second], objects[first]
    with pytest.raises(Malformed, match="commitment"):
        read(world, made)


def test_ten_thousand_parts_are_shared_in_one_commit(tmp_path: Path) -> None:
    world = VaultWorld(tmp_path, min_part=0)
    source = uploaded(world, "a", *[b"x"] * 1200)
    made = copy(world, source, "b")
    rows = world.catalog._database.rows(select(body_share.c.subject).select_from(body_share), {})
    assert len(rows) == 2400
    gone(world, source)
    assert {r.subject for r in world.catalog._database.rows(
        select(body.c.subject).where(body.c.state == "live"), {}
    )} == {made.version_id}  # fmt: skip
    assert read(world, made) == b"x" * 1200
