"""The commit, preconditions, versioning and deletion, as S3 has them."""

import threading
from pathlib import Path

import pytest

from tests.fakes.key_holder import grant
from tests.fakes.vault_world import RECORD, RUN, WRITER, VaultWorld
from vault.catalog.rows import VersionRow
from vault.catalog.section import NewJob
from vault.catalog.versions import NewView, Precondition
from vault.errors import Conflict, NotFound, Refused, VaultError


@pytest.fixture(params=["off", "enabled"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> VaultWorld:
    return VaultWorld(tmp_path, versioning=request.param)


def latest(world: VaultWorld, key: str = "k") -> VersionRow | None:
    return world.catalog.latest(world.dataset.dataset_id, key)


def delete(world: VaultWorld, key: str = "k", version_id: str | None = None):  # type: ignore[no-untyped-def]
    return world.catalog.put_delete(world.dataset.dataset_id, key, WRITER, RUN, RECORD, version_id=version_id)


def sequence(world: VaultWorld) -> int:
    return world.catalog.dataset("claims").sequence


def test_each_commit_is_one_snapshot_higher(world: VaultWorld) -> None:
    for number in range(1, 4):
        assert world.put("k", b"%d" % number).sequence == number == sequence(world)
    found = world.catalog.snapshots(world.dataset.dataset_id)
    assert [row.sequence for row in found] == [1, 2, 3]
    assert world.catalog.snapshots(world.dataset.dataset_id, after=2)[0].change["versions"]


def test_if_none_match_lets_one_in(world: VaultWorld) -> None:
    expect = Precondition(if_none_match="*")
    first = world.put("k", b"1", expect=expect)
    with pytest.raises(Conflict, match="precondition"):
        world.put("k", b"2", expect=expect)
    assert latest(world) == first
    delete(world)
    assert world.put("k", b"3", expect=expect).size == 1


def test_if_match(world: VaultWorld) -> None:
    with pytest.raises(NotFound, match="key"):
        world.put("k", b"1", expect=Precondition(if_match="*"))
    first = world.put("k", b"1")
    with pytest.raises(Conflict, match="precondition"):
        world.put("k", b"2", expect=Precondition(if_match="0" * 32))
    assert latest(world) == first
    second = world.put("k", b"2", expect=Precondition(if_match=first.etag))
    assert world.put("k", b"3", expect=Precondition(if_match="*")).sequence == second.sequence + 1


def test_of_many_at_once_if_none_match_lets_exactly_one_in(world: VaultWorld) -> None:
    sealed = [world.seal("k", b"%d" % number) for number in range(8)]
    won: list[VersionRow] = []
    lost: list[Conflict] = []

    def commit(place: int) -> None:
        try:
            expect = Precondition(if_none_match="*")
            won.append(world.vault.commit(
                sealed[place], written_by=WRITER, run_id=RUN, record=RECORD, expect=expect
            ))  # fmt: skip
        except Conflict as error:
            lost.append(error)

    threads = [threading.Thread(target=commit, args=(place,)) for place in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(won), len(lost)) == (1, 7)
    assert latest(world) == won[0]
    assert sequence(world) == 1


def test_views_and_jobs_are_queued_with_the_commit(world: VaultWorld) -> None:
    row = world.put("k", b"1", views=[NewView("plan1", "b1")], jobs=[NewJob("describe", {"version_id": "v"})])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    leased = [world.catalog.lease(["view", "describe"], "me", 1000) for _ in range(3)]
    kinds = {job.kind: job.subject for job in leased if job is not None}
    assert kinds["view"] == {
        "view_id": view.view_id, "dataset_id": row.dataset_id, "version_id": row.version_id, "plan_id": "plan1",
    }  # fmt: skip
    assert leased[2] is None


def test_a_refused_commit_queues_nothing(world: VaultWorld) -> None:
    world.put("k", b"1")
    with pytest.raises(Conflict):
        world.put("k", b"2", views=[NewView("plan1", "b1")], expect=Precondition(if_none_match="*"))
    assert world.catalog.views(world.dataset.dataset_id) == []
    assert world.catalog.lease(["view"], "me", 1000) is None
    assert sequence(world) == 1


def test_without_versioning_an_overwrite_replaces(tmp_path: Path) -> None:
    world = VaultWorld(tmp_path)
    first = world.put("k", b"1")
    second = world.put("k", b"2")
    assert second.is_null
    assert world.catalog.version(world.dataset.dataset_id, first.version_id) is None
    assert world.catalog.null_version(world.dataset.dataset_id, "k") == second
    gone = delete(world)
    assert (gone.delete_marker, gone.version_id) == (False, second.version_id)
    assert latest(world) is None
    assert delete(world).removed is None
    assert sequence(world) == 3


def test_with_versioning_every_version_stays(tmp_path: Path) -> None:
    world = VaultWorld(tmp_path, versioning="enabled")
    first, second = world.put("k", b"1"), world.put("k", b"2")
    kept = world.catalog.version(world.dataset.dataset_id, first.version_id)
    assert kept is not None
    assert not kept.is_latest
    marker = delete(world)
    assert marker.delete_marker
    found = latest(world)
    assert found is not None
    assert found.delete_marker
    assert world.catalog.list_versions_page(world.dataset.dataset_id) == []
    assert delete(world, version_id=marker.version_id).delete_marker
    restored = latest(world)
    assert restored is not None
    assert restored.version_id == second.version_id
    delete(world, version_id=second.version_id)
    assert latest(world) == kept or getattr(latest(world), "version_id", None) == first.version_id
    delete(world, version_id=first.version_id)
    assert latest(world) is None
    assert delete(world, version_id=first.version_id).removed is None


def test_suspended_versioning_replaces_the_null_version_alone(tmp_path: Path) -> None:
    world = VaultWorld(tmp_path, versioning="enabled")
    kept = world.put("k", b"1")
    world.catalog.set_versioning(world.dataset.dataset_id, "suspended", RECORD)
    null = world.put("k", b"2")
    assert null.is_null
    again = world.put("k", b"3")
    assert world.catalog.version(world.dataset.dataset_id, null.version_id) is None
    marker = delete(world)
    assert marker.version_id == "null"
    assert world.catalog.version(world.dataset.dataset_id, again.version_id) is None
    found = world.catalog.version(world.dataset.dataset_id, kept.version_id)
    assert found is not None
    delete(world, version_id="null")
    restored = latest(world)
    assert restored is not None
    assert restored.version_id == kept.version_id
    with pytest.raises(Refused):
        world.catalog.set_versioning(world.dataset.dataset_id, "off", RECORD)


def test_a_version_id_of_another_key_deletes_nothing(world: VaultWorld) -> None:
    one, two = world.put("one", b"1"), world.put("two", b"2")
    assert delete(world, "one", two.version_id).removed is None
    assert latest(world, "one") == one
    assert latest(world, "two") == two


def test_a_relabel_is_a_commit(world: VaultWorld) -> None:
    row = world.put("k", b"1")
    changed = world.vault.relabel(row, "none", grant(), "ff" * 16, views=[NewView("open", "b1")])
    assert (changed.label, changed.record) == ("none", "ff" * 16)
    assert latest(world) == changed
    assert sequence(world) == 2
    assert world.catalog.view(row.version_id, "open") is not None
    with pytest.raises(VaultError):
        world.vault.relabel(changed, "harmless", grant(), RECORD)
    assert latest(world) == changed


def test_a_dataset_is_dropped_only_when_empty_and_its_name_is_free_again(world: VaultWorld) -> None:
    row = world.put("k", b"1")
    with pytest.raises(Conflict, match=r"dataset\.not-empty"):
        world.catalog.drop_dataset(row.dataset_id, RECORD)
    with pytest.raises(Conflict, match=r"dataset\.exists"):
        world.catalog.create_dataset("claims", "de", "none", False, RECORD)
    delete(world)
    world.catalog.drop_dataset(row.dataset_id, RECORD)
    with pytest.raises(NotFound):
        world.catalog.dataset("claims")
    with pytest.raises(NotFound):
        world.put("k", b"2")
    assert world.catalog.create_dataset("claims", "de", "none", False, RECORD).dataset_id != row.dataset_id


def test_contracts_are_numbered(world: VaultWorld) -> None:
    dataset_id = world.dataset.dataset_id
    assert world.catalog.contract(dataset_id) is None
    assert world.catalog.set_contract(dataset_id, {"n": 1}, WRITER, RECORD) == 1
    assert world.catalog.set_contract(dataset_id, {"n": 2}, WRITER, RECORD) == 2
    assert world.catalog.contract(dataset_id) == {"n": 2}
    assert world.catalog.contract(dataset_id, 1) == {"n": 1}
