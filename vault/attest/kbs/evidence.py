"""Trustee's evidence, kind by kind, as the kind and the form that our verifiers take. It is read here and judged there.

    snp {attestation_report, cert_chain}      tdx {quote, cc_eventlog}       tpm {ak_public, tpm_quote}
    az-snp-vtpm, az-tdx-vtpm {version, tpm_quote, hcl_report, vcek | td_quote}
    sample {svn, report_data}                 nvidia {device_evidence_list: [{arch, uuid, evidence, certificate}]}

Additional evidence is a text: JSON of a device's kind to its evidence. The machine commits to the text as it is.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.azure.evidence import parse_trustee
from vault.attest.certificates import MAX_CERTIFICATE, MAX_CHAIN, load_pem_chain
from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.fields import base64_bytes, base64_field
from vault.attest.kbs.snp_report import report_bytes
from vault.attest.nvidia.report import MAX_REPORT
from vault.attest.sample import NOTICE
from vault.attest.snp.verify import MAX_CERTIFICATES
from vault.attest.tdx.eventlog import MAX_LOG
from vault.attest.tdx.quote import MAX_QUOTE
from vault.attest.tpm.quote import MAX_MESSAGE, MAX_SIGNATURE, PCRS

Form = tuple[str, dict[str, Any]]
MAX_DEVICES = 16
_ENTRY = {"cert_type", "data"}
_SIGNERS = {"ARK", "ASK", "VCEK", "VLEK"}  # what else a table may hold (lists, private use) is not evidence
_RSASSA_SHA256 = bytes.fromhex("0014000b")
_DIGEST = 48
_SVN = 16
_REPEATS_BINDING = 2


def primary_form(tee: str, evidence: Mapping[str, Any]) -> Form:
    """Our kind and form of a machine's evidence. `Refused`: `unknown-kind`, `malformed`, `unknown-version`,
    `algorithm`."""
    read = _PRIMARY.get(tee)
    if read is None:
        raise refuse(Refusal.UNKNOWN_KIND, "tee")
    return read(evidence)


def device_forms(additional: str) -> list[dict[str, Any]]:
    """Our form of additional evidence, `{"kind","evidence"}` each; "" is none. A kind that is unknown refuses all."""
    if not additional:
        return []
    found: list[dict[str, Any]] = []
    for tee, evidence in json_object(additional, "additional evidence").items():
        if tee != "nvidia":
            raise refuse(Refusal.UNKNOWN_KIND, "additional evidence")
        found += _nvidia(evidence)
    if not 0 < len(found) <= MAX_DEVICES:
        raise refuse(Refusal.MALFORMED, f"1 to {MAX_DEVICES} devices")
    return found


def _exactly(evidence: object, *names: str) -> Mapping[str, Any]:
    if not isinstance(evidence, Mapping) or set(evidence) != set(names):
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(names)}")
    return evidence


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _sample(evidence: Mapping[str, Any]) -> Form:
    said = _exactly(evidence, "svn", "report_data")
    svn, carried = said["svn"], base64_field(said, "report_data", 64)
    if not isinstance(svn, str) or not svn.isascii() or not svn.isdigit() or len(svn) > _SVN:
        raise refuse(Refusal.MALFORMED, "svn")
    if len(carried) == _DIGEST:  # as the client has it: not padded
        carried = carried.ljust(64, b"\0")
    return "sample", {
        "kind": "sample", "version": 1, "report_data": carried.hex(), "measurement": f"trustee-sample-{svn}",
        "notice": NOTICE,
    }  # fmt: skip


def _snp(evidence: Mapping[str, Any]) -> Form:
    said = _exactly(evidence, "attestation_report", "cert_chain")
    listed = [] if said["cert_chain"] is None else said["cert_chain"]
    if not isinstance(listed, list) or len(listed) > MAX_CERTIFICATES:
        raise refuse(Refusal.MALFORMED, "cert_chain")
    certificates: list[bytes] = []
    for entry in listed:
        said_type = _exactly(entry, *_ENTRY)["cert_type"]
        if isinstance(said_type, str) and said_type in _SIGNERS:
            certificates += _ders(entry["data"])
    return "snp", {
        "kind": "snp", "version": 1, "report": _base64(report_bytes(said["attestation_report"])),
        "certificates": [_base64(der) for der in certificates], "auxblob": "",
    }  # fmt: skip


def _ders(value: object) -> list[bytes]:
    """Certificates of one entry, a list of numbers: DER, or PEM as some hypervisors are given it."""
    if not isinstance(value, list) or len(value) > MAX_CERTIFICATE:
        raise refuse(Refusal.MALFORMED, "cert_chain")
    if not all(type(octet) is int and 0 <= octet <= 255 for octet in value):
        raise refuse(Refusal.MALFORMED, "cert_chain")
    raw = bytes(value)
    return _pem_chain(raw.rstrip(b"\0")) if raw.startswith(b"-----") else [raw]


def _pem_chain(raw: bytes) -> list[bytes]:
    return [certificate.public_bytes(Encoding.DER) for certificate in load_pem_chain(raw)]


def _tdx(evidence: Mapping[str, Any]) -> Form:
    said = _exactly(evidence, "quote", "cc_eventlog")
    log = b"" if said["cc_eventlog"] is None else base64_field(said, "cc_eventlog", MAX_LOG)
    return "tdx", {
        "kind": "tdx", "version": 1, "quote": _base64(base64_field(said, "quote", MAX_QUOTE)),
        "event_log": _base64(log),
    }  # fmt: skip


def _azure(evidence: Mapping[str, Any], hardware: str) -> Form:
    _exactly(evidence, "version", "tpm_quote", "hcl_report", hardware)
    read = parse_trustee(evidence)
    return "azure-vtpm", {
        "kind": "azure-vtpm", "version": 1, "hcl_report": _base64(read.hcl_report), "message": _base64(read.message),
        "signature": _base64(read.signature), "pcrs": {str(index): pcr.hex() for index, pcr in read.pcrs.items()},
        "certificates": [_base64(der) for der in read.certificates],
        "td_quote": _base64(read.td_quote or b""),
    }  # fmt: skip


def _tpm(evidence: Mapping[str, Any]) -> Form:
    said = _exactly(evidence, "ak_public", "tpm_quote")
    quote = _exactly(said["tpm_quote"], "signature", "message", "pcrs")
    pcrs = quote["pcrs"]
    if not isinstance(pcrs, list) or len(pcrs) > PCRS or not all(isinstance(pcr, str) for pcr in pcrs):
        raise refuse(Refusal.MALFORMED, "pcrs")
    return "tpm", {
        "kind": "tpm", "version": 1, "key": _base64(base64_field(said, "ak_public", MAX_MESSAGE)),
        "message": _base64(base64_field(quote, "message", MAX_MESSAGE)),
        "signature": _base64(_rsassa(base64_field(quote, "signature", MAX_SIGNATURE + 6))),
        "pcrs": {str(index): pcr.lower() for index, pcr in enumerate(pcrs)},
    }  # fmt: skip


def _rsassa(marshalled: bytes) -> bytes:
    """The signature inside a TPMT_SIGNATURE: scheme u16, hash u16, length u16, bytes."""
    if marshalled[:4] != _RSASSA_SHA256:
        raise refuse(Refusal.ALGORITHM, "RSASSA with SHA-256 expected")
    if len(marshalled) < 6 or int.from_bytes(marshalled[4:6], "big") != len(marshalled) - 6:
        raise refuse(Refusal.MALFORMED, "signature")
    return marshalled[6:]


def _nvidia(evidence: object) -> list[dict[str, Any]]:
    listed = _exactly(evidence, "device_evidence_list")["device_evidence_list"]
    if not isinstance(listed, list) or len(listed) > MAX_DEVICES:
        raise refuse(Refusal.MALFORMED, "device_evidence_list")
    return [{"kind": "nvgpu", "evidence": _device(device)} for device in listed]


def _device(device: object) -> dict[str, Any]:
    """One GPU or switch. What its `arch` and `uuid` say is nobody's word: the report says it again, signed."""
    if not isinstance(device, Mapping) or set(device) - {"uuid"} != {"arch", "evidence", "certificate"}:
        raise refuse(Refusal.MALFORMED, "exactly the fields arch, uuid, evidence, certificate")
    chain = _pem_chain(base64_bytes(device["certificate"], "certificate", MAX_CERTIFICATE * MAX_CHAIN))
    return {
        "kind": "nvgpu", "version": 1, "report": _base64(base64_bytes(device["evidence"], "evidence", MAX_REPORT)),
        "certificates": [_base64(der) for der in chain],
    }  # fmt: skip


_PRIMARY: Mapping[str, Callable[[Mapping[str, Any]], Form]] = {
    "sample": _sample,
    "snp": _snp,
    "tdx": _tdx,
    "tpm": _tpm,
    "az-snp-vtpm": lambda evidence: _azure(evidence, "vcek"),
    "az-tdx-vtpm": lambda evidence: _azure(evidence, "td_quote"),
}
TEES = frozenset(_PRIMARY)


def check_user_data(tee: str, evidence: Mapping[str, Any], claims: Mapping[str, Any], report_data: bytes) -> None:
    """Since version 2 of Azure's forms the runtime data that the hardware vouches for repeats the binding."""
    if tee not in {"az-snp-vtpm", "az-tdx-vtpm"} or evidence.get("version") != _REPEATS_BINDING:
        return
    said = claims.get("platform", {}).get("user_data", "")
    if not isinstance(said, str) or not said.lower().startswith(report_data.hex()):
        raise refuse(Refusal.BINDING, "user-data of the runtime data is of another handshake")
