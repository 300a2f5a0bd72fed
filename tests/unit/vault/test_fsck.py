"""`demesne fsck`: every way in which catalog, store and ledger can disagree is named, and nothing else is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.durable.evidence import evidence_of
from tests.fakes.gateway_world import TENANT, ZONE
from tests.unit.vault.test_rebuild import Zone
from vault.fsck import Checked, Fsck
from vault.keys.hierarchy import KeyRing
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    made = Zone(tmp_path)
    made.past()
    while made.world.vault.sweep(orphan_ms=-1):
        pass
    yield made
    made.world.close()


def checked(
    zone: Zone, *, repair: bool = False, deep: bool = False, settle: Callable[[], None] = lambda: None
) -> Checked:
    world = zone.world
    keys = KeyRing(
        {each: LocalProvider.connect(zone.directory / "keys", each) for each in KeyClass}, world.catalog, world.clock
    )
    return Fsck(
        world.vault.store, world.catalog, ZONE, evidence=zone.evidence(), keys=keys if deep else None, repair=repair,
        settle=settle,
    ).run()  # fmt: skip


def codes(found: Checked) -> list[str]:
    return sorted({each.code for each in found.remaining})


def manifest_path(zone: Zone, key: str = "a.csv") -> Path:
    row = zone.world.version(key, "open-data")
    return zone.store_file(zone.world.catalog.manifest(row.manifest_id, row.generation).store_key)


def body_path(zone: Zone) -> Path:
    row = zone.world.version("a.csv", "open-data")
    (name,) = zone.world.rows(
        "select store_key from body where subject = ? and body_id <> ?", row.version_id, row.manifest_id
    )
    return zone.store_file(name[0])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_zone_that_is_whole(zone: Zone) -> None:
    found = checked(zone, deep=True)
    assert found.findings == []
    assert found.looked_at["objects read"] >= 7


def truncate(zone: Zone) -> None:
    body_path(zone).write_bytes(body_path(zone).read_bytes()[:-1])


def stray(zone: Zone) -> None:
    path = zone.store_file("b/ab/" + "ab" * 16)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"who wrote this")


def dataset_record(zone: Zone) -> Path:
    dataset_id = zone.world.dataset.dataset_id
    return zone.store_file(f"d/{dataset_id[:2]}/{dataset_id}")


def lose_jobs(zone: Zone) -> None:
    zone.do("put", "claims", "late.csv")
    zone.world.sql("delete from job")


def lose_wraps(zone: Zone) -> None:
    row = zone.world.version("a.csv", "open-data")
    zone.world.sql("delete from key_wrap where subject = ?", row.version_id)
    (view,) = zone.world.rows("select view_id from view where state = 'ready' limit 1")
    zone.world.sql("update key_wrap set wrapped = x'' where subject = ?", view[0])


DAMAGE: list[tuple[str, Callable[[Zone], object], list[str], list[str]]] = [
    ("a body is gone", lambda zone: body_path(zone).unlink(), ["body.missing"], ["body.missing"]),
    ("a body is short", truncate, ["body.length"], ["body.length"]),
    ("a manifest is gone", lambda zone: manifest_path(zone).unlink(), ["body.missing", "manifest.missing"],
     ["body.missing", "manifest.missing"]),
    ("a manifest is changed", lambda zone: flip(manifest_path(zone)), ["manifest.hash"], ["manifest.hash"]),
    ("a row is edited",
     lambda zone: zone.world.sql("update object_version set label = 'none' where label = 'personal'"),
     ["row.edited"], ["row.edited"]),
    ("something nobody wrote", stray, ["store.unnamed"], []),
    ("a record is gone", lambda zone: dataset_record(zone).unlink(), ["record.missing"], []),
    ("a record is edited", lambda zone: flip(dataset_record(zone)), ["record.edited"], []),
    ("nobody knows whose key a group holds", lose_wraps, ["wrap.missing"], []),
    ("a job is lost", lose_jobs,
     ["view.not-queued"], []),
    ("a dataset is behind its ledger", lambda zone: zone.world.sql("update dataset set sequence = 1"),
     ["dataset.rolled-back"], ["dataset.rolled-back"]),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "named", "left"), [each[1:] for each in DAMAGE], ids=[each[0] for each in DAMAGE])
def test_each_damage_has_its_name(
    zone: Zone, harm: Callable[[Zone], object], named: list[str], left: list[str]
) -> None:
    harm(zone)
    assert codes(checked(zone)) == named
    assert codes(checked(zone, repair=True)) == left
    assert codes(checked(zone)) == left


def test_a_wrap_comes_from_the_manifest_that_the_catalog_pinned(zone: Zone) -> None:
    row = zone.world.version("a.csv", "open-data")
    before = zone.world.catalog.find_wrap(row.version_id)
    lose_wraps(zone)
    kept = manifest_path(zone).read_bytes()
    flip(manifest_path(zone))
    assert codes(checked(zone, repair=True)) == ["manifest.hash", "wrap.missing"]
    manifest_path(zone).write_bytes(kept)
    assert codes(checked(zone, repair=True)) == []
    assert zone.world.catalog.find_wrap(row.version_id) == before


def test_only_a_deep_look_sees_a_bit_that_was_flipped(zone: Zone) -> None:
    flip(body_path(zone))
    assert codes(checked(zone)) == []
    assert codes(checked(zone, deep=True)) == ["deep.tag"]


def test_a_deleted_version_put_back_by_sql_is_named(zone: Zone) -> None:
    """The row as it was, with its genuine seal: the row's own check passes."""
    zone.do("put", "open-data", "b.csv")
    row = zone.world.version("b.csv", "open-data")
    kept = zone.world.rows("select * from object_version where version_id = ?", row.version_id)[0]
    before = zone.world.rows("select sequence from dataset where name = 'open-data'")[0][0]
    zone.do("delete", "open-data", "b.csv")
    zone.world.sql("delete from object_version where version_id = ?", row.version_id)
    zone.world.sql(f"insert into object_version values ({', '.join('?' * len(kept))})", *kept)
    zone.world.sql("update dataset set sequence = ? where name = 'open-data'", before)
    assert {"dataset.rolled-back", "version.returned"} <= set(codes(checked(zone)))


