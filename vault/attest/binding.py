"""What evidence must commit to: nonce, gateway, attested key, purpose, scope and additional evidence.

    report_data  = SHA-512(JCS({"v":1, "nonce", "gateway", "key", "purpose", "scope", "additional"}))      64 bytes
    device nonce = the first 32 bytes of the same hash with "additional": "device"

`additional` is "" without additional evidence, else the SHA-256 (hex) of JCS(the list of it, as sent): so a device's
evidence cannot be exchanged, and the device, which cannot commit to itself, answers a nonce of its own. `key` is the
RFC 7638 thumbprint of the public key that the session's credentials will be encrypted to, so a quote taken from one
machine is worth nothing to another that does not hold the private half.
Format: docs/spec/attested-session.md.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from vault.attest.claims import Refusal, refuse

_COORDINATE = 32
_JWK_FIELDS = {"kty", "crv", "x", "y"}
_JWK_ANNOTATIONS = {"use", "alg", "kid", "key_ops"}  # may stand there, are not part of the key


_DEVICE = "device"  # no SHA-256 in hex is spelled so
DEVICE_NONCE_BYTES = 32


class Binding(Protocol):
    """What evidence has to answer. Made from what the gateway knows, never from what the caller says."""

    def report_data(self) -> bytes:
        """The 64 bytes that a machine's evidence must carry."""

    def device_nonce(self) -> bytes:
        """The 32 bytes that the evidence of a device in that machine must carry."""


@dataclass(frozen=True, slots=True)
class ExpectedBinding:
    """The challenge's side of the binding; `scope` is sorted and without repetitions."""

    nonce: str
    gateway: str
    key_thumbprint: str
    purpose: str
    scope: tuple[str, ...]
    additional: str = ""

    def report_data(self) -> bytes:
        """The 64 bytes that evidence must carry."""
        return self._digest(self.additional)

    def device_nonce(self) -> bytes:
        """The 32 bytes that a device's evidence must carry."""
        return self._digest(_DEVICE)[:DEVICE_NONCE_BYTES]

    def _digest(self, additional: str) -> bytes:
        document: dict[str, Any] = {
            "v": 1,
            "nonce": self.nonce,
            "gateway": self.gateway,
            "key": self.key_thumbprint,
            "purpose": self.purpose,
            "scope": list(self.scope),
            "additional": additional,
        }
        return hashlib.sha512(rfc8785.dumps(document)).digest()


def additional_digest(additional: Sequence[Mapping[str, Any]]) -> str:
    """The binding's word for a list of additional evidence: "" for none. `Refused("attest.malformed")` for a document
    that has no canonical form."""
    if not additional:
        return ""
    try:
        return hashlib.sha256(rfc8785.dumps([dict(entry) for entry in additional])).hexdigest()
    except rfc8785.CanonicalizationError as error:
        raise refuse(Refusal.MALFORMED, "additional evidence has no canonical form") from error


def key_thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 thumbprint (base64url SHA-256) of a public P-256 key; as `public_key`, refused otherwise."""
    return thumbprint_of(public_key(jwk))


def thumbprint_of(key: EllipticCurvePublicKey) -> str:
    """The same of a key on P-256 that is loaded already."""
    numbers = key.public_numbers()
    x, y = (_base64url(number.to_bytes(_COORDINATE, "big")) for number in (numbers.x, numbers.y))
    return _base64url(hashlib.sha256(rfc8785.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y})).digest())


def public_key(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    """A public P-256 key, checked to be a point on the curve.

    `Refused("attest.key")` for another curve, a private key, padding or leading-zero tricks: two spellings of
    one key would have two thumbprints.
    """
    if not _JWK_FIELDS <= set(jwk) <= _JWK_FIELDS | _JWK_ANNOTATIONS:
        raise refuse(Refusal.KEY, "a public JWK of kty EC has kty, crv, x and y, and nothing private")
    if jwk["kty"] != "EC" or jwk["crv"] != "P-256":
        raise refuse(Refusal.KEY, "kty EC, crv P-256 expected")
    x, y = _coordinate(jwk["x"]), _coordinate(jwk["y"])
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError as error:
        raise refuse(Refusal.KEY, "not a point on P-256") from error


def _coordinate(text: object) -> int:
    if not isinstance(text, str) or len(text) > 64:
        raise refuse(Refusal.KEY, "coordinate")
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.KEY, "coordinate is not base64url") from error
    if len(raw) != _COORDINATE or _base64url(raw) != text:
        raise refuse(Refusal.KEY, "coordinate is not 32 bytes in the one spelling")
    return int.from_bytes(raw, "big")


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
