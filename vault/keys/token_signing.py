"""ES256 signatures over tokens of the zone (RFC 7515), by a key that follows from a secret of it.

Every broker of a zone has the same key without a file more; destroying the zone's root ends it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class TokenSigner:
    """Signs compact JWS with one P-256 key; shows only its public half."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 bytes for this use alone. 384 bits of it modulo the order: no scalar is likelier than others."""
        spread = hmac.digest(secret, b"demesne/token-signing/P-256/1", "sha384")
        self._key = derive_private_key(1 + int.from_bytes(spread, "big") % (_ORDER - 1), SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        public = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        self._kid = _base64url(hashlib.sha256(rfc8785.dumps(dict(public))).digest())
        self.jwk: Mapping[str, str] = {**public, "alg": "ES256", "kid": self._kid, "use": "sig"}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact JWS of these claims; its header names the algorithm and the key's RFC 7638 thumbprint."""
        header = {"alg": "ES256", "kid": self._kid, "typ": "JWT"}
        signed = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode("ascii"), ECDSA(SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def __repr__(self) -> str:
        return f"<TokenSigner {self._kid}>"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
