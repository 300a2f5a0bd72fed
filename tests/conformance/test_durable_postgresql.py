"""fsck, rebuild, backup and restore over a real PostgreSQL, by `pg_dump` and `pg_restore`, and rows damaged by SQL."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from gateway.durable.backup import Places, back_up, restore
from gateway.durable.evidence import read_evidence
from gateway.durable.start import datasets_behind
from tests.fakes.gateway_world import TENANT, ZONE
from tests.fakes.postgresql import available, postgresql
from tests.fault.crash.check import Check, living
from tests.fault.crash.told import first_model
from tests.fault.crash.work import Worker
from tests.fault.crash.world import CrashWorld
from tests.unit.vault.test_rebuild import Zone
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database
from vault.catalog.seal import RowSeal
from vault.errors import Conflict, Malformed
from vault.fsck import Fsck
from vault.keys.hierarchy import KeyRing
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass
from vault.rebuild import Rebuild

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")]


class Databases:
    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._admin = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._numbers = itertools.count()

    def empty(self) -> str:
        name = f"zone{next(self._numbers)}"
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return str(self._url.set(database=name).render_as_string(hide_password=False))

    def made(self) -> str:
        url = self.empty()
        Database(url).upgrade()
        return url


class PgZone(Zone):
    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.world = CrashWorld(directory, catalog_url=url)
        self.model = first_model()
        self.worker = Worker(self.world, self.model)
        self._number = 0

    def sql(self, statement: str, **params: object) -> None:
        with self.world.catalog._database.write() as connection:
            assert connection.execute(text(statement), params).rowcount > 0, statement

    def checked(self, *, repair: bool = False) -> list[str]:
        found = Fsck(
            self.world.vault.store, self.world.catalog, ZONE, evidence=self.evidence(), repair=repair
        ).run()
        return sorted({each.code for each in found.remaining})


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with postgresql() as url:
        yield Databases(url)


@pytest.fixture(scope="module")
def zone(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgZone]:
    made = PgZone(tmp_path_factory.mktemp("zone"), databases.made())
    made.past()
    while made.world.vault.sweep(orphan_ms=-1):
        pass
    yield made
    made.world.close()


def places(directory: Path, url: str) -> Places:
    return Places(
        ZONE, TENANT, url, directory / "ledger", directory / "decisions", directory / "lineage.sqlite3",
        directory / "store",
    )  # fmt: skip


def beside(zone: PgZone, directory: Path) -> Path:
    """A host with the zone's keys and nothing else."""
    directory.mkdir()
    shutil.copytree(zone.directory / "keys", directory / "keys")
    for name in ("signing.key", "people.json", "clock"):
        if (zone.directory / name).exists():
            shutil.copy(zone.directory / name, directory / name)
    return directory


def test_fsck_names_damage_and_mends_what_it_may(zone: PgZone) -> None:
    assert zone.checked() == []
    row = zone.world.version("a.csv", "open-data")
    wrap = zone.world.catalog.find_wrap(row.version_id)
    zone.sql("delete from key_wrap where subject = :subject", subject=row.version_id)
    name = f"d/{row.dataset_id[:2]}/{row.dataset_id}"
    zone.store_file(name).unlink()
    zone.sql("update dataset set sequence = sequence - 5 where name = 'open-data'")
    assert zone.checked() == ["dataset.rolled-back", "record.missing", "wrap.missing"]
    assert zone.checked(repair=True) == ["dataset.rolled-back"]
    assert zone.world.catalog.find_wrap(row.version_id) == wrap
    zone.sql("update dataset set sequence = sequence + 5 where name = 'open-data'")
    zone.sql("update object_version set label = 'personal' where version_id = :it", it=row.version_id)
    assert "row.edited" in zone.checked()
    zone.sql("update object_version set label = 'none' where version_id = :it", it=row.version_id)
    assert zone.checked() == []


def test_a_catalog_is_written_again_from_the_store(zone: PgZone, databases: Databases, tmp_path: Path) -> None:
    before = {name: living(zone.world, name) for name in zone.model.datasets}
    made = Catalog(
        Database(databases.made()), RowSeal(zone.world.hello.catalog_mac_key), zone.world.clock, TENANT
    )
    keys = zone.directory / "keys"
    ring = KeyRing({each: LocalProvider.connect(keys, each) for each in KeyClass}, made, zone.world.clock)
    try:
        report = Rebuild(zone.world.vault.store, made, ring, ZONE, evidence=zone.evidence()).run()
        assert (report.refused, report.missing) == ([], [])
        for name, lines in before.items():
            dataset_id = zone.world.catalog.dataset(name).dataset_id
            for key, rows in lines.items():
                latest = made.latest(dataset_id, key)
                (kept,) = [row for row in rows if row.is_latest]
                assert latest is not None
                assert (latest.version_id, latest.etag, latest.checksums, latest.delete_marker) == (
                    kept.version_id, kept.etag, kept.checksums, kept.delete_marker
                )
        found = Fsck(zone.world.vault.store, made, ZONE, evidence=zone.evidence()).run()
        assert {each.code for each in found.remaining} <= {"record.missing", "record.older"}
        with pytest.raises(Conflict, match=r"rebuild\.not-empty"):
            Rebuild(zone.world.vault.store, made, ring, ZONE).run()
    finally:
        made.close()


def test_a_dump_is_put_back_and_an_older_one_is_known_for_it(
    zone: PgZone, databases: Databases, tmp_path: Path
) -> None:
    zone.world.ledger.publish()
    back_up(places(zone.directory, zone.url), tmp_path / "backup", dict, "2026-11-22T00:00:00.000Z", with_store=True)
    assert (tmp_path / "backup" / "catalog.dump").stat().st_size > 0
    url, other = databases.empty(), beside(zone, tmp_path / "other")
    restore(tmp_path / "backup", places(other, url))
    world = CrashWorld(other, catalog_url=url)
    try:
        assert datasets_behind(other / "ledger", world.catalog) == frozenset()
        zone.do("put", "open-data", "late.csv")
        zone.world.ledger.publish()
        newer = zone.directory / "ledger"
        assert read_evidence(newer, TENANT) is not None
        assert datasets_behind(newer, world.catalog) == {world.catalog.dataset("open-data").dataset_id}
        zone.model.datasets["open-data"].keys.pop("late.csv")
        assert list(Check(world, [zone.model], []).problems()) == []
    finally:
        world.close()


@pytest.mark.parametrize("harm", ["tables", "dump"])
def test_what_cannot_be_put_back_leaves_nothing(
    zone: PgZone, databases: Databases, tmp_path: Path, harm: str
) -> None:
    zone.world.ledger.publish()
    back_up(places(zone.directory, zone.url), tmp_path / "backup", dict, "2026-11-22T00:00:00.000Z", with_store=False)
    other = tmp_path / "other"
    other.mkdir()
    if harm == "dump":
        dump = tmp_path / "backup" / "catalog.dump"
        dump.write_bytes(dump.read_bytes()[:-1])
    url = databases.made() if harm == "tables" else databases.empty()
    with pytest.raises((Conflict, Malformed), match=r"restore\.not-empty|backup\.changed"):
        restore(tmp_path / "backup", places(other, url))
    assert not any(other.iterdir())
