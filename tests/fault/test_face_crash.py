"""kill -9 at every persistence call of copies, tags, markers and deletions by id: all of it happened or nothing did.

No body is lost that somebody names, none stays that nobody names, and what was acknowledged as deleted is not in the
store.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.fakes.key_holder import grant
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER
from tests.fault.test_put_crash import NEW, OLD, Mine, open_vault, put, pytestmark, run_child
from vault.catalog.mapping import VERSION
from vault.catalog.rows import VersionRow
from vault.catalog.tables import body, body_share, manifest_generation
from vault.objects import Changes, Vault

__all__ = ["pytestmark"]
Told = list[tuple[str, str, bytes | None, tuple[tuple[str, str], ...]]]


def latest(vault: Vault) -> VersionRow:
    row = vault.catalog.latest(vault.catalog.dataset("claims").dataset_id, "k")
    assert row is not None
    return row


def copied(vault: Vault, to: str) -> None:
    vault.copy(
        latest(vault), to, FACTS, Changes(tags={"a": "copy"}), grant(), written_by=WRITER, run_id=RUN, record=RECORD
    )


def copy(vault: Vault, _data: bytes) -> None:
    copied(vault, "copy")


def copy_onto_itself(vault: Vault, _data: bytes) -> None:
    copied(vault, "k")


def tag(vault: Vault, _data: bytes) -> None:
    vault.tag(latest(vault), {"a": "tag"}, grant(), RECORD)


def mark(vault: Vault, _data: bytes) -> None:
    vault.delete(vault.catalog.dataset("claims"), "k", by=WRITER, run_id=RUN, record=RECORD)


def delete_the_shared(vault: Vault, _data: bytes) -> None:
    """The version that a copy was made of, by its id."""
    page = vault.catalog.version_page(vault.catalog.dataset("claims").dataset_id, prefix="k")
    vault.delete(
        vault.catalog.dataset("claims"), "k", by=WRITER, run_id=RUN, record=RECORD,
        version_id="null" if page.versions[-1].is_null else page.versions[-1].version_id,
    )  # fmt: skip


def told(vault: Vault) -> Told:
    """Every living version as readers see it."""
    found: Told = []
    for row in vault.catalog.version_page(vault.catalog.dataset("claims").dataset_id).versions:
        if row.delete_marker:
            found.append((row.key, "marker", None, ()))
            continue
        reader = vault.open(row, row.key, grant())
        tags = tuple(sorted(reader.manifest.tags.items()))
        found.append((row.key, row.etag, b"".join(reader.stream()), tags))
        reader.close()
    return found


def look(directory: Path, *, acknowledged: bool) -> Told:
    vault = open_vault(directory)
    try:
        found = told(vault)
        dead = {row.version_id for row in _rows(vault)} - {
            row.version_id for row in vault.catalog.version_page(vault.catalog.dataset("claims").dataset_id).versions
        }
        if acknowledged:  # a catalog rebuilt from the store must not bring it back
            names = {
                row.store_key for row in vault.catalog._database.rows(select(manifest_generation), {})
                if row.subject in dead
            }  # fmt: skip
            assert not names & set(vault.store.list())
        clock: Any = vault._clock
        for _ in range(3):
            clock.advance(604_800_001)
            vault.sweep()
        bodies = vault.catalog._database.rows(select(body), {})
        assert {row.state for row in bodies} <= {"live"}
        assert {row.store_key for row in bodies} == {name for name in vault.store.list() if name[:2] in {"b/", "m/"}}
        living = {row.version_id for row in _rows(vault)} - dead
        assert {row.subject for row in bodies} <= living
        assert {row.subject for row in vault.catalog._database.rows(select(body_share), {})} <= living
        assert told(vault) == found
        return found
    finally:
        vault.catalog.close()


def _rows(vault: Vault) -> list[VersionRow]:
    return [VERSION.read(row, vault.catalog._seal) for row in vault.catalog._database.rows(VERSION.select, {})]


@pytest.mark.parametrize(
    ("work", "versioning", "after"),
    [
        (copy, "enabled", False), (copy_onto_itself, "off", False), (tag, "enabled", False), (mark, "suspended", True),
        (delete_the_shared, "enabled", True), (delete_the_shared, "off", False),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)  # fmt: skip
@pytest.mark.timeout(300)
def test_kill_at_every_persistence_call(
    tmp_path: Path, work: Callable[[Vault, bytes], None], versioning: str, after: bool
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    vault = open_vault(before)
    vault.catalog.create_dataset("claims", "de", "personal", True, RECORD, versioning=versioning)
    put(vault, OLD)
    if work is delete_the_shared:
        copied(vault, "copy")
    started = told(vault)
    vault.catalog.close()
    whole = tmp_path / "whole"
    shutil.copytree(before, whole)
    vault = open_vault(whole)
    work(vault, NEW)
    ended = told(vault)
    vault.catalog.close()
    assert started != ended
    for nth in range(1, 400):
        directory = tmp_path / str(nth)
        shutil.copytree(before, directory)
        acknowledged = directory / "acknowledged"
        status = run_child(directory, work, Mine(nth, after=after), acknowledged)
        found = look(directory, acknowledged=acknowledged.exists())
        assert found == ended if acknowledged.exists() else found in (started, ended)
        if status == 0:
            break
        shutil.rmtree(directory)
    else:
        pytest.fail("the child never lived to the end")
    assert nth > 4
