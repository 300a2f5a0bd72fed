"""Wycheproof against the primitives as the vault uses them: which parameters are ours, and what every case ends in.

AES-GCM: 256-bit keys, 96-bit nonces, 128-bit tags are what bodies and wraps use; cases of other parameters are run too,
so that a library that changed its mind about any of them is noticed. HKDF: the vault uses Expand alone, over the
pseudorandom key that Extract would give. HMAC-SHA-256: seals of rows and sessions. AES-KWP is not used.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from vault.envelope.derive import expand
from vault.envelope.wrap import unwrap_key
from vault.errors import Malformed, Refused

pytestmark = pytest.mark.peers


def groups(vectors: Path, name: str) -> list[dict[str, Any]]:
    path = vectors / "wycheproof" / f"{name}_test.json"
    if not path.is_file():
        pytest.skip("no Wycheproof vectors here")
    found: list[dict[str, Any]] = json.loads(path.read_text())["testGroups"]
    return found


def told(name: str, counts: dict[str, int]) -> None:
    print(name, counts)


def test_aes_gcm(vectors: Path) -> None:
    counts = {"valid": 0, "invalid": 0, "parameters refused": 0, "ours": 0}
    for group in groups(vectors, "aes_gcm"):
        for case in group["tests"]:
            fields = {name: bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")}
            ours = (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
            counts["ours"] += ours
            found = opened(fields, ours)
            if found is None:  # a nonce of a length the library does not take: never one of ours
                counts["parameters refused"] += 1
                assert not ours, case["tcId"]
                continue
            assert found == (case["result"] == "valid"), case["tcId"]
            counts[case["result"]] += 1
    told("aes_gcm", counts)
    assert sum(counts.values()) - counts["ours"] == 316
    assert counts["valid"] >= 200
    assert counts["invalid"] >= 80
    assert counts["ours"] >= 60


def opened(fields: dict[str, bytes], ours: bool) -> bool | None:
    """Whether it decrypts to the message; and, where the case has it so, whether sealing gives the very same bytes."""
    try:
        aead = AESGCM(fields["key"])
        plain = aead.decrypt(fields["iv"], fields["ct"] + fields["tag"], fields["aad"])
        if ours:
            target = bytearray(len(plain))
            aead.decrypt_into(fields["iv"], fields["ct"] + fields["tag"], fields["aad"], target)
            assert target == plain
    except InvalidTag:
        return False
    except ValueError:
        return None
    same = aead.encrypt(fields["iv"], fields["msg"], fields["aad"]) == fields["ct"] + fields["tag"]
    return plain == fields["msg"] and same


def test_aes_gcm_as_a_wrapped_key_is_opened(vectors: Path) -> None:
    """Every case of our parameters, dressed as a wrap: none but a genuine wrap of ours opens."""
    tried = 0
    for group in groups(vectors, "aes_gcm"):
        for case in group["tests"]:
            if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
                continue
            wrapped = b"\x01" + bytes.fromhex(case["iv"] + case["ct"] + case["tag"])
            with pytest.raises((Malformed, Refused)):
                unwrap_key(bytes.fromhex(case["key"]), wrapped, bytes.fromhex(case["aad"]))
            tried += 1
    assert tried >= 60


@pytest.mark.parametrize(("name", "algorithm", "size"), [("hkdf_sha512", hashes.SHA512(), 64), ("hkdf_sha256", hashes.SHA256(), 32)])  # fmt: skip  # noqa: E501
def test_hkdf_expand(vectors: Path, name: str, algorithm: hashes.HashAlgorithm, size: int) -> None:
    counts = {"valid": 0, "invalid": 0, "ours": 0}
    for group in groups(vectors, name):
        for case in group["tests"]:
            salt, ikm = bytes.fromhex(case["salt"]) or bytes(size), bytes.fromhex(case["ikm"])
            extracted = hmac.digest(salt, ikm, algorithm.name)
            info, length = bytes.fromhex(case["info"]), case["size"]
            try:
                derived = HKDFExpand(algorithm, length, info).derive(extracted)
            except ValueError:
                derived = b""
            right = derived == bytes.fromhex(case["okm"]) and derived != b""
            assert right == (case["result"] == "valid"), case["tcId"]
            counts[case["result"]] += 1
            if size == 32 and length <= 255 * 64:  # 32 bytes: what `expand` takes; checked against RFC 5869 by hand
                assert expand(extracted, info, length) == by_hand(extracted, info, length)
                counts["ours"] += 1
    told(name, counts)
    assert counts["valid"] >= 75
    assert counts["invalid"] >= 1


def by_hand(key: bytes, info: bytes, length: int) -> bytes:
    out, block = b"", b""
    for number in range(1, -(-length // 64) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha512")
        out += block
    return out[:length]


def test_hmac_sha256(vectors: Path) -> None:
    counts = {"valid": 0, "invalid": 0}
    for group in groups(vectors, "hmac_sha256"):
        for case in group["tests"]:
            key, message = bytes.fromhex(case["key"]), bytes.fromhex(case["msg"])
            tag = bytes.fromhex(case["tag"])
            for made in (hmac.new(key, message, hashlib.sha256).digest(), hmac.digest(key, message, "sha256")):
                same = hmac.compare_digest(made[: group["tagSize"] // 8], tag)
                assert same == (case["result"] == "valid"), case["tcId"]
            counts[case["result"]] += 1
    told("hmac_sha256", counts)
    assert counts["valid"] >= 60
    assert counts["invalid"] >= 60
