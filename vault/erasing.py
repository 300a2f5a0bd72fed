"""Taking versions away for good, on the side of catalog and store; the keys are the broker's (docs/spec/erasure.md)."""

from collections.abc import Sequence
from dataclasses import dataclass

from vault.deletes import Deletes


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """`views` were renderings of them."""

    versions: int
    views: int


class Erasures(Deletes):
    def withdraw(self, dataset_id: str, version_ids: Sequence[str], record: str) -> Withdrawn:
        """Nobody can read them from now on; their manifests are gone from the store. Repeating it changes nothing."""
        gone = 0
        for version_id in version_ids:
            row = self.catalog.version(dataset_id, version_id)
            if row is None:
                continue
            done = self.catalog.put_delete(
                dataset_id, row.key, row.written_by, row.run_id, record, version_id=version_id
            )
            self._take_away(done.superseded)
            gone += 1
        return Withdrawn(gone, len(self.catalog.views_of_versions(dataset_id, version_ids)))

    def remove_erased(self, dataset_id: str, version_ids: Sequence[str]) -> int:
        """Their sealed bodies leave the store now, not when the sweeper comes: no key of theirs is left anyway."""
        subjects = [*version_ids, *self.catalog.views_of_versions(dataset_id, version_ids)]
        found = self.catalog.orphans_of(dataset_id, subjects)
        for row in found:
            self.store.delete(row.store_key)
        self.catalog.forget_bodies([row.body_id for row in found])
        return len(found)

    def adopt_records(self) -> int:
        """After an older catalog was put back: keys as the store's records have them, where those are newer. Without it
        the catalog names wraps under epochs that were destroyed since, and nothing of the dataset opens. How many."""
        return self.records.adopt()

    def keep_moved(self, dataset_id: str, since_ms: int) -> None:
        """Records of every group as the catalog has it now, and of the wraps in groups made since: manifests still hold
        the old ones. Before an old epoch is destroyed, or a catalog rebuilt from the store would have nothing to open.
        """
        self.records.reconcile()
        for epoch in self.catalog.epochs(dataset_id):
            for group in self.catalog.groups(epoch.epoch_id):
                if group.created_at >= since_ms and group.state != "erased":
                    self.records.keep_wraps(group.group_id)
