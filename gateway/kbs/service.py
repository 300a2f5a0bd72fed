"""Trustee's protocol as a road to a session: challenge, evidence, appraisal, and the credentials as a resource.

With a ticket a handshake ends in a session as any other, and its credentials are encrypted to the attested key. Without
one the nonce's row names nobody: evidence is verified and appraised, the token says so, and there is no session at all.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from gateway.attesting import Attempt
from gateway.decide.decision import Appraisal
from gateway.errors import Denied, GatewayError, NotFound
from gateway.guard import Guard
from gateway.identity.principal import Principal
from gateway.kbs.messages import AttestationMessage, refused
from gateway.kbs.tickets import Holder, Tickets
from gateway.limits import Arrivals, Shares
from gateway.session_credentials import credentials_of
from gateway.sessions import Sessions, claims_of
from vault.attest.kbs.binding import nonce_text
from vault.attest.kbs.keys import load_tee_key, tee_key_thumbprint
from vault.attest.kbs.result import LIFETIME_S, Result, claimed_id, read_result
from vault.broker.kbs_types import KbsAttested, KbsBroker, KbsEvidence
from vault.catalog.attestation_rows import KbsSessionRow
from vault.catalog.catalog import Catalog
from vault.catalog.rows import SessionRow
from vault.errors import Refused
from vault.keys.jwe import encrypt_flattened

HANDSHAKE_MS = 1000 * LIFETIME_S
STRANGERS_EACH, STRANGERS_TOGETHER = 30, 300
"""Requests a minute without a ticket, in one worker: from one address, and from all of them."""
RESULT_PURPOSE = "attestation-result"
"""What the doctrine is asked about evidence that came without a ticket: a class of purposes that sees nothing."""
CREDENTIALS = ("demesne", "session", "credentials")
_NOT_REFUSED = frozenset({"ledger.unavailable", "limit.refusals", "limit.arrivals", "limit.under-way"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks: the holder of a ticket, or nobody from an address."""

    source: str
    holder: Holder | None

    @property
    def ticket_id(self) -> str:
        return self.holder.ticket_id if self.holder else ""


