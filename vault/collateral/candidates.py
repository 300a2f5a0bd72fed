"""What somebody brings, verified: signature to a trusted root, dates, what it is for, and the numbers that only grow.

Intel     the DCAP tools' document, `pck_crl_issuer_chain` included
AMD       a product line's revocation list, DER
NVIDIA    a reference manifest (XML, named by its identifier), a list or OCSP answer (DER), a device's chain (PEM)
Endorsers statements about SNP launch measurements (COSE_Sign1)
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.certificates import (
    UNREADABLE,
    check_path,
    fingerprint,
    load_certificate,
    load_pem_chain,
    load_revocations,
)
from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.nvidia.manifest import parse_reference_manifest
from vault.attest.ocsp import check_good, is_about, load_answer
from vault.attest.snp.product import Product
from vault.attest.snp.reference import Endorser, endorsed_measurement, stated
from vault.attest.tdx.collateral import Collateral, collateral_of_no_quote, instant, octets, parse_collateral, whole
from vault.attest.trust.collateral import parse_amd, parse_answer, parse_intel, parse_list
from vault.attest.trust.directory import AMD, ENDORSEMENTS, INTEL, NVIDIA
from vault.attest.trust.document import Dated, milliseconds
from vault.attest.trust.manifests import parse_manifest
from vault.attest.trust.roots import Roots
from vault.errors import Refused, VaultError

CHAINS = "collateral/chains"
_DER, _COSE = b"\x30", b"\xd2"

Ages = Mapping[str, int]
"""Numbers of a file that only grow with its maker's releases, by what they are called."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Whom collateral may come from. `issuers`: certificates (DER) that lists need not bring; only `roots` trust."""

    roots: Roots = field(default_factory=Roots)
    issuers: Sequence[bytes] = ()
    paths: Sequence[Sequence[x509.Certificate]] = ()
    """Verified paths of NVIDIA's, whose certificates lists and answers may be about."""
    endorsers: Sequence[Endorser] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be put in place under `name` (below the trust directory), if nothing newer is there."""

    name: str
    content: bytes
    what: str
    dated: Dated | None
    ages: Ages


def candidate(name: str, content: bytes, anchors: Anchors, now: datetime) -> Candidate:
    """`name`: of the file it came in, which only manifests need. `Refused` or Malformed, with what is wrong."""
    head = content.lstrip()[:1]
    if head == b"{":
        return intel_candidate(content, anchors.roots, now)
    if head == b"<":
        return manifest_candidate(name, content, anchors.roots, now)
    if content.lstrip().startswith(b"-----BEGIN CERTIFICATE"):
        return chain_candidate(content, anchors.roots, now)
    if head == _DER:
        take = _answer_candidate if _is_answer(content) else _list_candidate
        return take(content, anchors, now)
    if head == _COSE:
        return statement_candidate(content, anchors.endorsers, now)
    raise refuse(Refusal.COLLATERAL, "no collateral that is known: JSON, XML, PEM, DER or COSE expected")


def intel_candidate(content: bytes, roots: Roots, now: datetime) -> Candidate:
    document = json_object(content, "collateral", Refusal.COLLATERAL)
    collateral = parse_collateral(document)
    chain = document.get("pck_crl_issuer_chain")
    if not isinstance(chain, str):
        raise refuse(Refusal.COLLATERAL, "pck_crl_issuer_chain: missing; who issued pck_crl must be told")
    verified = collateral_of_no_quote(collateral, chain.encode("ascii", "replace"), roots.intel, now)
    fmspc = octets(verified.tcb_info, "fmspc", 6).hex()
    name = f"{fmspc}.json"
    _, dated = parse_intel(name, content)
    what = f"Intel platform family {fmspc}, evaluation {verified.evaluation_number}"
    return Candidate(f"{INTEL}/{name}", content, what, dated, _intel_ages(collateral))


def _intel_ages(collateral: Collateral) -> Ages:
    told = {}
    for label, text in (("tcb_info", collateral.tcb_info), ("qe_identity", collateral.qe_identity)):
        document = json_object(text, label, Refusal.COLLATERAL)
        told[f"{label} evaluation number"] = whole(document, "tcbEvaluationDataNumber")
        told[f"{label} issue date"] = milliseconds(instant(document, "issueDate"))
    for label, der in (("root_ca_crl", collateral.root_ca_crl), ("pck_crl", collateral.pck_crl)):
        told |= {f"{label} {name}": number for name, number in _list_ages(der).items()}
    return told


def _list_ages(der: bytes) -> Ages:
    listed = x509.load_der_x509_crl(der)
    told = {"issue date": milliseconds(listed.last_update_utc)}
    with suppress(x509.ExtensionNotFound, *UNREADABLE):
        told["number"] = listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return told


def manifest_candidate(name: str, content: bytes, roots: Roots, now: datetime) -> Candidate:
    manifest, dated = parse_manifest(name, content)
    check_path(manifest.path, roots.manifests, now)
    what = f"NVIDIA {manifest.product} {manifest.kind} {manifest.version}, {len(manifest.golden)} golden values"
    return Candidate(f"{NVIDIA}/{name}", content, what, dated, _manifest_ages(content))


def _manifest_ages(content: bytes) -> Ages:
    signer = parse_reference_manifest(content).path[0]
    return {"signer's certificate": milliseconds(signer.not_valid_before_utc)}


def chain_candidate(content: bytes, roots: Roots, now: datetime) -> Candidate:
    """A device's path, kept so that its certificates can be asked about; verifiers do not read it."""
    path = load_pem_chain(content)
    check_path(path, roots.nvidia, now)
    name = f"{CHAINS}/{hashlib.sha256(path[0].public_bytes(Encoding.DER)).hexdigest()[:32]}.pem"
    dated = Dated(*(milliseconds(at) for at in (
        max(one.not_valid_before_utc for one in path), min(one.not_valid_after_utc for one in path))))  # fmt: skip
    return Candidate(name, content, f"NVIDIA device {_subject(path[0])}", dated, {})


