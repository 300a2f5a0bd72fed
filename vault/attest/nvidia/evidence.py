"""How device evidence arrives: our own form, and the list that NVIDIA's tools write.

{"kind":"nvgpu","version":1,"report": base64,"certificates":[base64 DER, leaf first, …]}
[{"arch", "nonce": hex, "evidence": base64, "certificate": base64 of PEM}, …]
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.binding import Binding
from vault.attest.certificates import MAX_CERTIFICATE, MAX_CHAIN, load_pem_chain
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import base64_bytes, base64_field
from vault.attest.nvidia.report import MAX_REPORT
from vault.attest.nvidia.verify import KIND, ROOTS, NvidiaPolicy, verify_nvidia

VERSION = 1
MAX_DEVICES = 32
_FIELDS = {"kind", "version", "report", "certificates"}


def parse_evidence(evidence: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
    """Report and DER certificates of our own form; `malformed` or `unknown-version`."""
    if set(evidence) != _FIELDS or evidence["kind"] != KIND:
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
    if type(evidence["version"]) is not int or evidence["version"] != VERSION:
        raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
    listed = evidence["certificates"]
    if not isinstance(listed, list) or len(listed) > MAX_CHAIN:
        raise refuse(Refusal.MALFORMED, "certificates")
    certificates = [base64_bytes(text, "certificates", MAX_CERTIFICATE) for text in listed]
    return base64_field(evidence, "report", MAX_REPORT), certificates


def parse_list(raw: bytes) -> list[tuple[bytes, list[bytes]]]:
    """Reports and certificates of 1 to 32 devices, as NVIDIA's tools write them."""
    try:
        listed = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise refuse(Refusal.MALFORMED, f"evidence: {error}") from error
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_DEVICES:
        raise refuse(Refusal.MALFORMED, "1 to 32 devices expected")
    found = []
    for device in listed:
        if not isinstance(device, dict):
            raise refuse(Refusal.MALFORMED, "device")
        chain = load_pem_chain(base64_field(device, "certificate", MAX_CERTIFICATE * MAX_CHAIN))
        report = base64_field(device, "evidence", MAX_REPORT)
        if not isinstance(device.get("nonce"), str) or device["nonce"].lower() != report[4:36].hex():
            raise refuse(Refusal.NONCE, "the report answers another nonce than its list says")
        found.append((report, [certificate.public_bytes(Encoding.DER) for certificate in chain]))
    return found


class NvidiaVerifier:
    """The port `Verifier` over `verify_nvidia`: the report must answer the expected binding."""

    def __init__(
        self, policy: NvidiaPolicy, roots: Collection[str] = ROOTS, revocations: Collection[bytes] = ()
    ) -> None:
        self._policy = policy
        self._roots = roots
        self._revocations = tuple(revocations)

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        report, certificates = parse_evidence(evidence)
        return verify_nvidia(
            report, certificates, self._roots, self._policy, expected.device_nonce(), now_ms, self._revocations
        )  # fmt: skip
