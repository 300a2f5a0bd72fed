"""What evidence states, for a person: fields with their meaning, none of them verified."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vault.attest.azure.evidence import parse_evidence as parse_azure
from vault.attest.azure.evidence import parse_trustee
from vault.attest.azure.hcl import SNP, parse_hcl
from vault.attest.azure.verify import KIND as AZURE
from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.fields import base64_field
from vault.attest.nitro.document import MAX_DOCUMENT, parse_document
from vault.attest.nvidia.report import parse_device_report
from vault.attest.nvidia.verify import KIND as NVIDIA
from vault.attest.offline.contents import Presented, binary, bounded, is_json
from vault.attest.offline.devices import devices
from vault.attest.offline.kinds import KINDS
from vault.attest.offline.tokens import SEEN_HEADERS, TOKENS, token_text
from vault.attest.snp.evidence import parse_evidence as parse_snp
from vault.attest.snp.evidence import parse_tsm
from vault.attest.snp.report import LENGTH, parse_report
from vault.attest.tdx.quote import MAX_QUOTE, parse_quote
from vault.attest.tokens.jose import parse_token
from vault.attest.tokens.nras import stated_claims as nras_claims
from vault.attest.tpm.quote import parse_tpm_quote
from vault.attest.tpm.verify import parse_evidence as parse_tpm

_LONGEST = 160  # characters of a value that are shown
_OMITTED = {"signed", "raw", "quoting_key", "hardware"}
_MEANINGS = {
    "report_data": "what the guest put in: the binding to nonce, gateway, key, purpose and scope",
    "measurement": "what the guest started with",
    "mrtd": "what the trust domain started with",
    "host_data": "what the host said of the guest at launch: a policy's hash",
    "mrconfigid": "what the host said of the guest at launch: a policy's hash",
    "vmpl": "the privilege level that asked; 0 is the guest's most privileged",
    "chip_id": "which chip",
    "reported_tcb": "firmware versions that the chip's key is derived from",
    "committed_tcb": "firmware versions that the platform cannot go back behind",
    "launch_tcb": "firmware versions when the guest started",
    "pcrs": "hashes of what was loaded; 0, 1 and 2 all zero is a debug enclave",
    "timestamp": "when it was made, milliseconds since 1970",
    "nonce": "what the asker put in: the binding",
    "rtmrs": "what was loaded at run time; means something with the event log only",
    "extra_data": "what the asker put in: the binding",
    "platform_info": "bit 0 SMT, 1 TSME, 2 ECC, 3 RAPL off, 4 ciphertext hiding, 5 alias check done",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One field: its name, its value as text, and what it is for where that needs saying."""

    name: str
    value: str
    meaning: str


def inspect_file(content: bytes, kind: str | None) -> tuple[str, list[Line]]:
    """The kind and its fields; `Refused` where the bytes are not what the kind allows."""
    bounded(content, "evidence")
    found = kind or _guess(content)
    reader = READERS.get(found)
    if reader is None:
        raise refuse(Refusal.UNKNOWN_KIND, f"one of {', '.join(sorted(KINDS))} expected")
    return found, [Line(name, _text(value), _meaning(name, value)) for name, value in reader(content).items()]


def _guess(content: bytes) -> str:
    if content.lstrip().startswith(b"["):
        return "nras" if b'"JWT"' in content[:64] else NVIDIA
    if is_json(content):
        return _guess_document(json_object(content, "evidence"))
    raw = binary(content)
    if len(raw) == LENGTH:
        return "snp"
    if raw[:2] in {b"\4\0", b"\5\0"} and raw[4:8] == b"\x81\0\0\0":
        return "tdx"
    if raw[:1] == b"\x84":
        return "nitro"
    if raw[:4] == b"\xffTCG":
        return "tpm"
    if raw[:4] == b"\x11\xe0\x01\xff":
        return NVIDIA
    if content.startswith(b"eyJ") and content.count(b".") == 2:
        return "jws"
    raise refuse(Refusal.UNKNOWN_KIND, "no evidence of a known kind; say --kind")


