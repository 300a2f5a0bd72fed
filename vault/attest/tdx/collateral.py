"""Intel's collateral: TCB info and quoting-enclave identity, signed over their verbatim JSON, and revocation lists.

Somebody else fetches it (api.trustedservices.intel.com, v4) and supplies it as one document, the form that the
public DCAP tools exchange; nothing in it is believed before its signature, its dates and its signer's chain hold.
Everything wrong with it is `collateral`, save a certificate it revokes and a platform it is not for.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from vault.attest.certificates import check_not_revoked, check_path, load_pem_chain, load_revocations
from vault.attest.claims import Refusal, refuse
from vault.attest.tdx.pck import PCK_ISSUERS, Pck, common_name, p256_key
from vault.errors import Refused

MAX_JSON = 256 * 1024
_TCB_SIGNER = "Intel SGX TCB Signing"


@dataclass(frozen=True, slots=True)
class Collateral:
    """One document of collateral, not verified. Chains are PEM, lists DER, signatures r ‖ s."""

    tcb_info: str
    tcb_info_signature: bytes
    tcb_info_issuer_chain: bytes
    qe_identity: str
    qe_identity_signature: bytes
    qe_identity_issuer_chain: bytes
    root_ca_crl: bytes
    pck_crl: bytes


@dataclass(frozen=True, slots=True)
class VerifiedCollateral:
    """The two JSON documents, signed by Intel and current, and how old the older of them is."""

    tcb_info: Mapping[str, Any]
    qe_identity: Mapping[str, Any]
    evaluation_number: int
    issued: datetime


def parse_collateral(document: Mapping[str, Any]) -> Collateral:
    """From the DCAP tools' form; `pck_crl_issuer_chain` may stand there, the quote's own chain is used."""

    def text(name: str) -> str:
        value = document.get(name)
        if not isinstance(value, str) or len(value) > 2 * MAX_JSON:
            raise refuse(Refusal.COLLATERAL, name)
        return value

    def hexadecimal(name: str) -> bytes:
        try:
            return bytes.fromhex(text(name))
        except ValueError as error:
            raise refuse(Refusal.COLLATERAL, f"{name} is not hex") from error

    return Collateral(
        text("tcb_info"), hexadecimal("tcb_info_signature"), text("tcb_info_issuer_chain").encode(),
        text("qe_identity"), hexadecimal("qe_identity_signature"), text("qe_identity_issuer_chain").encode(),
        hexadecimal("root_ca_crl"), hexadecimal("pck_crl"),
    )  # fmt: skip


def verified_collateral(collateral: Collateral, pck: Pck, roots: Collection[str], now: datetime) -> VerifiedCollateral:
    """`Refused`: `collateral`, `fmspc`, `revoked`, `no-trust`."""
    verified, signers = _signed(collateral, roots, now)
    _check_platform(verified.tcb_info, pck)
    listed = _lists(collateral, signers, pck.path[1], pck.path[2], now)
    check_not_revoked(pck.path[0], listed)
    return verified


def collateral_of_no_quote(
    collateral: Collateral, authority_chain: bytes, roots: Collection[str], now: datetime
) -> VerifiedCollateral:
    """As `verified_collateral`, before any platform shows its certificate: `authority_chain` (PEM) is who issued the
    list of platforms. For taking collateral in; what it is for, `tcb_info` says."""
    verified, signers = _signed(collateral, roots, now)
    try:
        path = load_pem_chain(authority_chain)
        check_path(path, roots, now)
    except Refused as refused:
        raise refuse(Refusal.COLLATERAL, f"pck_crl_issuer_chain: {refused}") from refused
    if len(path) != 2 or common_name(path[0]) not in PCK_ISSUERS:
        raise refuse(Refusal.COLLATERAL, "pck_crl_issuer_chain: not of an authority of platforms")
    _lists(collateral, signers, path[0], path[1], now)
    return verified


def _signed(
    collateral: Collateral, roots: Collection[str], now: datetime
) -> tuple[VerifiedCollateral, list[x509.Certificate]]:
    """Both documents, signed and current, and who signed them."""
    if not roots:
        raise refuse(Refusal.NO_TRUST, "no root is trusted")
    tcb_signer = _signer(collateral.tcb_info_issuer_chain, roots, now)
    tcb_info = _document(collateral.tcb_info, collateral.tcb_info_signature, tcb_signer[0], "TDX", 3)
    qe_signer = _signer(collateral.qe_identity_issuer_chain, roots, now)
    qe_identity = _document(collateral.qe_identity, collateral.qe_identity_signature, qe_signer[0], "TD_QE", 2)
    issued = min(_current(tcb_info, now), _current(qe_identity, now))
    numbers = whole(tcb_info, "tcbEvaluationDataNumber"), whole(qe_identity, "tcbEvaluationDataNumber")
    return VerifiedCollateral(tcb_info, qe_identity, min(numbers), issued), [tcb_signer[0], qe_signer[0]]


def _lists(
    collateral: Collateral, signers: list[x509.Certificate], authority: x509.Certificate, root: x509.Certificate,
    now: datetime,
) -> x509.CertificateRevocationList:  # fmt: skip
    """The list of platforms, when the root's list names neither its issuer nor a signer."""
    root_list = load_revocations(collateral.root_ca_crl, root, now)
    for below_root in (authority, *signers):
        check_not_revoked(below_root, root_list)
    return load_revocations(collateral.pck_crl, authority, now)


