"""TPM2_MakeCredential in software (TCG TPM 2.0 Library, part 1 §24 and §11.4.10): a secret for one key beside another.

    seed              random, to the endorsement key: RSA-OAEP (SHA-256, label "IDENTITY" NUL), or ECDH and KDFe
    encrypted         AES-128-CFB, key KDFa(seed, "STORAGE", name), of TPM2B secret
    credential blob   TPM2B HMAC-SHA-256(KDFa(seed, "INTEGRITY"), encrypted ‖ name) ‖ encrypted

Only a TPM that holds the endorsement key, and has the key of this name loaded, gives the secret back.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDH, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256

from vault.attest.tpm.quote import AttestationKey

SECRET = 32  # bytes; a TPM takes no more than the endorsement key's name algorithm has
_AES_BITS, _HMAC_BITS = 128, 256


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes to the TPM: contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, without their lengths."""

    blob: bytes
    secret: bytes


def make_credential(
    endorsement_key: AttestationKey, name: bytes, secret: bytes, random: Callable[[int], bytes]
) -> Credential:
    """`secret` (at most 32 bytes) for the key called `name`. `random(n)` gives n unpredictable bytes."""
    if not 0 < len(secret) <= SECRET:
        raise ValueError("a credential has 1 to 32 bytes")
    if isinstance(endorsement_key, RSAPublicKey):
        seed = random(SECRET)
        scheme = padding.OAEP(padding.MGF1(SHA256()), SHA256(), label=b"IDENTITY\0")
        encrypted_seed = endorsement_key.encrypt(seed, scheme)
    else:
        seed, encrypted_seed = _exchanged(endorsement_key)
    storage = _kdfa(seed, b"STORAGE", name, _AES_BITS)
    cipher = Cipher(AES(storage), CFB(bytes(16))).encryptor()
    encrypted = cipher.update(_sized(secret)) + cipher.finalize()
    outer = hmac.new(_kdfa(seed, b"INTEGRITY", b"", _HMAC_BITS), encrypted + name, hashlib.sha256).digest()
    return Credential(_sized(outer) + encrypted, encrypted_seed)


def _exchanged(endorsement_key: EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """A seed by one-pass ECDH (part 1 §C.6.4), and the ephemeral point that gives it to the other side."""
    ephemeral = generate_private_key(endorsement_key.curve)
    size = (endorsement_key.curve.key_size + 7) // 8
    ours, theirs = ephemeral.public_key().public_numbers(), endorsement_key.public_numbers()
    shared = ephemeral.exchange(ECDH(), endorsement_key)
    x, y = ours.x.to_bytes(size, "big"), ours.y.to_bytes(size, "big")
    seed = _kdfe(shared, b"IDENTITY", x, theirs.x.to_bytes(size, "big"))
    return seed, _sized(x) + _sized(y)


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Part 1 §11.4.10.2; one round of SHA-256 is all that these lengths take."""
    message = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.new(key, message, hashlib.sha256).digest()[: bits // 8]


def _kdfe(shared: bytes, label: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Part 1 §11.4.10.3."""
    return hashlib.sha256(struct.pack(">I", 1) + shared + label + b"\0" + ours + theirs).digest()


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
