"""Tickets: what a client of the key-broker protocol may attest for, which its own messages have no place for.

A principal asks for one with its own credentials and puts it into the client's URL. It is a bearer, so what it gives is
small: to *attest* as this principal, for this purpose and these datasets, until it ends or is revoked. Nothing is
answered to evidence that does not hold, and the answer opens with the attested key alone.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from typing import Any

from gateway.attesting import Attesting
from gateway.errors import BadRequest, Denied, NotFound
from gateway.guard import Guard
from gateway.identity.principal import Principal
from gateway.record import rfc3339
from vault.attest.identities import revocable
from vault.catalog.attestation_rows import KbsTicketRow
from vault.catalog.catalog import Catalog
from vault.catalog.rows import PrincipalRow
from vault.errors import NotFound as RowNotFound

TICKET = re.compile(r"[A-Za-z0-9_-]{43}")
DEFAULT_SECONDS = 3600
MAX_SECONDS = 86_400
MAX_SCOPE = 64
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose ticket it is. `principal` acts for the ticket's purpose; `scope` is sorted."""

    principal: Principal
    ticket_id: str
    scope: tuple[str, ...]


class Tickets:
    """Granted, revoked, and read at every request: there is no cache that outlives a revocation."""

    def __init__(self, guard: Guard, catalog: Catalog, attesting: Attesting) -> None:
        self._guard = guard
        self._catalog = catalog
        self._attesting = attesting

    async def grant(
        self, principal: Principal, purpose: str, scope: list[str], seconds: int, request_id: str
    ) -> dict[str, Any]:
        """The ticket, shown once. Denied for a purpose not granted, and from a session: it would outlive it."""
        names = tuple(sorted(set(scope)))
        async with self._attesting.attempt("session", principal, _session_of(principal)):
            if principal.session is not None:
                raise _from_session()
            if not 0 < len(names) <= MAX_SCOPE:
                raise BadRequest("InvalidArgument", f"scope: 1 to {MAX_SCOPE} datasets", rule="kbs.scope",
                                 remedy="name the datasets that the job is for")  # fmt: skip
            acting = replace(principal, purpose=purpose)
            await self._guard.admit(acting, "session", request_id=request_id, interface="api")
        ticket, now = secrets.token_urlsafe(32), self._guard.clock()
        row = KbsTicketRow(
            tenant=principal.tenant, ticket_sha256=ticket_id(ticket), principal_id=principal.principal_id,
            purpose=purpose, scope=names, expires_at=now + 1000 * seconds, revoked_at=None, created_at=now, record="",
        )  # fmt: skip
        entry = await self._record(principal, row, "granted")
        await self._guard.blocking(self._catalog.insert_kbs_ticket, replace(row, record=entry))
        return {
            "ticket": ticket, "ticket_id": row.ticket_sha256, "path": f"/v1/kbs/{ticket}", "purpose": purpose,
            "scope": list(names), "expires_at": rfc3339(row.expires_at),
        }  # fmt: skip

    async def revoke(self, principal: Principal, name: str, request_id: str) -> None:
        """By its id; its owner may, and who may revoke. Sessions that came of it go on: revoke those as well."""
        row = await self._guard.blocking(self._catalog.find_kbs_ticket, name) if _ID.fullmatch(name) else None
        if row is None or principal.session is not None:
            raise _no_such_ticket()
        if row.principal_id != principal.principal_id:
            await self._guard.admit(principal, "revoke", request_id=request_id, interface="api")
        await self._record(principal, row, "revoked")
        await self._guard.blocking(self._catalog.revoke_kbs_ticket, name)

    async def holder(self, ticket: str, source: str) -> Holder:
        """Denied "kbs.ticket" for a ticket that is unknown, expired, revoked, or of a revoked principal: one answer."""
        found = await self._guard.blocking(self._holder, ticket_id(ticket), source)
        if found is None:
            raise Denied("AccessDenied", "No ticket of this gateway", rule="kbs.ticket", remedy="ask for a new ticket")
        return found

    async def _record(self, principal: Principal, row: KbsTicketRow, state: str) -> str:
        recorder = self._guard.recorder
        entry = recorder.event(
            "ticket", self._guard.clock(), principal=recorder.principal(principal.principal_id),
            ticket=row.ticket_sha256, state=state, purpose=row.purpose, scope=list(row.scope),
            expires_at=rfc3339(row.expires_at),
        )  # fmt: skip
        await self._guard.append(entry)
        return str(entry["id"])

    def _holder(self, name: str, source: str) -> Holder | None:
        row = self._catalog.find_kbs_ticket(name)
        if row is None or row.revoked_at is not None or row.expires_at <= self._guard.clock():
            return None
        revoked = {(found.what, found.value) for found in self._catalog.revocations()}
        try:
            owner = self._catalog.principal(row.principal_id)
        except RowNotFound:
            return None
        if revoked & revocable(owner.principal_id, {}):
            return None
        return Holder(_principal(owner, row.purpose, source), name, row.scope)


def ticket_id(ticket: str) -> str:
    """What a ticket is stored and recorded by: whoever reads the catalog cannot use one."""
    return hashlib.sha256(ticket.encode("ascii")).hexdigest()


def _principal(row: PrincipalRow, purpose: str, source: str) -> Principal:
    return Principal(
        tenant=row.tenant, principal_id=row.principal_id, name=row.name, kind=row.kind, roles=frozenset(row.roles),
        jurisdiction=row.jurisdiction, purposes=frozenset(row.purposes), purpose=purpose, session=None,
        access_key_id="", source=source, authenticator="kbs-ticket",
    )  # fmt: skip


def _session_of(principal: Principal) -> str | None:
    return principal.session.session_id if principal.session else None


def _from_session() -> Denied:
    return Denied(
        "AccessDenied", "A session is given no tickets", rule="session.from-session",
        remedy="ask with the principal's own credentials",
    )  # fmt: skip


def _no_such_ticket() -> NotFound:
    return NotFound("NoSuchTicket", "No ticket of that id is yours", rule="kbs.ticket", remedy="check the ticket's id")
