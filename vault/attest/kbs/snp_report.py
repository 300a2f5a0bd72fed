"""An SNP report that arrives taken apart, as serde writes the struct of the Rust crate `sev` (6, 7): put together.

Clients of Trustee do not send the 1184 bytes that were signed but what the crate read out of them. The bytes are a
function of it: reserved fields are zero in every report that verifies, and where the eight bytes of a TCB lie follows
from whether there is an `fmc`, which the crate reads on Turin alone. Whoever lies here gets bytes that nobody signed.
"""

from collections.abc import Mapping
from typing import Any

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import base64_bytes
from vault.attest.snp.report import LENGTH

_REQUIRED = {
    "version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "sig_algo", "current_tcb", "plat_info",
    "key_info", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest", "report_id",
    "report_id_ma", "reported_tcb", "chip_id", "committed_tcb", "current", "committed", "launch_tcb", "signature",
}  # fmt: skip
_OPTIONAL = {"cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector", "current_mit_vector"}
_TCB = {"bootloader", "tee", "snp", "microcode"}
_TCBS = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
_SCALAR = 72
_CPUID_SINCE, _MITIGATIONS_SINCE = 3, 5


def report_bytes(value: object) -> bytes:
    """The report: from the struct, or from base64 of the bytes. `Refused("attest.malformed")`."""
    if isinstance(value, str):
        raw = base64_bytes(value, "attestation_report", LENGTH)
        if len(raw) != LENGTH:
            raise refuse(Refusal.MALFORMED, f"a report has {LENGTH} bytes, not {len(raw)}")
        return raw
    if not isinstance(value, Mapping) or not set(value) >= _REQUIRED or set(value) - _REQUIRED - _OPTIONAL:
        raise refuse(Refusal.MALFORMED, "attestation_report is not the struct of the crate sev")
    return _assembled(value)


def _assembled(said: Mapping[str, Any]) -> bytes:
    version = _number(said["version"], 4, "version")
    tcbs = _tcbs(said)
    raw = b"".join((
        version, _number(said["guest_svn"], 4, "guest_svn"), _number(said["policy"], 8, "policy"),
        _octets(said["family_id"], 16, "family_id"), _octets(said["image_id"], 16, "image_id"),
        _number(said["vmpl"], 4, "vmpl"), _number(said["sig_algo"], 4, "sig_algo"), tcbs["current_tcb"],
        _number(said["plat_info"], 8, "plat_info"), _number(said["key_info"], 4, "key_info"), bytes(4),
        _octets(said["report_data"], 64, "report_data"), _octets(said["measurement"], 48, "measurement"),
        _octets(said["host_data"], 32, "host_data"), _octets(said["id_key_digest"], 48, "id_key_digest"),
        _octets(said["author_key_digest"], 48, "author_key_digest"), _octets(said["report_id"], 32, "report_id"),
        _octets(said["report_id_ma"], 32, "report_id_ma"), tcbs["reported_tcb"], _cpuid(said), bytes(21),
        _octets(said["chip_id"], 64, "chip_id"), tcbs["committed_tcb"], _firmware(said["current"]), bytes(1),
        _firmware(said["committed"]), bytes(1), tcbs["launch_tcb"], _mitigations(said), _signature(said["signature"]),
    ))  # fmt: skip
    if len(raw) != LENGTH:
        raise refuse(Refusal.MALFORMED, "attestation_report")
    return raw


def _tcbs(said: Mapping[str, Any]) -> dict[str, bytes]:
    turin = isinstance(said["current_tcb"], Mapping) and said["current_tcb"].get("fmc") is not None
    return {name: _tcb(said[name], turin=turin) for name in _TCBS}


def _tcb(value: object, *, turin: bool) -> bytes:
    """Eight bytes: fmc, bl, tee, snp, 0, 0, 0, ucode on Turin; bl, tee, 0, 0, 0, 0, snp, ucode else."""
    if not isinstance(value, Mapping) or set(value) - {"fmc"} != _TCB or (value.get("fmc") is not None) is not turin:
        raise refuse(Refusal.MALFORMED, "TCB")
    bl, tee, snp, ucode = (_number(value[name], 1, name) for name in ("bootloader", "tee", "snp", "microcode"))
    if turin:
        return _number(value["fmc"], 1, "fmc") + bl + tee + snp + bytes(3) + ucode
    return bl + tee + bytes(4) + snp + ucode


def _cpuid(said: Mapping[str, Any]) -> bytes:
    names = ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step")
    if said["version"] >= _CPUID_SINCE:
        return b"".join(_number(said.get(name), 1, name) for name in names)
    _absent(said, names)
    return bytes(3)


def _mitigations(said: Mapping[str, Any]) -> bytes:
    names = ("launch_mit_vector", "current_mit_vector")
    if said["version"] >= _MITIGATIONS_SINCE:
        return b"".join(_number(said.get(name), 8, name) for name in names) + bytes(152)
    _absent(said, names)
    return bytes(168)


def _absent(said: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """What this version of the report has not must not be said: it would be dropped, and believed by somebody else."""
    if any(said.get(name) is not None for name in names):
        raise refuse(Refusal.MALFORMED, f"{names[0]} in a report of version {said['version']}")


def _firmware(value: object) -> bytes:
    if not isinstance(value, Mapping) or set(value) != {"major", "minor", "build"}:
        raise refuse(Refusal.MALFORMED, "firmware version")
    return b"".join(_number(value[name], 1, name) for name in ("build", "minor", "major"))


def _signature(value: object) -> bytes:
    if not isinstance(value, Mapping) or set(value) != {"r", "s"}:
        raise refuse(Refusal.MALFORMED, "signature")
    return _octets(value["r"], _SCALAR, "r") + _octets(value["s"], _SCALAR, "s") + bytes(512 - 2 * _SCALAR)


def _number(value: object, length: int, name: str) -> bytes:
    """Little-endian. True is no number."""
    if type(value) is not int or not 0 <= value < 1 << 8 * length:
        raise refuse(Refusal.MALFORMED, name)
    return value.to_bytes(length, "little")


def _octets(value: object, length: int, name: str) -> bytes:
    if not isinstance(value, list) or len(value) != length:
        raise refuse(Refusal.MALFORMED, name)
    if not all(type(octet) is int and 0 <= octet <= 255 for octet in value):
        raise refuse(Refusal.MALFORMED, name)
    return bytes(value)
