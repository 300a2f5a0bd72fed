"""Catalog, store and key records are copied, objects are shredded, the copies are put back: the erased stays erased.

A backup never holds provider keys. Everything else it may hold, and everything else is put back here.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.durable.evidence import evidence_of
from tests.fakes.gateway_world import CSV, TENANT, ZONE, GatewayWorld
from tests.fakes.key_custody import KeyCustody
from tests.fakes.store import MemoryStore
from vault.adopting import Adopted, adopt
from vault.catalog.rows import GroupRow, KeyWrapRow
from vault.errors import Malformed, Refused
from vault.fsck import Fsck, behind
from vault.keys.hierarchy import group_context
from vault.keys.provider import KeyClass
from vault.rebuild import Evidence

SURVIVORS = ("a.csv", "c.csv")


@dataclass
class Backup:
    catalog: Path
    objects: dict[str, bytes]
    records: dict[str, bytes]
    groups: list[GroupRow]
    wraps: list[KeyWrapRow]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    for key in ("a.csv", "b.csv", "c.csv"):
        made.build(made.put(key, CSV))
    yield made
    made.close()


def back_up(world: GatewayWorld, to: Path) -> Backup:
    world.vault.records.reconcile()
    world.catalog.close()  # the write-ahead log is in the file then
    shutil.copy(world.path, to)
    epochs = world.catalog.epochs(world.dataset.dataset_id)
    groups = [group for epoch in epochs for group in world.catalog.groups(epoch.epoch_id)]
    wraps = [row for group in groups for row in world.catalog.wraps_of(group.group_id)]
    return Backup(to, dict(world.store.objects), dict(world.records.objects), groups, wraps)


def put_back(world: GatewayWorld, backup: Backup, *, records: bool) -> None:
    """The catalog, and every object the store had; with `records`, those of keys as well."""
    world.catalog.close()
    shutil.copy(backup.catalog, world.path)
    world.store.objects.update(backup.objects)
    if records:
        world.records.objects.clear()
        world.records.objects.update(backup.records)
    world.broker._ring.forget()
    world.vault.forget_keys()
    world.facts = world.new_facts()


def test_put_back_as_it_was_nothing_erased_opens(world: GatewayWorld, tmp_path: Path) -> None:
    backup = back_up(world, tmp_path / "backup.sqlite3")
    KeyCustody(world).shred("b.csv")
    put_back(world, backup, records=True)
    assert world.find("b.csv") is not None  # the old catalog names it, and the store has every byte of it
    for caller in (world.attested(), world.analyst):
        refused = world.read(caller, "b.csv")
        assert refused.body == b""
        assert refused.refusal.rule == "key.destroyed"


def test_no_wrap_of_the_backup_opens_with_what_is_left(world: GatewayWorld, tmp_path: Path) -> None:
    """Past every check of ours: the provider itself, asked for each group key that ever wrapped the erased."""
    custody = KeyCustody(world)
    backups = [back_up(world, tmp_path / "1.sqlite3")]
    custody.order("rotate", key_class="raw")
    custody.order("rewrap", key_class="raw")
    custody.carry_out()
    backups.append(back_up(world, tmp_path / "2.sqlite3"))  # the same group key, under another epoch
    erased = {world.version("b.csv").version_id}
    erased |= set(world.catalog.views_of_versions(world.dataset.dataset_id, sorted(erased)))
    custody.shred("b.csv")
    for backup in backups:
        holding = {row.group_id for row in backup.wraps if row.subject in erased}
        assert len(holding) == 2  # one of each class
        for group in (each for each in backup.groups if each.group_id in holding):
            scope = world.vault._scope(group.dataset_id, group.key_class)
            context = group_context(scope, group.group_id, group.epoch_id)
            provider = world.provider_raw if group.key_class == KeyClass.RAW else world.provider_view
            with pytest.raises(Refused, match=r"key\.destroyed"):
                provider.unwrap(group.epoch_id, group.wrapped, context)
    # Nor is any of their wraps among those that open today.
    epochs = world.catalog.epochs(world.dataset.dataset_id)
    alive = {row.subject for epoch in epochs for group in world.catalog.groups(epoch.epoch_id)
             for row in world.catalog.wraps_of(group.group_id)}  # fmt: skip
    assert not alive & erased


def test_an_older_catalog_with_todays_key_records_opens_survivors_and_nothing_erased(
    world: GatewayWorld, tmp_path: Path
) -> None:
    backup = back_up(world, tmp_path / "backup.sqlite3")
    KeyCustody(world).shred("b.csv")
    put_back(world, backup, records=False)
    assert world.read(world.attested(), "a.csv").error is not None  # its old wraps are dead too
    assert world.vault.adopt_records() > 0
    world.broker._ring.forget()
    for key in SURVIVORS:
        assert world.read(world.attested(), key).body == CSV
        assert world.read(world.analyst, key).error is None
    for caller in (world.attested(), world.analyst):
        assert world.read(caller, "b.csv").refusal.rule in {"key.erased", "key.destroyed"}
    world.put("new.csv", CSV)
    world.vault.forget_keys()
    assert world.read(world.attested(), "new.csv").body == CSV
    assert world.vault.adopt_records() == 0  # again, it changes nothing


def evidence_of_ledger(world: GatewayWorld) -> Evidence:
    return evidence_of(world.ledger.entries, TENANT)


def adopted(world: GatewayWorld, evidence: Evidence) -> Adopted:
    providers = {KeyClass.RAW: world.provider_raw, KeyClass.VIEW: world.provider_view}
    done = adopt(world.store, world.catalog, ZONE, providers, evidence, records=world.vault.records)
    world.broker._ring.forget()
    world.facts = world.new_facts()
    return done


def test_what_was_erased_since_a_backup_is_withdrawn_from_it(world: GatewayWorld, tmp_path: Path) -> None:
    backup = back_up(world, tmp_path / "backup.sqlite3")
    erased = world.version("b.csv").version_id
    KeyCustody(world).shred("b.csv")
    evidence = evidence_of_ledger(world)
    put_back(world, backup, records=False)
    assert list(behind(world.catalog, evidence)) != []
    done = adopted(world, evidence)
    assert (done.withdrawn, done.left) == ((erased,), ())
    assert list(behind(world.catalog, evidence)) == []  # the one step it was behind is the one that was taken again
    assert world.find("b.csv") is None
    assert world.catalog.datasets_of_living([erased]) == set()
    for key in SURVIVORS:
        assert world.read(world.attested(), key).body == CSV
        assert world.read(world.analyst, key).error is None
    again = adopted(world, evidence)
    assert (again.keys, again.withdrawn, again.left, again.epochs) == (0, (), (), 0)


def test_nothing_is_withdrawn_where_more_than_an_erasure_was_lost(world: GatewayWorld, tmp_path: Path) -> None:
    """a.csv was overwritten before the erasure: in the backup it has a dead key too, and today's is not in it."""
    backup = back_up(world, tmp_path / "backup.sqlite3")
    overwritten, erased = world.version("a.csv").version_id, world.version("b.csv").version_id
    world.put("a.csv", CSV)
    KeyCustody(world).shred("b.csv")
    evidence = evidence_of_ledger(world)
    put_back(world, backup, records=False)
    done = adopted(world, evidence)
    assert (done.withdrawn, done.left) == ((erased,), (overwritten,))
    assert [each.code for each in behind(world.catalog, evidence)] == ["dataset.rolled-back"]
    assert world.read(world.attested(), "a.csv").body == b""


