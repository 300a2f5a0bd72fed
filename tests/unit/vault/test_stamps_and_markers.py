"""What a manifest says about time: the order of commits, whatever the clocks say; and markers that the store knows."""

from pathlib import Path

import pytest

from tests.fakes.key_holder import grant
from tests.fakes.store import FailOn
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, VaultWorld
from vault.catalog.rows import VersionRow
from vault.catalog.versions import Deleted, DeletePrecondition
from vault.envelope.manifest import Manifest, open_manifest, read_header
from vault.envelope.wrap import unwrap_key
from vault.errors import Conflict, NotFound, Unavailable
from vault.objects import SealedVersion


@pytest.fixture
def world(tmp_path: Path) -> VaultWorld:
    return VaultWorld(tmp_path, versioning="enabled")


def manifests(world: VaultWorld) -> list[Manifest]:
    """Every manifest in the store, opened as a rebuild does: by the group's key, with no catalog to ask."""
    found = []
    for name, stored in world.memory.objects.items():
        if name.startswith("m/"):
            header = read_header(stored)
            scope = world.vault._scope(header.dataset_id, header.wrapped_key.key_class)
            context = world.broker._context(scope, header.subject)
            key = unwrap_key(world.broker.root, header.wrapped_key.wrapped, context)
            found.append(open_manifest(stored, key, None))
    return sorted(found, key=lambda manifest: manifest.written_at)


def commit(world: VaultWorld, sealed: SealedVersion) -> VersionRow:
    return world.vault.commit(sealed, written_by=WRITER, run_id=RUN, record=RECORD)


def delete(world: VaultWorld, version_id: str | None = None, expect: DeletePrecondition | None = None) -> Deleted:
    dataset = world.catalog.dataset("claims")
    return world.vault.delete(
        dataset, "k", by=WRITER, run_id=RUN, record=RECORD, version_id=version_id, expect=expect
    )


def test_stamps_rise_with_commits_when_the_clock_stands_still_or_goes_back(world: VaultWorld) -> None:
    first, second = world.put("k", b"1"), world.put("k", b"2")
    world.clock.advance(-5000)
    third = world.put("k", b"3")
    assert first.created_at < second.created_at < third.created_at
    assert [manifest.written_at for manifest in manifests(world)] == [
        first.created_at, second.created_at, third.created_at
    ]  # fmt: skip


