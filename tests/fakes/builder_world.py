"""A zone small enough to hold in a hand, with the real parts a builder meets: catalog, store, broker, sandbox.

    world = BuilderWorld(tmp_path)
    version = world.put("a.parquet", data, effects={"analytics": effect})
    world.builder.run_once()
    world.view_bytes(version, plan_id)
"""

import sys
from pathlib import Path
from typing import Any

from gateway.enforce.plan import plan_id
from gateway.enforce.sniff import format_of
from gateway.jobs.builder import BUILDER_VERSION, Builder
from tests.fakes.clock import Clock
from tests.fakes.ledger_promise import PromisingLedger
from vault.attest.verifier import Verifiers
from vault.broker.checks import ReleasePolicy
from vault.broker.service import Broker, BrokerParts
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.rows import VersionRow, ViewRow
from vault.catalog.seal import RowSeal
from vault.catalog.versions import NewView
from vault.envelope.manifest import open_manifest, read_header
from vault.keys.hierarchy import KeyRing, KeyScope
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass
from vault.keys.zone_secrets import ZoneSecrets
from vault.objects import Facts, SealedReader, Vault
from vault.store.files import FileStore

TENANT, ZONE = "main", "de"
RECORD = "1" * 32
SANDBOX = [sys.executable, "-m", "gateway", "sandbox"]


class BuilderWorld:
    """One zone, one dataset "claims". `entries` is what the builder wrote into the ledger."""

    def __init__(self, directory: Path, command: list[str] | None = None) -> None:
        self.directory = directory
        self.clock = Clock()
        self.entries: list[dict[str, Any]] = []
        database = Database(sqlite_url(directory / "catalog.sqlite3"))
        database.upgrade()
        self.catalog = Catalog(database, RowSeal(bytes(32)), self.clock, TENANT)
        FileStore.initialise(directory / "store", "DE")
        self.store = FileStore(directory / "store")
        keys = directory / "keys"
        LocalProvider.initialise(keys, "DE")
        ledger = PromisingLedger(self.clock)
        self.providers = {kind: LocalProvider.connect(keys, kind) for kind in KeyClass}
        self.broker = Broker(BrokerParts(
            policy=ReleasePolicy(tenant=TENANT, zone=ZONE, posture="development", freshness_ms=900_000),
            provider_raw=self.providers[KeyClass.RAW], provider_view=self.providers[KeyClass.VIEW],
            secrets=ZoneSecrets(keys, self.providers[KeyClass.RAW]), catalog=self.catalog,
            verifiers=Verifiers({}), verify_promise=ledger.verify_promise, ledger_public_key=ledger.public_key,
            record=self.entries.append, clock=self.clock,
        ))  # fmt: skip
        self.vault = Vault(self.store, self.catalog, self.broker, ZONE, self.clock)
        self.builder = Builder(
            self.vault, self.catalog, self.broker, self.entries.append, command or SANDBOX, self.clock
        )
        self.dataset = self.catalog.create_dataset("claims", ZONE, "personal", True, RECORD)

    def put(
        self, key: str, data: bytes, effects: dict[str, dict[str, Any]], *, label: str = "personal",
        content_type: str = "application/octet-stream",
    ) -> VersionRow:  # fmt: skip
        """Seal `data`, commit it, declare a plan for each purpose class, queue a view for each plan."""
        for purpose_class, effect in effects.items():
            self.catalog.declare_plan(self.dataset.dataset_id, plan_id(effect), purpose_class, effect, 0, RECORD)
        writer = self.vault.begin(self.dataset, key, "raw", content_type, {})
        writer.write(data)
        sealed = writer.finish(Facts(label, (ZONE,), 0))
        kind = format_of(data[:4096], data[-8:], key, content_type)
        plans = sorted({plan_id(effect) for effect in effects.values()})
        return self.vault.commit(
            sealed, written_by="2" * 32, run_id="3" * 32, record=RECORD, object_format=kind,
            views=[NewView(each, BUILDER_VERSION) for each in plans],
        )  # fmt: skip

    def view(self, version: VersionRow, effect: dict[str, Any]) -> ViewRow:
        found = self.catalog.view(version.version_id, plan_id(effect))
        assert found is not None
        return found

    def view_bytes(self, version: VersionRow, effect: dict[str, Any]) -> bytes:
        """The ready view's plaintext, opened with the provider's view credential alone."""
        view = self.view(version, effect)
        pinned = self.catalog.manifest(view.manifest_id, view.generation)
        stored = self.store.read_at(pinned.store_key, 0, self.store.size(pinned.store_key))
        ring = KeyRing({KeyClass.VIEW: self.providers[KeyClass.VIEW]}, self.catalog, self.clock)
        scope = KeyScope(TENANT, ZONE, view.dataset_id, "view")
        object_key = ring.unwrap(scope, view.view_id, read_header(stored).wrapped_key)
        manifest = open_manifest(stored, object_key, pinned.sha256)
        reader = SealedReader(self.store, manifest, object_key)
        data = b"".join(bytes(piece) for piece in reader.stream())
        reader.close()
        assert len(data) == view.size
        return data

    def close(self) -> None:
        self.builder.close()
        self.catalog.close()
