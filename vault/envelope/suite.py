"""Cobblestone-256: its numbers, and the arithmetic between plaintext and sealed positions.

Source: C2SP chunked encryption (c2sp.org/chunked-encryption) with AEAD_AES_256_GCM and HKDF-Expand-SHA-512;
`docs/spec/sealed-object.md` §2. All lengths and offsets are bytes.
"""

from vault.errors import Malformed

SUITE = "cobblestone-256"
AEAD = b"AEAD_AES_256_GCM"
CHUNK = 16384
TAG = 16
SEALED_CHUNK = CHUNK + TAG
KEY = 32
NONCE = 12
SALT = 24
COMMITMENT = 32
HEADER = SALT + COMMITMENT
MAX_CHUNKS = 1 << 38
MAX_PLAIN = MAX_CHUNKS * CHUNK - 1


def sealed_length(plain: int) -> int:
    """Length of the stored body of `plain` bytes: header, every full chunk, and a last chunk that is always short.

    Raises Malformed "length" below zero or beyond 2^38 chunks.
    """
    if not 0 <= plain <= MAX_PLAIN:
        raise Malformed("length", f"{plain} plaintext bytes do not fit one body")
    return HEADER + plain + TAG * (plain // CHUNK + 1)


def plain_length(sealed: int) -> int:
    """The one plaintext length that `sealed` stored bytes can mean.

    Raises Malformed "truncated" where the body ends on a chunk boundary (its short last chunk is missing),
    Malformed "length" for every other length no sealer writes.
    """
    if sealed < HEADER:
        raise Malformed("length", f"{sealed} bytes are less than a header")
    full, last = divmod(sealed - HEADER, SEALED_CHUNK)
    if last == 0:
        raise Malformed("truncated", f"{sealed} bytes end on a chunk boundary")
    if last < TAG:
        raise Malformed("length", f"{sealed} bytes leave {last} for the last chunk, less than a tag")
    if full >= MAX_CHUNKS:
        raise Malformed("length", f"{sealed} bytes are more than 2^38 chunks")
    return full * CHUNK + last - TAG
