"""`demesne fsck|backup|restore|rebuild`: what cannot be done is said with its field, its fix and the promised code."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from demesne.cli.app import run
from demesne.errors import Conflict, DemesneError, Invalid, NotConfigured, Unavailable
from gateway.cli.maintain import failure

COMMANDS = (["fsck"], ["rebuild"], ["backup", "to"], ["restore", "."])


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [each for each in os.environ if each.startswith("DEMESNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for zone in ("de", "fr"):
        (tmp_path / "state" / "zones" / zone / "keys").mkdir(parents=True)
        (tmp_path / "state" / "zones" / zone / "keys" / "location").write_text(zone)
    return tmp_path / "state"


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the error's document. One document on standard output and nothing else."""
    code = run([*arguments, "--json"])
    document = json.loads(capfd.readouterr().out)
    assert set(document) == {"error"}
    return code, document["error"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_zone_names_those_that_are_here(
    state: Path, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, error = refused(capfd, *command, "--zone", "it", "--state-dir", str(state))
    assert (code, error["code"]) == (4, "zone.unknown")
    assert "there are: de, fr" in error["message"]
    assert "--zone" in error["message"]
    assert not (state / "zones" / "it").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_zone_says_how_to_name_one(state: Path, command: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capfd, *command, "--state-dir", str(state))
    assert (code, error["code"]) == (9, "zone.missing")
    assert error["remedy"] == "--zone NAME, or DEMESNE_ZONE"
    code, error = refused(capfd, *command, "--zone", "de")
    assert (code, error["code"]) == (9, "state-dir.missing")


def test_people_get_a_sentence(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["fsck", "--state-dir", str(state)]) == 9
    told = capfd.readouterr()
    assert told.out == ""
    assert "What to do: --zone NAME, or DEMESNE_ZONE." in told.err


def test_a_setting_that_cannot_work_is_bad_input(
    state: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMESNE_S3_PORT", "many")
    code, error = refused(capfd, "fsck", "--zone", "de", "--state-dir", str(state))
    assert (code, error["code"]) == (5, "settings.invalid")
    assert error["message"].startswith("DEMESNE_S3_PORT: ")


def test_a_zone_without_its_keys(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capfd, "fsck", "--zone", "de", "--state-dir", str(state))
    assert (code, error["code"]) == (9, "key.credential")
    assert "put the zone's keys back" in error["remedy"]


def test_a_directory_that_is_no_backup(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for directory in (state, state / "nowhere"):
        code, error = refused(capfd, "restore", str(directory), "--zone", "de", "--state-dir", str(state))
        assert (code, error["code"]) == (5, "backup.format")
        assert str(directory) in error["message"]


@pytest.mark.parametrize(("code", "kind", "error", "field", "fix"), [
    ("backup.exists", "Conflict", Conflict, "DIRECTORY is not empty: /b", "an empty directory"),
    ("restore.not-empty", "Conflict", Conflict, "holds data already: /b", "move what is named away"),
    ("restore.zone", "Conflict", Conflict, "--zone", "--zone"),
    ("backup.format", "Malformed", Invalid, "DIRECTORY", "demesne backup"),
    ("backup.changed", "Malformed", Invalid, "DIRECTORY", "another copy"),
    ("backup.store", "Conflict", Invalid, "--with-store", "leave --with-store away"),
    ("backup.catalog", "Unavailable", Unavailable, "catalog", "DEMESNE_CATALOG_URL"),
    ("secret.missing", "Refused", NotConfigured, "secrets", "put keys/secrets back"),
    ("row.edited", "Broken", DemesneError, "/b", ""),
])  # fmt: skip
def test_every_failure_has_its_kind(code: str, kind: str, error: type[DemesneError], field: str, fix: str) -> None:
    made = failure({"code": code, "kind": kind, "detail": "/b"})
    assert type(made) is error
    assert field in made.message
    assert fix in (made.remedy or "")
    assert made.as_document()["code"] == code
