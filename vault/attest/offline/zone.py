"""Evidence out of files, judged as a zone's broker would: by its trust directory, with every list and floor in it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vault.attest.admitted.tokens import KINDS as TOKENS
from vault.attest.admitted.verifiers import DEVICES, MACHINES, admitted_verifiers
from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.nvidia.verify import KIND as NVIDIA
from vault.attest.offline.contents import Presented, binary, bounded, ders, is_json
from vault.attest.offline.devices import devices
from vault.attest.offline.kinds import Verdict
from vault.attest.offline.tokens import token_text
from vault.attest.sample import KIND as SAMPLE
from vault.attest.snp.evidence import parse_tsm
from vault.attest.snp.verify import KIND as SNP
from vault.attest.trust.directory import TrustDirectory

KINDS = MACHINES | DEVICES | {SAMPLE}
_COSE = b"\xd2"  # a COSE_Sign1 begins so; a certificate, in DER or PEM, does not


@dataclass(frozen=True, slots=True)
class StatedBinding:
    """What the person at the command line says that evidence must carry, padded with zeros to 64 bytes."""

    data: bytes

    def report_data(self) -> bytes:
        return self.data.ljust(64, b"\0")

    def device_nonce(self) -> bytes:
        return self.report_data()[:32]


def verify_in_zone(kind: str, presented: Presented, directory: TrustDirectory, *, development: bool) -> Verdict:
    """The verdict of the zone's verifiers, one device's at a time; collateral and trust are the directory's alone."""
    bounded(presented.evidence, "evidence")
    if presented.expected is None:
        raise refuse(Refusal.BINDING, "a broker verifies nothing without a binding")
    binding, now_ms = StatedBinding(presented.expected), presented.at_ms
    verifiers = admitted_verifiers(directory, development=development)
    if kind not in DEVICES:
        return Verdict(verifiers.verify(kind, our_form(kind, presented), binding, now_ms).as_document())
    entries = [{"kind": kind, "evidence": form} for form in _device_forms(kind, presented)]
    found = [claims.as_document() for claims in verifiers.verify_devices(entries, binding, now_ms)]
    return Verdict(found[0] if len(found) == 1 else {"kind": kind, "devices": found})


def our_form(kind: str, presented: Presented) -> Mapping[str, Any]:
    """Evidence in the form that brokers get. JSON is taken as it is; bytes are put into that form."""
    head = {"kind": kind, "version": 1}
    if kind in TOKENS:
        return head | {"token": token_text(presented)}
    if is_json(presented.evidence):
        document = json_object(presented.evidence, "evidence")
        if kind != SNP or "kind" in document:
            return document
        report, certificates = parse_tsm(document)
        return head | {"report": _b64(report), "certificates": [_b64(der) for der in certificates], "auxblob": ""}
    raw = binary(presented.evidence)
    match kind:
        case "snp":
            stated = [content for content in presented.endorsements if content[:1] == _COSE]
            listed = [_b64(der) for content in presented.endorsements if content[:1] != _COSE for der in ders(content)]
            form = head | {"report": _b64(raw), "certificates": listed, "auxblob": ""}
            return form | ({"endorsement": _b64(stated[0])} if stated else {})
        case "tdx":
            log = presented.endorsements[0] if presented.endorsements else b""
            return head | {"quote": _b64(raw), "event_log": _b64(log)}
        case "nitro":
            return head | {"document": _b64(raw)}
        case _:
            raise refuse(Refusal.MALFORMED, "with --trust, this kind is read in its JSON form")


def _device_forms(kind: str, presented: Presented) -> list[Mapping[str, Any]]:
    if kind != NVIDIA:
        return [{"kind": kind, "version": 1, "token": presented.evidence.decode("ascii", "replace").strip()}]
    head = {"kind": kind, "version": 1}
    return [
        head | {"report": _b64(report), "certificates": [_b64(der) for der in chain]}
        for report, chain in devices(presented)
    ]


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
