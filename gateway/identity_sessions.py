"""Identity sessions: credentials for whoever an identity provider of the zone vouches for. They see views, nothing raw.

A token says who runs, never where: these sessions have kind "identity" and tier "none", whatever the token claims, and
no seal of the broker. What they may read is decided at each read, as for everybody. Format: docs/spec/web-identity.md.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from gateway.errors import BadRequest, GatewayError
from gateway.guard import Guard
from gateway.identity.principal import Principal, SessionClaims
from gateway.identity.tokens import encode_claims, identity_seal, session_access_key_id, session_secret
from gateway.identity.web_identity import WebIdentities
from gateway.identity.web_token import TokenRefused, WebIdentity
from gateway.limits import RefusalLimit, Shares
from gateway.s3.sts import DEFAULT_SECONDS, AssumedRole, RoleRequest
from vault.attest.identities import revocable
from vault.catalog.catalog import Catalog
from vault.catalog.rows import PrincipalRow, SessionRow
from vault.keys.secrets import seal_token

_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_OUR_ROLE = re.compile(r"arn:demesne:iam::([^:/]*):")


class IdentitySessions:
    """Implements `gateway.s3.sts.Roles` for one zone."""

    def __init__(
        self, guard: Guard, catalog: Catalog, identities: WebIdentities, *, token_key: bytes, run_window_ms: int,
        refusals: RefusalLimit | None = None, shares: Shares | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:  # fmt: skip
        self._guard = guard
        self._catalog = catalog
        self._identities = identities
        self._token_key = token_key
        self._run_window_ms = run_window_ms
        self._refusals = refusals
        self._shares = shares
        self._new_id = new_id

    async def assume(self, request: RoleRequest) -> AssumedRole:
        """One session, and one record of it; or one record of why not, once the issuer's signature held."""
        try:
            identity = await self._identities.identify(request.token)
        except TokenRefused as refusal:
            if refusal.issuer is not None:
                await self._refused(refusal, self._nobody(refusal.issuer.name), refusal.issuer.name, refusal.subject)
            raise
        named = await self._guard.blocking(self._catalog.principals_named, identity.rule.principal)
        row = named[0] if len(named) == 1 else None  # one name of two principals is nobody's
        caller = self._nobody(identity.issuer.name) if row is None else _principal(row)
        async with self._shares.under_way(caller) if self._shares else nullcontext():
            try:
                await self._guard.blocking(self._check_not_revoked, identity, row)
                seconds = _seconds(request, identity)
                owner, purpose = self._purpose(request, identity, row)
            except GatewayError as refusal:
                await self._refused(refusal, caller, identity.issuer.name, identity.subject)
                raise
            return await self._issue(request, identity, owner, purpose, seconds)

    def _purpose(
        self, request: RoleRequest, identity: WebIdentity, row: PrincipalRow | None
    ) -> tuple[PrincipalRow, str]:
        """The purpose that the role names, if the issuer's file and the principal allow it. One answer otherwise."""
        purpose = request.role_arn.rpartition("/")[2]
        ours = _OUR_ROLE.match(request.role_arn)
        refusal = TokenRefused(
            "AccessDenied", "identity.purpose", f"Not authorized to assume a role of the purpose {purpose[:64]!r}",
            issuer=identity.issuer, subject=identity.subject,
        )  # fmt: skip
        if row is None or not _PURPOSE.fullmatch(purpose) or (ours is not None and ours[1] != row.tenant):
            raise refusal
        if purpose not in identity.rule.purposes or purpose not in row.purposes:
            raise refusal
        return row, purpose

    def _check_not_revoked(self, identity: WebIdentity, row: PrincipalRow | None) -> None:
        """A revoked principal gets no new session; the ones it has end by themselves (`gateway.known_sessions`)."""
        if row is None:
            return
        revoked = {(found.what, found.value) for found in self._catalog.revocations()}
        if revoked & revocable(row.principal_id, {}):
            raise TokenRefused(
                "AccessDenied", "identity.revoked", "This identity is revoked", issuer=identity.issuer,
                subject=identity.subject,
            )  # fmt: skip

    async def _issue(
        self, request: RoleRequest, identity: WebIdentity, owner: PrincipalRow, purpose: str, seconds: int
    ) -> AssumedRole:
        now = self._guard.clock()
        # Named by the workload and not by the session: a job that renews must not shed what its last session read.
        run_id = await self._guard.blocking(
            self._catalog.ensure_run, owner.principal_id, purpose, "", _workload(identity), self._run_window_ms
        )
        claims = SessionClaims(self._new_id(), purpose, (), run_id, "identity", now + seconds * 1000)
        row = SessionRow(
            tenant=owner.tenant, session_id=claims.session_id, principal_id=owner.principal_id, purpose=purpose,
            scope=(), kind="identity", tier="none", claims=_claims(identity, owner), key_thumbprint="", run_id=run_id,
            attested_at=now, expires_at=claims.expires_at, revoked_at=None, attestation_seal=b"", created_at=now,
        )  # fmt: skip
        row = replace(row, attestation_seal=identity_seal(self._token_key, row))
        await self._record(
            self._guard.recorder.principal(owner.principal_id), session=claims.session_id, tier="none", run=run_id,
            evidence=identity.issuer.kind, issuer=identity.issuer.name, run_name="", purpose=purpose, scope=[],
        )  # fmt: skip
        await self._guard.blocking(self._catalog.insert_session, row)
        return AssumedRole(
            access_key_id=session_access_key_id(claims.session_id),
            secret_access_key=session_secret(self._token_key, claims.session_id),
            session_token=seal_token(self._token_key, encode_claims(claims)), expires_at=claims.expires_at,
            subject=identity.subject, audience=identity.audience, provider=identity.issuer.iss,
            role_id=f"{claims.session_id}:{request.session_name}",
            arn=f"arn:demesne:sts::{owner.tenant}:assumed-role/{purpose}/{request.session_name}",
        )  # fmt: skip

    async def _refused(self, refusal: GatewayError, caller: Principal, issuer: str, subject: str) -> None:
        """On record, once; of one principal, or of all strangers of one issuer together, only so many a minute.

        A public issuer signs for anybody: whoever has an account there could otherwise fill the ledger.
        """
        if self._refusals is not None:
            self._refusals.check(caller)
        whose = caller.principal_id if caller.name else f"{issuer}/{subject}"
        await self._record(
            self._guard.recorder.principal(whose), session=None, tier="none", allow=False, issuer=issuer,
            codes=[refusal.rule or refusal.code],
        )  # fmt: skip
        if self._refusals is not None:
            self._refusals.refused(caller)

    async def _record(self, principal: str, **fields: Any) -> None:
        entry = self._guard.recorder.event("session", self._guard.clock(), principal=principal, **fields)
        await self._guard.append(entry)

    def _nobody(self, issuer: str) -> Principal:
        """Everybody of an issuer whom no principal is known for, as the limits count them."""
        return Principal(
            tenant=self._catalog.tenant, principal_id=f"issuer/{issuer}", name="", kind="workload", roles=frozenset(),
            jurisdiction="", purposes=frozenset(), purpose="", session=None, access_key_id="",
        )  # fmt: skip


