"""How a confidential VM's evidence arrives: our own form, and the two that Confidential Containers' clients send.

    {"kind":"azure-vtpm","version":1,"hcl_report": base64,"message": base64,"signature": base64,"pcrs": {"0": hex, …},
     "certificates": [base64 DER, …],"td_quote": base64 | "","endorsement": base64(COSE_Sign1), if there is one}

Theirs (az-snp-vtpm and az-tdx-vtpm of Trustee): version 0 has bytes as lists of numbers and a PEM certificate,
version 1 has hex and base64url; version 2 is spelled as 1, and the paravisor's user-data repeats the binding.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.certificates import MAX_CERTIFICATE, load_pem_chain
from vault.attest.claims import Refusal, refuse
from vault.attest.fields import base64_bytes, base64_field
from vault.attest.snp.endorsed import FIELD
from vault.attest.tdx.quote import MAX_QUOTE
from vault.attest.tpm.quote import MAX_MESSAGE, MAX_SIGNATURE, PCRS

VERSION = 1
_MAX_REPORT = 4096
_MAX_CERTIFICATES = 8
_FIELDS = {"kind", "version", "hcl_report", "message", "signature", "pcrs", "certificates", "td_quote"}


@dataclass(frozen=True, slots=True)
class AzureEvidence:
    """Evidence of one VM, not verified. `certificates`: DER, for SNP; `td_quote`: for TDX."""

    hcl_report: bytes
    message: bytes
    signature: bytes
    pcrs: Mapping[int, bytes]
    certificates: tuple[bytes, ...] = ()
    td_quote: bytes | None = None


def parse_evidence(evidence: Mapping[str, Any]) -> AzureEvidence:
    """From our own form; `malformed` or `unknown-version`."""
    if set(evidence) - {FIELD} != _FIELDS or evidence["kind"] != "azure-vtpm":
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}, and {FIELD} if there is one")
    if type(evidence["version"]) is not int or evidence["version"] != VERSION:
        raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
    listed, pcrs = evidence["certificates"], evidence["pcrs"]
    if not isinstance(listed, list) or len(listed) > _MAX_CERTIFICATES:
        raise refuse(Refusal.MALFORMED, "certificates")
    if not isinstance(pcrs, dict) or not set(pcrs) <= {str(index) for index in range(PCRS)}:
        raise refuse(Refusal.MALFORMED, "pcrs")
    return AzureEvidence(
        base64_field(evidence, "hcl_report", _MAX_REPORT),
        base64_field(evidence, "message", MAX_MESSAGE),
        base64_field(evidence, "signature", MAX_SIGNATURE),
        {int(index): _pcr(value) for index, value in pcrs.items()},
        tuple(base64_bytes(text, "certificates", MAX_CERTIFICATE) for text in listed),
        base64_field(evidence, "td_quote", MAX_QUOTE) or None,
    )


def parse_trustee(evidence: Mapping[str, Any]) -> AzureEvidence:
    """From a Confidential Containers client's; `malformed` or `unknown-version`."""
    version = evidence.get("version", 0)
    if type(version) is not int or version not in {0, 1, 2}:
        raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
    quote = evidence.get("tpm_quote", evidence.get("quote"))
    if not isinstance(quote, dict) or not isinstance(quote.get("pcrs"), list) or len(quote["pcrs"]) > PCRS:
        raise refuse(Refusal.MALFORMED, "vTPM quote")
    td_quote = evidence.get("td_quote")
    return AzureEvidence(
        _bytes(evidence.get("hcl_report", evidence.get("report")), "hcl_report", _MAX_REPORT),
        _bytes(quote.get("message"), "message", MAX_MESSAGE),
        _bytes(quote.get("signature"), "signature", MAX_SIGNATURE),
        {index: _pcr(value) for index, value in enumerate(quote["pcrs"])},
        _certificates(evidence.get("vcek")),
        None if td_quote is None else _bytes(td_quote, "td_quote", MAX_QUOTE),
    )


def _pcr(value: object) -> bytes:
    raw = _bytes(value, "pcrs", 32)
    if len(raw) != 32:
        raise refuse(Refusal.MALFORMED, "pcrs")
    return raw


def _bytes(value: object, what: str, most: int) -> bytes:
    """A list of numbers, hex, base64url or base64, whichever of them it is."""
    if isinstance(value, list) and len(value) <= most:
        if all(type(number) is int and 0 <= number <= 255 for number in value):
            return bytes(value)
    elif isinstance(value, str) and len(value) <= 2 * most:
        try:
            return bytes.fromhex(value)
        except ValueError:
            return _base64(value, what)
    raise refuse(Refusal.MALFORMED, what)


def _base64(text: str, what: str) -> bytes:
    try:
        spelled = text.encode("ascii").rstrip(b"=").translate(bytes.maketrans(b"+/", b"-_"))
        return base64.b64decode(spelled + b"=" * (-len(spelled) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.MALFORMED, what) from error


def _certificates(value: object) -> tuple[bytes, ...]:
    if value is None:
        return ()
    if isinstance(value, str) and value.startswith("-----"):
        chain = load_pem_chain(value.encode("ascii", "replace"))
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)
    return (_bytes(value, "vcek", MAX_CERTIFICATE),)
