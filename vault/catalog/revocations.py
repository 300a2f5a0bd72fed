"""What was revoked: principals, platforms and measurements, by digest. For good, so nothing here takes one back."""

from vault.catalog.attestation_rows import RevocationRow
from vault.catalog.mapping import REVOCATION
from vault.catalog.section import Section, same
from vault.catalog.tables import revocation

_ALL = REVOCATION.select.where(same(revocation)).order_by(revocation.c.at, revocation.c.what, revocation.c.value)
_ONE = REVOCATION.select.where(same(revocation, "what", "value"))


class RevocationRows(Section):
    def revocations(self) -> list[RevocationRow]:
        """All of them, oldest first."""
        return self._all(REVOCATION, _ALL)

    def add_revocation(self, what: str, value: str, *, reason: str, by_principal: str) -> RevocationRow:
        """`value` is a SHA-256 in hex. Twice is once: the first one's reason stays."""
        row = RevocationRow(self.tenant, what, value, reason, by_principal, self._clock())
        with self._database.write() as connection:
            found = self._within(connection, REVOCATION, _ONE, what=what, value=value)
            if found is not None:
                return found
            self._insert(connection, REVOCATION, row)
        return row
