"""`demesne backup`, `key shred` by two people, then `demesne rebuild` and `demesne restore`: who survives opens, who
was erased does not come back. Real processes and commands; each step finds the zone stopped, as its runbook says."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World, refused, started, work_dir

pytestmark = pytest.mark.timeout(240)
DATASET = "back"
KEYS = ("alone.txt", "kept.txt", "erased.txt")
NEVER_AGAIN = ("erased.txt",)
LOST = ("catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm")
MOVED = ("ledger", "ledger.id", "decisions", "lineage.sqlite3", "lineage.sqlite3-wal", "lineage.sqlite3-shm")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with work_dir("back") as made:
        yield made


@contextmanager
def serving(directory: Path) -> Iterator[World]:
    with started(directory, zones=("de",)) as world:
        yield world


def maintain(directory: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """A command as an operator gives it on the zone's host, with the settings of `demesne dev`."""
    environment = {
        "PATH": os.defpath, "LANG": "C.UTF-8", "DEMESNE_POSTURE": "development",
        "DEMESNE_STATIC_KEY_FILE": str(directory / "state" / "static.key"),
        "DEMESNE_DIRECTORY_FILE": str(directory / "state" / "directory.json"), "DEMESNE_JURISDICTION": "de",
    }  # fmt: skip
    program = Path(sys.executable).with_name("demesne")
    done = subprocess.run(
        [str(program), *arguments, "--zone", "de", "--state-dir", str(directory / "state"), "--json"],
        capture_output=True, text=True, check=False, timeout=90, env=environment,
    )  # fmt: skip
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def survivors_only(world: World) -> None:
    s3 = world.s3("steward")
    for key in KEYS:
        if key in NEVER_AGAIN:
            assert refused(s3.get_object, Bucket=DATASET, Key=key).code in {"NoSuchKey", "KeyDestroyed"}
        else:
            assert s3.get_object(Bucket=DATASET, Key=key)["Body"].read() == key.encode()
    assert {each["Key"] for each in s3.list_objects_v2(Bucket=DATASET)["Contents"]} >= set(KEYS) - set(NEVER_AGAIN)
    assert not {each["Key"] for each in s3.list_objects_v2(Bucket=DATASET)["Contents"]} & set(NEVER_AGAIN)


def writable(world: World, key: str) -> None:
    """New objects are sealed under a key that lives."""
    s3 = world.s3("steward")
    s3.put_object(Bucket=DATASET, Key=key, Body=b"later")
    assert s3.get_object(Bucket=DATASET, Key=key)["Body"].read() == b"later"


def test_backup_shred_rebuild_restore(directory: Path) -> None:
    zone = directory / "state" / "zones" / "de"
    with serving(directory) as world:
        with world.api("steward") as client:
            client.create_dataset(DATASET, label="none")
        for key in KEYS:
            world.s3("steward").put_object(Bucket=DATASET, Key=key, Body=key.encode())
        maintain(directory, "backup", str(directory / "before"))
        refusal = maintain(directory, "backup", str(directory / "before"), code=7)["error"]
        assert (refusal["code"], "an empty directory" in refusal["remedy"]) == ("backup.exists", True)
        order = world.command("key", "shred", DATASET, "--key", "erased.txt", "--reason", "request 1")["requests"][0]
        world.command("key", "approve", order["request_id"], "--yes")
        erased = json.loads(world.command("key", "certificate", order["request_id"])["certificate"])["erasure"]
        assert erased["state"] == "destroyed"
        survivors_only(world)

    # The catalog is lost, the ledger is not: written again from the store.
    for name in LOST:
        (zone / name).unlink(missing_ok=True)
    rebuilt = maintain(directory, "rebuild")
    assert (rebuilt["refused"], rebuilt["missing"], rebuilt["restored"]["versions"]) == ([], [], 2)
    assert maintain(directory, "fsck")["findings"] == []
    with serving(directory) as world:
        survivors_only(world)
        writable(world, "rebuilt.txt")
        world.s3("steward").delete_object(Bucket=DATASET, Key="rebuilt.txt")

    # The backup from before the erasure is put back into a zone that has its keys and its store.
    refusal = maintain(directory, "restore", str(directory / "before"), code=7)["error"]
    assert (refusal["code"], str(zone) in refusal["message"]) == ("restore.not-empty", True)
    kept = directory / "newer"
    kept.mkdir()
    for name in (*LOST, *MOVED):
        if (zone / name).exists():
            shutil.move(zone / name, kept / name)
    # The ledger of today saw a write and a delete since: the dataset stays closed, and says so.
    newer = maintain(directory, "restore", str(directory / "before"), "--ledger", str(kept / "ledger"), code=1)
    assert newer["keys_adopted"] > 0
    assert newer["withdrawn"] == erased["versions"]
    assert [each["code"] for each in newer["behind_the_ledger"]] == ["dataset.rolled-back"]
    with serving(directory) as world:  # with the backup's own ledger: the loss is accepted
        survivors_only(world)
        writable(world, "restored.txt")
