"""Key sets of token issuers as last fetched, shared by the replicas of a zone: one fetch serves them all.

A row is under the catalog's seal: whoever could write a key here could sign for any principal the issuer names.
"""

from dataclasses import replace

from sqlalchemy import bindparam, update

from vault.catalog.attestation_rows import JwksRow
from vault.catalog.mapping import JWKS
from vault.catalog.section import Section, same
from vault.catalog.tables import jwks
from vault.errors import Conflict

FETCH_GAP_MS = 60_000
"""At most one fetch of an issuer's keys in this time, whatever clients send and however many replicas there are."""
NEVER = 0
_BY_ISSUER = JWKS.select.where(same(jwks, "issuer"))
_BY_ISSUER_LOCKED = _BY_ISSUER.with_for_update()
_WANT = (
    update(jwks)
    .where(
        jwks.c.tenant == bindparam("j_tenant"), jwks.c.issuer == bindparam("j_issuer"),
        jwks.c.wanted_at <= jwks.c.tried_at,
    )
    .values(wanted_at=bindparam("j_now"))
)  # fmt: skip


class IssuerKeySets(Section):
    def issuer_keys(self, issuer: str) -> JwksRow | None:
        """What was fetched last; `fetched_at` is `NEVER` (0) where nothing was yet."""
        return self._find(JWKS, _BY_ISSUER, issuer=issuer)

    def want_issuer_keys(self, issuer: str) -> None:
        """A token named a key that is not in the set: fetch it again, as soon as that may be. Once for each try."""
        with self._database.write() as connection:
            connection.execute(_WANT, {"j_tenant": self.tenant, "j_issuer": issuer, "j_now": self._clock()})

    def may_fetch_issuer_keys(self, issuer: str) -> bool:
        """Whether the caller is the one that fetches now: it has been written down as tried before this returns."""
        try:
            return self._tried(issuer, self._clock())
        except Conflict:
            return False  # another replica wrote the first row in this moment

    def _tried(self, issuer: str, now: int) -> bool:
        with self._database.write() as connection:
            row = self._within(connection, JWKS, _BY_ISSUER_LOCKED, issuer=issuer)
            if row is None:
                self._insert(connection, JWKS, JwksRow(self.tenant, issuer, "", NEVER, now, NEVER, ""))
                return True
            if 0 <= now - row.tried_at < FETCH_GAP_MS:
                return False
            self._replace(connection, JWKS, replace(row, tried_at=now))
        return True

    def keep_issuer_keys(self, issuer: str, document: str, record: str) -> None:
        """A fetched and parsed set, by the ledger entry that says so. The one before is kept until this."""
        with self._database.write() as connection:
            row = self._within(connection, JWKS, _BY_ISSUER_LOCKED, issuer=issuer)
            now = self._clock()
            known = row or JwksRow(self.tenant, issuer, "", NEVER, now, NEVER, "")
            fresh = replace(known, document=document, fetched_at=now, record=record)
            (self._insert if row is None else self._replace)(connection, JWKS, fresh)
