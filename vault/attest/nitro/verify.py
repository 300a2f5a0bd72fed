"""A Nitro document → claims, or the name of the first check that fails. No network, no clock, no state.

AWS publishes no revocation for this chain and its verification guide has it switched off; leaves live three hours.
The binding stands in `nonce`: the enclave asks its module for a document with nonce = report_data.
"""

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey

from vault.attest.binding import Binding
from vault.attest.certificates import check_path, load_certificate
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.cose import check_sign1
from vault.attest.fields import at_time, base64_field
from vault.attest.nitro.document import MAX_DOCUMENT, Document, parse_document

KIND = "nitro"
VERSION = 1
# aws.nitro-enclaves, G1: SHA-256 of the DER (aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip).
ROOTS = frozenset({"641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"})
CLOCK_SKEW_MS = 60_000
_FIELDS = {"kind", "version", "document"}
_DEBUG_PCRS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class NitroPolicy:
    """`pcrs`: admitted values of each index named (0 image, 1 kernel, 2 application, 3 role, 4 instance, 8 signer).

    An index not named is left to the doctrine; an empty set admits nothing. `modules` are instance-enclave ids;
    `instances` and `denied` admit or deny all enclaves of an instance as well.
    """

    pcrs: Mapping[int, Collection[bytes]] = field(default_factory=dict)
    modules: frozenset[str] | None = None
    instances: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()
    max_age_ms: int = 300_000


def verify_nitro(
    raw: bytes, roots: Collection[str], policy: NitroPolicy, report_data: bytes | None, now_ms: int
) -> Claims:
    """Claims of a document that AWS's hypervisor signed.

    `report_data` is the nonce it must carry; None looks at none, and the claims then say `bound` false.
    """
    document = parse_document(raw)
    leaf = load_certificate(document.certificate)
    path = [leaf, *(load_certificate(der) for der in reversed(document.cabundle))]
    check_path(path, roots, at_time(now_ms))
    key = leaf.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise refuse(Refusal.ALGORITHM, "the document's key is not on P-384")
    check_sign1(document.signed, key)
    if not -CLOCK_SKEW_MS <= now_ms - document.timestamp <= policy.max_age_ms:
        raise refuse(Refusal.EXPIRED, "document")
    _check_content(document, policy)
    if report_data is not None and not hmac.compare_digest(document.nonce or b"", report_data):
        raise refuse(Refusal.BINDING, "nonce is over another nonce, gateway, key, purpose or scope")
    return Claims(
        KIND, "nitro", document.pcrs[0].hex(), debug=False, hardware=True, synthetic_only=False,
        platform=_platform(document, bound=report_data is not None),
    )  # fmt: skip


def _check_content(document: Document, policy: NitroPolicy) -> None:
    """A debug enclave is signed like any other: its PCR 0 to 2 are zero, and that is all that says so."""
    for index in _DEBUG_PCRS:
        if index not in document.pcrs:
            raise refuse(Refusal.MALFORMED, f"PCR{index} is missing")
        if not any(document.pcrs[index]):
            raise refuse(Refusal.DEBUG, f"PCR{index} is zero")
    instance = document.module_id.partition("-enc")[0]
    if {document.module_id, instance} & policy.denied:
        raise refuse(Refusal.PLATFORM, "module is denied")
    if policy.modules is not None and document.module_id not in policy.modules:
        raise refuse(Refusal.PLATFORM, "module is not admitted")
    if policy.instances is not None and instance not in policy.instances:
        raise refuse(Refusal.PLATFORM, "instance is not admitted")
    for index, admitted in policy.pcrs.items():
        if document.pcrs.get(index) not in admitted:
            raise refuse(Refusal.MEASUREMENT, f"PCR{index}")


def _platform(document: Document, *, bound: bool) -> dict[str, Any]:
    return {
        "bound": bound,
        "module_id": document.module_id,
        "timestamp_ms": document.timestamp,
        **{f"pcr{index}": value.hex() for index, value in sorted(document.pcrs.items()) if any(value)},
        "nonce": (document.nonce or b"").hex(),
        "user_data": (document.user_data or b"").hex(),
        "public_key": (document.public_key or b"").hex(),
    }


class NitroVerifier:
    """The port `Verifier` over `verify_nitro`: {"kind":"nitro","version":1,"document": base64}."""

    def __init__(self, policy: NitroPolicy, roots: Collection[str] = ROOTS) -> None:
        self._policy = policy
        self._roots = roots

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        if set(evidence) != _FIELDS or evidence["kind"] != KIND:
            raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
        if type(evidence["version"]) is not int or evidence["version"] != VERSION:
            raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
        raw = base64_field(evidence, "document", MAX_DOCUMENT)
        return verify_nitro(raw, self._roots, self._policy, expected.report_data(), now_ms)
