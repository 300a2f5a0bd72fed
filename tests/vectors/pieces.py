"""Sealed bodies in the pieces an attacker can move about, put together from the C2SP text alone."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from vault.envelope.context import BodyContext

CHUNK, TAG = 16384, 16
Case = dict[str, Any]


def stream(label: str, length: int) -> bytes:
    """Bytes that look random and never change."""
    return hashlib.shake_256(b"demesne sealed-object vectors/" + label.encode()).digest(length)


@dataclass(frozen=True)
class Pieces:
    """One sealed body, in the pieces an attacker can move about."""

    key: bytes
    context: bytes
    plain: bytes
    salt: bytes
    weak: bool = False

    @property
    def schedule(self) -> tuple[bytes, int, bytes]:
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + self.salt + self.context
        okm = HKDFExpand(hashes.SHA256() if self.weak else hashes.SHA512(), 76, info).derive(self.key)
        return okm[:32], int.from_bytes(okm[32:44], "big"), okm[44:]

    @property
    def header(self) -> bytes:
        return self.salt + self.schedule[2]

    @property
    def chunks(self) -> list[bytes]:
        aead, base = AESGCM(self.schedule[0]), self.schedule[1]
        return [
            aead.encrypt((base ^ k).to_bytes(12, "big"), self.plain[k * CHUNK : (k + 1) * CHUNK], None)
            for k in range(len(self.plain) // CHUNK + 1)
        ]

    @property
    def body(self) -> bytes:
        return self.header + b"".join(self.chunks)


def place(**changes: Any) -> bytes:
    """The context every case starts from, with changes."""
    ids = {"dataset_id": stream("dataset", 16).hex(), "body_id": stream("body", 16).hex()}
    return replace(BodyContext("acme", "de", part=0, **ids), **changes).encode()


KEY = stream("data key", 32)
TWO = Pieces(KEY, place(), stream("two chunks", CHUNK + 100), stream("salt", 24))
THREE = Pieces(KEY, place(), stream("three chunks", 2 * CHUNK + 100), stream("salt of three", 24))
SMALL = Pieces(KEY, place(), stream("small", 100), stream("salt of small", 24))


def flip(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)
