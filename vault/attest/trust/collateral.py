"""What makers publish and sign, as it lies in `collateral/`: Intel's by platform family, AMD's lists by product line.

    intel/<fmspc>.json           one document of the DCAP tools' form
    amd/<product>[-….].crl       DER; milan, genoa, turin
    nvidia/*.xml *.crl *.ocsp    reference manifests; DER lists and answers about certificates

These files are the makers' own and have the makers' dates. Being here trusts nothing: each is verified, to a pinned
root, when it is used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponse

from vault.attest.certificates import UNREADABLE
from vault.attest.claims import Refusal
from vault.attest.documents import json_object
from vault.attest.ocsp import load_answer
from vault.attest.snp.product import Product
from vault.attest.tdx.collateral import Collateral, instant, octets, parse_collateral, whole
from vault.attest.trust.document import Dated, milliseconds, wrong
from vault.errors import Refused

_MAX_LIST = 1 << 20
_INTEL_NAME = re.compile(r"([0-9a-f]{12})\.json")
_AMD_NAME = re.compile(r"(milan|genoa|turin)(?:-[a-z0-9-]{1,32})?\.crl")
PRODUCTS: Mapping[str, Product] = {product.lower(): product for product in Product}


@dataclass(frozen=True, slots=True)
class IntelCollateral:
    """Collateral of one platform family, and what it says of itself, unverified."""

    fmspc: bytes
    collateral: Collateral
    evaluation_number: int


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A certificate revocation list, and whose it says it is."""

    der: bytes
    issuer: x509.Name


@dataclass(frozen=True, slots=True)
class Answer:
    """An OCSP answer. One that does not say *good* is believed for longer than it is current."""

    der: bytes
    parsed: OCSPResponse
    good: bool


def parse_intel(name: str, raw: bytes) -> tuple[IntelCollateral, Dated]:
    """`name`: the file's. Raises Malformed or Refused."""
    found = _INTEL_NAME.fullmatch(name)
    if found is None:
        raise wrong("", "name it by its platform family, twelve hex digits and .json")
    collateral = parse_collateral(json_object(raw, "collateral", Refusal.COLLATERAL))
    tcb_info = json_object(collateral.tcb_info, "tcb_info", Refusal.COLLATERAL)
    identity = json_object(collateral.qe_identity, "qe_identity", Refusal.COLLATERAL)
    fmspc = octets(tcb_info, "fmspc", 6)
    if fmspc.hex() != found[1]:
        raise wrong("tcb_info.fmspc", f"{fmspc.hex()}, and the file is named otherwise")
    lists = [parse_list(der)[1] for der in (collateral.root_ca_crl, collateral.pck_crl)]
    starts = [milliseconds(instant(one, "issueDate")) for one in (tcb_info, identity)]
    ends = [milliseconds(instant(one, "nextUpdate")) for one in (tcb_info, identity)]
    dated = Dated(max(*starts, *(one.issued_ms for one in lists)), min(*ends, *(one.expires_ms for one in lists)))
    numbers = [whole(one, "tcbEvaluationDataNumber") for one in (tcb_info, identity)]
    return IntelCollateral(fmspc, collateral, min(numbers)), dated


def product_of(name: str) -> Product | None:
    """The product line that a list's file name names."""
    found = _AMD_NAME.fullmatch(name)
    return None if found is None else PRODUCTS[found[1]]


def parse_amd(name: str, raw: bytes) -> tuple[RevocationList, Dated]:
    """A list of the product line that the file's name names."""
    product = product_of(name)
    if product is None:
        raise wrong("", "name it by its product line: milan.crl, genoa.crl or turin.crl")
    listed, dated = parse_list(raw)
    names = [str(one.value) for one in listed.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if names != [f"ARK-{product}"]:
        raise wrong("", f"a list of {', '.join(names)[:64]}, and the file is named otherwise")
    return listed, dated


def parse_list(raw: bytes) -> tuple[RevocationList, Dated]:
    """A list in DER, its parts readable."""
    if len(raw) > _MAX_LIST:
        raise wrong("", "a revocation list longer than 1 MiB")
    try:
        listed = x509.load_der_x509_crl(raw)
        issuer, start, end = listed.issuer, listed.last_update_utc, listed.next_update_utc
    except UNREADABLE as error:
        raise wrong("", f"no revocation list in DER: {error}"[:200]) from error
    return RevocationList(raw, issuer), _dated(start, end)


def parse_answer(raw: bytes) -> tuple[Answer, Dated]:
    """An OCSP answer in DER."""
    try:
        parsed = load_answer(raw)
        good = parsed.certificate_status is OCSPCertStatus.GOOD
        return Answer(raw, parsed, good), _dated(parsed.this_update_utc, parsed.next_update_utc)
    except Refused as refused:
        raise wrong("", refused.detail) from refused


def _dated(start: datetime, end: datetime | None) -> Dated:
    if end is None or end <= start:
        raise wrong("", "it does not say from when it counts no more")
    return Dated(milliseconds(start), milliseconds(end))
