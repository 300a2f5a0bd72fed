"""Rows carry their seal: an edited row is refused, whichever column, and by whom it is read."""

from pathlib import Path

import pytest
from sqlalchemy import update

from tests.fakes.clock import Clock
from tests.fakes.vault_world import MAC_KEY, RECORD, WRITER, VaultWorld, new_catalog
from vault.catalog import mapping, tables
from vault.catalog.attestation_rows import KbsTicketRow
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.seal import VOLATILE, RowSeal
from vault.catalog.versions import NewView
from vault.errors import Refused


@pytest.fixture
def world(tmp_path: Path) -> VaultWorld:
    world = VaultWorld(tmp_path)
    world.catalog.set_contract(world.dataset.dataset_id, {"v": 1}, WRITER, RECORD)
    row = world.put("k", b"data", views=[NewView("plan1", "b1")])
    view = world.catalog.view(row.version_id, "plan1")
    assert view is not None
    world.vault.put_view(row, view, [b"masked"], "text/csv", RECORD, columns=[["a", [[0, 1, 1]]]])
    world.catalog.declare_plan(world.dataset.dataset_id, "plan1", "analytics", {"columns": []}, 1, RECORD)
    owner = world.catalog.create_principal("ana", "person", ["analyst"], "de", ["analytics"], RECORD)
    world.catalog.create_credential("AKIA1", owner.principal_id, "analytics", RECORD)
    run = world.catalog.ensure_run(owner.principal_id, "analytics", "train", "w", 1000)
    world.catalog.add_io(run, "in", world.dataset.dataset_id, row.version_id, "raw", "personal", ["de"], RECORD)
    world.catalog.set_zone("de", "de", state="open", reason="", strength="self-reported", observed=[], record=RECORD)
    world.catalog.may_fetch_issuer_keys("ci")
    world.catalog.keep_issuer_keys("ci", '{"keys":[]}', RECORD)
    world.catalog.insert_kbs_ticket(
        KbsTicketRow("main", "ab" * 32, owner.principal_id, "analytics", ("claims",), 2**52, None, 1, RECORD)
    )
    return world


def _readers(world: VaultWorld) -> dict[str, object]:
    catalog, dataset_id = world.catalog, world.dataset.dataset_id
    version = catalog.latest(dataset_id, "k")
    assert version is not None
    view = catalog.view(version.version_id, "plan1")
    run = catalog.runs()[0].run_id
    owner = catalog.principals()[0].principal_id
    assert view is not None
    return {
        "dataset": lambda: catalog.dataset("claims"),
        "contract_version": lambda: catalog.contract(dataset_id),
        "object_version": lambda: catalog.latest(dataset_id, "k") or catalog.version(dataset_id, version.version_id),
        "manifest_generation": lambda: catalog.manifest(version.manifest_id, 1),
        "extent": lambda: catalog.columns(view.view_id),
        "plan": lambda: catalog.plans(dataset_id),
        "view": lambda: catalog.find_view(view.view_id),
        "principal": lambda: catalog.principal(owner),
        "credential": lambda: catalog.credentials_of(owner),
        "run_io": lambda: catalog.io(run),
        "zone": lambda: catalog.zone_state("de"),
        "jwks": lambda: catalog.issuer_keys("ci"),
        "kbs_ticket": lambda: catalog.find_kbs_ticket("ab" * 32),
    }


SEALED = [name for name, table in tables.metadata.tables.items() if "row_mac" in table.c]
CASES = [
    (name, column.name)
    for name in SEALED
    for column in tables.metadata.tables[name].columns
    if not column.primary_key and column.name not in VOLATILE.get(name, frozenset())
]


OUT_OF_SIGHT = {
    ("dataset", "name"), ("dataset", "state"), ("plan", "state"), ("object_version", "key"),
    ("credential", "principal_id"),
}  # fmt: skip


def test_every_sealed_table_has_a_reader_here(world: VaultWorld) -> None:
    assert set(_readers(world)) == set(SEALED)


@pytest.mark.parametrize(("table", "column"), CASES)
def test_an_edit_of_any_column_is_refused(world: VaultWorld, table: str, column: str) -> None:
    readers = _readers(world)
    reader = readers[table]
    assert callable(reader)
    reader()
    target = tables.metadata.tables[table]
    kind = target.c[column].type.python_type
    value: object = {int: 424_242, str: "[7]", bytes: b"forged", bool: True}[kind]
    if kind is bool:
        value = ~target.c[column]
    elif column in {"label", "state", "versioning", "name", "zone", "key"}:
        value = "other"
    with world.catalog._database.write() as connection:
        changed = connection.execute(update(target).values({column: value}))
        assert changed.rowcount
    # An edit may take the row out of the sight of its reader; wherever it is found now, it is refused.
    mapper = next(
        value for value in vars(mapping).values() if isinstance(value, mapping.Mapper) and value.name == table
    )
    row = world.catalog._database.rows(mapper.select, {})[0]
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        mapper.read(row, RowSeal(MAC_KEY))
    if (table, column) not in OUT_OF_SIGHT:
        with pytest.raises(Refused, match=r"catalog\.row-edited"):
            reader()


def test_a_volatile_column_may_change(world: VaultWorld) -> None:
    with world.catalog._database.write() as connection:
        connection.execute(update(tables.dataset).values(sequence=99))
        connection.execute(update(tables.view).values(progress=3))
    assert world.catalog.dataset("claims").sequence == 99


def test_a_row_of_one_table_is_not_a_row_of_another() -> None:
    seal = RowSeal(MAC_KEY)
    row = {"tenant": "main", "label": "none"}
    with pytest.raises(Refused):
        seal.check("object_version", row, seal.seal("dataset", row))


def test_another_key_reads_nothing(world: VaultWorld, tmp_path: Path) -> None:
    other = Catalog(Database(sqlite_url(tmp_path / "catalog.sqlite3")), RowSeal(b"y" * 32), Clock())
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        other.dataset("claims")


def test_a_short_mac_key_is_refused() -> None:
    with pytest.raises(Refused):
        RowSeal(b"short")


def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    main = new_catalog(tmp_path, Clock())
    other = main.for_tenant("other")
    row = main.create_dataset("claims", "de", "personal", True, RECORD)
    twin = other.create_dataset("claims", "de", "none", False, RECORD)
    assert main.dataset("claims") == row
    assert other.dataset("claims") == twin
    assert other.find_dataset(row.dataset_id) is None
    assert [found.dataset_id for found in other.datasets()] == [twin.dataset_id]
    owner = other.create_principal("ana", "person", [], "de", ["analytics"], RECORD)
    other.create_credential("AKIA1", owner.principal_id, "analytics", RECORD)
    assert main.credential("AKIA1")[1] == owner
