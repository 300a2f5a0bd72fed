"""Compact JWS of a pinned issuer (RFC 7515, 7519, 8725), as strict as attestation can be read.

Keys come from the issuer's pinned set or a pinned root, never from where a token points: `jku`, `x5u`, `jwk`, `crit`
and `zip` refuse. Some issuers send `jku` or `x5c` all the same: their kinds say so, and neither is followed blindly.
"""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, RSAKey

from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object

MAX_TOKEN = 16 * 1024
CLOCK_SKEW_S = 60
_HEADERS = frozenset({"alg", "kid", "typ"})
_RSA_ALGORITHMS = {"RS256", "PS256", "RS384", "PS384"}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1"}
_MIN_RSA = 2048


class _Registry(jws.JWSRegistry):
    """Certificates in headers are longer than the library's 512 bytes; the token's own bound holds before."""

    max_header_length = MAX_TOKEN
    max_payload_length = 8 * MAX_TOKEN


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of an issuer, by the name that its tokens use (empty: it names none)."""

    kid: str
    key: RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token's parts before its signature was checked: what selects its key, and nothing else, is read from these."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    token: str


def parse_keys(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """Public RSA and EC keys of a JWK set or one JWK; `malformed` for secrets, `algorithm` for other kinds."""
    listed = document.get("keys", [document])
    if not isinstance(listed, list) or len(listed) > 64:
        raise refuse(Refusal.MALFORMED, "JWK set")
    return tuple(_key(jwk) for jwk in listed)


def _key(jwk: object) -> Key:
    if not isinstance(jwk, dict) or "d" in jwk or "k" in jwk:
        raise refuse(Refusal.MALFORMED, "a public JWK expected")
    try:
        if jwk.get("kty") == "RSA":
            return Key(str(jwk.get("kid", "")), RSAKey.import_key(jwk).public_key)
        if jwk.get("kty") == "EC":
            return Key(str(jwk.get("kid", "")), ECKey.import_key(jwk).public_key)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise refuse(Refusal.MALFORMED, f"JWK: {error}") from error
    raise refuse(Refusal.ALGORITHM, "kty of a JWK")


def parse_token(token: str, *, headers: Collection[str] = (), most: int = MAX_TOKEN) -> Unverified:
    """`Refused("attest.malformed")` for another form, or a header parameter that is not one of `headers` or usual."""
    if len(token) > most:
        raise refuse(Refusal.MALFORMED, f"token longer than {most}")
    parts = token.split(".")
    if len(parts) != 3:
        raise refuse(Refusal.MALFORMED, "no compact JWS")
    header = json_object(_part(parts[0]), "token header")
    unknown = set(header) - _HEADERS - set(headers)
    if unknown:
        raise refuse(Refusal.MALFORMED, f"header {min(unknown)[:32]}")
    claims = json_object(_part(parts[1]), "token claims")
    _part(parts[2])
    return Unverified(header, claims, token)


def _part(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.MALFORMED, "token is not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != text:
        raise refuse(Refusal.MALFORMED, "token in a second spelling of base64url")
    return raw


def verified(parsed: Unverified, keys: Sequence[Key], algorithms: Collection[str]) -> Mapping[str, Any]:
    """The claims, when one of the issuer's `keys` signed them by one of its `algorithms`.

    `Refused`: `no-trust` (no keys), `algorithm`, `chain` (a key that is not the issuer's), `signature`.
    """
    if not keys:
        raise refuse(Refusal.NO_TRUST, "no key of the issuer is trusted")
    algorithm = parsed.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise refuse(Refusal.ALGORITHM, "alg of the token")
    key = _chosen(parsed.header.get("kid", ""), keys)
    _check_fits(key, algorithm)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signer = RSAKey.import_key(pem) if isinstance(key, RSAPublicKey) else ECKey.import_key(pem)
    try:
        jws.deserialize_compact(parsed.token, signer, registry=_Registry(algorithms=[algorithm]))
    except BadSignatureError as error:
        raise refuse(Refusal.SIGNATURE, "token") from error
    except (JoseError, ValueError, TypeError) as error:
        raise refuse(Refusal.MALFORMED, f"token: {error}") from error
    return parsed.claims


def _chosen(kid: object, keys: Sequence[Key]) -> RSAPublicKey | EllipticCurvePublicKey:
    named = [one.key for one in keys if one.kid == kid]
    if not kid and not named and len(keys) == 1:
        return keys[0].key
    if len(named) != 1:
        raise refuse(Refusal.CHAIN, "kid names no key of the issuer")
    return named[0]


def _check_fits(key: RSAPublicKey | EllipticCurvePublicKey, algorithm: str) -> None:
    if isinstance(key, RSAPublicKey):
        fits = algorithm in _RSA_ALGORITHMS and key.key_size >= _MIN_RSA
    else:
        fits = _CURVES.get(algorithm) == key.curve.name
    if not fits:
        raise refuse(Refusal.ALGORITHM, f"{algorithm} with this key")


def check_times(claims: Mapping[str, Any], now_ms: int, max_age_s: int, *, needs_end: bool = True) -> None:
    """`expired` outside nbf and exp, before iat, or later than `max_age_s` after it; a minute's skew before."""
    now = now_ms // 1000
    issued = whole(claims, "iat")
    starts = max(issued, whole(claims, "nbf") if "nbf" in claims else issued)
    if starts > now + CLOCK_SKEW_S or now - issued > max_age_s:
        raise refuse(Refusal.EXPIRED, "token")
    if (needs_end or "exp" in claims) and now >= whole(claims, "exp"):
        raise refuse(Refusal.EXPIRED, "token")


def whole(claims: Mapping[str, Any], name: str) -> int:
    """A claim that is an integer (seconds since 1970, versions)."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise refuse(Refusal.MALFORMED, name)
    return value


def text(claims: Mapping[str, Any], name: str) -> str:
    """A claim that is a text, not empty."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise refuse(Refusal.MALFORMED, name)
    return value


def nested(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A claim that is an object."""
    value = claims.get(name)
    if not isinstance(value, dict):
        raise refuse(Refusal.MALFORMED, name)
    return value


def check_bound(carried: Collection[object], expected: bytes | None) -> None:
    """`binding` unless one of the nonces that a token carries is `expected`: bytes, hex, or base64url unpadded."""
    if expected is None:
        return
    spellings = {expected.hex(), base64.urlsafe_b64encode(expected).rstrip(b"=").decode("ascii")}
    if expected.isascii():
        spellings.add(expected.decode("ascii"))
    if not any(isinstance(one, str) and one in spellings for one in carried):
        raise refuse(Refusal.BINDING, "the token's nonce is over another nonce, gateway, key, purpose or scope")


def check_audience(claims: Mapping[str, Any], admitted: Collection[str] | None) -> None:
    """`binding` unless the token's one audience is admitted: a token for two is another party's to replay."""
    if admitted is None:
        return
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or audience not in admitted:
        raise refuse(Refusal.BINDING, "audience")