def _list_candidate(content: bytes, anchors: Anchors, now: datetime) -> Candidate:
    listed, dated = parse_list(content)
    names = [str(one.value) for one in listed.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    for product in Product:
        if names == [f"ARK-{product}"]:
            return amd_candidate(product, content, anchors, now)
    for path in anchors.paths:
        issuer = next((one for one in path[1:] if one.subject == listed.issuer), None)
        if issuer is not None:
            load_revocations(content, issuer, now)
            name = f"{NVIDIA}/{hashlib.sha256(listed.issuer.public_bytes()).hexdigest()[:32]}.crl"
            return Candidate(name, content, f"NVIDIA list of {_subject(issuer)}", dated, _list_ages(content))
    raise refuse(Refusal.CHAIN, f"issuer {', '.join(names)[:64]} is not known; bring its chain (PEM) first")


def amd_candidate(product: Product, content: bytes, anchors: Anchors, now: datetime) -> Candidate:
    """A product line's list, by the root that is pinned for that line."""
    pins = anchors.roots.amd.get(product, frozenset())
    issuers = [issuer for der in anchors.issuers if fingerprint(issuer := load_certificate(der)) in pins]
    failure = refuse(Refusal.NO_TRUST, f"no root of {product} is here")
    for issuer in issuers:
        try:
            load_revocations(content, issuer, now)
        except Refused as refused:
            failure = refused
            continue
        name = f"{product.lower()}.crl"
        _, dated = parse_amd(name, content)
        return Candidate(f"{AMD}/{name}", content, f"AMD {product}", dated, _list_ages(content))
    raise failure


def _answer_candidate(content: bytes, anchors: Anchors, now: datetime) -> Candidate:
    """About a certificate of a known path. One that says *revoked* is taken in all the more."""
    answer, dated = parse_answer(content)
    for path in anchors.paths:
        for certificate, issuer in pairwise(path):
            if is_about(answer.parsed, certificate, issuer):
                said = _said(content, issuer, now)
                what = f"NVIDIA {_subject(certificate)}: {said}"
                return Candidate(answer_name(certificate), content, what, dated, {"update": dated.issued_ms})
    raise refuse(Refusal.CHAIN, "an answer about no certificate that is known; bring its chain (PEM) first")


def answer_name(certificate: x509.Certificate) -> str:
    """Where answers about a certificate lie."""
    return f"{NVIDIA}/{hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()[:32]}.ocsp"


def _said(content: bytes, issuer: x509.Certificate, now: datetime) -> str:
    try:
        check_good(load_answer(content), issuer, now)
    except Refused as refused:
        if refused.reason != Refusal.REVOKED:
            raise
        return refused.detail
    return "good"


def statement_candidate(content: bytes, endorsers: Sequence[Endorser], now: datetime) -> Candidate:
    """A release of an admitted endorser. One file for each issuer, feed and measurement."""
    found = endorsed_measurement(content, endorsers, milliseconds(now))
    about = f"{found.issuer}\n{found.feed}\n{found.measurement.hex()}".encode()
    name = f"{ENDORSEMENTS}/{hashlib.sha256(about).hexdigest()[:32]}.cose"
    return Candidate(name, content, f"SNP firmware, {found.feed} {found.svn}", None, {"security version": found.svn})


def ages_of(name: str, content: bytes) -> Ages:
    """Those of a file that lies in place, as far as they can be read: what cannot is no reason to keep it."""
    try:
        if name.startswith(INTEL):
            return _intel_ages(parse_collateral(json_object(content, "collateral", Refusal.COLLATERAL)))
        if name.endswith(".crl"):
            return _list_ages(content)
        if name.startswith(ENDORSEMENTS):
            return {"security version": stated(content)[1]}
        if name.endswith(".ocsp"):
            return {"update": parse_answer(content)[1].issued_ms}
        return _manifest_ages(content) if name.endswith(".xml") else {}
    except (VaultError, *UNREADABLE):
        return {}


def with_paths(anchors: Anchors, contents: Sequence[tuple[str, bytes]], now: datetime) -> Anchors:
    """`anchors` with the paths that files in place show: devices' chains, and who signed manifests."""
    paths = []
    for name, content in contents:
        try:
            if name.endswith(".pem"):
                path: Sequence[x509.Certificate] = load_pem_chain(content)
                check_path(path, anchors.roots.nvidia, now)
            else:
                path = parse_reference_manifest(content).path
                check_path(path, anchors.roots.manifests, now)
        except Refused:
            continue
        paths.append(tuple(path))
    return replace(anchors, paths=(*anchors.paths, *paths))


def _is_answer(content: bytes) -> bool:
    """A list starts with two SEQUENCEs; an OCSP answer with a SEQUENCE and an ENUMERATED."""
    head = 2 + (content[1] & 0x7F if len(content) > 1 and content[1] & 0x80 else 0)
    return content[head : head + 1] == b"\x0a"


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value)[:64] if names else certificate.subject.rfc4514_string()[:64]
