"""Attested sessions: challenge → evidence → verify → appraise → credentials encrypted to the attested key.

The broker issues nonces, verifies evidence and seals the result; this process can neither mint a session
nor refresh one. The doctrine appraises the claims and decides whether the purpose may be acted for.
Protocol: docs/spec/attested-session.md.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.attesting import Attesting, References
from gateway.errors import BadRequest, Denied, NotFound
from gateway.guard import Guard
from gateway.identity.principal import Principal, SessionClaims
from gateway.identity.tokens import vouched_purposes
from gateway.record import rfc3339
from gateway.session_credentials import recipient_of, sealed_credentials
from vault.broker.types import Attested, KeyBroker
from vault.catalog.catalog import Catalog
from vault.catalog.rows import SessionRow

NOTICE = (
    "SAMPLE ATTESTATION: no hardware vouches for this job. It opens raw rows of synthetic-flagged datasets "
    "in a development posture only, and nothing anywhere else."
)
Bind = Literal["source", "certificate"]


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """`certificate`: PEM, for the attested key, of a session that is bound to it; else empty."""

    session_id: str
    run_id: str
    purpose: str
    fresh_seconds: int
    expires_at: int
    notice: str | None
    credentials: str
    bound_to: Bind = "source"
    certificate: str = ""


class Sessions:
    """Opens, refreshes and ends sessions of one zone."""

    def __init__(
        self, guard: Guard, catalog: Catalog, broker: KeyBroker, *, gateway_id: str, token_key: bytes,
        freshness_seconds: int, run_window_ms: int, posture: str, forget_keys: Callable[[str], None],
        certificates: bool = False, references: References = tuple,
    ) -> None:  # fmt: skip
        """`certificates`: this gateway's own ports ask for client certificates, so sessions can be bound to one.
        `references`: the reference values in force now."""
        self._guard = guard
        self._catalog = catalog
        self._broker = broker
        self._gateway_id = gateway_id
        self._token_key = token_key
        self._freshness_seconds = freshness_seconds
        self._run_window_ms = run_window_ms
        self._forget_keys = forget_keys
        self._certificates = certificates
        self.attesting = Attesting(guard, catalog, broker, posture=posture, references=references)

    async def challenge(self, principal: Principal, purpose: str, scope: list[str], request_id: str) -> dict[str, Any]:
        """A nonce for one attestation of this caller, purpose and scope. Raises Denied for a purpose not granted."""
        names = sorted(set(scope))
        session_id = principal.session.session_id if principal.session else None
        async with self.attesting.attempt("session", principal, session_id):
            await self._only_to_renew(principal, purpose, names)
            # From anywhere: the evidence shows whether it is the machine, which may have moved.
            await self._may_act_for(principal, purpose, request_id, anywhere=True)
            made = await self.attesting.brokered(
                self._broker.challenge, principal.principal_id, purpose, names, self._gateway_id
            )
        return {
            "nonce": made.nonce, "gateway": self._gateway_id, "expires_at": rfc3339(made.expires_at),
            "purpose": purpose, "scope": names,
        }  # fmt: skip

    async def open(
        self, principal: Principal, *, nonce: str, kind: str, evidence: dict[str, Any], key: dict[str, Any],
        purpose: str, scope: list[str], run: str | None, request_id: str,
        additional: Sequence[dict[str, Any]] = (), bind: Bind = "source",
    ) -> OpenedSession:  # fmt: skip
        """Verify, appraise, issue. Every refusal is on record before it is answered."""
        session_id = principal.session.session_id if principal.session else None
        async with self.attesting.attempt("session", principal, session_id) as attempt:
            if _attested(principal):
                raise _from_session()
            if principal.session is not None:  # nonces are the principal's: this one may be of another's asking
                await self._check_vouched(principal.session.session_id, purpose)
            recipient = recipient_of(key)
            self._check_bindable(bind)
            acting = await self._may_act_for(principal, purpose, request_id)
            attested = await self.attesting.attest(
                principal, nonce, kind, evidence, key, None, additional, bind_key=bind == "certificate"
            )
            attempt.session = attested.session_id
            _check_asked_for(attested, purpose, scope)
            tier = await self.attesting.appraise(attempt, attested, scope)
        row = await self.begin(acting, attested, tier, kind, run, bind, attempt.submods)
        return OpenedSession(
            row.session_id, row.run_id, purpose, self._freshness_seconds, row.expires_at,
            NOTICE if attested.claims.get("synthetic_only") else None,
            sealed_credentials(self._token_key, claims_of(row), recipient), bind, attested.certificate,
        )  # fmt: skip

    async def begin(
        self, acting: Principal, attested: Attested, tier: str, kind: str, run: str | None, bind: Bind = "source",
        submods: Sequence[str] = (),
    ) -> SessionRow:  # fmt: skip
        """The session of what was verified and appraised, whichever protocol it came by: its run, record and row."""
        row = await self._row(acting, attested, tier, run)
        await self.attesting.record(
            "session", acting, session=row.session_id, tier=tier, evidence=kind, run=row.run_id,
            run_name=run or "", purpose=row.purpose, scope=list(row.scope), bound_to=bind,
            submods=list(submods),
        )  # fmt: skip
        await self._guard.blocking(self._catalog.insert_session, row)
        return row

    async def reattest(
        self, principal: Principal, session_id: str, *, nonce: str, kind: str, evidence: dict[str, Any],
        key: dict[str, Any], additional: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Prove the same key again; freshness starts anew, at the address this comes from. May not weaken platform or
        measurement."""
        async with self.attesting.attempt("reattest", principal, session_id) as attempt:
            await self._guard.check_own(principal, anywhere=True)
            row = await self._own(principal, session_id)
            if row.revoked_at is not None:
                raise Denied("AccessDenied", "This session was revoked", rule="session.revoked", remedy="attest anew")
            if principal.session is not None and not _attested(principal):
                await self._check_vouched(principal.session.session_id, row.purpose)
            attested = await self.attesting.attest(principal, nonce, kind, evidence, key, session_id, additional)
            try:
                tier = await self.attesting.appraise(attempt, attested, list(row.scope))
            except Denied:
                # What the doctrine trusts no more must not read on until its last attestation lapses.
                await self._end(session_id)
                raise
            moved = {"moved": True} if attested.bound_source != row.bound_source else {}
            await self.attesting.record("reattest", principal, session=session_id, tier=tier, evidence=kind,
                                        submods=attempt.submods, **moved)  # fmt: skip
            await self._guard.blocking(
                self._catalog.refresh_session, session_id, attested_at=attested.attested_at, tier=tier,
                claims=attested.claims, attestation_seal=attested.seals[tier], bound_source=attested.bound_source,
            )  # fmt: skip
        self._guard.facts.forget_session(session_id)
        return {"attested_at": rfc3339(attested.attested_at), "fresh_seconds": self._freshness_seconds}

    async def revoke(self, principal: Principal, session_id: str, request_id: str = "") -> None:
        """End a session: its owner may, and who may revoke. Open streams end within seconds."""
        await self._guard.check_own(principal, request_id)
        row = await self._guard.blocking(self._catalog.find_session, session_id)
        if row is None or not _owns(principal, row):
            if row is None or principal.session is not None:
                raise _no_such_session()
            await self._may_revoke(principal, request_id)
        await self.attesting.record("revocation", principal, session=row.session_id)
        await self._end(session_id)

    async def _end(self, session_id: str) -> None:
        await self._guard.blocking(self._broker.revoke_session, session_id)
        await self._guard.blocking(self._catalog.revoke_session, session_id)
        self._guard.facts.forget_session(session_id)
        self._forget_keys(session_id)

    async def _may_revoke(self, principal: Principal, request_id: str) -> None:
        """Whether sessions of others are the caller's to see and end. NotFound for who may not: nothing is said of
        which there are."""
        try:
            await self._guard.admit(principal, "revoke", request_id=request_id, interface="api")
        except Denied as refusal:
            raise _no_such_session(refusal.decision_id) from refusal

    async def _may_act_for(
        self, principal: Principal, purpose: str, request_id: str, *, anywhere: bool = False
    ) -> Principal:
        acting = replace(principal, purpose=purpose)
        await self._guard.admit(acting, "session", request_id=request_id, interface="api", anywhere=anywhere)
        return acting

    async def _row(self, acting: Principal, attested: Attested, tier: str, run: str | None) -> SessionRow:
        run_id = await self._guard.blocking(
            self._catalog.ensure_run, acting.principal_id, attested.purpose, run or "", _workload(attested),
            self._run_window_ms,
        )  # fmt: skip
        return SessionRow(
            tenant=acting.tenant, session_id=attested.session_id, principal_id=acting.principal_id,
            purpose=attested.purpose, scope=attested.scope, kind="attested", tier=tier, claims=attested.claims,
            key_thumbprint=attested.key_thumbprint, run_id=run_id, attested_at=attested.attested_at,
            # Under an hour, AWS SDKs ask again on every request: freshness bounds it.
            expires_at=attested.expires_at, revoked_at=None, attestation_seal=attested.seals[tier],
            created_at=self._guard.clock(), bound_source=attested.bound_source, bound_key=attested.bound_key,
        )  # fmt: skip

    async def _own(self, principal: Principal, session_id: str) -> SessionRow:
        row = await self._guard.blocking(self._catalog.find_session, session_id)
        if row is None or not _owns(principal, row):
            raise _no_such_session()
        return row

    async def _only_to_renew(self, principal: Principal, purpose: str, scope: list[str]) -> None:
        """A session may ask for a challenge for exactly what it is, to attest again, and only until it is revoked:
        otherwise who steals one turns it into others, of any purpose its principal has, and outlives revocation."""
        if principal.session is None:
            return
        if not _attested(principal):
            await self._check_vouched(principal.session.session_id, purpose)
            return
        row = await self._own(principal, principal.session.session_id)
        if row.revoked_at is not None or (row.purpose, row.scope) != (purpose, tuple(scope)):
            raise _from_session()

    async def _check_vouched(self, session_id: str, purpose: str) -> None:
        """An identity session opens attested ones of the purposes that its identity provider's entry names."""
        row = await self._guard.blocking(self._catalog.find_session, session_id)
        if row is None or purpose not in vouched_purposes(self._token_key, row):
            raise _from_session()

    def _check_bindable(self, bind: Bind) -> None:
        if bind == "certificate" and not self._certificates:
            raise BadRequest(
                "InvalidArgument", "bind: this gateway does not end TLS itself and sees no client certificates",
                rule="session.no-certificates", remedy="bind to the source address, or give the gateway a certificate",
            )  # fmt: skip


