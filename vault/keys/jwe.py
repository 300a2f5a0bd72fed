"""JSON Web Encryption (RFC 7516, flattened) to a public key: ECDH-ES+A256KW or RSA-OAEP-256, with A256GCM.

    {"protected", "encrypted_key", "iv", "ciphertext", "tag"}         each base64url without padding

The additional data is ASCII(protected). Trustee's clients write the protected header anew before they check it: it has
to be compact, in the order alg, enc, epk, and the members of epk sorted.
"""

import base64
import json
import os

from cryptography.hazmat.primitives.asymmetric.ec import ECDH, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

_CURVES = {"secp256r1": "P-256", "secp521r1": "P-521"}
_EC_ALGORITHM, _RSA_ALGORITHM, _CONTENT = "ECDH-ES+A256KW", "RSA-OAEP-256", "A256GCM"
_KEY_BYTES, _IV_BYTES, _TAG_BYTES = 32, 12, 16


def encrypt_flattened(recipient: EllipticCurvePublicKey | RSAPublicKey, plaintext: bytes) -> dict[str, str]:
    """`plaintext` for the holder of the private half alone. The curve must be P-256 or P-521."""
    content_key = os.urandom(_KEY_BYTES)
    header: dict[str, object] = {"alg": _RSA_ALGORITHM, "enc": _CONTENT}
    if isinstance(recipient, RSAPublicKey):
        encrypted_key = recipient.encrypt(content_key, OAEP(MGF1(SHA256()), SHA256(), label=None))
    else:
        ephemeral = generate_private_key(recipient.curve)
        header = {"alg": _EC_ALGORITHM, "enc": _CONTENT, "epk": _public(ephemeral.public_key())}
        encrypted_key = aes_key_wrap(_agreed(ephemeral.exchange(ECDH(), recipient)), content_key)
    protected = _base64url(json.dumps(header, separators=(",", ":")).encode("ascii"))
    iv = os.urandom(_IV_BYTES)
    sealed = AESGCM(content_key).encrypt(iv, plaintext, protected.encode("ascii"))
    return {
        "protected": protected,
        "encrypted_key": _base64url(encrypted_key),
        "iv": _base64url(iv),
        "ciphertext": _base64url(sealed[:-_TAG_BYTES]),
        "tag": _base64url(sealed[-_TAG_BYTES:]),
    }


def _agreed(secret: bytes) -> bytes:
    """The wrapping key of an agreement: Concat KDF over SHA-256 (RFC 7518 §4.6.2), no party names."""
    algorithm = _EC_ALGORITHM.encode("ascii")
    info = len(algorithm).to_bytes(4, "big") + algorithm + bytes(4) + bytes(4) + (8 * _KEY_BYTES).to_bytes(4, "big")
    return ConcatKDFHash(SHA256(), _KEY_BYTES, info).derive(secret)


def _public(key: EllipticCurvePublicKey) -> dict[str, str]:
    numbers, length = key.public_numbers(), (key.curve.key_size + 7) // 8
    return {
        "crv": _CURVES[key.curve.name],
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(length, "big")),
        "y": _base64url(numbers.y.to_bytes(length, "big")),
    }


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
