"""Attested sessions: challenge → evidence → verify → appraise → credentials encrypted to the attested key.

The broker issues nonces, verifies evidence and seals the result; this process can neither mint a session
nor refresh one. The doctrine appraises the claims and decides whether the purpose may be acted for.
Protocol: docs/spec/attested-session.md.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.decide.doctrine import DoctrineUnavailable
from gateway.errors import BadRequest, Denied, NotFound, Unavailable
from gateway.guard import Guard
from gateway.identity.principal import Principal, SessionClaims
from gateway.identity.tokens import encode_claims, session_access_key_id, session_secret
from gateway.record import rfc3339
from vault.broker.types import Attested, KeyBroker
from vault.catalog.catalog import Catalog
from vault.catalog.rows import SessionRow
from vault.errors import NotFound as RowNotFound
from vault.keys.secrets import seal_token

NOTICE = (
    "SAMPLE ATTESTATION: no hardware vouches for this job. It opens raw rows of synthetic-flagged datasets "
    "in a development posture only, and nothing anywhere else."
)


@dataclass(frozen=True, slots=True)
class OpenedSession:
    session_id: str
    run_id: str
    purpose: str
    fresh_seconds: int
    expires_at: int
    notice: str | None
    credentials: str


class Sessions:
    """Opens, refreshes and ends sessions of one zone."""

    def __init__(
        self, guard: Guard, catalog: Catalog, broker: KeyBroker, *, gateway_id: str, token_key: bytes,
        freshness_seconds: int, run_window_ms: int, posture: str, forget_keys: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._guard = guard
        self._catalog = catalog
        self._broker = broker
        self._gateway_id = gateway_id
        self._token_key = token_key
        self._freshness_seconds = freshness_seconds
        self._run_window_ms = run_window_ms
        self._posture = posture
        self._forget_keys = forget_keys

    async def challenge(
        self, principal: Principal, purpose: str, scope: list[str], request_id: str
    ) -> dict[str, Any]:
        """A nonce for one attestation of this caller, purpose and scope. Raises Denied for a purpose not granted."""
        await self._only_to_renew(principal, purpose, scope)
        await self._may_act_for(principal, purpose, request_id)
        made = await self._guard.blocking(
            self._broker.challenge, principal.principal_id, purpose, sorted(set(scope)), self._gateway_id
        )
        return {
            "nonce": made.nonce, "gateway": self._gateway_id, "expires_at": rfc3339(made.expires_at),
            "purpose": purpose, "scope": sorted(set(scope)),
        }  # fmt: skip

    async def open(
        self, principal: Principal, *, nonce: str, kind: str, evidence: dict[str, Any], key: dict[str, Any],
        purpose: str, scope: list[str], run: str | None, request_id: str,
        additional: Sequence[dict[str, Any]] = (),
    ) -> OpenedSession:  # fmt: skip
        """Verify, appraise, issue. Every refusal is on record before it is answered."""
        if principal.session is not None:
            raise await self._from_session(principal, principal.session)
        recipient = _recipient(key)
        acting = await self._may_act_for(principal, purpose, request_id)
        attested = await self._attest(principal, nonce, kind, evidence, key, None, additional)
        if (attested.purpose, attested.scope) != (purpose, tuple(sorted(set(scope)))):
            # The request's own words are not evidence: what the challenge fixed and the evidence is bound to counts.
            await self._record("session", principal, session=attested.session_id, tier="none", allow=False,
                               codes=["attest.binding"])  # fmt: skip
            raise Denied("AttestationRefused", "The evidence is for another purpose or scope", rule="attest.binding",
                         remedy="open the session for what the challenge was asked for")  # fmt: skip
        tier = await self._appraise(principal, attested, scope)
        now = self._guard.clock()
        run_id = await self._guard.blocking(
            self._catalog.ensure_run, principal.principal_id, purpose, run or "", _workload(attested),
            self._run_window_ms,
        )  # fmt: skip
        expires_at = attested.expires_at  # under an hour, AWS SDKs ask again on every request: freshness bounds it
        claims = SessionClaims(
            attested.session_id, purpose, tuple(sorted(set(scope))), run_id, "attested", expires_at
        )
        row = SessionRow(
            tenant=acting.tenant, session_id=attested.session_id, principal_id=acting.principal_id, purpose=purpose,
            scope=claims.scope, kind="attested", tier=tier, claims=attested.claims,
            key_thumbprint=attested.key_thumbprint, run_id=run_id, attested_at=attested.attested_at,
            expires_at=expires_at, revoked_at=None, attestation_seal=attested.seals[tier], created_at=now,
        )  # fmt: skip
        await self._record("session", principal, session=row.session_id, tier=tier, evidence=kind, run=run_id,
                           run_name=run or "", purpose=purpose, scope=list(claims.scope))  # fmt: skip
        await self._guard.blocking(self._catalog.insert_session, row)
        return OpenedSession(
            row.session_id, run_id, purpose, self._freshness_seconds, expires_at,
            NOTICE if attested.claims.get("synthetic_only") else None,
            self._sealed_credentials(claims, recipient),
        )  # fmt: skip

    async def reattest(
        self, principal: Principal, session_id: str, *, nonce: str, kind: str, evidence: dict[str, Any],
        key: dict[str, Any], additional: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Prove the same key again; freshness starts anew. May not weaken platform or measurement."""
        row = await self._own(principal, session_id)
        if row.revoked_at is not None:
            raise Denied("AccessDenied", "This session was revoked", rule="session.revoked", remedy="attest anew")
        attested = await self._attest(principal, nonce, kind, evidence, key, session_id, additional)
        tier = await self._appraise(principal, attested, list(row.scope))
        await self._record("reattest", principal, session=session_id, tier=tier, evidence=kind)
        await self._guard.blocking(
            self._catalog.refresh_session, session_id, attested_at=attested.attested_at, tier=tier,
            claims=attested.claims, attestation_seal=attested.seals[tier],
        )  # fmt: skip
        self._guard.facts.forget_session(session_id)
        return {"attested_at": rfc3339(attested.attested_at), "fresh_seconds": self._freshness_seconds}

    async def revoke(self, principal: Principal, session_id: str) -> None:
        """End a session: its owner or a steward may. Open streams end within seconds."""
        row = await self._own(principal, session_id)
        await self._record("revocation", principal, session=row.session_id)
        await self._guard.blocking(self._broker.revoke_session, session_id)
        await self._guard.blocking(self._catalog.revoke_session, session_id)
        self._guard.facts.forget_session(session_id)
        self._forget_keys(session_id)

    async def _may_act_for(self, principal: Principal, purpose: str, request_id: str) -> Principal:
        acting = replace(principal, purpose=purpose)
        await self._guard.admit(acting, "session", request_id=request_id, interface="api")
        return acting

    async def _attest(
        self, principal: Principal, nonce: str, kind: str, evidence: dict[str, Any], key: dict[str, Any],
        session_id: str | None, additional: Sequence[dict[str, Any]],
    ) -> Attested:  # fmt: skip
        try:
            return await self._guard.blocking(
                self._broker.attest, nonce, kind, evidence, key, principal.principal_id, session_id,
                additional,
            )  # fmt: skip
        except Denied as refusal:
            raise Denied(
                "AttestationRefused", "The evidence was refused", rule=refusal.rule,
                remedy="ask for a new challenge and attest again; `demesne attest inspect` explains evidence",
            ) from refusal  # fmt: skip

    async def _appraise(self, principal: Principal, attested: Attested, scope: list[str]) -> str:
        document = {
            "claims": attested.claims,
            "posture": self._posture,
            "dataset_scope": await self._guard.blocking(self._scope_facts, scope),
        }
        try:
            appraisal = await self._guard.doctrine.appraise(document)
        except DoctrineUnavailable as error:
            raise Unavailable("ServiceUnavailable", "The doctrine did not appraise the evidence", rule=error.code,
                              remedy="try again", retry_after=1) from error  # fmt: skip
        if appraisal.tier in attested.seals:
            return appraisal.tier
        reason = appraisal.reasons[0] if appraisal.reasons else None
        await self._record("session", principal, session=attested.session_id, tier=appraisal.tier, allow=False,
                           codes=[r.code for r in appraisal.reasons])  # fmt: skip
        raise Denied(
            "AttestationRefused", reason.message if reason else "This machine is not one the doctrine trusts",
            rule=reason.code if reason else "attestation.tier",
            remedy=reason.remedy if reason else "ask the compliance team which platforms are trusted",
        )  # fmt: skip

    def _scope_facts(self, scope: list[str]) -> list[dict[str, Any]]:
        found = []
        for name in sorted(set(scope)):
            try:
                row = self._catalog.dataset(name)
            except RowNotFound:
                found.append({"name": name, "synthetic": False})
            else:
                found.append({"name": name, "synthetic": row.synthetic})
        return found

    async def _own(self, principal: Principal, session_id: str) -> SessionRow:
        row = await self._guard.blocking(self._catalog.find_session, session_id)
        owns = row is not None and (row.principal_id == principal.principal_id or "steward" in principal.roles)
        # A session's credentials reach that session alone: stolen ones must not end or renew the others.
        if row is None or not owns or (principal.session is not None and principal.session.session_id != session_id):
            raise NotFound("NoSuchSession", "No session of that id is yours", remedy="attest anew")
        return row

    async def _only_to_renew(self, principal: Principal, purpose: str, scope: list[str]) -> None:
        """A session may ask for a challenge for exactly what it is, to attest again, and only until it is revoked:
        otherwise who steals one turns it into others, of any purpose its principal has, and outlives revocation."""
        if principal.session is None:
            return
        row = await self._own(principal, principal.session.session_id)
        if row.revoked_at is not None or (row.purpose, row.scope) != (purpose, tuple(sorted(set(scope)))):
            raise await self._from_session(principal, principal.session)

    async def _from_session(self, principal: Principal, session: SessionClaims) -> Denied:
        """The refusal, after it is on record."""
        await self._record("session", principal, session=session.session_id, tier="none", allow=False,
                           codes=["session.from-session"])  # fmt: skip
        return Denied(
            "AccessDenied", "A session opens no other session", rule="session.from-session",
            remedy="attest with the principal's own credentials",
        )  # fmt: skip

    async def _record(self, what: str, principal: Principal, **fields: Any) -> None:
        recorder = self._guard.recorder
        entry = recorder.event(
            what, self._guard.clock(), principal=recorder.principal(principal.principal_id), **fields
        )
        await self._guard.append(entry)

    def _sealed_credentials(self, claims: SessionClaims, recipient: ECKey) -> str:
        """A compact JWE that only the attested key opens: a copied answer is worth nothing elsewhere."""
        document = {
            "access_key_id": session_access_key_id(claims.session_id),
            "secret_access_key": session_secret(self._token_key, claims.session_id),
            "session_token": seal_token(self._token_key, encode_claims(claims)),
            "expiration": rfc3339(claims.expires_at),
        }
        header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
        return jwe.encrypt_compact(header, json.dumps(document).encode(), recipient)


def _workload(attested: Attested) -> str:
    """What software it is, as attested: unnamed runs of one principal are told apart by it, and not by the key,
    which is new each time and would let a job shed what its last session read."""
    return hashlib.sha256(str(attested.claims.get("measurement", "")).encode()).hexdigest()


def _recipient(key: dict[str, Any]) -> ECKey:
    """The caller's public P-256 key. A private one is refused: it would be known to two."""
    if key.get("kty") != "EC" or key.get("crv") != "P-256" or "d" in key:
        raise BadRequest("InvalidKey", "key must be a public EC JWK on P-256", remedy="send kty, crv, x and y only")
    try:
        return ECKey.import_key({name: key[name] for name in ("kty", "crv", "x", "y")})
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise BadRequest("InvalidKey", "key is not a valid P-256 public key", remedy="send a fresh JWK") from error