class KeyBrokerService:
    """One per front worker; what it has to remember is in the catalog, for any worker to go on."""

    def __init__(
        self, guard: Guard, catalog: Catalog, broker: KbsBroker, sessions: Sessions, *, gateway_id: str,
        token_key: bytes, tenant: str, counted: Callable[[str], None], arrivals: Arrivals,
        shares: Shares | None = None,
    ) -> None:  # fmt: skip
        self._guard = guard
        self._catalog = catalog
        self._broker = broker
        self._sessions = sessions
        self._attesting = sessions.attesting
        self._gateway_id = gateway_id
        self._token_key = token_key
        self._tenant = tenant
        self._counted = counted
        self._arrivals = arrivals
        self._shares = shares
        self._issuer = f"demesne:{gateway_id}"
        self._key: dict[str, str] | None = None
        self.tickets = Tickets(guard, catalog, sessions.attesting)

    @asynccontextmanager
    async def caller(self, ticket: str | None, source: str) -> AsyncIterator[Caller]:
        """A place under way for one request. Raises Denied for a ticket that is none, Unavailable when there are too
        many."""
        with self.strangers():
            if ticket is None:
                self._arrivals.check(source)
            found = Caller(source, None if ticket is None else await self.tickets.holder(ticket, source))
        principal = found.holder.principal if found.holder else _nobody(self._tenant, source)
        async with self._shares.under_way(principal) if self._shares else nullcontext():
            yield found

    @contextmanager
    def strangers(self) -> Iterator[None]:
        """What is refused before anybody is known is counted, and summed up in the ledger."""
        try:
            yield
        except GatewayError as error:
            self._counted(error.rule or error.code)
            raise

    @asynccontextmanager
    async def attempt(self, caller: Caller, session: str | None = None) -> AsyncIterator[Attempt]:
        """Each refusal inside is on record once: of a ticket's holder one by one, of strangers in their sum, unless
        the broker has looked at evidence and recorded for itself."""
        if caller.holder is not None:
            async with self._attesting.attempt("session", caller.holder.principal, session) as made:
                yield made
            return
        try:
            yield Attempt(session)
        except GatewayError as error:
            if error.rule not in _NOT_REFUSED and not error.on_record:
                self._counted(error.rule or error.code)
            raise

    async def challenge(self, caller: Caller, tee: str, request_id: str) -> tuple[str, str]:
        """Cookie and nonce of a new handshake."""
        purpose, scope, principal_id = "", list[str](), ""
        if caller.holder is not None:
            principal = caller.holder.principal
            await self._guard.admit(principal, "session", request_id=request_id, interface="api")
            purpose, scope, principal_id = principal.purpose, list(caller.holder.scope), principal.principal_id
        made = await self._attesting.brokered(
            self._broker.kbs_challenge, principal_id, purpose, scope, self._gateway_id
        )
        cookie = secrets.token_hex(16)
        row = KbsSessionRow(
            tenant=self._tenant, cookie_sha256=_sha256(cookie), nonce=made.nonce, tee=tee,
            ticket_sha256=caller.ticket_id, state="asked", public_key={}, session_id="", token="",
            expires_at=self._guard.clock() + HANDSHAKE_MS,
        )  # fmt: skip
        await self._guard.blocking(self._catalog.insert_kbs_session, row)
        return cookie, nonce_text(made.nonce)

    async def attest(
        self, caller: Caller, attempt: Attempt, cookie: str, message: AttestationMessage, request_id: str
    ) -> str:
        """The token. In a handshake that is over it is the same again, whatever is sent."""
        row = await self._handshake(caller, cookie)
        if row.state == "attested":
            return row.token
        if not hmac.compare_digest(row.nonce, message.nonce):
            raise refused("attest.nonce", "the nonce is of another handshake", "attest with the nonce that was given")
        return await self._verify(caller, attempt, row, message, request_id)

    async def resource(
        self, caller: Caller, way: tuple[str, ...], cookie: str | None, token: str | None, request_id: str
    ) -> dict[str, str]:
        """A resource as a JWE to the attested key. Denied (401 to these clients) before NotFound: who did not attest
        learns nothing of what there is."""
        _, result = await self._attested(caller, cookie, token)
        if way != CREDENTIALS:
            raise NotFound("ResourceNotFound", "No resource of that name", rule="kbs.resource",
                           remedy=f"ask for {'/'.join(CREDENTIALS)}")  # fmt: skip
        if caller.holder is None or not result.session:
            raise Denied("AccessDenied", "This handshake has no session: its nonce named nobody", rule="kbs.no-ticket",
                         remedy="attest with a ticket: POST /v1/kbs/tickets")  # fmt: skip
        session = await self._guard.blocking(self._guard.facts.session, result.session)
        if session is None:
            raise _not_attested()
        self._check(session, caller.holder, result)
        await self._guard.admit(caller.holder.principal, "session", request_id=request_id, interface="api")
        credentials = json.dumps(credentials_of(self._token_key, claims_of(session))).encode()
        return encrypt_flattened(load_tee_key(result.tee_pubkey), credentials)

    async def _verify(
        self, caller: Caller, attempt: Attempt, row: KbsSessionRow, message: AttestationMessage, request_id: str
    ) -> str:
        evidence = KbsEvidence(
            row.nonce, row.tee, message.primary, message.additional, message.tee_pubkey, message.init_data
        )
        principal = caller.holder.principal if caller.holder else None
        if principal is not None:  # what it may act for may have changed since the challenge
            await self._guard.admit(principal, "session", request_id=request_id, interface="api")
        made: KbsAttested = await self._attesting.brokered(
            self._broker.kbs_attest, evidence, principal.principal_id if principal else "", caller.source
        )
        attested = made.attested if principal is not None else replace(made.attested, purpose=RESULT_PURPOSE)
        appraisal = await self._attesting.appraisal(attempt, attested, attested.scope)
        token: str = await self._attesting.brokered(
            self._broker.kbs_token, made.statement, made.seal, _said(appraisal), row.cookie_sha256
        )
        session_id = ""
        if principal is not None:
            kind = str(made.attested.claims.get("kind", ""))
            begun = await self._sessions.begin(
                principal, made.attested, appraisal.tier, kind, None, submods=attempt.submods
            )
            session_id = begun.session_id
        await self._guard.blocking(
            self._catalog.attested_kbs_session, row.cookie_sha256, public_key=message.tee_pubkey, session_id=session_id,
            token=token,
        )  # fmt: skip
        return token

    async def _handshake(self, caller: Caller, cookie: str) -> KbsSessionRow:
        row = await self._guard.blocking(self._catalog.find_kbs_session, _sha256(cookie))
        return self._current(caller, row)

    async def _attested(self, caller: Caller, cookie: str | None, token: str | None) -> tuple[KbsSessionRow, Result]:
        """By the cookie of the handshake, or by the token it ended with. What counts is what the broker signed: the
        row only says which token that is, and whoever could write it has no key to sign another."""
        try:
            name = claimed_id(token) if token is not None else _sha256(cookie or "")
            row = self._current(caller, await self._guard.blocking(self._catalog.find_kbs_session, name))
            if row.state != "attested" or (token is not None and not hmac.compare_digest(row.token, token)):
                raise _not_attested()
            result = read_result(row.token, await self._public_key(), self._issuer, self._guard.clock())
        except Refused as error:
            raise _not_attested() from error
        if result.token_id != row.cookie_sha256:
            raise _not_attested()
        return row, result

    async def _public_key(self) -> dict[str, str]:
        if self._key is None:
            self._key = await self._guard.blocking(self._broker.kbs_key)
        return self._key

    def _current(self, caller: Caller, row: KbsSessionRow | None) -> KbsSessionRow:
        if row is None or row.expires_at <= self._guard.clock() or row.ticket_sha256 != caller.ticket_id:
            raise _not_attested()
        return row

    def _check(self, session: SessionRow, holder: Holder, result: Result) -> None:
        mine = session.principal_id == holder.principal.principal_id
        if not mine or session.key_thumbprint != tee_key_thumbprint(result.tee_pubkey):
            raise _not_attested()
        if session.revoked_at is not None or session.expires_at <= self._guard.clock():
            raise Denied("AccessDenied", "The session was revoked or has ended", rule="session.revoked",
                         remedy="attest anew")  # fmt: skip


def _said(appraisal: Appraisal) -> dict[str, Any]:
    modules = {name: {"tier": module.tier, "vector": dict(module.vector)} for name, module in appraisal.submods.items()}
    return {"tier": appraisal.tier, "policy": appraisal.revision, "submods": modules}


def _nobody(tenant: str, source: str) -> Principal:
    """All strangers have one share between them."""
    return Principal(
        tenant=tenant, principal_id="", name="", kind="", roles=frozenset(), jurisdiction="", purposes=frozenset(),
        purpose="", session=None, access_key_id="", source=source, authenticator="none",
    )  # fmt: skip


def _not_attested() -> Denied:
    return Denied("AccessDenied", "Not attested", rule="kbs.not-attested", remedy="attest first")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
