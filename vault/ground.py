"""What the vault's roads (puts, multipart, gets) stand on: one zone's store, catalog and broker, for one tenant."""

from collections.abc import Callable
from dataclasses import dataclass, field

from vault.broker.types import GeneratedKey, KeyBroker
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow
from vault.envelope.manifest import Manifest
from vault.errors import Refused
from vault.keycache import CACHE_MS, KeyCache
from vault.keys.hierarchy import KeyScope
from vault.reading import Scratch
from vault.records import StoreRecords
from vault.store.store import Store
from vault.uploads import MIN_PART
from vault.writing import Place, SealedVersion


@dataclass(frozen=True, slots=True)
class Opened:
    """An authenticated manifest, the hash it was pinned by, and its object key."""

    manifest: Manifest
    sha256: bytes
    object_key: bytes = field(repr=False)


class Ground:
    def __init__(
        self, store: Store, catalog: Catalog, broker: KeyBroker, zone: str, clock: Callable[[], int], *,
        cache_ms: int = CACHE_MS, min_part: int = MIN_PART,
        record_store: Store | None = None,
    ) -> None:  # fmt: skip
        """The tenant is the catalog's. `cache_ms`: how long opened keys are kept, at most 30 000.
        `record_store`: where records of the catalog lie, if not beside the objects (tests that count objects)."""
        self.store = store
        self.catalog = catalog
        self.zone = zone
        self._broker = broker
        self._clock = clock
        self._min_part = min_part
        self.records = StoreRecords(record_store or store, catalog, zone)
        self._scratch = Scratch()
        self._keys: KeyCache[Opened] = KeyCache(clock, cache_ms)
        self._upload_keys: KeyCache[bytes] = KeyCache(clock, cache_ms)
        self._described: KeyCache[tuple[bytes, Manifest]] = KeyCache(clock, cache_ms)

    @property
    def tenant(self) -> str:
        return self.catalog.tenant

    def _scope(self, dataset_id: str, key_class: str) -> KeyScope:
        return KeyScope(self.tenant, self.zone, dataset_id, key_class)

    def _new_key(self, scope: KeyScope, subject: str, upload_id: str | None = None) -> GeneratedKey:
        """A fresh object key, whose group's record is in the store: nothing is sealed under a group key that only the
        catalog knows."""
        made = self._broker.generate(scope, subject, upload_id)
        if self.records.needs_group(made.wrapped.group_id):
            self.records.keep_group(made.wrapped.group_id)
        return made

    def _place(self, dataset_id: str) -> Place:
        return Place(self.tenant, self.zone, dataset_id)

    def _here(self, dataset: DatasetRow) -> DatasetRow:
        """Refused("zone.other") for a dataset that is only a pointer to another zone: nothing of it is sealed here."""
        if dataset.zone != self.zone or dataset.tenant != self.tenant:
            raise Refused("zone.other", dataset.name)
        return dataset

    def _discard(self, sealed: SealedVersion) -> None:
        self.catalog.orphan_bodies(sealed.written_down)
