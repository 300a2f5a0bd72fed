"""The catalog written again from the store alone: what comes back, what stays gone, what is refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.durable.evidence import read_evidence
from tests.fakes.gateway_world import MASKED, TENANT, ZONE
from tests.fault.crash.check import Check, living
from tests.fault.crash.model import Model, content
from tests.fault.crash.told import first_model
from tests.fault.crash.work import Worker
from tests.fault.crash.world import CrashWorld
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.seal import RowSeal
from vault.errors import Conflict
from vault.keys.hierarchy import KeyRing
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass
from vault.rebuild import Evidence, Rebuild, Report
from vault.sweeping import SHARDS


class Zone:
    """A zone with a past, its model, and the means to lose its catalog."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.world = CrashWorld(directory)
        self.model: Model = first_model()
        self.worker = Worker(self.world, self.model)
        self._number = 0

    def do(self, kind: str, dataset: str, key: str, **more: Any) -> dict[str, Any]:
        self._number += 1
        op = {"do": kind, "dataset": dataset, "key": key, "number": self._number, "size": 20_000, **more}
        answer = self.worker.do(op)
        self.model.apply(op, answer)
        return answer

    def past(self) -> None:
        for dataset in ("claims", "open-data", "versioned"):
            self.do("put", dataset, "a.csv")
            self.do("put", dataset, "a.csv")
            self.do("put", dataset, "dir/ü.csv", size=40_000)
        self.do("build", "claims", "")
        self.do("delete", "versioned", "a.csv")
        self.do("put", "open-data", "gone.csv")
        self.do("delete", "open-data", "gone.csv")
        upload = self.do("upload", "open-data", "parts.csv")["upload_id"]
        for part in (1, 2):
            self.do("part", "open-data", "parts.csv", upload_id=upload, part=part)
        self.do("complete", "open-data", "parts.csv", upload_id=upload)
        if "copy" in Worker.kinds(self.world):
            self.do("copy", "open-data", "copy.csv", source="parts.csv")
        if "tag" in Worker.kinds(self.world):
            self.do("tag", "open-data", "parts.csv", tags={"who": "ü"})

    def evidence(self) -> Evidence | None:
        self.world.ledger.publish()
        return read_evidence(self.directory / "ledger", TENANT)

    def rebuilt(self, evidence: Evidence | None, catalog: Path) -> Report:
        """A new catalog in `catalog`, from the store and the provider's folder."""
        database = Database(sqlite_url(catalog))
        database.upgrade()
        made = Catalog(database, RowSeal(self.world.hello.catalog_mac_key), self.world.clock, TENANT)
        keys = self.directory / "keys"
        ring = KeyRing({each: LocalProvider.connect(keys, each) for each in KeyClass}, made, self.world.clock)
        try:
            return Rebuild(self.world.vault.store, made, ring, ZONE, evidence=evidence).run()
        finally:
            made.close()

    def lost_and_rebuilt(self, evidence: Evidence | None) -> Report:
        """The zone opened again over the rebuilt catalog. Its people are made anew: they are not data."""
        fresh = self.directory / "rebuilt.sqlite3"
        report = self.rebuilt(evidence, fresh)
        self.world.close()
        for path in self.directory.glob("catalog.sqlite3*"):
            path.unlink()
        shutil.move(fresh, self.directory / "catalog.sqlite3")
        (self.directory / "people.json").unlink()
        self.world = Again(self.directory)
        return report

    def store_file(self, store_key: str) -> Path:
        return self.directory / "store" / store_key


class Again(CrashWorld):
    def _populate(self) -> None:
        self.steward = self.person("steward", "stewardship", "steward", kind="service")
        self.analyst = self.person("analyst", "analytics", "analyst")
        self.trainer = self.person("trainer", "claims-risk-model", "trainer", kind="workload")
        from tests.fakes.broker import new_jwk

        self.jwk = new_jwk()
        self.open_zone()
        self.dataset = self.catalog.dataset("claims")


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    made = Zone(tmp_path)
    yield made
    made.world.close()


