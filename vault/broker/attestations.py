"""From a nonce to a sealed session: what the broker does with evidence, whichever protocol it came by.

The order matters. The nonce is consumed first, in one statement, so evidence that fails has spent it. Then who asked,
which key, what the evidence proves, whether any of it was revoked, and for a session that goes on whether it is still
the same machine. Only then is anything sealed.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vault.attest.binding import Binding, ExpectedBinding, additional_digest, key_thumbprint
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.continuity import refuse_weaker
from vault.attest.verifier import Verifiers
from vault.broker.checks import ReleaseChecks
from vault.broker.client_certificates import SessionAuthority
from vault.broker.ports import BrokerCatalog, ChallengeFacts, Clock, SessionFacts
from vault.broker.revocations import Revocations
from vault.broker.sessions import OPENING_TIERS, SESSION_MS, SealedSession, SessionSeal
from vault.broker.tpm_office import TpmOffice
from vault.broker.types import Attested, Challenge
from vault.errors import Malformed

CHALLENGE_MS = 120_000
MAX_SCOPE = 256


@dataclass(frozen=True, slots=True)
class AttestationParts:
    """What the broker lends. `development`: evidence that proves nothing is taken."""

    catalog: BrokerCatalog
    verifiers: Verifiers
    checks: ReleaseChecks
    revocations: Revocations
    seal: SessionSeal
    authority: SessionAuthority
    tpm: TpmOffice | None
    clock: Clock
    development: bool


class Attestations:
    """Refusals are recorded by the broker around it."""

    def __init__(self, parts: AttestationParts) -> None:
        self._parts = parts
        self._catalog = parts.catalog
        self._clock = parts.clock

    def challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        """`Malformed("attest.challenge")` unless all is named."""
        if not principal_id or not purpose or not gateway or not 0 < len(set(scope)) <= MAX_SCOPE:
            raise Malformed("attest.challenge", f"a principal, a purpose, a gateway, 1 to {MAX_SCOPE} datasets")
        challenge = Challenge(secrets.token_hex(32), self._clock() + CHALLENGE_MS)
        self._catalog.add_challenge(
            nonce=challenge.nonce, principal_id=principal_id, purpose=purpose, scope=tuple(sorted(set(scope))),
            gateway=gateway, expires_at=challenge.expires_at,
        )  # fmt: skip
        return challenge

    def attest(
        self, nonce: str, kind: str, evidence: dict[str, Any], public_jwk: dict[str, Any], principal_id: str,
        session_id: str | None, additional: Sequence[Mapping[str, Any]], *, source: str, bind_key: bool,
    ) -> Attested:  # fmt: skip
        """As `KeyBroker.attest`."""
        now = self._clock()
        issued = self._catalog.consume_challenge(nonce, now)
        if issued is None or issued.nonce != nonce or issued.profile:
            raise refuse(Refusal.NONCE, "unknown, used, expired, or of another protocol")
        if issued.principal_id != principal_id:
            raise refuse(Refusal.PRINCIPAL, "the challenge was given to another principal")
        thumbprint = key_thumbprint(public_jwk)
        scope = tuple(issued.scope)
        expected = ExpectedBinding(
            nonce, issued.gateway, thumbprint, issued.purpose, scope, additional_digest(additional)
        )
        document = self.judged(principal_id, kind, evidence, additional, expected, now)
        expires_at, begun, bound_key = now + SESSION_MS, session_id is None, thumbprint if bind_key else ""
        if session_id is not None:
            row = self._check_same_session(session_id, issued, thumbprint, document)
            expires_at, bound_key = row.expires_at, row.bound_key  # what it is bound by is settled when it begins
        made = self._seal(
            session_id or secrets.token_hex(16), issued, thumbprint, document, expires_at,
            "" if bound_key else source, bound_key,
        )  # fmt: skip
        if not (bound_key and begun):
            return made
        return replace(made, certificate=self._parts.authority.issue(public_jwk, made.session_id, now, expires_at))

    def judged(
        self, principal_id: str, kind: str, evidence: Mapping[str, Any], additional: Sequence[Mapping[str, Any]],
        expected: Binding, now: int,
    ) -> dict[str, Any]:  # fmt: skip
        """The claims of a machine and its devices, as a session keeps them; what was revoked has none."""
        claims = self._parts.verifiers.verify(kind, evidence, expected, now)
        if self._parts.tpm is not None:
            self._parts.tpm.seen(principal_id, claims)
        devices = self._parts.verifiers.verify_devices(additional, expected, now)
        if not self._parts.development and any(found.synthetic_only for found in (claims, *devices)):
            raise refuse(Refusal.POSTURE, "such evidence is for development")
        document = claims.as_document()
        if devices:
            _check_distinct(devices)
            document["devices"] = [device.as_document() for device in devices]
            # The broker's check 6 and the doctrine look here: one device of no worth is the session's worth.
            document["synthetic_only"] = any(found.synthetic_only for found in (claims, *devices))
        if self._parts.revocations.found(principal_id, document) is not None:
            raise refuse(Refusal.REVOKED, "principal, platform or measurement")
        return document

    def _check_same_session(
        self, session_id: str, issued: ChallengeFacts, thumbprint: str, claims: dict[str, Any]
    ) -> SessionFacts:
        row = self._catalog.find_session(session_id)
        if row is None or row.session_id != session_id:
            raise refuse(Refusal.SESSION, "no such session")
        self._parts.checks.check_session_row(row)
        if (row.principal_id, row.purpose, tuple(row.scope)) != (
            issued.principal_id, issued.purpose, tuple(issued.scope),
        ):  # fmt: skip
            raise refuse(Refusal.SESSION, "another principal, purpose or scope than the session's")
        if row.key_thumbprint != thumbprint:
            raise refuse(Refusal.KEY, "another key than the session's")
        refuse_weaker(dict(row.claims), claims)
        return row

    def begun(self, issued: ChallengeFacts, thumbprint: str, claims: dict[str, Any], now: int, source: str) -> Attested:
        """A new session of claims that were judged, bound to `source`."""
        return self._seal(secrets.token_hex(16), issued, thumbprint, claims, now + SESSION_MS, source, "")

    def _seal(
        self, session_id: str, issued: ChallengeFacts, thumbprint: str, claims: dict[str, Any], expires_at: int,
        bound_source: str, bound_key: str,
    ) -> Attested:  # fmt: skip
        attested_at, scope = self._clock(), tuple(issued.scope)
        seals = {
            tier: self._parts.seal.seal(
                SealedSession(
                    session_id=session_id, principal_id=issued.principal_id, purpose=issued.purpose, scope=scope,
                    kind="attested", claims=claims, key_thumbprint=thumbprint, attested_at=attested_at,
                    expires_at=expires_at, tier=tier, bound_source=bound_source, bound_key=bound_key,
                )
            )
            for tier in OPENING_TIERS
        }  # fmt: skip
        return Attested(
            session_id, claims, attested_at, expires_at, seals, thumbprint, issued.purpose, scope, bound_source,
            bound_key,
        )  # fmt: skip


def _check_distinct(devices: Sequence[Claims]) -> None:
    """One GPU that is shown eight times is not eight: what counts devices would count it so."""
    named = [device.platform["device"] for device in devices if device.platform.get("device")]
    if len(set(named)) != len(named):
        raise refuse(Refusal.BINDING, "a device is shown twice")
