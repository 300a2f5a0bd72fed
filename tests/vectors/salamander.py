"""One GCM ciphertext, two keys: why a body commits to its key.

GHASH is linear in each ciphertext block, so one free block can make the tags under two keys equal
(Dodis, Grubbs, Ristenpart, Woodage: "Fast Message Franking", CRYPTO 2018, §3).
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_POLYNOMIAL = 0xE1 << 120


def _times(a: int, b: int) -> int:
    """Product in GCM's field, bits in GCM's order (NIST SP 800-38D §6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if b >> bit & 1:
            product ^= a
        a = a >> 1 ^ (_POLYNOMIAL if a & 1 else 0)
    return product


def _inverse(a: int) -> int:
    """a^(2^128 - 2)."""
    result, square = 1 << 127, a
    for _ in range(127):
        square = _times(square, square)
        result = _times(result, square)
    return result


def _ghash(h: int, blocks: list[int]) -> int:
    state = 0
    for block in blocks:
        state = _times(state ^ block, h)
    return state


def _block(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def one_chunk_two_keys(first: bytes, second: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """(first key, second key, one last chunk that authenticates under both, its plaintext under the first)."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context
    keys = [HKDFExpand(hashes.SHA512(), 76, info).derive(key) for key in (first, second)]
    h = [int.from_bytes(_block(okm[:32], bytes(16)), "big") for okm in keys]
    mask = [int.from_bytes(_block(okm[:32], okm[32:44] + b"\x00\x00\x00\x01"), "big") for okm in keys]
    # Four blocks: three arbitrary, the last solved so that both tags agree.
    fixed = [int.from_bytes(salt[:16], "big"), 2, 3]
    length = 4 * 128
    # tag = mask + GHASH(fixed…, x, length); x enters as x·h²
    rest = [_ghash(hk, [*fixed, 0, length]) ^ m for hk, m in zip(h, mask, strict=True)]
    squares = [_times(hk, hk) for hk in h]
    x = _times(rest[0] ^ rest[1], _inverse(squares[0] ^ squares[1]))
    tag = rest[0] ^ _times(x, squares[0])
    chunk = b"".join(value.to_bytes(16, "big") for value in [*fixed, x, tag])
    plain = AESGCM(keys[0][:32]).decrypt(keys[0][32:44], chunk, None)
    AESGCM(keys[1][:32]).decrypt(keys[1][32:44], chunk, None)
    return first, second, chunk, plain
