"""Backups: whole, without keys, put back into nothing, and known for older when they are."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.durable.backup import Places, back_up, check, restore
from gateway.durable.compared import Compared, read_compared, sum_file, sum_up
from gateway.durable.evidence import read_evidence
from gateway.durable.start import datasets_behind
from tests.fakes.gateway_world import TENANT, ZONE
from tests.fault.crash.check import Check
from tests.fault.crash.world import CrashWorld
from tests.unit.vault.test_rebuild import Zone
from vault.catalog.database import sqlite_url
from vault.errors import Conflict, Malformed
from vault.fsck import behind

KEYS = ("keys", "signing.key")


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    (tmp_path / "zone").mkdir()
    made = Zone(tmp_path / "zone")
    made.past()
    yield made
    made.world.close()


def places(directory: Path) -> Places:
    return Places(
        ZONE, TENANT, sqlite_url(directory / "catalog.sqlite3"), directory / "ledger", directory / "decisions",
        directory / "lineage.sqlite3", directory / "store",
    )  # fmt: skip


def taken(zone: Zone, target: Path, *, with_store: bool = True) -> Path:
    zone.world.ledger.publish()
    back_up(places(zone.directory), target, dict, "2026-11-22T00:00:00.000Z", with_store=with_store)
    return target


def put_back(zone: Zone, source: Path, directory: Path) -> CrashWorld:
    """Into a directory that has the zone's keys and nothing else."""
    directory.mkdir()
    shutil.copytree(zone.directory / "keys", directory / "keys")
    for name in ("signing.key", "people.json", "clock"):
        if (zone.directory / name).exists():
            shutil.copy(zone.directory / name, directory / name)
    restore(source, places(directory))
    return CrashWorld(directory)


def test_what_was_backed_up_is_put_back(zone: Zone, tmp_path: Path) -> None:
    source = taken(zone, tmp_path / "backup")
    world = put_back(zone, source, tmp_path / "other")
    try:
        assert list(Check(world, [zone.model], []).problems()) == []
        assert datasets_behind(tmp_path / "other" / "ledger", world.catalog) == frozenset()
    finally:
        world.close()


def test_no_key_is_in_a_backup(zone: Zone, tmp_path: Path) -> None:
    source = taken(zone, tmp_path / "backup")
    secrets = {
        path.name: path.read_bytes()
        for name in KEYS
        for path in [zone.directory / name, *(zone.directory / name).rglob("*")]
        if path.is_file() and path.suffix != ".destroyed" and path.name != "location"
    }
    root = bytes(zone.world.hello.catalog_mac_key)
    secrets |= {"catalog-mac": root, "token": bytes(zone.world.hello.token_key)}
    assert len(secrets) >= 8, sorted(secrets)
    for path in source.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for name, secret in secrets.items():
                for start in range(0, max(1, len(secret) - 15), 8):  # any stretch of sixteen bytes would be too much
                    piece = secret[start : start + 16]
                    for shown in (piece, piece.hex().encode(), base64.b64encode(piece[:15])):
                        assert shown not in data, (name, path)


def test_an_older_backup_is_noticed_by_the_ledger(zone: Zone, tmp_path: Path) -> None:
    source = taken(zone, tmp_path / "backup")
    zone.do("put", "open-data", "late.csv")
    zone.do("delete", "open-data", "a.csv")
    zone.world.ledger.publish()
    world = put_back(zone, source, tmp_path / "other")
    try:
        dataset_id = world.catalog.dataset("open-data").dataset_id
        newer = read_evidence(zone.directory / "ledger", TENANT)
        assert newer is not None
        assert {each.name for each in behind(world.catalog, newer)} == {dataset_id}
        # A worker that starts over it with the newer ledger refuses that dataset, and serves the others.
        world.facts.close_datasets(datasets_behind(zone.directory / "ledger", world.catalog))
        refused = world.read(world.analyst, "dir/ü.csv", dataset="open-data").refusal
        assert (refused.status, refused.rule) == (403, "integrity.catalog.row-older")
        assert world.read(world.analyst, "dir/ü.csv", dataset="versioned").error is None
    finally:
        world.close()


