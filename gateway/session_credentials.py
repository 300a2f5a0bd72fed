"""A session's credentials, and the envelope that only the attested key opens."""

import json
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.errors import BadRequest
from gateway.identity.principal import SessionClaims
from gateway.identity.tokens import encode_claims, session_access_key_id, session_secret
from gateway.record import rfc3339
from vault.keys.secrets import seal_token

_HEADER = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}


def credentials_of(token_key: bytes, claims: SessionClaims) -> dict[str, str]:
    """As AWS SDKs name them. Derived each time; nobody keeps them."""
    return {
        "access_key_id": session_access_key_id(claims.session_id),
        "secret_access_key": session_secret(token_key, claims.session_id),
        "session_token": seal_token(token_key, encode_claims(claims)),
        "expiration": rfc3339(claims.expires_at),
    }


def sealed_credentials(token_key: bytes, claims: SessionClaims, recipient: ECKey) -> str:
    """A compact JWE that only the attested key opens: a copied answer is worth nothing elsewhere."""
    return jwe.encrypt_compact(_HEADER, json.dumps(credentials_of(token_key, claims)).encode(), recipient)


def recipient_of(key: dict[str, Any]) -> ECKey:
    """The caller's public P-256 key. A private one is refused: it would be known to two. Raises BadRequest."""
    if key.get("kty") != "EC" or key.get("crv") != "P-256" or "d" in key:
        raise BadRequest("InvalidKey", "key must be a public EC JWK on P-256", rule="attest.key",
                         remedy="send kty, crv, x and y only")  # fmt: skip
    try:
        return ECKey.import_key({name: key[name] for name in ("kty", "crv", "x", "y")})
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise BadRequest("InvalidKey", "key is not a valid P-256 public key", rule="attest.key",
                         remedy="send a fresh JWK") from error  # fmt: skip
