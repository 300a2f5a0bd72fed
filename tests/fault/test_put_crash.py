"""kill -9 at every call by which a write reaches the disk: what was acknowledged stays, nothing else is visible.

The child dies before or after its n-th persistence call; the parent then looks with fresh eyes. n rises until the
child lives to the end, so that no point is left out.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from tests.fakes.clock import Clock
from tests.fakes.key_holder import KeyHolder, grant
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, new_catalog
from vault.catalog.tables import body
from vault.errors import NotFound
from vault.objects import Vault
from vault.store.files import FileStore

ROOT, GROUP = b"r" * 32, "12" * 16
OLD, NEW = b"old rows " * 5000, b"new rows " * 7000
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork and SIGKILL")


def open_vault(directory: Path) -> Vault:
    # Files carry the kernel's time: the sweeper's clock has to start there too.
    catalog = new_catalog(directory, Clock(time.time_ns() // 1_000_000))
    store = FileStore.initialise(directory / "store", "de")
    return Vault(store, catalog, KeyHolder(ROOT, GROUP), "de", catalog._clock, min_part=1)  # type: ignore[arg-type]


def put(vault: Vault, data: bytes) -> None:
    writer = vault.begin(vault.catalog.dataset("claims"), "k", "raw", "text/csv", {})
    for at in range(0, len(data), 20_000):
        writer.write(data[at : at + 20_000])
    vault.commit(writer.finish(FACTS), written_by=WRITER, run_id=RUN, record=RECORD)


def upload(vault: Vault, data: bytes) -> None:
    half = len(data) // 2
    opened = vault.begin_upload(
        vault.catalog.dataset("claims"), "k", "raw", "text/csv", {}, principal_id=WRITER, run_id=RUN
    )
    listed = []
    for number, piece in [(1, data[:half]), (2, data[half:])]:
        part = vault.begin_part(opened, number)
        part.write(piece)
        listed.append((number, part.finish().md5.hex()))
    vault.complete_upload(opened, listed, FACTS, written_by=WRITER, run_id=RUN, record=RECORD)


def delete(vault: Vault, _data: bytes) -> None:
    vault.delete(vault.catalog.dataset("claims"), "k", by=WRITER, run_id=RUN, record=RECORD)


class Mine:
    """Counts persistence calls and ends the process at the n-th, before its effect or after it."""

    def __init__(self, nth: int, *, after: bool) -> None:
        self._left = nth
        self._after = after

    def lay(self, owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
        original = getattr(owner, name)

        def stepped(*args: Any, **kwargs: Any) -> Any:
            if not when(*args):
                return original(*args, **kwargs)
            self._left -= 1
            if self._left == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = original(*args, **kwargs)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(owner, name, stepped)


def run_child(directory: Path, work: Callable[[Vault, bytes], None], mine: Mine, told: Path) -> int:
    """0 when the child lived; 9 when it was killed."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            vault = open_vault(directory)
            for owner, names in [(os, ("open", "write", "fsync")), (Path, ("rename", "mkdir", "unlink"))]:
                for name in names:
                    mine.lay(owner, name)
            mine.lay(Connection, "exec_driver_sql", lambda _self, sql, *_: sql.startswith(("BEGIN", "COMMIT")))
            work(vault, NEW)
            told.touch()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    return status


def look(directory: Path) -> bytes | None:
    """What a reader finds now; then the sweeper runs, and the store must hold what the catalog names and no more."""
    vault = open_vault(directory)
    try:
        row = vault.catalog.latest(vault.catalog.dataset("claims").dataset_id, "k")
        found = None
        if row is not None:
            reader = vault.open(row, "k", grant())
            found = b"".join(reader.stream())
            reader.close()
        clock: Any = vault._clock
        for _ in range(3):
            clock.advance(604_800_001)
            vault.sweep()
        bodies = vault.catalog._database.rows(select(body.c.store_key, body.c.state), {})
        assert {row.state for row in bodies} <= {"live"}
        assert {row.store_key for row in bodies} == set(vault.store.list())
        assert len(bodies) == (0 if row is None else 3 if "-" in row.etag else 2)
        if row is not None:
            assert b"".join(vault.open(row, "k", grant()).stream()) == found
        left = list((directory / "store" / ".unfinished").iterdir())
        assert not left
        return found
    finally:
        vault.catalog.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("work", [put, upload, delete])
@pytest.mark.timeout(300)
def test_kill_at_every_persistence_call(
    tmp_path: Path, work: Callable[[Vault, bytes], None], after: bool
) -> None:
    result = None if work is delete else NEW
    before = tmp_path / "before"
    before.mkdir()
    vault = open_vault(before)
    vault.catalog.create_dataset("claims", "de", "personal", True, RECORD)
    put(vault, OLD)
    vault.catalog.close()
    killed = 0
    for nth in range(1, 400):
        directory = tmp_path / str(nth)
        shutil.copytree(before, directory)
        told = directory / "acknowledged"
        status = run_child(directory, work, Mine(nth, after=after), told)
        found = look(directory)
        if told.exists():
            assert found == result
        else:
            # The commit may have been the last thing it did: then all of it is there, else nothing of it.
            assert found in {OLD, result}, "neither the old object nor the new one"
        if status == 0:
            break
        killed += 1
    else:
        pytest.fail("the child never lived to the end")
    assert killed >= (2 if work is delete else 15)


def test_an_empty_store_directory_is_not_taken_for_an_empty_store(tmp_path: Path) -> None:
    vault = open_vault(tmp_path)
    vault.catalog.create_dataset("claims", "de", "personal", True, RECORD)
    put(vault, OLD)
    row = vault.catalog.latest(vault.catalog.dataset("claims").dataset_id, "k")
    assert row is not None
    for path in sorted((tmp_path / "store").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(NotFound, match=r"store\.missing"):
        vault.open(row, "k", grant())
    vault.catalog.close()