def test_a_dataset_whose_last_object_was_erased_can_be_written_after_a_restore(
    world: GatewayWorld, tmp_path: Path
) -> None:
    """The epoch made by the shredding has no group, so no record tells of it."""
    backup = back_up(world, tmp_path / "backup.sqlite3")
    KeyCustody(world).shred("a.csv", "b.csv", "c.csv")
    evidence = evidence_of_ledger(world)
    put_back(world, backup, records=False)
    assert len(adopted(world, evidence).withdrawn) == 3
    states = {(each.key_class, each.state) for each in world.catalog.epochs(world.dataset.dataset_id)}
    assert states == {(name, state) for name in ("raw", "view") for state in ("destroyed", "active")}
    world.put("new.csv", CSV)
    world.vault.forget_keys()
    assert world.read(world.attested(), "new.csv").body == CSV


def test_a_record_that_cannot_be_read_withdraws_nobody(world: GatewayWorld, tmp_path: Path) -> None:
    backup = back_up(world, tmp_path / "backup.sqlite3")
    KeyCustody(world).shred("b.csv")
    put_back(world, backup, records=False)
    name = next(name for name in world.records.objects if name.startswith("w/"))
    world.records.objects[name] = b"x" + world.records.objects[name][1:]
    with world.unchanged(), pytest.raises(Malformed, match="record"):
        adopted(world, evidence_of_ledger(world))


def test_fsck_does_not_write_an_older_catalogs_keys_over_the_stores(tmp_path: Path) -> None:
    (tmp_path / "zone").mkdir()
    one = MemoryStore(observed="de")
    world = GatewayWorld(tmp_path / "zone", store=one)
    world.store = world.records = one
    for key in ("a.csv", "b.csv"):
        world.build(world.put(key, CSV))
    backup = back_up(world, tmp_path / "backup.sqlite3")
    KeyCustody(world).shred("b.csv")
    evidence = evidence_of_ledger(world)
    todays = {name: data for name, data in one.objects.items() if name[0] in "gw"}
    put_back(world, backup, records=False)
    one.objects.update(todays)

    def codes(*, repair: bool) -> set[str]:
        return {each.code for each in Fsck(one, world.catalog, ZONE, evidence=evidence, repair=repair).run().findings}

    told = codes(repair=False)
    assert "record.newer" in told
    assert "record.older" not in told
    assert {name: data for name, data in one.objects.items() if name in todays} == todays
    codes(repair=True)
    world.broker._ring.forget()
    assert world.read(world.attested(), "a.csv").body == CSV
    assert world.read(world.attested(), "b.csv").refusal.rule in {"key.erased", "key.destroyed"}
    assert not codes(repair=False) & {"record.newer", "record.older", "record.missing"}
    world.close()


def test_a_rolled_back_wrap_row_brings_nobody_back(world: GatewayWorld, tmp_path: Path) -> None:
    """SQL puts the erased one's version, manifest and wrap rows back as they were, into today's catalog."""
    backup = back_up(world, tmp_path / "backup.sqlite3")
    erased = world.version("b.csv")
    KeyCustody(world).shred("b.csv")
    world.store.objects.update({name: data for name, data in backup.objects.items() if name not in world.store.objects})
    (wrap,) = [row for row in backup.wraps if row.subject == erased.version_id]
    world.catalog.add_wraps([wrap])
    with sqlite3.connect(world.path) as connection:
        connection.execute("attach database ? as old", (str(backup.catalog),))
        for table, column in (("object_version", "version_id"), ("manifest_generation", "subject")):
            connection.execute(f"delete from main.{table} where {column} = ?", (erased.version_id,))
            connection.execute(
                f"insert into main.{table} select * from old.{table} where {column} = ?", (erased.version_id,)
            )
    connection.close()
    world.facts = world.new_facts()
    assert world.find("b.csv") == erased
    assert world.read(world.attested(), "b.csv").refusal.rule == "key.erased"