def claims_of(row: SessionRow) -> SessionClaims:
    """What the session's token says."""
    return SessionClaims(row.session_id, row.purpose, row.scope, row.run_id, "attested", row.expires_at)


def _attested(principal: Principal) -> bool:
    return principal.session is not None and principal.session.kind == "attested"


def _owns(principal: Principal, row: SessionRow) -> bool:
    """A session's credentials reach that session alone: stolen ones must not end or renew the others."""
    if row.principal_id != principal.principal_id:
        return False
    return principal.session is None or not _attested(principal) or principal.session.session_id == row.session_id


def _check_asked_for(attested: Attested, purpose: str, scope: Sequence[str]) -> None:
    """The request's own words are not evidence: what the challenge fixed and the evidence is bound to counts."""
    if (attested.purpose, attested.scope) != (purpose, tuple(sorted(set(scope)))):
        raise Denied("AttestationRefused", "The evidence is for another purpose or scope", rule="attest.binding",
                     remedy="open the session for what the challenge was asked for")  # fmt: skip


def _no_such_session(decision_id: str | None = None) -> NotFound:
    return NotFound(
        "NoSuchSession", "No session of that id is yours", rule="session.unknown", decision_id=decision_id,
        remedy="attest anew",
    )  # fmt: skip


def _from_session() -> Denied:
    return Denied(
        "AccessDenied", "A session opens no other session", rule="session.from-session",
        remedy="attest with the principal's own credentials",
    )  # fmt: skip


def _workload(attested: Attested) -> str:
    """What software it is, as attested: unnamed runs of one principal are told apart by it, and not by the key,
    which is new each time and would let a job shed what its last session read."""
    return hashlib.sha256(str(attested.claims.get("measurement", "")).encode()).hexdigest()
