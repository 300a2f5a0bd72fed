"""Public keys that Trustee's clients attest: P-256, P-521 and RSA, as JWK (RFC 7517, 7518) with `alg`.

    {"kty":"EC","crv":"P-256" | "P-521","alg":"ECDH-ES+A256KW","x","y"}
    {"kty":"RSA","alg":"RSA-OAEP-256","n","e"}

Exactly these fields. RSA1_5 is refused: its padding can be asked about. So are keys beside the usual sizes.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP521R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from vault.attest.claims import Refusal, refuse

TeeKey = EllipticCurvePublicKey | RSAPublicKey
ECDH, OAEP = "ECDH-ES+A256KW", "RSA-OAEP-256"
_CURVES = {"P-256": (SECP256R1(), 32), "P-521": (SECP521R1(), 66)}
_EC_FIELDS = {"kty", "crv", "alg", "x", "y"}
_RSA_FIELDS = {"kty", "alg", "n", "e"}
_RSA_BITS = {2048, 3072, 4096}
_EXPONENT = 65537


def load_tee_key(jwk: Mapping[str, Any]) -> TeeKey:
    """The key, checked: a point on its curve, or an RSA modulus of 2048, 3072 or 4096 bits with exponent 65537.

    `Refused("attest.key")`.
    """
    if jwk.get("kty") == "EC" and set(jwk) == _EC_FIELDS:
        return _elliptic(jwk)
    if jwk.get("kty") == "RSA" and set(jwk) == _RSA_FIELDS:
        return _rsa(jwk)
    raise refuse(Refusal.KEY, "tee-pubkey is kty EC with crv, alg, x and y, or kty RSA with alg, n and e")


def tee_key_thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 thumbprint (base64url SHA-256), of a key that `load_tee_key` takes."""
    load_tee_key(jwk)
    names = ("crv", "kty", "x", "y") if jwk["kty"] == "EC" else ("e", "kty", "n")
    digest = hashlib.sha256(rfc8785.dumps({name: jwk[name] for name in names})).digest()
    return _base64url(digest)


def _elliptic(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    if jwk["alg"] != ECDH or not isinstance(jwk["crv"], str) or jwk["crv"] not in _CURVES:
        raise refuse(Refusal.KEY, f"{ECDH} on P-256 or P-521 expected")
    curve, length = _CURVES[jwk["crv"]]
    x, y = (_number(jwk[name], name, {length}) for name in ("x", "y"))
    try:
        return EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError as error:
        raise refuse(Refusal.KEY, "not a point on the curve") from error


def _rsa(jwk: Mapping[str, Any]) -> RSAPublicKey:
    if jwk["alg"] != OAEP:
        raise refuse(Refusal.KEY, f"{OAEP} expected")
    modulus = _number(jwk["n"], "n", {bits // 8 for bits in _RSA_BITS})
    # As many bits as bytes say: leading zeroes would hide a short modulus, or spell one of another length.
    if modulus.bit_length() != 6 * len(jwk["n"]) // 8 * 8 or not modulus & 1:
        raise refuse(Refusal.KEY, "RSA modulus")
    if _number(jwk["e"], "e", {3}) != _EXPONENT:
        raise refuse(Refusal.KEY, "RSA of 2048, 3072 or 4096 bits with exponent 65537 expected")
    try:
        return RSAPublicNumbers(_EXPONENT, modulus).public_key()
    except ValueError as error:
        raise refuse(Refusal.KEY, "no RSA key") from error


def _number(text: object, name: str, lengths: set[int]) -> int:
    """Base64url of exactly so many bytes in its one spelling: two spellings would be two thumbprints of one key."""
    if not isinstance(text, str) or len(text) > 700:
        raise refuse(Refusal.KEY, name)
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.KEY, f"{name} is not base64url") from error
    if len(raw) not in lengths or _base64url(raw) != text:
        raise refuse(Refusal.KEY, f"{name} is not {' or '.join(map(str, sorted(lengths)))} bytes in the one spelling")
    return int.from_bytes(raw, "big")


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
