"""What of the catalog itself lies in the store: one row for each record, with the hash of what it says."""

import itertools
from collections.abc import Iterator

from vault.catalog.mapping import CONTRACT, DATASET, GROUP, KEY_WRAP, PLAN, STORE_RECORD
from vault.catalog.rows import ContractRow, DatasetRow, GroupRow, KeyWrapRow, PlanRow, StoreRecordRow
from vault.catalog.section import Section, same
from vault.catalog.tables import contract_version, dataset, key_group, key_wrap, plan, store_record

_BY_NAME = STORE_RECORD.select.where(same(store_record, "name"))
_RECORDS = STORE_RECORD.select.where(same(store_record))
_DATASETS = DATASET.select.where(same(dataset)).order_by(dataset.c.dataset_id)
_CONTRACTS = CONTRACT.select.where(same(contract_version, "dataset_id")).order_by(contract_version.c.version)
_PLANS = PLAN.select.where(same(plan, "dataset_id")).order_by(plan.c.plan_id, plan.c.purpose_class)
_MOVED = KEY_WRAP.select.where(key_wrap.c.moved.is_(True)).order_by(key_wrap.c.group_id, key_wrap.c.subject)
_GROUPS = GROUP.select.where(same(key_group)).order_by(key_group.c.group_id)


class StoreRecordRows(Section):
    def store_record(self, name: str) -> StoreRecordRow | None:
        return self._find(STORE_RECORD, _BY_NAME, name=name)

    def store_records(self) -> dict[str, StoreRecordRow]:
        """By name."""
        return {row.name: row for row in self._all(STORE_RECORD, _RECORDS)}

    def record_stored(self, name: str, sha256: bytes) -> None:
        """After the store has it."""
        row = StoreRecordRow(self.tenant, name, sha256, self._clock())
        with self._database.write() as connection:
            known = self._within(connection, STORE_RECORD, _BY_NAME, name=name)
            (self._insert if known is None else self._replace)(connection, STORE_RECORD, row)

    def every_dataset(self) -> list[DatasetRow]:
        """Deleted ones too."""
        return self._all(DATASET, _DATASETS)

    def contracts(self, dataset_id: str) -> list[ContractRow]:
        """Every version, oldest first."""
        return self._all(CONTRACT, _CONTRACTS, dataset_id=dataset_id)

    def every_plan(self, dataset_id: str) -> list[PlanRow]:
        """Retired ones too: views built under them are still named."""
        return self._all(PLAN, _PLANS, dataset_id=dataset_id)

    def moved_wraps(self) -> Iterator[tuple[str, list[KeyWrapRow]]]:
        """By group that others were moved into, in the order of their subjects."""
        rows = self._database.stream(_MOVED.where(key_wrap.c.tenant == self.tenant))
        wraps = (KEY_WRAP.read(row, self._seal) for row in rows)
        for group_id, group in itertools.groupby(wraps, lambda row: row.group_id):
            yield group_id, list(group)

    def every_group(self) -> list[GroupRow]:
        return self._all(GROUP, _GROUPS)
