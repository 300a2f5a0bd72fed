"""A fake TPM, and a fake Azure paravisor over a fake chip: quotes and runtime data of any value."""

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.attest_pki import PrivateKey, rsa_key

EXTRA = b"\x5a" * 32
VALUES = {index: bytes((index,)) * 32 for index in range(24)}


@dataclass
class FakeTpm:
    """Signs quotes over `pcrs`; `key` RSA or ECC."""

    key: PrivateKey = field(default_factory=lambda: rsa_key(7))
    pcrs: dict[int, bytes] = field(default_factory=lambda: dict(VALUES))

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def name(self) -> str:
        return hashlib.sha256(self.public).hexdigest()

    def message(
        self, *, magic: int = 0xFF544347, kind: int = 0x8018, extra: bytes = EXTRA, clock: int = 1000, resets: int = 3,
        restarts: int = 1, safe: int = 1, banks: int = 1, bank: int = 0x0B, selection: tuple[int, ...] | None = None,
        digest: bytes | None = None, tail: bytes = b"",
    ) -> bytes:  # fmt: skip
        chosen = tuple(self.pcrs) if selection is None else selection
        bits = bytearray(3 if not chosen or max(chosen) < 24 else 4)
        for index in chosen:
            bits[index // 8] |= 1 << index % 8
        if digest is None:
            digest = hashlib.sha256(b"".join(self.pcrs.get(index, bytes(32)) for index in chosen)).digest()
        return (
            struct.pack(">IH", magic, kind) + struct.pack(">H", 34) + bytes(34) + struct.pack(">H", len(extra)) + extra
            + struct.pack(">QIIB", clock, resets, restarts, safe) + bytes(8) + struct.pack(">IH", banks, bank)
            + bytes((len(bits),)) + bytes(bits) + struct.pack(">H", len(digest)) + digest + tail
        )  # fmt: skip

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))


def numbers_of(key: rsa.RSAPublicKey) -> dict[str, str]:
    raw = key.public_numbers().n.to_bytes(key.key_size // 8, "big")
    return {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}


def runtime_data(tpm: FakeTpm, **changes: Any) -> bytes:
    public = tpm.key.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    document: dict[str, Any] = {
        "keys": [{"kid": "HCLAkPub", "key_ops": ["sign"], **numbers_of(public)},
                 {"kid": "HCLEkPub", "key_ops": ["encrypt"], **numbers_of(public)}],
        "vm-configuration": {"console-enabled": True, "secure-boot": True, "vmUniqueId": "VM-1"},
        "user-data": "00" * 64,
    } | changes  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode()


def hcl_report(
    hardware: bytes, data: bytes, *, magic: bytes = b"HCLA", version: int = 2, reserved: bytes = bytes(12),
    data_version: int = 1, kind: int = 2, digest: int = 1, size: int | None = None, length: int | None = None,
    tail: bytes = bytes(50),
) -> bytes:  # fmt: skip
    head = magic + struct.pack("<IIII", version, 32 + 1184 + 20 + len(data), 2, 0) + reserved
    counted = len(data) if length is None else length
    sizes = struct.pack("<5I", counted + 20 if size is None else size, data_version, kind, digest, counted)
    return head + hardware.ljust(1184, b"\0") + sizes + data + tail
