"""What lies in a store and is named by nothing: found by listing, one of 512 shards at a time, kept for a week, swept.

A body that no row names is what a write left that another catalog knew of: one rolled back to a backup, or rebuilt. For
a week it can still be found by a rebuild; a sweeper that were faster could make a restored backup's loss final.
"""

from vault.ground import Ground

UNNAMED_MS = 7 * 86_400_000
SHARDS = 512
"""b/00 … b/ff, m/00 … m/ff: what one round lists of a store of n objects is n/256 names."""


class Sweeps(Ground):
    def note_unnamed(self, shard: int, grace_ms: int = UNNAMED_MS) -> int:
        """List one shard (0 to 511) and note what nothing names; answers how much. `sweep` deletes it after the grace,
        unless something names it by then."""
        kind, number = divmod(shard % SHARDS, 256)
        listed = self.store.list(f"{'bm'[kind]}/{number:02x}/")
        found = self.catalog.unnamed(listed)
        if found:
            self.catalog.note_unnamed(found, self._clock() + grace_ms)
        return len(found)
