"""Enrolled attestation keys of TPMs. The broker writes and seals these rows (`vault.broker.tpm_keys`)."""

from typing import Any

from sqlalchemy import bindparam

from vault.catalog.attestation_rows import TpmKeyRow
from vault.catalog.mapping import TPM_KEY
from vault.catalog.section import Section, same
from vault.catalog.tables import tpm_key
from vault.errors import Conflict, NotFound

_BY_NAME = TPM_KEY.select.where(same(tpm_key, "key_name"))
_BY_NAME_LOCKED = _BY_NAME.with_for_update()
_NEWEST = (
    TPM_KEY.select.where(same(tpm_key))
    .order_by(tpm_key.c.enrolled_at.desc(), tpm_key.c.key_name)
    .limit(bindparam("limit"))
)


class TpmKeys(Section):
    def tpm_key(self, key_name: str) -> TpmKeyRow | None:
        """The row of the key whose SubjectPublicKeyInfo hashes to `key_name` (SHA-256, hex), retired ones too. Its
        seal is the broker's to check."""
        return self._find(TPM_KEY, _BY_NAME, key_name=key_name)

    def tpm_keys(self, limit: int = 1000) -> list[TpmKeyRow]:
        """Newest first, retired ones too."""
        return self._all(TPM_KEY, _NEWEST, limit=limit)

    def new_tpm_key(self, **columns: Any) -> TpmKeyRow:
        """A row of this tenant, not written yet."""
        return TpmKeyRow(tenant=self.tenant, **columns)

    def add_tpm_key(self, row: TpmKeyRow) -> None:
        """Conflict("tpm.enrolled") when this key is enrolled, or was: what was retired does not come back by itself."""
        with self._database.write() as connection:
            if self._within(connection, TPM_KEY, _BY_NAME_LOCKED, key_name=row.key_name) is not None:
                raise Conflict("tpm.enrolled", row.key_name)
            self._insert(connection, TPM_KEY, row)

    def change_tpm_key(self, before: TpmKeyRow, after: TpmKeyRow) -> None:
        """Conflict("tpm.changed") unless the row is still exactly `before`: of two that change one row, one wins."""
        with self._database.write() as connection:
            found = self._within(connection, TPM_KEY, _BY_NAME_LOCKED, key_name=before.key_name)
            if found is None:
                raise NotFound("tpm.key", before.key_name)
            if found != before:
                raise Conflict("tpm.changed", before.key_name)
            self._replace(connection, TPM_KEY, after)