def _guess_document(document: Mapping[str, Any]) -> str:
    if isinstance(document.get("kind"), str):
        return str(document["kind"])
    if "outblob" in document:
        return "snp"
    if "tpm_quote" in document or {"quote", "report"} <= set(document):
        return AZURE
    raise refuse(Refusal.UNKNOWN_KIND, "a document of no known kind; say --kind")


def _snp(content: bytes) -> dict[str, Any]:
    report = binary(content)
    if is_json(content):
        document = json_object(content, "evidence")
        report, _ = parse_snp(document) if "kind" in document else parse_tsm(document)
    fields = _fields(parse_report(report))
    return fields | {"policy": f"{fields['policy']:#x}"}


def _tdx(content: bytes) -> dict[str, Any]:
    raw = base64_field(json_object(content, "evidence"), "quote", MAX_QUOTE) if is_json(content) else binary(content)
    fields = _fields(parse_quote(raw))
    return fields | {"td_attributes": f"{fields['td_attributes']:#x}", "xfam": f"{fields['xfam']:#x}"}


def _nitro(content: bytes) -> dict[str, Any]:
    raw = binary(content)
    if is_json(content):
        raw = base64_field(json_object(content, "evidence"), "document", MAX_DOCUMENT)
    return _fields(parse_document(raw))


def _azure(content: bytes) -> dict[str, Any]:
    document = json_object(content, "evidence")
    evidence = parse_azure(document) if document.get("kind") == AZURE else parse_trustee(document)
    said = _fields(parse_hcl(evidence.hcl_report))
    hardware = {"hardware": "SNP report" if said["type"] == SNP else "TDX report"}
    return said | hardware | _fields(parse_tpm_quote(evidence.message))


def _tpm(content: bytes) -> dict[str, Any]:
    if not is_json(content):
        return _fields(parse_tpm_quote(content))
    evidence = parse_tpm(json_object(content, "evidence"))
    return _fields(parse_tpm_quote(evidence.message)) | {"pcrs": evidence.pcrs}


def _device(content: bytes) -> dict[str, Any]:
    report = parse_device_report(next(report for report, _ in devices(Presented(content))))
    named = {"driver": report.driver, "vbios": report.vbios, "switch": report.is_switch}
    return named | _fields(report)


def _token(content: bytes) -> dict[str, Any]:
    if content.lstrip().startswith(b"["):
        return {"tokens": nras_claims(content)}
    parsed = parse_token(token_text(Presented(content)), headers=SEEN_HEADERS)
    return {f"header.{name}": value for name, value in parsed.header.items()} | dict(parsed.claims)


def _document(content: bytes) -> dict[str, Any]:
    return json_object(content, "evidence")


def _fields(parsed: Any) -> dict[str, Any]:
    return {
        field.name: getattr(parsed, field.name) for field in dataclasses.fields(parsed) if field.name not in _OMITTED
    }


def _text(value: Any) -> str:
    shown = json.dumps(_plain(value)) if not isinstance(value, bytes | str) else str(_plain(value))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}… ({len(shown)} characters)"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(inner) for name, inner in _fields(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _meaning(name: str, value: Any) -> str:
    meaning = _MEANINGS.get(name, "")
    unused = isinstance(value, bytes) and value and not any(value)
    return f"{meaning} (all zero: not used)" if unused else meaning


READERS: Mapping[str, Callable[[bytes], dict[str, Any]]] = {
    "sample": _document,
    "snp": _snp,
    "tdx": _tdx,
    "tdx-quote": _tdx,
    "nitro": _nitro,
    AZURE: _azure,
    "azure-vtpm-quote": _azure,
    "tpm": _tpm,
    NVIDIA: _device,
    **dict.fromkeys(TOKENS, _token),
}