def _signer(pem: bytes, roots: Collection[str], now: datetime) -> tuple[x509.Certificate, ...]:
    """Intel's TCB signing certificate and the root. Its name is checked: the root issues other kinds too."""
    try:
        path = load_pem_chain(pem)
        check_path(path, roots, now)
        p256_key(path[0])
    except Refused as refused:
        raise refuse(Refusal.COLLATERAL, f"issuer chain: {refused}") from refused
    if len(path) != 2 or common_name(path[0]) != _TCB_SIGNER:
        raise refuse(Refusal.COLLATERAL, "not signed by the TCB signing certificate")
    return path


def _document(text: str, signature: bytes, signer: x509.Certificate, kind: str, version: int) -> dict[str, Any]:
    """The JSON whose very bytes Intel signed; making it anew from its values would break the signature."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_JSON or len(signature) != 64:
        raise refuse(Refusal.COLLATERAL, f"{kind} length")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        p256_key(signer).verify(encode_dss_signature(r, s), raw, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise refuse(Refusal.COLLATERAL, f"{kind} is not signed") from error
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise refuse(Refusal.COLLATERAL, f"{kind}: {error}") from error
    if not isinstance(value, dict) or value.get("id") != kind or value.get("version") != version:
        raise refuse(Refusal.COLLATERAL, f"{kind} version {version} expected")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated member")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _current(document: Mapping[str, Any], now: datetime) -> datetime:
    issued, update = instant(document, "issueDate"), instant(document, "nextUpdate")
    if not issued <= now <= update:
        raise refuse(Refusal.COLLATERAL, f"{document['id']} of {issued.date()} is not current")
    return issued


def _check_platform(tcb_info: Mapping[str, Any], pck: Pck) -> None:
    """TCB info of another platform family would call any old platform up to date."""
    if octets(tcb_info, "fmspc", 6) != pck.fmspc:
        raise refuse(Refusal.FMSPC, f"{pck.fmspc.hex()} is the platform's")
    if octets(tcb_info, "pceId", 2) != pck.pce_id:
        raise refuse(Refusal.FMSPC, "PCE-ID")


def whole(document: Mapping[str, Any], name: str) -> int:
    """A member that is an integer from 0 to 65535 (SVNs and evaluation numbers are)."""
    value = document.get(name)
    if type(value) is not int or not 0 <= value <= 0xFFFF:
        raise refuse(Refusal.COLLATERAL, name)
    return value


def octets(document: Mapping[str, Any], name: str, length: int) -> bytes:
    """A member that is hex of so many bytes, in either case."""
    value = document.get(name)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != length:
        raise refuse(Refusal.COLLATERAL, name)
    return raw


def listed(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A member that is a list of objects."""
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value) or len(value) > 256:
        raise refuse(Refusal.COLLATERAL, name)
    return value


def nested(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that is an object."""
    value = document.get(name)
    if not isinstance(value, dict):
        raise refuse(Refusal.COLLATERAL, name)
    return value


def instant(document: Mapping[str, Any], name: str) -> datetime:
    """A member that is a time in the one spelling Intel uses, `2026-01-31T10:16:03Z`."""
    value = document.get(name)
    try:
        return datetime.strptime(value if isinstance(value, str) else "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise refuse(Refusal.COLLATERAL, name) from error