def test_evidence_is_of_one_tenant() -> None:
    entry = {"type": "removal", "tenant": "other", "version": "1" * 32}
    assert evidence_of([entry], TENANT).removed == frozenset()


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), flip], ids=["missing", "edited"])
def test_a_record_that_is_just_being_written_is_looked_at_again(zone: Zone, harm: Callable[[Path], None]) -> None:
    """While the zone serves, a record and its row are not written in one moment: only what stays is told."""
    record = dataset_record(zone)
    whole, waited = record.read_bytes(), []
    harm(record)
    found = checked(zone, settle=lambda: waited.append(record.write_bytes(whole)))
    assert (found.findings, len(waited)) == ([], 1)
    harm(record)
    codes_now = codes(checked(zone, settle=lambda: waited.append(0)))
    assert codes_now in (["record.missing"], ["record.edited"])
    assert len(waited) == 2


def test_a_dataset_changed_between_the_looks_is_compared_with_its_new_row(zone: Zone) -> None:
    record, world = dataset_record(zone), zone.world
    whole = record.read_bytes()
    dataset_id = world.dataset.dataset_id

    def row_first() -> None:
        world.contract("claims", owner="another department")  # writes row and record
        assert record.read_bytes() != whole

    record.unlink()
    assert checked(zone, settle=row_first).findings == []
    assert dataset_id in record.name


def test_a_whole_zone_waits_for_nothing(zone: Zone) -> None:
    waited: list[int] = []
    assert checked(zone, settle=lambda: waited.append(0)).findings == []
    assert waited == []