def _principal(row: PrincipalRow) -> Principal:
    return Principal(
        tenant=row.tenant, principal_id=row.principal_id, name=row.name, kind=row.kind, roles=frozenset(row.roles),
        jurisdiction=row.jurisdiction, purposes=frozenset(row.purposes), purpose="", session=None, access_key_id="",
    )  # fmt: skip


def _seconds(request: RoleRequest, identity: WebIdentity) -> int:
    most = identity.issuer.max_session_s
    if request.seconds is None:
        return min(DEFAULT_SECONDS, most)
    if request.seconds > most:
        raise BadRequest(
            "ValidationError", f"DurationSeconds: sessions of this identity provider last {most} at most",
            rule="identity.duration",
        )  # fmt: skip
    return request.seconds


def _workload(identity: WebIdentity) -> str:
    """Unnamed runs of one principal are told apart by the identity that reads."""
    return hashlib.sha256(f"{identity.issuer.name}\0{identity.subject}".encode()).hexdigest()


def _claims(identity: WebIdentity, owner: PrincipalRow) -> dict[str, Any]:
    """What the session row says: nothing of the token but what was checked, and never what the doctrine reads as a
    platform's. `purposes`: those an attested session may be opened for with these credentials."""
    return {
        "kind": identity.issuer.kind, "hardware": False, "synthetic_only": False, "issuer": identity.issuer.name,
        "workload": dict(identity.workload), "purposes": sorted(identity.rule.purposes & set(owner.purposes)),
    }  # fmt: skip
