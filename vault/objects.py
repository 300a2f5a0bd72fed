"""The vault of one zone: sealed objects in, verified bytes out. The one door to store, catalog and keys together.

Synchronous; the gateway calls it through bounded executors. A `Vault` is safe from several threads, the writers
and readers it gives are for one. It decides nothing: the caller brings the decision, the broker checks it.
"""

from vault.copies import Changes, Copies
from vault.erasing import Erasures
from vault.gets import Gets
from vault.multipart import Multipart, SealedUpload
from vault.puts import Puts
from vault.reading import SealedReader
from vault.sweeping import Sweeps
from vault.uploads import PartWriter
from vault.writing import Facts, PutWriter, SealedVersion

__all__ = ["Changes", "Facts", "PartWriter", "PutWriter", "SealedReader", "SealedUpload", "SealedVersion", "Vault"]


class Vault(Puts, Multipart, Copies, Erasures, Sweeps, Gets):
    """`Vault(store, catalog, broker, zone, clock)`; see the sections for the calls."""

    def sweep(
        self, *, orphan_ms: int = 3_600_000, writing_ms: int = 86_400_000, upload_ms: int = 604_800_000,
        limit: int = 100,
    ) -> int:  # fmt: skip
        """Delete what nothing names: orphans for longer than `orphan_ms` (who reads an overwritten version has until
        then), writes begun more than `writing_ms` ago, uploads open for `upload_ms`. Answers how many bodies went;
        call again while it answers `limit`."""
        now = self._clock()
        for upload in self.catalog.stale_uploads(now - upload_ms, limit):
            self.abort_upload(upload)
        found = self.catalog.sweepable(now - orphan_ms, now - writing_ms, limit)
        for row in found:
            self.store.delete(row.store_key)
        self.catalog.forget_bodies([row.body_id for row in found])
        self.store.clean(now - writing_ms)
        return len(found)
