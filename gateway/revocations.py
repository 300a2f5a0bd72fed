"""Ending trust: a principal, a platform or a measurement is revoked, and every session that rests on it with it.

Stewards and custodians may, by a decision of the doctrine; each revocation is a ledger entry. The broker keeps a mark
of its own and refuses evidence and keys at once; every worker and gateway sees the row within seconds. It is for good:
there is no call that takes one back, and clearing the row revives nothing.
"""

from collections.abc import Callable
from typing import Any

from gateway.errors import BadRequest, Denied, NotFound
from gateway.guard import Guard
from gateway.identity.principal import Principal
from gateway.record import rfc3339
from vault.attest.identities import What, identities, revocable, value_digest
from vault.broker.types import KeyBroker
from vault.catalog.attestation_rows import RevocationRow
from vault.catalog.catalog import Catalog
from vault.catalog.rows import PrincipalRow, SessionRow
from vault.errors import NotFound as RowNotFound

LISTED = 1000


class Revocations:
    """One per front worker."""

    def __init__(
        self, guard: Guard, catalog: Catalog, broker: KeyBroker, *, freshness_seconds: int,
        forget_keys: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._guard = guard
        self._catalog = catalog
        self._broker = broker
        self._freshness_ms = freshness_seconds * 1000
        self._forget_keys = forget_keys

    async def revoke(
        self, principal: Principal, what: What, value: str, reason: str, request_id: str
    ) -> dict[str, Any]:
        """`value`: a principal's id or name, or a value as claims name it. Answers with the sessions that end."""
        admission = await self._guard.admit(principal, "revoke", request_id=request_id, interface="api")
        if what == "subject":
            value = (await self._guard.blocking(self._subject, value)).principal_id
        digest = value_digest(value)
        recorder = self._guard.recorder
        await self._guard.append(recorder.event(
            "revocation", self._guard.clock(), principal=recorder.principal(principal.principal_id), session=None,
            what=what, value=digest, reason=reason, intent=admission.decision_id,
        ))  # fmt: skip
        await self._guard.blocking(self._broker.revoke, what, digest)
        row = await self._guard.blocking(
            self._catalog.add_revocation, what, digest, reason=reason, by_principal=principal.principal_id
        )
        self._guard.facts.forget_revocations()
        ended = await self._guard.blocking(self._resting_on, what, digest)
        for session in ended:
            self._forget_keys(session.session_id)
        return _told(row) | {"sessions": [session.session_id for session in ended]}

    async def revoked(self, principal: Principal, request_id: str) -> list[dict[str, Any]]:
        """All revocations, oldest first."""
        await self._guard.admit(principal, "revoke", request_id=request_id, interface="api")
        return [_told(row) for row in await self._guard.blocking(self._catalog.revocations)]

    async def sessions(self, principal: Principal, request_id: str, *, everybody: bool) -> list[dict[str, Any]]:
        """Sessions that have not expired, newest first: the caller's own, or for who may revoke, everybody's."""
        await self._guard.check_own(principal, request_id)
        if principal.session is not None:
            return [await self.session(principal, principal.session.session_id, request_id)]
        if everybody:
            await self._guard.admit(principal, "revoke", request_id=request_id, interface="api")
            rows = await self._guard.blocking(self._catalog.living_sessions, LISTED)
        else:
            rows = await self._guard.blocking(self._catalog.sessions_of, principal.principal_id, LISTED)
        return [await self._described(row) for row in rows]

    async def session(self, principal: Principal, session_id: str, request_id: str) -> dict[str, Any]:
        """One session, with what it can be revoked by. Raises NotFound, Denied."""
        await self._guard.check_own(principal, request_id)
        row = await self._guard.blocking(self._catalog.find_session, session_id)
        if row is None:
            raise _unknown()
        inside = principal.session
        if row.principal_id != principal.principal_id or (inside is not None and inside.session_id != session_id):
            if inside is not None:
                raise _unknown()
            try:
                await self._guard.admit(principal, "revoke", request_id=request_id, interface="api")
            except Denied as refusal:
                raise _unknown(refusal.decision_id) from refusal
        named = [{"what": what, "value": value} for what, value in identities(row.principal_id, row.claims)]
        return await self._described(row) | {"claims": dict(row.claims), "revocable": named}

    async def _described(self, row: SessionRow) -> dict[str, Any]:
        known = await self._guard.blocking(self._guard.facts.session, row.session_id) or row
        return {
            "session_id": row.session_id, "principal_id": row.principal_id, "purpose": row.purpose,
            "scope": list(row.scope), "kind": row.kind, "tier": row.tier, "state": self._state(known),
            "run_id": row.run_id, "attested_at": rfc3339(row.attested_at), "expires_at": rfc3339(row.expires_at),
            "bound_source": row.bound_source, "bound_key": row.bound_key,
        }  # fmt: skip

    def _state(self, row: SessionRow) -> str:
        now = self._guard.clock()
        if row.revoked_at is not None:
            return "revoked"
        if row.expires_at <= now:
            return "expired"
        return "fresh" if now - row.attested_at <= self._freshness_ms else "lapsed"

    def _resting_on(self, what: What, digest: str) -> list[SessionRow]:
        return [
            row for row in self._catalog.living_sessions(LISTED)
            if (what, digest) in revocable(row.principal_id, row.claims)
        ]  # fmt: skip

    def _subject(self, name: str) -> PrincipalRow:
        """By its id before any name: names are anybody's choice, and a decoy called so would be revoked instead."""
        try:
            return self._catalog.principal(name)
        except RowNotFound:
            found = self._catalog.principals_named(name)
        if not found:
            raise RowNotFound("principal", name)
        if len(found) > 1:
            raise BadRequest("InvalidArgument", "value: several principals have this name", rule="revocation.ambiguous",
                             remedy="name the principal by its id")  # fmt: skip
        return found[0]


def _told(row: RevocationRow) -> dict[str, Any]:
    return {"what": row.what, "value": row.value, "reason": row.reason, "by": row.by_principal, "at": rfc3339(row.at)}


def _unknown(decision_id: str | None = None) -> NotFound:
    """One answer for absent, and for present but not the caller's to know of."""
    return NotFound(
        "NoSuchSession", "No session of that id is yours", rule="session.unknown", decision_id=decision_id,
        remedy="see `session list`",
    )  # fmt: skip
