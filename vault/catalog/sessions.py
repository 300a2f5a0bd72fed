"""Sessions and the challenges they begin with.

A session row carries the broker's own seal over what it attested: a front worker that can write this table
still cannot mint an attested session.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, delete, update

from vault.catalog.mapping import CHALLENGE, SESSION
from vault.catalog.rows import ChallengeRow, SessionRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import challenge, session
from vault.errors import Conflict, NotFound, Refused

_BY_ID = SESSION.select.where(same(session, "session_id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_OF_PRINCIPAL = (
    SESSION.select.where(same(session, "principal_id"), session.c.expires_at > bindparam("now"))
    .order_by(session.c.created_at.desc())
    .limit(bindparam("limit"))
)
_LIVING = (
    SESSION.select.where(same(session), session.c.expires_at > bindparam("now"))
    .order_by(session.c.created_at.desc())
    .limit(bindparam("limit"))
)
_CHALLENGE = CHALLENGE.select.where(same(challenge, "nonce"))
# One statement decides who was first: two that present one nonce at once cannot both change the row.
_CONSUME = (
    update(challenge)
    .where(
        challenge.c.tenant == bindparam("c_tenant"),
        challenge.c.nonce == bindparam("c_nonce"),
        challenge.c.consumed_at.is_(None),
        challenge.c.expires_at > bindparam("c_now"),
    )
    .values(consumed_at=bindparam("c_now"))
)
_FORGET = delete(session).where(
    session.c.tenant == bindparam("s_tenant"), session.c.kind == literal("identity"),
    session.c.expires_at < bindparam("s_before"),
)  # fmt: skip
_SWEEP = delete(challenge).where(
    challenge.c.tenant == bindparam("c_tenant"), challenge.c.expires_at < bindparam("c_now")
)


class Sessions(Section):
    def insert_session(self, row: SessionRow) -> None:
        """Conflict("catalog.exists") when the id is taken."""
        with self._database.write() as connection:
            self._insert(connection, SESSION, row)

    def find_session(self, session_id: str) -> SessionRow | None:
        return self._find(SESSION, _BY_ID, session_id=session_id)

    def session(self, session_id: str) -> SessionRow:
        """NotFound("session"). Expired and revoked ones are answered: look at the row."""
        row = self.find_session(session_id)
        if row is None:
            raise NotFound("session", session_id)
        return row

    def living_sessions(self, limit: int = 1000) -> list[SessionRow]:
        """Unexpired ones of everybody, newest first."""
        return self._all(SESSION, _LIVING, now=self._clock(), limit=limit)

    def sessions_of(self, principal_id: str, limit: int = 100) -> list[SessionRow]:
        """Unexpired ones, newest first."""
        return self._all(SESSION, _OF_PRINCIPAL, principal_id=principal_id, now=self._clock(), limit=limit)

    def refresh_session(
        self, session_id: str, *, attested_at: int, claims: Mapping[str, Any], tier: str, attestation_seal: bytes,
        expires_at: int | None = None, bound_source: str | None = None,
    ) -> SessionRow:  # fmt: skip
        """A re-attestation, from `bound_source` where the session is bound to one. Refused("session.revoked");
        Conflict("session.older") when a newer one was first."""
        with self._database.write() as connection:
            row = self._within(connection, SESSION, _BY_ID_LOCKED, session_id=session_id)
            if row is None:
                raise NotFound("session", session_id)
            if row.revoked_at is not None:
                raise Refused("session.revoked", session_id)
            if attested_at < row.attested_at:
                raise Conflict("session.older", session_id)
            fresh = replace(
                row, attested_at=attested_at, claims=claims, tier=tier, attestation_seal=attestation_seal,
                expires_at=row.expires_at if expires_at is None else expires_at,
                bound_source=row.bound_source if bound_source is None else bound_source,
            )  # fmt: skip
            self._replace(connection, SESSION, fresh)
        return fresh

    def revoke_session(self, session_id: str) -> None:
        """For good; revoking twice is once. NotFound("session")."""
        with self._database.write() as connection:
            row = self._within(connection, SESSION, _BY_ID_LOCKED, session_id=session_id)
            if row is None:
                raise NotFound("session", session_id)
            if row.revoked_at is None:
                self._replace(connection, SESSION, replace(row, revoked_at=self._clock()))

    def forget_identity_sessions(self, before: int) -> int:
        """Rows of identity sessions that ended before then: every renewal of every job makes one, and the ledger has
        them all. How many went."""
        with self._database.write() as connection:
            return connection.execute(_FORGET, {"s_tenant": self.tenant, "s_before": before}).rowcount

    def add_challenge(
        self, *, nonce: str, principal_id: str, purpose: str, scope: tuple[str, ...], gateway: str, expires_at: int,
        profile: str = "",
    ) -> None:  # fmt: skip
        """Insert one unconsumed challenge, and forget those that ran out."""
        row = ChallengeRow(self.tenant, nonce, principal_id, purpose, tuple(scope), gateway, expires_at, None, profile)
        with self._database.write() as connection:
            connection.execute(_SWEEP, {"c_tenant": self.tenant, "c_now": self._clock() - 3_600_000})
            self._insert(connection, CHALLENGE, row)

    def consume_challenge(self, nonce: str, now_ms: int) -> ChallengeRow | None:
        """The challenge, marked consumed by this very call; None when unknown, expired or consumed before."""
        params = {"c_tenant": self.tenant, "c_nonce": nonce, "c_now": now_ms}
        with self._database.write() as connection:
            if connection.execute(_CONSUME, params).rowcount != 1:
                return None
            return self._within(connection, CHALLENGE, _CHALLENGE, nonce=nonce)
