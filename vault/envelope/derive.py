"""Keys under an object key: one for each body, one for each manifest generation.

HKDF-Expand-SHA-512 without Extract: an object key is 32 uniformly random bytes already (RFC 5869 §3.3).
Labels: `docs/spec/sealed-object.md` §4, `docs/spec/keys.md`.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from vault.envelope.context import MAX_PART, check_id, prefixed
from vault.envelope.suite import KEY
from vault.errors import Broken, Malformed

MAX_GENERATION = (1 << 53) - 1


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand-SHA-512 of a 32-byte key. Raises Broken "key.length" for any other key."""
    if len(key) != KEY:
        raise Broken("key.length", f"{len(key)} bytes, not {KEY}")
    return HKDFExpand(hashes.SHA512(), length, info).derive(key)


def body_key(object_key: bytes, body_id: str, part: int) -> bytes:
    """The 32-byte data key of one body. Raises Malformed "context" for an id or part outside its form."""
    if not 0 <= part <= MAX_PART:
        raise Malformed("context", f"part {part} is not 0 to {MAX_PART}")
    info = b"demesne/body-key/1" + prefixed(check_id(body_id, "body_id")) + part.to_bytes(4, "big")
    return expand(object_key, info, KEY)


def manifest_key(object_key: bytes, manifest_id: str, generation: int) -> bytes:
    """The 32-byte data key of one manifest generation. Raises Malformed "context" like `body_key`."""
    if not 1 <= generation <= MAX_GENERATION:
        raise Malformed("context", f"generation {generation} is out of range")
    info = b"demesne/manifest-key/1" + prefixed(check_id(manifest_id, "manifest_id")) + generation.to_bytes(8, "big")
    return expand(object_key, info, KEY)
