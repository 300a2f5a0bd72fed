"""Writing a catalog again from what the store says (`vault.rebuild`), into one that holds nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select

from vault.catalog.mapping import (
    BODY,
    CONTRACT,
    DATASET,
    EPOCH,
    GROUP,
    KEY_WRAP,
    MANIFEST,
    PLAN,
    SNAPSHOT,
    VERSION,
    VIEW,
)
from vault.catalog.rows import (
    BodyRow,
    ContractRow,
    DatasetRow,
    EpochRow,
    GroupRow,
    KeyWrapRow,
    ManifestRow,
    PlanRow,
    SnapshotRow,
    VersionRow,
    ViewRow,
)
from vault.catalog.section import Section, same
from vault.catalog.tables import body, body_share, dataset, epoch_key, key_group, key_wrap, object_version
from vault.errors import Conflict

_MUST_BE_EMPTY = (dataset, object_version, key_group, epoch_key, body)
_EPOCH = EPOCH.select.where(same(epoch_key, "epoch_id"))
_BODY = BODY.select.where(same(body, "body_id"))
_WRAP = KEY_WRAP.select.where(same(key_wrap, "subject"))


@dataclass(frozen=True, slots=True)
class Restored:
    """One manifest as rows: of a version or marker, or of a view. `bodies` include the manifest's own."""

    row: VersionRow | ViewRow
    manifest: ManifestRow
    bodies: tuple[BodyRow, ...]
    wrap: KeyWrapRow


class Rebuilding(Section):
    def must_be_empty(self) -> None:
        """Conflict("rebuild.not-empty") where any data row stands: nothing is ever written over."""
        for table in _MUST_BE_EMPTY:
            found = self._database.first(select(func.count()).select_from(table), {})
            if found is not None and found[0]:
                raise Conflict("rebuild.not-empty", f"{table.name} has {found[0]} rows")

    def restore_dataset(
        self, row: DatasetRow, contracts: Sequence[ContractRow], plans: Sequence[PlanRow]
    ) -> None:
        with self._database.write() as connection:
            self._insert(connection, DATASET, row)
            for contract in contracts:
                self._insert(connection, CONTRACT, contract)
            for plan in plans:
                self._insert(connection, PLAN, plan)

    def restore_group(self, group: GroupRow, epoch: EpochRow) -> None:
        """Full: new objects go to a new group, for who knows how many keys this one wraps."""
        with self._database.write() as connection:
            if self._within(connection, EPOCH, _EPOCH, epoch_id=epoch.epoch_id) is None:
                self._insert(connection, EPOCH, epoch)
            self._insert(connection, GROUP, group)

    def restore_wraps(self, wraps: Sequence[KeyWrapRow]) -> None:
        """Wraps that were moved: they stand in place of those in the manifests."""
        with self._database.write() as connection:
            for row in wraps:
                if self._within(connection, KEY_WRAP, _WRAP, subject=row.subject) is None:
                    self._insert(connection, KEY_WRAP, row)

    def restore_rows(self, restored: Sequence[Restored]) -> None:
        with self._database.write() as connection:
            for each in restored:
                self._restore(connection, each)

    def restore_sequence(self, dataset_id: str, sequence: int) -> None:
        with self._database.write() as connection:
            row = self._within(
                connection, DATASET, DATASET.select.where(same(dataset, "dataset_id")), dataset_id=dataset_id
            )
            if row is not None:
                self._replace(connection, DATASET, replace(row, sequence=sequence))

    def _restore(self, connection: Connection, each: Restored) -> None:
        row = each.row
        if isinstance(row, VersionRow):
            self._insert(connection, VERSION, row)
            change = {"markers" if row.delete_marker else "versions": [row.version_id]}
            self._insert(connection, SNAPSHOT, SnapshotRow(
                row.tenant, row.dataset_id, row.sequence, change, row.run_id, row.record, row.created_at
            ))  # fmt: skip
        else:
            self._insert(connection, VIEW, row)
        self._insert(connection, MANIFEST, each.manifest)
        if self._within(connection, KEY_WRAP, _WRAP, subject=each.wrap.subject) is None:
            self._insert(connection, KEY_WRAP, each.wrap)
        for stored in each.bodies:
            self._restore_body(connection, stored)

    def _restore_body(self, connection: Connection, stored: BodyRow) -> None:
        """A body that several versions name has a share for each of them."""
        known = self._within(connection, BODY, _BODY, body_id=stored.body_id)
        if known is None:
            self._insert(connection, BODY, stored)
            return
        for subject in (known.subject, stored.subject):
            share = {"tenant": self.tenant, "body_id": stored.body_id, "subject": subject}
            there = select(func.count()).select_from(body_share).where(same(body_share, "body_id", "subject"))
            if not connection.execute(there, share).scalar():
                connection.execute(body_share.insert(), share)
