"""Datasets and their contracts."""

import secrets
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, exists, literal_column, select

from vault.catalog.mapping import CONTRACT, DATASET
from vault.catalog.rows import ContractRow, DatasetRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import contract_version, dataset, object_version
from vault.errors import Conflict, NotFound, Refused

_ACTIVE = dataset.c.state == literal("active")
_BY_NAME = DATASET.select.where(same(dataset, "name"), _ACTIVE)
_BY_ID = DATASET.select.where(same(dataset, "dataset_id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_ACTIVE_ALL = DATASET.select.where(same(dataset), _ACTIVE).order_by(dataset.c.name)
_CONTRACT = CONTRACT.select.where(same(contract_version, "dataset_id", "version"))
_HOLDS_OBJECTS = select(
    exists(literal_column("1")).where(
        same(object_version, "dataset_id"),
        object_version.c.is_latest.is_(True),
        object_version.c.delete_marker.is_(False),
    )
)
LABELS = frozenset({"personal", "none"})
VERSIONING = frozenset({"off", "enabled", "suspended"})


class Datasets(Section):
    def create_dataset(
        self, name: str, zone: str, label: str, synthetic: bool, record: str, *, versioning: str = "off"
    ) -> DatasetRow:
        """Conflict("dataset.exists") when a living dataset of this tenant has the name. `label`: personal | none."""
        if label not in LABELS or versioning not in VERSIONING:
            raise Refused("dataset.label", label)
        row = DatasetRow(
            tenant=self.tenant, dataset_id=secrets.token_hex(16), name=name, zone=zone, label=label,
            synthetic=synthetic, versioning=versioning, contract_version=0, sequence=0, state="active",
            created_at=self._clock(), record=record,
        )  # fmt: skip
        try:
            with self._database.write() as connection:
                self._insert(connection, DATASET, row)
        except Conflict as error:
            raise Conflict("dataset.exists", name) from error
        return row

    def dataset(self, name: str) -> DatasetRow:
        """NotFound("dataset") when no living dataset has the name."""
        row = self._find(DATASET, _BY_NAME, name=name)
        if row is None:
            raise NotFound("dataset", name)
        return row

    def find_dataset(self, dataset_id: str) -> DatasetRow | None:
        """By id, deleted ones too: look at `state`."""
        return self._find(DATASET, _BY_ID, dataset_id=dataset_id)

    def datasets(self) -> list[DatasetRow]:
        """Every living dataset, by name."""
        return self._all(DATASET, _ACTIVE_ALL)

    def drop_dataset(self, dataset_id: str, record: str) -> DatasetRow:
        """NotFound("dataset"); Conflict("dataset.not-empty") while any key is listed in it."""
        with self._database.write() as connection:
            row = self._locked_dataset(connection, dataset_id)
            holds = connection.execute(_HOLDS_OBJECTS, {"tenant": self.tenant, "dataset_id": dataset_id}).scalar()
            if holds:
                raise Conflict("dataset.not-empty", row.name)
            dropped = replace(row, state="deleted", record=record)
            self._replace(connection, DATASET, dropped)
        return dropped

    def set_versioning(self, dataset_id: str, versioning: str, record: str) -> DatasetRow:
        """`enabled` or `suspended`: as in S3, a dataset that was ever versioned is never `off` again."""
        if versioning not in {"enabled", "suspended"}:
            raise Refused("dataset.versioning", versioning)
        with self._database.write() as connection:
            row = self._locked_dataset(connection, dataset_id)
            changed = replace(row, versioning=versioning, record=record)
            self._replace(connection, DATASET, changed)
        return changed

    def set_contract(self, dataset_id: str, document: dict[str, Any], by: str, record: str) -> int:
        """Append a contract version and make it the dataset's; answers its number, from 1."""
        with self._database.write() as connection:
            row = self._locked_dataset(connection, dataset_id)
            version = row.contract_version + 1
            contract = ContractRow(self.tenant, dataset_id, version, document, self._clock(), by, record)
            self._insert(connection, CONTRACT, contract)
            self._replace(connection, DATASET, replace(row, contract_version=version, record=record))
        return version

    def contract(self, dataset_id: str, version: int | None = None) -> dict[str, Any] | None:
        """The document of the given version, or of the newest; None where the dataset has none."""
        row = self.contract_row(dataset_id, version)
        return None if row is None else dict(row.document)

    def contract_row(self, dataset_id: str, version: int | None = None) -> ContractRow | None:
        if version is None:
            row = self.find_dataset(dataset_id)
            version = 0 if row is None else row.contract_version
        return self._find(CONTRACT, _CONTRACT, dataset_id=dataset_id, version=version) if version else None

    def _locked_dataset(self, connection: Connection, dataset_id: str) -> DatasetRow:
        """The row, held until the transaction ends, so that commits to one dataset happen one after the other."""
        row = self._within(connection, DATASET, _BY_ID_LOCKED, dataset_id=dataset_id)
        if row is None or row.state != "active":
            raise NotFound("dataset", dataset_id)
        return row
