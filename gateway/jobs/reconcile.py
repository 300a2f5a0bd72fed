"""A commit that became visible and whose record did not get written: the process died between the two.

The intent of every write is in the ledger before the commit; this adds the `commit` entry that lineage's outputs
are projected from. Snapshots are looked at once, when they are old enough that no front worker still holds them.
"""

from collections.abc import Callable
from typing import Any

from gateway.record import Recorder
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow, SnapshotRow

SETTLED_MS = 10_000
PAGE = 200


class Reconciler:
    """`known(version_id)` says whether the projected ledger has the version's commit."""

    def __init__(
        self, catalog: Catalog, zone: str, recorder: Recorder, append: Callable[[dict[str, Any]], None],
        known: Callable[[str], bool], clock: Callable[[], int],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._zone = zone
        self._recorder = recorder
        self._append = append
        self._known = known
        self._clock = clock

    def __call__(self) -> None:
        for dataset in self._catalog.datasets():
            if dataset.zone == self._zone:
                self._dataset(dataset)

    def _dataset(self, dataset: DatasetRow) -> None:
        cursor = f"c:{dataset.dataset_id[:30]}"
        after = self._catalog.cursor(cursor)
        settled = self._clock() - SETTLED_MS
        reached = after
        for snapshot in self._catalog.snapshots(dataset.dataset_id, after, PAGE):
            if snapshot.created_at > settled:
                break
            self._complete(dataset, snapshot)
            reached = snapshot.sequence
        if reached != after:
            self._catalog.advance_cursor(cursor, reached)

    def _complete(self, dataset: DatasetRow, snapshot: SnapshotRow) -> None:
        for version_id in snapshot.change.get("versions", ()):
            row = self._catalog.version(dataset.dataset_id, version_id)
            if row is None or row.delete_marker or self._known(version_id):
                continue
            self._append(
                self._recorder.commit(
                    at=self._clock(), dataset_id=row.dataset_id, dataset=dataset.name, key=row.key,
                    version=row.version_id, sequence=snapshot.sequence, run=row.run_id, principal_id=row.written_by,
                    label=row.label, placement=row.placement, size=row.size, data_format=row.format,
                    intent=snapshot.record,
                )
            )  # fmt: skip
