"""A whole zone in one process that a kill -9 may end anywhere, and that another process opens again.

Real: catalog, files or S3 store, ledger on disk (its writer in this process), local key provider, broker, doctrine,
guard, reads, writes. `tests/fakes/gateway_world.py` puts them together.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway.identity.principal import Principal
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.promise import Promise, signed_bytes
from lineage.ledger.shapes import check_entry
from lineage.ledger.writer import Request, open_ledger
from tests.fakes.broker import new_jwk
from tests.fakes.clock import Clock
from tests.fakes.gateway_world import TENANT, ZONE, GatewayWorld, _empty_catalog
from vault.catalog.database import Database, sqlite_url
from vault.keys.signing import ZoneSigner, verify_signature
from vault.store.files import FileStore
from vault.store.store import Store

PUBLISH_EVERY = 5  # entries; a sequencer publishes once a second


class DiskLedger:
    """`lineage.ledger.client.Ledger` over the real writer, without the socket between. `told` gets each promise."""

    def __init__(self, directory: Path, signer: ZoneSigner, clock: Callable[[], int]) -> None:
        self._signer = signer
        self._stack = ExitStack()
        self._writer = self._stack.enter_context(open_ledger(
            directory / "ledger", directory / "decisions", ZONE, signer.sign, signer.public_key, verify_signature,
            now_ms=clock, sync=os.fdatasync,
        ))  # fmt: skip
        self._later: list[Mapping[str, Any]] = []
        self._unpublished = 0
        self.told: Callable[[Promise], None] = lambda _: None

    async def append(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        return self.record(entry, sealed)

    def append_later(self, entry: Mapping[str, Any]) -> None:
        self._later.append(entry)

    async def drain(self) -> None:
        self.flush()

    def flush(self) -> None:
        later, self._later = self._later, []
        for entry in later:
            self.record(entry)

    def record(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        encoded = encode_entry(entry)
        check_entry(entry)
        at, (stored,) = self._writer.commit([Request(encoded, entry["id"], sealed)])
        leaf = leaf_hash(stored.entry)
        self._writer.publisher.add(leaf, entry["id"], stored.offset)
        signature = self._signer.sign(signed_bytes(ZONE, stored.index, leaf.hex(), at))
        promise = Promise(ZONE, stored.index, leaf.hex(), at, signature)
        self.told(promise)
        self._unpublished += 1
        if self._unpublished >= PUBLISH_EVERY:
            self.publish()
        return promise

    def publish(self) -> None:
        self._writer.publish()
        self._unpublished = 0

    async def close(self) -> None:
        self._stack.close()


class CrashWorld(GatewayWorld):
    """Opened over `directory`: made there the first time, found there afterwards."""

    def __init__(self, directory: Path, store: Callable[[], Store] | None = None, catalog_url: str = "") -> None:
        self._root = directory
        self._url = catalog_url
        self._found = (directory / "people.json").exists()
        if not self._found:
            FileStore.initialise(directory / "store", "de")
        super().__init__(directory, store=store() if store else FileStore(directory / "store"))

    def _clock(self) -> Clock:
        """Never behind the process before: the ledger refuses a clock that went back. Files carry the kernel's time."""
        path = self._root / "clock"
        before = int(path.read_text() or 0) if path.exists() else 0
        return Clock(max(time.time_ns() // 1_000_000, before + 1000))

    def later(self, ms: int) -> None:
        """Time passes. The zone is looked at again, since an old observation opens nothing."""
        (self._root / "clock").write_text(str(self.clock() + ms))
        self.clock.advance(ms)
        self.open_zone()

    def _signer(self) -> ZoneSigner:
        return ZoneSigner.load_or_create(self._root / "signing.key")

    def _ledger(self) -> DiskLedger:
        return DiskLedger(self._root, self.signer, self.clock)

    def _database(self) -> Database:
        if self._url:
            return Database(self._url)
        if not self.path.exists():
            shutil.copy(_empty_catalog(), self.path)
        return Database(sqlite_url(self.path))

    def _populate(self) -> None:
        people = self._root / "people.json"
        if not self._found:
            super()._populate()
            self.second = self.catalog.create_dataset("versioned", ZONE, "none", True, "0" * 32, versioning="enabled")
            self.vault.records.reconcile()  # these datasets were made past the registry
            people.write_text(json.dumps({
                name: getattr(self, name).principal_id for name in ("steward", "analyst", "trainer")
            }))  # fmt: skip
            return
        rows = {name: self.catalog.principal(found) for name, found in json.loads(people.read_text()).items()}
        for name, row in rows.items():
            setattr(self, name, Principal(
                tenant=TENANT, principal_id=row.principal_id, name=name, kind=row.kind, roles=frozenset(row.roles),
                jurisdiction=row.jurisdiction, purposes=frozenset(row.purposes), purpose=row.purposes[0], session=None,
                access_key_id=f"DSTA{name.upper()}",
            ))  # fmt: skip
        self.jwk = new_jwk()
        self.open_zone()  # the residency check of a started zone
        self.dataset = self.catalog.dataset("claims")

    def close(self) -> None:
        asyncio.run(self.ledger.close())
        super().close()