def test_everything_comes_back(zone: Zone) -> None:
    zone.past()
    before = {name: living(zone.world, name) for name in zone.model.datasets}
    report = zone.lost_and_rebuilt(zone.evidence())
    assert (report.refused, report.missing) == ([], [])
    after = {name: living(zone.world, name) for name in zone.model.datasets}
    for name, keys in before.items():
        assert keys.keys() == after[name].keys()
        for key, rows in keys.items():
            for old, new in zip(rows, after[name][key], strict=True):
                for fact in ("version_id", "is_latest", "is_null", "delete_marker", "size", "etag", "checksums",
                             "content_type", "format", "key_class", "label", "placement", "contract_version",
                             "manifest_id", "generation", "written_by", "run_id", "created_at"):  # fmt: skip
                    assert getattr(old, fact) == getattr(new, fact), (name, key, fact)
    # The old catalog knew of bodies and of a generation that wait for the sweeper; nothing names them any more.
    assert sum(zone.world.vault.note_unnamed(shard) for shard in range(SHARDS)) == 4
    assert list(Check(zone.world, [zone.model], []).problems()) == []
    assert zone.world.read(zone.world.analyst, "a.csv").body == MASKED
    assert zone.world.catalog.contract(zone.world.dataset.dataset_id) is not None


def test_what_was_written_afterwards_is_written(zone: Zone) -> None:
    zone.past()
    zone.lost_and_rebuilt(zone.evidence())
    zone.world.put("new.csv", content(99, 500), dataset="open-data")
    assert zone.world.read(zone.world.analyst, "new.csv", dataset="open-data").body == content(99, 500)


def test_a_catalog_that_holds_anything_is_left_alone(zone: Zone) -> None:
    zone.past()
    with zone.world.unchanged(), pytest.raises(Conflict, match=r"rebuild\.not-empty"):
        zone.rebuilt(None, zone.directory / "catalog.sqlite3")


def test_a_changed_manifest_is_refused_and_named(zone: Zone) -> None:
    zone.past()
    row = zone.world.version("a.csv", "open-data")
    path = zone.store_file(zone.world.catalog.manifest(row.manifest_id, row.generation).store_key)
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    report = zone.lost_and_rebuilt(zone.evidence())
    assert [reason for reason, _ in report.refused] == ["manifest.tag"]
    assert report.missing == [("version.missing", row.version_id)]
    assert zone.world.find("a.csv", "open-data") is None


def test_a_deleted_version_that_was_put_back_stays_gone(zone: Zone) -> None:
    zone.past()
    version = zone.do("put", "open-data", "b.csv")["version_id"]
    row = zone.world.version("b.csv", "open-data")
    path = zone.store_file(zone.world.catalog.manifest(row.manifest_id, row.generation).store_key)
    kept = path.read_bytes()
    zone.do("delete", "open-data", "b.csv")
    assert not path.exists()
    path.write_bytes(kept)
    report = zone.lost_and_rebuilt(zone.evidence())
    assert [reason for reason, _ in report.refused] == ["version.removed"]
    assert zone.world.catalog.version(row.dataset_id, version) is None


def test_an_overwritten_version_does_not_take_the_place_of_a_newest_that_was_taken_away(zone: Zone) -> None:
    zone.past()
    zone.do("put", "open-data", "b.csv")
    old = zone.world.version("b.csv", "open-data")
    path = zone.store_file(zone.world.catalog.manifest(old.manifest_id, old.generation).store_key)
    kept = path.read_bytes()
    newest = zone.do("put", "open-data", "b.csv")["version_id"]
    row = zone.world.version("b.csv", "open-data")
    zone.store_file(zone.world.catalog.manifest(row.manifest_id, row.generation).store_key).unlink()
    path.write_bytes(kept)
    report = zone.lost_and_rebuilt(zone.evidence())
    assert [reason for reason, _ in report.refused] == ["version.overtaken"]
    assert report.missing == [("version.missing", newest)]
    assert zone.world.find("b.csv", "open-data") is None


def test_a_destroyed_epoch_brings_nothing_back(zone: Zone) -> None:
    zone.past()
    dataset_id = zone.world.dataset.dataset_id
    evidence = zone.evidence()
    for epoch in zone.world.catalog.epochs(dataset_id):
        LocalProvider.connect(zone.directory / "keys", KeyClass(epoch.key_class)).destroy(epoch.epoch_id)
    report = zone.lost_and_rebuilt(evidence)
    assert {reason for reason, _ in report.refused} == {"key.destroyed"}
    assert living(zone.world, "claims") == {}
    assert living(zone.world, "open-data").keys() == zone.model.datasets["open-data"].keys.keys()


def test_records_of_another_name_or_an_older_contract_are_refused(zone: Zone) -> None:
    zone.past()
    dataset_id = zone.world.dataset.dataset_id
    path = zone.store_file(f"d/{dataset_id[:2]}/{dataset_id}")
    older = path.read_bytes()
    zone.world.contract("claims")
    other = zone.store_file("d/00/" + "0" * 32)
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(path.read_bytes())
    path.write_bytes(older)
    report = zone.rebuilt(zone.evidence(), zone.directory / "rebuilt.sqlite3")
    assert {reason for reason, _ in report.refused} == {"record", "record.older", "manifest.place"}
