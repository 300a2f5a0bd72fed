"""One key under another: AES-256-GCM, the context as associated data.

    wrapped = 0x01 ‖ nonce(12, random) ‖ AES-256-GCM(wrapping key, nonce, key, aad = 0x01 ‖ context)

Binding the context stops the instruction-file attack: a genuine wrapped key moved to another dataset, class,
group or version does not unwrap there. A group key wraps at most 10^4 object keys, far below the 2^32 limit
for random nonces (NIST SP 800-38D §8.3). Source: `docs/spec/sealed-object.md` §4.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.envelope.suite import KEY, NONCE, TAG
from vault.errors import Broken, Malformed, Refused

VERSION = b"\x01"
WRAPPED = len(VERSION) + NONCE + KEY + TAG


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """An object key as a manifest's header holds it: the group whose key opens it, its class, the bytes."""

    group_id: str
    key_class: str
    wrapped: bytes = field(repr=False)


def _check(key: bytes) -> bytes:
    if len(key) != KEY:
        raise Broken("key.length", f"{len(key)} bytes, not {KEY}")
    return key


def wrap_key(wrapping_key: bytes, key: bytes, context: bytes, entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """61 bytes that only `wrapping_key` and the same context open. Both keys are 32 bytes, else Broken."""
    nonce = entropy(NONCE)
    return VERSION + nonce + AESGCM(_check(wrapping_key)).encrypt(nonce, _check(key), VERSION + context)


def unwrap_key(wrapping_key: bytes, wrapped: bytes, context: bytes) -> bytes:
    """The 32-byte key inside.

    Raises Malformed "wrap" for a wrong length or version, Refused "wrap.context" where the wrapping key or the
    context is another one, or the bytes were changed: GCM cannot tell these apart and neither may a caller.
    """
    if len(wrapped) != WRAPPED or wrapped[:1] != VERSION:
        raise Malformed("wrap", "not a version 1 wrapped key")
    nonce, sealed = wrapped[1 : 1 + NONCE], wrapped[1 + NONCE :]
    try:
        return AESGCM(_check(wrapping_key)).decrypt(nonce, sealed, VERSION + context)
    except InvalidTag:
        raise Refused("wrap.context", "wrong key, wrong context, or changed bytes") from None
