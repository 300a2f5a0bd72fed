"""Session tokens and derived secrets. The token carries immutable claims; the vault seals it, this file spells it.

Secrets are HMACs of the token key, labelled so that a session id can never be presented as a static key id.
"""

import base64
import hmac
import json

from gateway.identity.errors import Unauthenticated
from gateway.identity.principal import SessionClaims
from vault.catalog.rows import SessionRow

MAX_TOKEN_BYTES = 4096
_FIELDS = {"v", "session", "purpose", "scope", "run", "kind", "expires_at"}
_KINDS = ("attested", "identity")


def _derive(token_key: bytes, label: bytes, name: str) -> str:
    digest = hmac.digest(token_key, b"demesne/" + label + b"/1\x00" + name.encode("utf-8"), "sha256")
    return base64.urlsafe_b64encode(digest[:30]).decode("ascii")


def static_secret(token_key: bytes, access_key_id: str) -> str:
    """The secret access key of a static key: 40 characters."""
    return _derive(token_key, b"static-secret", access_key_id)


def session_secret(token_key: bytes, session_id: str) -> str:
    return _derive(token_key, b"session-secret", session_id)


def session_access_key_id(session_id: str) -> str:
    """The access key id of a session: recognisable, and a function of the session, so that it needs no table."""
    return "DSES" + session_id.upper()


def identity_seal(token_key: bytes, row: SessionRow) -> bytes:
    """32 bytes over what an identity session's row says and its token does not: who only writes the catalog cannot make
    it. The broker's seals are over another key: this one opens nothing."""
    said = (row.tenant, row.session_id, row.principal_id, row.purpose, row.kind, row.claims, row.expires_at)
    message = json.dumps(said, sort_keys=True, separators=(",", ":")).encode("ascii")
    return hmac.digest(token_key, b"demesne/identity-session/1\x00" + message, "sha256")


def vouched_purposes(token_key: bytes, row: SessionRow) -> frozenset[str]:
    """What an attested session may be opened for with these credentials: what the identity provider's entry allowed.
    None for a row that is not an identity session's, was revoked, or was edited."""
    if row.kind != "identity" or row.revoked_at is not None:
        return frozenset()
    if not hmac.compare_digest(identity_seal(token_key, row), row.attestation_seal):
        return frozenset()
    return frozenset(row.claims.get("purposes", ()))


def encode_claims(claims: SessionClaims) -> bytes:
    """Canonical JSON; one spelling for one set of claims."""
    document = {
        "v": 1,
        "session": claims.session_id,
        "purpose": claims.purpose,
        "scope": sorted(claims.scope),
        "run": claims.run_id,
        "kind": claims.kind,
        "expires_at": claims.expires_at,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def decode_claims(data: bytes) -> SessionClaims:
    """Strict: a closed schema, exact types, canonical spelling. Raises Unauthenticated "InvalidToken"."""
    try:
        document = json.loads(data)
    except ValueError:
        raise _malformed() from None
    if not isinstance(document, dict) or set(document) != _FIELDS or document["v"] != 1:
        raise _malformed()
    texts = [document[name] for name in ("session", "purpose", "run", "kind")]
    scope, expires_at = document["scope"], document["expires_at"]
    if not all(isinstance(text, str) for text in texts) or texts[3] not in _KINDS:
        raise _malformed()
    if not isinstance(scope, list) or not all(isinstance(name, str) for name in scope):
        raise _malformed()
    if type(expires_at) is not int:
        raise _malformed()
    claims = SessionClaims(texts[0], texts[1], tuple(scope), texts[2], texts[3], expires_at)
    if encode_claims(claims) != data:
        raise _malformed()
    return claims


def _malformed() -> Unauthenticated:
    return Unauthenticated("InvalidToken", "the session token is malformed")
