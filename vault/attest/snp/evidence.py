"""How SNP evidence arrives: our own form, a configfs-tsm capture, and the hypervisor's certificate table.

    {"kind":"snp","version":1,"report": base64(1184 bytes),"certificates":[base64(DER), …],"auxblob": base64 | "",
     "endorsement": base64(COSE_Sign1), if there is one}

`auxblob` is what configfs-tsm hands out beside the report: the GHCB certificate table (AMD 56421 §4.1.8.1), entries
of GUID, offset u32, length u32 up to a zero GUID, then the certificates, DER or PEM.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.binding import Binding
from vault.attest.certificates import MAX_CERTIFICATE, load_pem_chain
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import Fields, base64_bytes, base64_field
from vault.attest.snp.endorsed import FIELD, brought_endorsement, with_endorsement
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.report import LENGTH
from vault.attest.snp.verify import KIND, MAX_CERTIFICATES, verify_snp

VERSION = 1
MAX_TABLE = 64 * 1024
_MAX_ENTRIES = 32
_FIELDS = {"kind", "version", "report", "certificates", "auxblob"}
_TSM_FIELDS = {"provider", "outblob", "auxblob"}
_CERTIFICATES = frozenset(
    {
        UUID("63da758d-e664-4564-adc5-f4b93be8accd"),  # VCEK
        UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),  # VLEK
        UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),  # ASK
        UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),  # ARK
    }
)


class SnpVerifier:
    """The port `Verifier` over `verify_snp`: the report must carry the expected binding."""

    def __init__(self, trust: SnpTrust, policy: SnpPolicy) -> None:
        self._trust = trust
        self._policy = policy

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        report, certificates = parse_evidence(evidence)
        brought = brought_endorsement(evidence)
        claims = verify_snp(report, certificates, self._trust, self._policy, expected.report_data(), now_ms)
        return with_endorsement(claims, brought, self._trust.releases, now_ms)


def parse_evidence(evidence: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
    """Report and DER certificates of our own form; `malformed` or `unknown-version`."""
    if set(evidence) - {FIELD} != _FIELDS or evidence["kind"] != KIND:
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}, and {FIELD} if there is one")
    if type(evidence["version"]) is not int or evidence["version"] != VERSION:
        raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
    listed = evidence["certificates"]
    if not isinstance(listed, list) or len(listed) > MAX_CERTIFICATES:
        raise refuse(Refusal.MALFORMED, "certificates")
    certificates = [base64_bytes(text, "certificates", MAX_CERTIFICATE) for text in listed]
    return base64_field(evidence, "report", LENGTH), certificates + certificate_table(
        base64_field(evidence, "auxblob", MAX_TABLE)
    )


def parse_tsm(capture: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
    """Report and DER certificates of a configfs-tsm capture: provider, outblob and auxblob (base64)."""
    if not set(capture) <= _TSM_FIELDS or "outblob" not in capture:
        raise refuse(Refusal.MALFORMED, f"fields of {', '.join(sorted(_TSM_FIELDS))}")
    provider = capture.get("provider")
    if not isinstance(provider, str) or provider.removesuffix("\n") != "sev_guest":
        raise refuse(Refusal.UNKNOWN_KIND, "provider")
    table = base64_field(capture, "auxblob", MAX_TABLE) if capture.get("auxblob") else b""
    return base64_field(capture, "outblob", LENGTH), certificate_table(table)


def certificate_table(table: bytes) -> list[bytes]:
    """DER certificates of a GHCB table; entries of other GUIDs are not ours to judge and are left. Empty is none."""
    if not table:
        return []
    f, found = Fields(table, "certificate table"), list[bytes]()
    for _ in range(_MAX_ENTRIES):
        guid, offset, length = f.take(16), f.number(4), f.number(4)
        if not any(guid):
            return found
        entry = Fields(table, "certificate table")
        entry.take(offset)
        content = entry.take(length)
        if {UUID(bytes=guid), UUID(bytes_le=guid)} & _CERTIFICATES:  # both byte orders are met in the field
            found += _ders(content)
            if len(found) > MAX_CERTIFICATES:
                break
    raise refuse(Refusal.MALFORMED, "certificate table without an end")


def _ders(content: bytes) -> list[bytes]:
    if content.startswith(b"-----"):
        return [c.public_bytes(Encoding.DER) for c in load_pem_chain(content.rstrip(b"\0"))]
    return [content]