def test_a_row_put_back_by_sql_closes_its_dataset_at_the_next_start(zone: Zone) -> None:
    """docs/limitations.md once said that this is obeyed: a deleted object's genuine row, written back."""
    zone.do("put", "open-data", "b.csv")
    world = zone.world
    row = world.version("b.csv", "open-data")
    kept = world.rows("select * from object_version where version_id = ?", row.version_id)[0]
    zone.do("delete", "open-data", "b.csv")
    world.ledger.publish()
    assert datasets_behind(zone.directory / "ledger", world.catalog) == frozenset()
    world.sql("delete from object_version where version_id = ?", row.version_id)
    world.sql(f"insert into object_version values ({', '.join('?' * len(kept))})", *kept)
    assert datasets_behind(zone.directory / "ledger", world.catalog) == {row.dataset_id}


def test_a_revocation_that_a_row_forgot_is_made_again(zone: Zone) -> None:
    world = zone.world
    who, other = world.attested(), world.attested()
    assert who.session is not None
    assert other.session is not None
    world.run(world.sessions.revoke(who, who.session.session_id))
    world.ledger.publish()
    world.sql("update session set revoked_at = null where session_id = ?", who.session.session_id)
    datasets_behind(zone.directory / "ledger", world.catalog)
    rows = [world.catalog.find_session(each.session.session_id) for each in (who, other) if each.session]
    assert [row is not None and row.revoked_at is not None for row in rows] == [True, False]


def test_trust_that_was_revoked_stays_so_over_an_older_catalog(zone: Zone) -> None:
    world = zone.world
    who = world.attested()
    told = world.run(world.revocations.revoke(world.steward, "measurement", "sample", "a test", "r"))
    world.ledger.publish()
    world.sql("delete from revocation")
    assert world.new_facts().gather(who, None).fresh  # this catalog knows nothing of it
    datasets_behind(zone.directory / "ledger", world.catalog)
    assert [(row.what, row.value) for row in world.catalog.revocations()] == [("measurement", told["value"])]
    assert not world.new_facts().gather(who, None).fresh


def test_what_is_older_than_a_start_reads_is_summed_up(zone: Zone) -> None:
    world, ledger = zone.world, zone.directory / "ledger"
    world.ledger.publish()
    behind_us = {world.dataset_row(name).dataset_id for name in ("claims", "open-data", "versioned")}
    world.sql("update dataset set sequence = 0")
    assert datasets_behind(ledger, world.catalog) == behind_us
    assert datasets_behind(ledger, world.catalog, 1) < behind_us  # it read one entry, and knows of no others
    while sum_up(ledger, world.catalog, 7):
        pass
    assert datasets_behind(ledger, world.catalog, 1) == behind_us
    sealed = sum_file(ledger).read_bytes()
    assert sum_up(ledger, world.catalog) == 0
    assert sum_file(ledger).read_bytes() == sealed
    sum_file(ledger).write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert read_compared(ledger, world.catalog) == Compared()
    while sum_up(ledger, world.catalog, 7):  # from the beginning again
        pass
    assert datasets_behind(ledger, world.catalog, 1) == behind_us


def test_a_file_is_no_directory_for_a_backup(zone: Zone, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(Malformed, match=r"backup\.directory"):
        taken(zone, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_nothing_is_overwritten(zone: Zone, tmp_path: Path) -> None:
    source = taken(zone, tmp_path / "backup")
    with pytest.raises(Conflict, match=r"backup\.exists"):
        taken(zone, source)
    with zone.world.unchanged(), pytest.raises(Conflict, match=r"restore\.not-empty"):
        restore(source, places(zone.directory))


@pytest.mark.parametrize("harm", ["change", "remove", "add"])
def test_a_backup_that_is_not_what_was_made_is_refused(zone: Zone, tmp_path: Path, harm: str) -> None:
    source = taken(zone, tmp_path / "backup", with_store=False)
    path = source / "catalog.sqlite3"
    if harm == "change":
        path.write_bytes(path.read_bytes() + b"\0")
    elif harm == "remove":
        path.unlink()
    else:
        (source / "more").write_bytes(b"")
    with pytest.raises(Malformed, match=r"backup\.(changed|missing)"):
        check(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Malformed):
        restore(source, places(tmp_path / "empty"))
    assert not any((tmp_path / "empty").iterdir())


def test_a_backup_is_of_its_zone(zone: Zone, tmp_path: Path) -> None:
    source = taken(zone, tmp_path / "backup", with_store=False)
    other = places(tmp_path / "x")
    with pytest.raises(Conflict, match=r"restore\.zone"):
        restore(source, Places("fr", TENANT, other.catalog_url, other.ledger, other.decisions, other.graph, None))
