"""The key schedule of one Cobblestone-256 message. Source: c2sp.org/chunked-encryption, "Key derivation"."""

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.envelope.derive import expand
from vault.envelope.suite import AEAD, COMMITMENT, KEY, NONCE

_LABEL = b"c2sp.org/chunked-encryption@v1+" + AEAD + b"\x00"


def schedule(data_key: bytes, salt: bytes, context: bytes) -> tuple[AESGCM, int, bytes]:
    """(AEAD, base nonce as a number, 32-byte commitment). `data_key` is 32 bytes (else Broken), `salt` 24."""
    okm = expand(data_key, _LABEL + salt + context, KEY + NONCE + COMMITMENT)
    return AESGCM(okm[:KEY]), int.from_bytes(okm[KEY : KEY + NONCE], "big"), okm[KEY + NONCE :]
