"""Public areas of TPM keys (TPMT_PUBLIC; TCG TPM 2.0 Library, part 2 §12.2), and what makes one an attestation key.

    type u16 ‖ name algorithm u16 ‖ attributes u32 ‖ TPM2B policy ‖ symmetric ‖ scheme ‖ …RSA: bits u16 ‖ exponent u32 ‖
    TPM2B modulus;  …ECC: curve u16 ‖ kdf u16 ‖ TPM2B x ‖ TPM2B y                                       (big-endian)

A key's *name* is its name algorithm and the hash of these bytes. A credential is made for a name: a TPM opens it only
when a key of exactly these attributes is loaded in it, and it lets no restricted, fixed key come from outside. So the
attributes are what is checked, and the name is what makes them true.
"""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields
from vault.attest.tpm.quote import AttestationKey

MAX_PUBLIC = 1024
SHA256 = 0x000B
_RSA, _ECC, _NULL, _AES, _CFB, _RSASSA, _ECDSA, _P256 = 1, 0x23, 0x10, 6, 0x43, 0x14, 0x18, 3
_FIXED_TPM, _CLEARED, _FIXED_PARENT, _ORIGIN, _ADMIN = 1 << 1, 1 << 2, 1 << 4, 1 << 5, 1 << 7
_RESTRICTED, _DECRYPT, _SIGN = 1 << 16, 1 << 17, 1 << 18
_KNOWN = 0x00070CF6  # every attribute there is, but x509sign (part 2 §8.3), which signs certificates and no quote
_ENDORSEMENT_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_KEY_BITS = {2048, 3072, 4096}


@dataclass(frozen=True, slots=True)
class PublicArea:
    """A key's public area. `scheme` is 0 where it has none; `symmetric`: AES-128-CFB, as storage keys have."""

    raw: bytes
    attributes: int
    policy: bytes
    symmetric: bool
    scheme: int
    key: AttestationKey

    @property
    def name(self) -> bytes:
        """The TPM's name of the key, 34 bytes."""
        return SHA256.to_bytes(2, "big") + hashlib.sha256(self.raw).digest()

    def has(self, *attributes: int) -> bool:
        return all(self.attributes & attribute for attribute in attributes)


def parse_public(raw: bytes) -> PublicArea:
    """`Refused`: `malformed`, `algorithm`."""
    if len(raw) > MAX_PUBLIC:
        raise refuse(Refusal.MALFORMED, "public area length")
    f = Fields(raw, "public area")
    kind = f.big(2)
    if f.big(2) != SHA256:
        raise refuse(Refusal.ALGORITHM, "name algorithm of the key")
    attributes, policy = f.big(4), f.take(f.big(2))
    if attributes & ~_KNOWN:
        raise refuse(Refusal.POLICY, "attributes of the key that nobody here knows")
    symmetric = _symmetric(f)
    scheme = f.big(2)
    if scheme != _NULL and f.big(2) != SHA256:
        raise refuse(Refusal.ALGORITHM, "hash of the key's scheme")
    if kind == _RSA:
        key: AttestationKey = _rsa(f)
    elif kind == _ECC:
        key = _ecc(f)
    else:
        raise refuse(Refusal.ALGORITHM, "key is neither RSA nor P-256")
    f.end()
    return PublicArea(raw, attributes, policy, symmetric, 0 if scheme == _NULL else scheme, key)


def _symmetric(f: Fields) -> bool:
    algorithm = f.big(2)
    if algorithm == _NULL:
        return False
    if (algorithm, f.big(2), f.big(2)) != (_AES, 128, _CFB):
        raise refuse(Refusal.ALGORITHM, "symmetric algorithm of the key")
    return True


def _rsa(f: Fields) -> RSAPublicKey:
    bits, exponent = f.big(2), f.big(4)
    modulus = f.take(f.big(2))
    if bits not in _KEY_BITS or exponent not in {0, 65537} or len(modulus) * 8 != bits or modulus[0] < 0x80:
        raise refuse(Refusal.ALGORITHM, "RSA of 2048, 3072 or 4096 bits with exponent 65537 expected")
    try:
        return RSAPublicNumbers(65537, int.from_bytes(modulus, "big")).public_key()
    except ValueError as error:
        raise refuse(Refusal.MALFORMED, f"public area: {error}") from error


def _ecc(f: Fields) -> EllipticCurvePublicKey:
    curve, kdf = f.big(2), f.big(2)
    x, y = f.take(f.big(2)), f.take(f.big(2))
    if curve != _P256 or kdf != _NULL:
        raise refuse(Refusal.ALGORITHM, "curve of the key is not P-256")
    try:
        numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), SECP256R1())
        return numbers.public_key()
    except ValueError as error:
        raise refuse(Refusal.MALFORMED, f"public area: {error}") from error


def check_attestation_key(area: PublicArea) -> None:
    """`Refused("attest.policy")` unless what it says makes it a key that signs nothing but what its TPM made.

    Not restricted, it would sign a quote that its owner wrote; not fixed, or of another origin, a copy of it would lie
    outside the TPM.
    """
    if not area.has(_FIXED_TPM, _FIXED_PARENT, _ORIGIN):
        raise refuse(Refusal.POLICY, "the attestation key may lie outside the TPM")
    if not area.has(_RESTRICTED, _SIGN) or area.has(_DECRYPT):
        raise refuse(Refusal.POLICY, "the attestation key signs more than its TPM's own statements")
    if area.scheme != (_RSASSA if isinstance(area.key, RSAPublicKey) else _ECDSA):
        raise refuse(Refusal.ALGORITHM, "scheme of the attestation key")


def check_endorsement_key(area: PublicArea) -> None:
    """`Refused("attest.policy")` unless it is a storage key made and fixed in its TPM, under the usual policy."""
    if not area.has(_FIXED_TPM, _FIXED_PARENT, _ORIGIN, _RESTRICTED, _DECRYPT) or area.has(_SIGN):
        raise refuse(Refusal.POLICY, "no endorsement key")
    if not area.symmetric or area.scheme:
        raise refuse(Refusal.ALGORITHM, "endorsement key of another template")
    if area.policy != _ENDORSEMENT_POLICY:
        raise refuse(Refusal.POLICY, "policy of the endorsement key")
