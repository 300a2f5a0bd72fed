"""The catalog names the zone's one ledger: a restored zone is that zone, one with other files is not."""

import shutil
from pathlib import Path

import pytest

from gateway.durable.backup import Places, back_up, restore
from gateway.processes.init import run_init
from gateway.settings import Settings
from vault.errors import Conflict


def settings(directory: Path) -> Settings:
    return Settings(zone="de", jurisdiction="de", state_dir=directory, posture="development")


def places(given: Settings) -> Places:
    return Places(
        given.zone, given.tenant, given.catalog_location, given.ledger_dir, given.zone_dir / "decisions",
        given.lineage_graph, None,
    )  # fmt: skip


def test_a_zone_put_back_elsewhere_is_set_up_again(tmp_path: Path) -> None:
    old, new = settings(tmp_path / "old"), settings(tmp_path / "new")
    run_init(old)
    back_up(places(old), tmp_path / "backup", dict, "2026-11-22T00:00:00.000Z", with_store=False)
    new.zone_dir.mkdir(parents=True)
    shutil.copytree(old.zone_dir / "keys", new.zone_dir / "keys")
    restore(tmp_path / "backup", places(new))
    run_init(new)
    run_init(new)


def test_a_catalog_with_the_files_of_another_ledger_is_refused(tmp_path: Path) -> None:
    old = settings(tmp_path / "old")
    run_init(old)
    (old.zone_dir / "ledger.id").unlink()
    with pytest.raises(Conflict, match=r"ledger\.elsewhere"):
        run_init(old)
