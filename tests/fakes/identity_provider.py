"""Identity providers of our own making: keys, key sets and tokens that say whatever a test wants.

provider = IdentityProvider("https://id.example")          # an RSA and an EC key
provider.token({"sub": "ci", "aud": "demesne"}, now)        # signed; exp, iat added
provider.file("ci", subjects=[…])                           # the bytes of identity-issuers.json
"""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

AUDIENCE = "demesne-de"
_HASHES: dict[str, Any] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_RSA: dict[int, rsa.RSAPrivateKey] = {}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def rsa_key(number_of_key: int = 0) -> rsa.RSAPrivateKey:
    """Made once for all tests of a run: making one takes longer than most tests."""
    if number_of_key not in _RSA:
        _RSA[number_of_key] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _RSA[number_of_key]


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": number(numbers.n), "e": number(numbers.e), **more}


def ec_jwk(key: ec.EllipticCurvePrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    numbers, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
    curve = {256: "P-256", 384: "P-384", 521: "P-521"}[key.key_size]
    found = {
        "kty": "EC",
        "kid": kid,
        "use": "sig",
        "crv": curve,
        "x": number(numbers.x, size),
        "y": number(numbers.y, size),
    }
    return found | more


class IdentityProvider:
    def __init__(self, iss: str = "https://id.example", *, generation: int = 0) -> None:
        self.iss = iss
        self.rsa = rsa_key(generation)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.rsa_kid, self.ec_kid = f"rsa-{generation}", f"ec-{generation}"

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [rsa_jwk(self.rsa, self.rsa_kid), ec_jwk(self.ec, self.ec_kid)]}

    def claims(self, now_s: int, **claims: Any) -> dict[str, Any]:
        """What an honest token says; a claim that is given as None is left out."""
        usual = {"iss": self.iss, "sub": "ci", "aud": AUDIENCE, "iat": now_s, "exp": now_s + 600}
        return {name: value for name, value in (usual | claims).items() if value is not None}

    def token(
        self, claims: dict[str, Any] | bytes, *, alg: str = "RS256", header: dict[str, Any] | None = None,
        raw_header: bytes | None = None,
    ) -> str:  # fmt: skip
        """Signed by the key that `alg` is for, under this header (None: alg, kid, typ)."""
        kid = self.ec_kid if alg.startswith("ES") else self.rsa_kid
        told = {"alg": alg, "kid": kid, "typ": "JWT"} | (header or {})
        told = {name: value for name, value in told.items() if value is not None}
        head = raw_header if raw_header is not None else json.dumps(told).encode()
        body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = f"{b64(head)}.{b64(body)}"
        return f"{signed}.{b64(self.signature(signed.encode(), alg))}"

    def signature(self, message: bytes, alg: str) -> bytes:
        chosen = _HASHES[alg[2:]]()
        if alg.startswith("ES"):
            r, s = decode_dss_signature(self.ec.sign(message, ec.ECDSA(chosen)))
            size = (self.ec.key_size + 7) // 8
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if alg.startswith("PS"):
            return self.rsa.sign(message, padding.PSS(padding.MGF1(chosen), chosen.digest_size), chosen)
        return self.rsa.sign(message, padding.PKCS1v15(), chosen)

    def issuer(self, name: str = "ci", **members: Any) -> dict[str, Any]:
        """An entry of identity-issuers.json with the keys pinned; a member given as None is left out."""
        usual = {
            "name": name, "kind": "oidc", "issuer": self.iss, "algorithms": ["RS256", "ES256"],
            "audiences": [AUDIENCE], "jwks": self.jwks,
            "subjects": [{"subject": "ci", "principal": "analyst", "purposes": ["analytics"]}],
        }  # fmt: skip
        return {name: value for name, value in (usual | members).items() if value is not None}


def issuers_file(
    *issuers: dict[str, Any], issued: str = "2026-01-01T00:00:00Z", expires: str = "2027-01-01T00:00:00Z"
) -> bytes:
    """identity-issuers.json."""
    return json.dumps(
        {"schema": "demesne.trust.identity-issuers/1", "issued": issued, "expires": expires, "issuers": list(issuers)}
    ).encode()
