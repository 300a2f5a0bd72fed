"""Public areas of TPM keys (TPMT_PUBLIC, part 2 §12.2): the templates our keys are made from, and reading one back."""

import struct

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from demesne.errors import Malformed
from demesne.evidence.tpm_commands import ECC, RSA, SHA256

_NULL, _AES, _CFB, _RSASSA, _ECDSA, _P256 = 0x0010, 0x0006, 0x0043, 0x0014, 0x0018, 0x0003
_FIXED_TPM, _FIXED_PARENT, _ORIGIN, _USER, _ADMIN = 1 << 1, 1 << 4, 1 << 5, 1 << 6, 1 << 7
_NO_LOCKOUT, _RESTRICTED, _DECRYPT, _SIGN = 1 << 10, 1 << 16, 1 << 17, 1 << 18
# PolicySecret(endorsement), SHA-256: the policy of default endorsement keys (TCG EK Credential Profile, B.3).
_ENDORSEMENT_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


def attestation_template(algorithm: int, unique: bytes = b"") -> bytes:
    """A restricted signing key, made in the TPM and never to leave it. One hierarchy has one such key per `unique`."""
    attributes = _FIXED_TPM | _FIXED_PARENT | _ORIGIN | _USER | _NO_LOCKOUT | _RESTRICTED | _SIGN
    head = struct.pack(">HHIH", algorithm, SHA256, attributes, 0)
    if algorithm == RSA:
        return head + struct.pack(">HHHHI", _NULL, _RSASSA, SHA256, 2048, 0) + _sized(unique)
    return head + struct.pack(">HHHHH", _NULL, _ECDSA, SHA256, _P256, _NULL) + _sized(unique) + _sized(b"")


def endorsement_template(algorithm: int) -> bytes:
    """The default endorsement keys L-1 (RSA 2048) and L-2 (P-256): the ones that makers certify."""
    attributes = _FIXED_TPM | _FIXED_PARENT | _ORIGIN | _ADMIN | _RESTRICTED | _DECRYPT
    head = struct.pack(">HHI", algorithm, SHA256, attributes) + _sized(_ENDORSEMENT_POLICY)
    head += struct.pack(">HHH", _AES, 128, _CFB)
    if algorithm == RSA:
        return head + struct.pack(">HHI", _NULL, 2048, 0) + _sized(bytes(256))
    return head + struct.pack(">HHH", _NULL, _P256, _NULL) + _sized(bytes(32)) + _sized(bytes(32))


def subject_public_key(public: bytes) -> bytes:
    """SubjectPublicKeyInfo (DER) of an attestation key's TPMT_PUBLIC."""
    try:
        key = _key(public)
    except (struct.error, ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("evidence.tpm", f"the attestation key is not one we know: {error}") from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key(public: bytes) -> RSAPublicKey | EllipticCurvePublicKey:
    algorithm, _, _, policy = struct.unpack_from(">HHIH", public)
    at = 10 + policy
    symmetric, scheme = struct.unpack_from(">HH", public, at)
    if symmetric != _NULL or scheme not in {_RSASSA, _ECDSA}:
        raise ValueError(f"scheme 0x{scheme:04x}: a restricted signing key has RSASSA or ECDSA")
    if algorithm == RSA:
        _, exponent, size = struct.unpack_from(">HIH", public, at + 6)
        modulus = int.from_bytes(public[at + 14 : at + 14 + size], "big")
        return RSAPublicNumbers(exponent or 65537, modulus).public_key()
    curve, _, size = struct.unpack_from(">HHH", public, at + 6)
    if algorithm != ECC or curve != _P256:
        raise ValueError("neither RSA nor P-256")
    x = int.from_bytes(public[at + 12 : at + 12 + size], "big")
    y = int.from_bytes(public[at + 14 + size :], "big")
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
