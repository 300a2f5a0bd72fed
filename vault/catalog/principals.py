"""Principals and the static credentials that lead to them."""

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import bindparam

from vault.catalog.mapping import CREDENTIAL, PRINCIPAL
from vault.catalog.rows import CredentialRow, PrincipalRow
from vault.catalog.section import Section, new_id, same
from vault.catalog.tables import credential, principal
from vault.errors import NotFound, Refused

_BY_ID = PRINCIPAL.select.where(same(principal, "principal_id"))
_BY_NAME = PRINCIPAL.select.where(same(principal, "name"))
_ALL = PRINCIPAL.select.where(same(principal)).order_by(principal.c.created_at, principal.c.principal_id)
_CREDENTIALS = CREDENTIAL.select.where(same(credential, "principal_id")).order_by(credential.c.created_at)
_BY_KEY = CREDENTIAL.select.where(same(credential, "access_key_id"))
_ANY_TENANT = CREDENTIAL.select.where(credential.c.access_key_id == bindparam("access_key_id"))
KINDS = frozenset({"person", "workload", "service"})


class Principals(Section):
    def create_principal(
        self, name: str, kind: str, roles: Iterable[str], jurisdiction: str, purposes: Iterable[str], record: str,
        *, principal_id: str | None = None,
    ) -> PrincipalRow:  # fmt: skip
        if kind not in KINDS:
            raise Refused("principal.kind", kind)
        row = PrincipalRow(
            tenant=self.tenant, principal_id=principal_id or new_id(), name=name, kind=kind,
            roles=tuple(sorted(set(roles))), jurisdiction=jurisdiction, purposes=tuple(sorted(set(purposes))),
            created_at=self._clock(), record=record,
        )  # fmt: skip
        with self._database.write() as connection:
            self._insert(connection, PRINCIPAL, row)
        return row

    def principal(self, principal_id: str) -> PrincipalRow:
        """NotFound("principal")."""
        row = self._find(PRINCIPAL, _BY_ID, principal_id=principal_id)
        if row is None:
            raise NotFound("principal", principal_id)
        return row

    def principal_named(self, name: str) -> PrincipalRow | None:
        return self._find(PRINCIPAL, _BY_NAME, name=name)

    def principals_named(self, name: str) -> list[PrincipalRow]:
        """All of that name: nothing keeps two principals from having one."""
        return self._all(PRINCIPAL, _BY_NAME, name=name)

    def principals(self) -> list[PrincipalRow]:
        return self._all(PRINCIPAL, _ALL)

    def create_credential(self, access_key_id: str, principal_id: str, purpose: str, record: str) -> CredentialRow:
        """Refused("credential.purpose") for a purpose the principal may never act for. The secret is not here: it
        derives from the access key id."""
        owner = self.principal(principal_id)
        if purpose not in owner.purposes:
            raise Refused("credential.purpose", purpose)
        row = CredentialRow(self.tenant, access_key_id, principal_id, purpose, "active", self._clock(), record)
        with self._database.write() as connection:
            self._insert(connection, CREDENTIAL, row)
        return row

    def credential(self, access_key_id: str) -> tuple[CredentialRow, PrincipalRow]:
        """An active credential of whatever tenant, and its principal: the tenant comes from the credential.
        NotFound("credential") for unknown and revoked ones alike."""
        row = self._database.first(_ANY_TENANT, {"access_key_id": access_key_id})
        found = None if row is None else CREDENTIAL.read(row, self._seal)
        if found is None or found.state != "active":
            raise NotFound("credential")
        owner = self._database.first(_BY_ID, {"tenant": found.tenant, "principal_id": found.principal_id})
        if owner is None:
            raise NotFound("credential")
        return found, PRINCIPAL.read(owner, self._seal)

    def credentials_of(self, principal_id: str) -> list[CredentialRow]:
        return self._all(CREDENTIAL, _CREDENTIALS, principal_id=principal_id)

    def revoke_credential(self, access_key_id: str, record: str) -> None:
        with self._database.write() as connection:
            row = self._within(connection, CREDENTIAL, _BY_KEY, access_key_id=access_key_id)
            if row is None:
                raise NotFound("credential")
            self._replace(connection, CREDENTIAL, replace(row, state="revoked", record=record))
