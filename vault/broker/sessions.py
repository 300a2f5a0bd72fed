"""The broker's own mark on attested sessions: nobody else can make one, extend one or change what it says.

The catalog row of a session is written by front workers. What decides over raw data in it (who, for what,
which datasets, which claims, which key, when last attested, until when, how the doctrine appraised it, and where its
credentials count) is sealed here, at the moment of verification, with a key that never leaves the broker process.

Appraising is the doctrine's part, and comes after: so the front worker is given one seal for each tier that opens
anything, and stores the one of the tier it got. Whoever edits the row later has not the other.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from vault.broker.ports import SessionFacts
from vault.errors import Malformed, Refused

SESSION_MS = 3_600_000
OPENING_TIERS = ("affirming", "warning")


@dataclass(frozen=True, slots=True)
class SealedSession:
    """The sealed part of a session row, in canonical field order."""

    session_id: str
    principal_id: str
    purpose: str
    scope: tuple[str, ...]
    kind: str
    claims: Mapping[str, Any]
    key_thumbprint: str
    attested_at: int
    expires_at: int
    tier: str
    bound_source: str = ""
    bound_key: str = ""


class SessionSeal:
    """HMAC-SHA-256 over "demesne/session-seal/1" NUL JCS(fields); tenant and zone are part of them."""

    def __init__(self, key: bytes, *, tenant: str, zone: str) -> None:
        self._key = key
        self._tenant = tenant
        self._zone = zone

    def seal(self, session: SealedSession) -> bytes:
        """32 bytes. `Malformed("session.claims")` for claims that JSON cannot say exactly."""
        document: dict[str, Any] = {
            "v": 1,
            "tenant": self._tenant,
            "zone": self._zone,
            "session_id": session.session_id,
            "principal_id": session.principal_id,
            "purpose": session.purpose,
            "scope": list(session.scope),
            "kind": session.kind,
            "claims": dict(session.claims),
            "key_thumbprint": session.key_thumbprint,
            "attested_at": session.attested_at,
            "expires_at": session.expires_at,
            "tier": session.tier,
            "bound_source": session.bound_source,
            "bound_key": session.bound_key,
        }
        try:
            message = rfc8785.dumps(document)
        except rfc8785.CanonicalizationError as error:
            raise Malformed("session.claims") from error
        return hmac.new(self._key, b"demesne/session-seal/1\x00" + message, hashlib.sha256).digest()

    def check(self, row: SessionFacts) -> None:
        """`Refused("session.seal")` unless this broker sealed exactly what the row says."""
        expected = self.seal(
            SealedSession(
                session_id=row.session_id,
                principal_id=row.principal_id,
                purpose=row.purpose,
                scope=tuple(row.scope),
                kind=row.kind,
                claims=row.claims,
                key_thumbprint=row.key_thumbprint,
                attested_at=row.attested_at,
                expires_at=row.expires_at,
                tier=row.tier,
                bound_source=row.bound_source,
                bound_key=row.bound_key,
            )
        )
        if not hmac.compare_digest(expected, row.attestation_seal):
            raise Refused("session.seal", "the row is not what was attested")
