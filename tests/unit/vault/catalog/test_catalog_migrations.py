"""The migrations make exactly the tables of `vault.catalog.tables`, and another `upgrade` changes nothing."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from tests.fakes.clock import Clock
from tests.fakes.vault_world import new_catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.tables import metadata


def _schema(url: str) -> list[tuple[str, str]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        rows = sorted((name, _plain(sql)) for name, sql in found if name != "alembic_version")
    engine.dispose()
    return rows


def _plain(sql: str) -> str:
    return " ".join(sql.replace('"', "").replace("(", " ( ").replace(")", " ) ").split())


def test_the_migration_is_the_tables_to_the_letter(tmp_path: Path) -> None:
    migrated, declared = sqlite_url(tmp_path / "migrated.sqlite3"), sqlite_url(tmp_path / "declared.sqlite3")
    Database(migrated).upgrade()
    engine = create_engine(declared)
    metadata.create_all(engine)
    engine.dispose()
    # SQLite keeps the statement it was given: columns, types, constraints, partial indexes and all.
    assert _schema(migrated) == _schema(declared)


def test_autogenerate_finds_nothing_to_do(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "catalog.sqlite3")
    Database(url).upgrade()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_an_upgrade_of_what_is_new_changes_nothing(tmp_path: Path) -> None:
    catalog = new_catalog(tmp_path, Clock())
    catalog.create_dataset("claims", "de", "none", False, "r")
    catalog.close()
    again = new_catalog(tmp_path, Clock())
    assert again.dataset("claims").name == "claims"


def test_every_primary_key_starts_with_the_tenant() -> None:
    for table in metadata.tables.values():
        assert next(iter(table.primary_key.columns)).name == "tenant"


def test_the_file_is_durable_and_in_wal_mode(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "catalog.sqlite3"))
    asked = {
        name: database._connection().exec_driver_sql(f"PRAGMA {name}").scalar()
        for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
    }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000, "foreign_keys": 1}
