"""The paravisor's report, 2600 bytes in the vTPM's NV index 0x01400001 (Azure CVM guest attestation, "HCL report").

    "HCLA" ‖ version u32 ‖ size u32 ‖ request u32 ‖ status u32 ‖ 12 zero ‖ hardware report 1184 ‖
    data size u32 ‖ version u32 (1) ‖ report type u32 (2 SNP, 4 TDX) ‖ hash u32 (1 SHA-256) ‖ length u32 ‖ JSON

The hardware's report_data is SHA-256 of the JSON, which names the key that the vTPM quotes with.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.fields import Fields, must_be_zero

MAX_REPORT = 4096
SNP, TDX = 2, 4
_HARDWARE = 1184
_SHA256 = 1
_EXPONENT = 65537
_RSA_BYTES = {256, 384, 512}


@dataclass(frozen=True, slots=True)
class HclReport:
    """What a paravisor's report says, before anything is believed. `report_data`: what hardware must have signed."""

    version: int
    type: int
    hardware: bytes
    report_data: bytes
    quoting_key: RSAPublicKey
    configuration: Mapping[str, Any]
    user_data: str


def parse_hcl(raw: bytes) -> HclReport:
    """`Refused`: `malformed`, `unknown-version`, `unknown-kind`, `algorithm`."""
    if len(raw) > MAX_REPORT:
        raise refuse(Refusal.MALFORMED, "paravisor's report length")
    f = Fields(raw, "paravisor's report")
    if f.take(4) != b"HCLA":
        raise refuse(Refusal.MALFORMED, "no paravisor's report")
    version = f.number(4)
    if version not in {1, 2}:
        raise refuse(Refusal.UNKNOWN_VERSION, f"paravisor's report version {version}")
    f.take(12)  # its size as the paravisor counts, what was asked, whether it went well
    must_be_zero(f.take(12), "the header's end")
    hardware = f.take(_HARDWARE)
    size, data_version, kind, digest, length = (f.number(4) for _ in range(5))
    if data_version != 1:
        raise refuse(Refusal.UNKNOWN_VERSION, f"runtime data version {data_version}")
    if kind not in {SNP, TDX}:
        raise refuse(Refusal.UNKNOWN_KIND, f"hardware report type {kind}")
    if digest != _SHA256:
        raise refuse(Refusal.ALGORITHM, "hash of the runtime data")
    if size != length + 20:
        raise refuse(Refusal.MALFORMED, "runtime data size")
    text = f.take(length)
    must_be_zero(f.rest(), "what follows the runtime data")
    data = json_object(text, "runtime data")
    configuration, user_data = data.get("vm-configuration", {}), data.get("user-data", "")
    if not isinstance(configuration, dict) or not isinstance(user_data, str):
        raise refuse(Refusal.MALFORMED, "runtime data")
    committed = hashlib.sha256(text).digest() + bytes(32)
    return HclReport(version, kind, hardware, committed, _quoting_key(data.get("keys")), configuration, user_data)


def _quoting_key(keys: object) -> RSAPublicKey:
    listed = keys if isinstance(keys, list) else []
    found = [key for key in listed if isinstance(key, dict) and key.get("kid") == "HCLAkPub"]
    if len(found) != 1:
        raise refuse(Refusal.MALFORMED, "one HCLAkPub expected")
    if found[0].get("kty") != "RSA" or found[0].get("e") != "AQAB":
        raise refuse(Refusal.ALGORITHM, "HCLAkPub is no RSA key of exponent 65537")
    modulus = _base64url(found[0].get("n"))
    if len(modulus) not in _RSA_BYTES or modulus[0] < 0x80:
        raise refuse(Refusal.ALGORITHM, "length of HCLAkPub")
    try:
        return RSAPublicNumbers(_EXPONENT, int.from_bytes(modulus, "big")).public_key()
    except ValueError as error:
        raise refuse(Refusal.MALFORMED, f"HCLAkPub: {error}") from error


def _base64url(text: object) -> bytes:
    if not isinstance(text, str):
        raise refuse(Refusal.MALFORMED, "HCLAkPub")
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.MALFORMED, "HCLAkPub is not base64url") from error
