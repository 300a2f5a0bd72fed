"""Enrolment of a TPM's attestation key: whose TPM it is, what the key is, and a challenge only that TPM can answer.

    1  endorsement certificate → a root that the operator pinned, by dates, roles, signatures; it is for a TPM's key
    2  endorsement key: the certificate's own, a storage key under the usual policy
    3  attestation key: restricted, signing, made in a TPM and fixed in it
    4  a credential for that attestation key's name under that endorsement key (`vault.attest.tpm.credential`)

There is no root for all TPMs: makers have their own, and a cloud's virtual TPMs another. No roots, no enrolment.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from vault.attest.certificates import MAX_CERTIFICATE, MAX_CHAIN, check_path, fingerprint, load_certificate
from vault.attest.claims import Refusal, refuse
from vault.attest.fields import at_time, base64_bytes, base64_field
from vault.attest.tpm.credential import Credential, make_credential
from vault.attest.tpm.public import MAX_PUBLIC, PublicArea, check_attestation_key, check_endorsement_key, parse_public
from vault.attest.tpm.verify import key_name

_ENDORSEMENT_USE = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate (TCG EK Credential Profile §3.2.16)
_FIELDS = {"endorsement_certificates", "endorsement_key", "attestation_key"}


@dataclass(frozen=True, slots=True)
class EndorsementTrust:
    """Pinned roots (SHA-256 of the certificate, hex), and issuers (DER) that a request need not bring."""

    roots: Collection[str] = ()
    certificates: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """What a machine says of its TPM, not verified: certificates in DER, leaf first; keys as TPMT_PUBLIC."""

    endorsement_certificates: tuple[bytes, ...]
    endorsement_key: bytes
    attestation_key: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checked request: the key that may be enrolled once its TPM has answered."""

    key_name: str
    """SHA-256 of the attestation key's SubjectPublicKeyInfo, hex: what it will be enrolled by."""
    ek_sha256: str
    attestation_key: PublicArea = field(repr=False)
    endorsement_key: PublicArea = field(repr=False)

    def challenge(self, secret: bytes, random: Callable[[int], bytes]) -> Credential:
        """`secret`, for this attestation key in this TPM alone."""
        return make_credential(self.endorsement_key.key, self.attestation_key.name, secret, random)


def parse_request(document: Mapping[str, Any]) -> EnrolmentRequest:
    """From base64 members; `Refused("attest.malformed")`."""
    if set(document) != _FIELDS:
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
    listed = document["endorsement_certificates"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_CHAIN:
        raise refuse(Refusal.MALFORMED, "endorsement_certificates")
    return EnrolmentRequest(
        tuple(base64_bytes(text, "endorsement_certificates", MAX_CERTIFICATE) for text in listed),
        base64_field(document, "endorsement_key", MAX_PUBLIC),
        base64_field(document, "attestation_key", MAX_PUBLIC),
    )


def check_request(request: EnrolmentRequest, trust: EndorsementTrust, now_ms: int) -> Candidate:
    """The key that may be enrolled. `Refused`: `no-trust`, `chain`, `expired`, `algorithm`, `policy`, `malformed`."""
    if not trust.roots:
        raise refuse(Refusal.NO_TRUST, "no root of endorsement certificates is pinned")
    leaf = load_certificate(request.endorsement_certificates[0])
    known = [load_certificate(der) for der in (*request.endorsement_certificates[1:], *trust.certificates)]
    path = _path(leaf, known)
    # An endorsement certificate names its TPM in a critical alternative name, its subject being empty. No name of it
    # is believed here, so none needs to be understood.
    check_path(path, trust.roots, at_time(now_ms), also_critical={ExtensionOID.SUBJECT_ALTERNATIVE_NAME})
    _check_use(leaf)
    endorsement, attestation = parse_public(request.endorsement_key), parse_public(request.attestation_key)
    check_endorsement_key(endorsement)
    ek_sha256 = key_name(endorsement.key)
    if _spki_sha256(leaf) != ek_sha256:
        raise refuse(Refusal.CHAIN, "the endorsement certificate is for another key")
    check_attestation_key(attestation)
    return Candidate(key_name(attestation.key), ek_sha256, attestation, endorsement)


def _path(leaf: x509.Certificate, known: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Leaf to a self-issued certificate, by names; `check_path` says whether it holds."""
    path = [leaf]
    while path[-1].issuer != path[-1].subject and len(path) < MAX_CHAIN:
        issuer = next((each for each in known if each.subject == path[-1].issuer and _signs(each, path[-1])), None)
        if issuer is None:
            raise refuse(Refusal.CHAIN, "an issuer of the endorsement certificate is missing")
        if fingerprint(issuer) in {fingerprint(each) for each in path}:
            break
        path.append(issuer)
    return path


def _signs(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """By key identifiers, where both say one: makers renew an authority under the same name."""
    try:
        wanted = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        has = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return True
    return wanted is None or wanted == has


def _check_use(leaf: x509.Certificate) -> None:
    try:
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise refuse(Refusal.CHAIN, "an authority's certificate is no endorsement certificate")
    except x509.ExtensionNotFound:
        pass
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise refuse(Refusal.CHAIN, "the certificate is not for an endorsement key") from error
    if _ENDORSEMENT_USE not in uses:
        raise refuse(Refusal.CHAIN, "the certificate is not for an endorsement key")


def _spki_sha256(certificate: x509.Certificate) -> str:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