def test_a_manifest_sealed_before_another_commit_is_sealed_again(
    world: VaultWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, asked = world.seal("k", b"slow"), world.catalog.newest_stamp
    other: list[VersionRow] = []

    def overtaken(dataset_id: str, key: str) -> tuple[int, bool]:
        answer = asked(dataset_id, key)
        if not other:
            monkeypatch.undo()
            other.append(world.put("k", b"quick"))
        return answer

    monkeypatch.setattr(world.catalog, "newest_stamp", overtaken)
    row = commit(world, slow)
    assert row.created_at > other[0].created_at
    assert [m.version_id for m in manifests(world) if m.manifest_id == row.manifest_id] == [row.version_id]
    latest = world.catalog.latest(world.dataset.dataset_id, "k")
    assert latest == row
    assert b"".join(world.vault.open(row, "k", grant()).stream()) == b"slow"
    # The manifest that lost is an orphan and goes; the two versions stay.
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert len(manifests(world)) == 2


def test_versioning_switched_while_a_write_is_sealed(world: VaultWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed, stamp = world.seal("k", b"x"), world.catalog.newest_stamp
    switched: list[int] = []

    def switching(dataset_id: str, key: str) -> tuple[int, bool]:
        answer = stamp(dataset_id, key)
        if not switched:
            switched.append(1)
            world.catalog.set_versioning(dataset_id, "suspended", RECORD)
        return answer

    monkeypatch.setattr(world.catalog, "newest_stamp", switching)
    row = commit(world, sealed)
    assert row.is_null
    manifest = next(m for m in manifests(world) if m.manifest_id == row.manifest_id)
    assert manifest.null_version


def test_who_never_wins_is_told_to_come_again_and_leaves_nothing(
    world: VaultWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("k", b"old")
    sealed = world.seal("k", b"new")
    monkeypatch.setattr(world.catalog, "newest_stamp", lambda *_: (0, False))
    world.clock.advance(-10_000_000)
    with pytest.raises(Unavailable, match=r"version\.contended"):
        commit(world, sealed)
    monkeypatch.undo()
    world.clock.advance(20_000_000)
    world.vault.sweep()
    assert {row.state for row in world.bodies()} == {"live"}
    assert len(world.memory.objects) == 2


def test_a_marker_is_known_to_the_store(world: VaultWorld) -> None:
    row = world.put("k", b"secret")
    deleted = delete(world)
    newest = manifests(world)[-1]
    assert (newest.kind, newest.version_id, newest.key) == ("marker", deleted.version_id, "k")
    assert newest.written_at > row.created_at
    assert (newest.written_by, newest.run_id, newest.null_version) == (WRITER, RUN, False)
    latest = world.catalog.latest(world.dataset.dataset_id, "k")
    assert latest is not None
    assert latest.delete_marker
    assert latest.created_at == newest.written_at
    assert not any(b'"k"' in stored for stored in world.memory.objects.values())


def test_a_marker_that_cannot_be_stored_sets_none(world: VaultWorld) -> None:
    row = world.put("k", b"x")
    world.memory.before = FailOn("commit")
    with pytest.raises(Unavailable):
        delete(world)
    world.memory.before = lambda *_: None
    assert world.catalog.latest(world.dataset.dataset_id, "k") == row
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert len(manifests(world)) == 1


def test_removing_a_version_or_a_marker_takes_its_manifest_at_once(world: VaultWorld) -> None:
    first, second = world.put("k", b"1"), world.put("k", b"2")
    marker = delete(world).version_id
    assert delete(world, marker).delete_marker
    assert [m.version_id for m in manifests(world)] == [first.version_id, second.version_id]
    assert world.catalog.latest(world.dataset.dataset_id, "k") is not None
    delete(world, second.version_id)
    assert [m.version_id for m in manifests(world)] == [first.version_id]
    latest = world.catalog.latest(world.dataset.dataset_id, "k")
    assert latest is not None
    assert latest.version_id == first.version_id


@pytest.mark.parametrize("versioning", ["off", "suspended"])
def test_an_overwritten_null_version_leaves_no_manifest(tmp_path: Path, versioning: str) -> None:
    world = VaultWorld(tmp_path, versioning=versioning)
    world.put("k", b"old")
    new = world.put("k", b"new")
    assert [m.version_id for m in manifests(world)] == [new.version_id]
    delete(world)
    assert [m.kind for m in manifests(world)] == ([] if versioning == "off" else ["marker"])


@pytest.mark.parametrize(
    "expect",
    [DeletePrecondition(if_match="0" * 32), DeletePrecondition(size=7), DeletePrecondition(last_modified=1000)],
)
@pytest.mark.parametrize("by_id", [False, True])
def test_a_conditional_delete_that_does_not_hold_deletes_nothing(
    world: VaultWorld, expect: DeletePrecondition, by_id: bool
) -> None:
    row = world.put("k", b"abc")
    with pytest.raises(Conflict, match="precondition"):
        delete(world, row.version_id if by_id else None, expect)
    assert world.catalog.latest(world.dataset.dataset_id, "k") == row
    held = DeletePrecondition(if_match=row.etag, size=3, last_modified=row.created_at // 1000 * 1000)
    assert delete(world, row.version_id if by_id else None, held).version_id is not None
    latest = world.catalog.latest(world.dataset.dataset_id, "k")
    assert latest is None or latest.delete_marker


def test_a_condition_on_nothing_sets_no_marker(world: VaultWorld) -> None:
    assert not delete(world, expect=DeletePrecondition(if_match="*")).delete_marker
    assert world.catalog.latest(world.dataset.dataset_id, "k") is None
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert not world.memory.objects
    assert not world.bodies()


def test_a_marker_cannot_be_opened(world: VaultWorld) -> None:
    world.put("k", b"x")
    delete(world)
    latest = world.catalog.latest(world.dataset.dataset_id, "k")
    assert latest is not None
    with pytest.raises(NotFound, match=r"version\.marker"):
        world.vault.open(latest, "k", grant())


def test_facts_of_the_commit_are_in_the_manifest(world: VaultWorld) -> None:
    writer = world.vault.begin(world.dataset, "k", "raw", "text/csv", {"a": "b"}, {"tag": "value"})
    writer.write(b"x")
    world.vault.commit(
        writer.finish(FACTS), written_by=WRITER, run_id=RUN, record=RECORD, object_format="csv",
        checksums={"crc32": "jNyFLg=="}, checksum_type="FULL_OBJECT",
    )  # fmt: skip
    found = manifests(world)[0]
    assert (found.tags, found.object_format, found.written_by, found.run_id) == ({"tag": "value"}, "csv", WRITER, RUN)
    assert (found.checksums, found.checksum_type) == ({"crc32": "jNyFLg=="}, "FULL_OBJECT")
