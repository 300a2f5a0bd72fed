"""A vault over a real SQLite catalog, a store that can fail, and keys in memory: one zone, one dataset `claims`."""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.fakes.clock import Clock
from tests.fakes.key_holder import KeyHolder
from tests.fakes.store import MemoryStore
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.rows import BodyRow, VersionRow
from vault.catalog.seal import RowSeal
from vault.catalog.tables import body
from vault.objects import Facts, SealedVersion, Vault
from vault.store.store import Store

MAC_KEY = b"catalog mac key of the tests ..."
RECORD, WRITER, RUN = "ab" * 16, "cd" * 16, "ef" * 16
FACTS = Facts("personal", ("de",), 1)


def new_catalog(directory: Path, clock: Clock, tenant: str = "main") -> Catalog:
    database = Database(sqlite_url(directory / "catalog.sqlite3"))
    database.upgrade()
    return Catalog(database, RowSeal(MAC_KEY), clock, tenant)


class VaultWorld:
    def __init__(self, directory: Path, store: Store | None = None, *, versioning: str = "off", **vault: Any) -> None:
        self.clock = Clock()
        self.catalog = new_catalog(directory, self.clock)
        self.broker = KeyHolder()
        self.memory = MemoryStore()
        self.vault = Vault(store or self.memory, self.catalog, self.broker, "de", self.clock, **vault)  # type: ignore[arg-type]
        self.dataset = self.catalog.create_dataset("claims", "de", "personal", True, RECORD, versioning=versioning)

    def seal(self, key: str, data: bytes | Iterable[bytes], key_class: str = "raw", **metadata: str) -> SealedVersion:
        writer = self.vault.begin(self.dataset, key, key_class, "text/csv", metadata)
        for piece in [data] if isinstance(data, bytes) else data:
            writer.write(piece)
        return writer.finish(FACTS)

    def put(self, key: str, data: bytes | Iterable[bytes], **commit: Any) -> VersionRow:
        sealed = self.seal(key, data)
        return self.vault.commit(sealed, written_by=WRITER, run_id=RUN, record=RECORD, **commit)

    def bodies(self, state: str | None = None) -> list[BodyRow]:
        """Straight from the table, whatever the catalog would say."""
        found = self.catalog._database.rows(body.select(), {})
        rows = [BodyRow(*tuple(row)) for row in found]
        return [row for row in rows if state is None or row.state == state]


def random_bytes(count: int) -> bytes:
    return secrets.token_bytes(count)
