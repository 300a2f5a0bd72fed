"""The attestation report's 1184 bytes (AMD 56860, table "ATTESTATION_REPORT"), versions 2, 3 and 5.

Parsing proves nothing; it only refuses what has no business being there: another length, version or algorithm, and
reserved fields in use. Signed are the bytes before 0x2A0.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields, must_be_zero

LENGTH = 0x4A0
SIGNED = 0x2A0
VERSIONS = frozenset({2, 3, 5})
ECDSA_P384_SHA384 = 1
_SCALAR = 48  # bytes of r and s that a P-384 signature uses, of the 72 the field has

SIGNED_BY_VCEK, SIGNED_BY_VLEK = 0, 1

POLICY_RESERVED_ONE = 1 << 17
POLICY_MIGRATION = 1 << 18
POLICY_DEBUG = 1 << 19
_POLICY_KNOWN = (1 << 26) - 1


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, before anything is believed. TCBs stay eight bytes until the product is known."""

    version: int
    guest_svn: int
    policy: int
    vmpl: int
    platform_info: int
    signing_key: int
    chip_key_masked: bool
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    cpuid: tuple[int, int] | None
    chip_id: bytes
    current_tcb: bytes
    reported_tcb: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    signed: bytes
    signature: bytes


def parse_report(raw: bytes) -> Report:
    """`Refused`: `malformed`, `unknown-version`, `algorithm`."""
    if len(raw) != LENGTH:
        raise refuse(Refusal.MALFORMED, f"a report has {LENGTH} bytes, not {len(raw)}")
    f = Fields(raw, "report")
    version = f.number(4)
    if version not in VERSIONS:
        raise refuse(Refusal.UNKNOWN_VERSION, f"report version {version}")
    guest_svn, policy = f.number(4), f.number(8)
    f.take(32)  # family_id, image_id: free text of the guest's owner
    vmpl, algorithm = f.number(4), f.number(4)
    if algorithm != ECDSA_P384_SHA384:
        raise refuse(Refusal.ALGORITHM, f"signature algorithm {algorithm}")
    current_tcb, platform_info, key_info = f.take(8), f.number(8), f.number(4)
    if key_info >> 5:
        raise refuse(Refusal.MALFORMED, "unknown bits of key information")
    must_be_zero(f.take(4), "0x4C")
    report_data, measurement, host_data = f.take(64), f.take(48), f.take(32)
    id_key_digest, author_key_digest = f.take(48), f.take(48)
    f.take(64)  # report_id, report_id_ma: chosen anew at every launch
    reported_tcb = f.take(8)
    cpuid = _cpuid(f, version)
    chip_id, committed_tcb = f.take(64), f.take(8)
    f.take(3)  # current build, minor, major
    must_be_zero(f.take(1), "0x1EB")
    f.take(3)  # committed build, minor, major
    must_be_zero(f.take(1), "0x1EF")
    launch_tcb = f.take(8)
    launch, current = (f.number(8), f.number(8)) if version >= 5 else (None, None)
    must_be_zero(f.take(SIGNED - f.at), "the report's end")
    return Report(
        version, guest_svn, policy, vmpl, platform_info, (key_info >> 2) & 7, bool(key_info & 2), report_data,
        measurement, host_data, id_key_digest, author_key_digest, cpuid, chip_id, current_tcb, reported_tcb,
        committed_tcb, launch_tcb, launch, current, raw[:SIGNED], _signature(f),
    )  # fmt: skip


def _cpuid(f: Fields, version: int) -> tuple[int, int] | None:
    """Family and model; reports of version 2 do not say."""
    family, model, stepping = f.take(3)
    rest = f.take(21)
    if version < 3:
        must_be_zero(bytes((family, model, stepping)) + rest, "0x188")
        return None
    must_be_zero(rest, "0x18B")
    return family, model


def _signature(f: Fields) -> bytes:
    """r and s, little-endian in 72 bytes each, as the DER that the library verifies."""
    r, s = f.take(72), f.take(72)
    must_be_zero(r[_SCALAR:] + s[_SCALAR:] + f.rest(), "the signature's end")
    return encode_dss_signature(int.from_bytes(r, "little"), int.from_bytes(s, "little"))


def unknown_policy_bits(policy: int) -> bool:
    """Whether a policy uses bits that have no meaning here, or clears the one that must be set."""
    return bool(policy & ~_POLICY_KNOWN) or not policy & POLICY_RESERVED_ONE
