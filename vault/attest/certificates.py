"""X.509 paths of attestation: fixed shape, a pinned root, one issuer a step, every step with a name when it fails.

The verifier of `cryptography.x509` answers one error for everything and refuses AMD's RSA-PSS certificates, so the
few rules that these linear paths need stand here (RFC 5280 §6.1, without names constraints and policies, which no
vendor uses: an unknown critical extension refuses). Revocation lists are looked at when they are supplied.
"""

import base64
import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from vault.attest.claims import Refusal, refuse

MAX_CERTIFICATE = 8192  # bytes; the longest real one has about 1,400
MAX_CHAIN = 8
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_KNOWN_CRITICAL = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
}
# What the parser raises for what is no certificate; some of it only when a part is first looked at.
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm,
    x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip


def load_certificate(der: bytes) -> x509.Certificate:
    """One DER certificate, its key and extensions readable; `Refused("attest.malformed")` otherwise.

    AMD gives every VCEK and VLEK serial number 0, of which the parser warns; that warning alone is silenced, here
    alone, so that the day it becomes an error is one place's concern.
    """
    if not 0 < len(der) <= MAX_CERTIFICATE:
        raise refuse(Refusal.MALFORMED, "certificate length")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
        certificate.public_key()
        _ = certificate.extensions, certificate.subject, certificate.issuer
    except UNREADABLE as error:
        raise refuse(Refusal.MALFORMED, f"certificate: {error}") from error
    return certificate


def load_pem_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """1 to 8 PEM certificates with nothing else between them but white space."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    if len(pem) > 2 * MAX_CERTIFICATE * MAX_CHAIN:
        raise refuse(Refusal.MALFORMED, "certificate chain length")
    *blocks, after = pem.split(end)
    if not 1 <= len(blocks) <= MAX_CHAIN or after.strip():
        raise refuse(Refusal.MALFORMED, "1 to 8 PEM certificates expected")
    found = []
    for block in blocks:
        before, mark, body = block.partition(begin)
        if before.strip() or not mark:
            raise refuse(Refusal.MALFORMED, "text between PEM certificates")
        found.append(load_certificate(_unarmoured(body)))
    return tuple(found)


def _unarmoured(body: bytes) -> bytes:
    text = b"".join(body.split())
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise refuse(Refusal.MALFORMED, "PEM is not base64") from error
    if base64.b64encode(raw) != text:
        raise refuse(Refusal.MALFORMED, "PEM in a second spelling of base64")
    return raw


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the whole certificate, lowercase hex: what a pinned root is compared by."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def pinned(certificate: x509.Certificate, roots: Collection[str]) -> x509.Certificate:
    """The certificate, when its hash is among `roots`. No roots at all is a refusal of its own: never an empty loop."""
    if not roots:
        raise refuse(Refusal.NO_TRUST, "no root is trusted")
    if fingerprint(certificate) not in roots:
        raise refuse(Refusal.CHAIN, "the root is not one of those pinned")
    return certificate


def check_path(
    path: Sequence[x509.Certificate], roots: Collection[str], now: datetime,
    also_critical: Collection[x509.ObjectIdentifier] = (),
) -> None:  # fmt: skip
    """`path` is leaf first, root last: `no-trust`, `chain` or `expired` unless each was issued by the next.

    Signatures are checked before dates, so that a forged certificate is never called merely old. `also_critical`:
    critical extensions that a kind knows beside the usual ones.
    """
    if not roots:
        raise refuse(Refusal.NO_TRUST, "no root is trusted")
    if not 2 <= len(path) <= MAX_CHAIN:
        raise refuse(Refusal.CHAIN, "a leaf and its issuers expected")
    pinned(path[-1], roots)
    for depth, (certificate, issuer) in enumerate(pairwise(path)):
        check_issued(certificate, issuer)
        _check_authority(issuer, depth)
    check_issued(path[-1], path[-1])
    for certificate in path:
        _check_critical(certificate, also_critical)
        check_validity(certificate, now)


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """`Refused("attest.chain")` unless `issuer` has the name and key that signed `certificate`."""
    try:
        if not isinstance(certificate.signature_hash_algorithm, _HASHES):
            raise refuse(Refusal.CHAIN, "hash of a certificate's signature")
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE) as error:
        raise refuse(Refusal.CHAIN, f"{_name(certificate)} was not issued by {_name(issuer)}") from error


def check_validity(certificate: x509.Certificate, now: datetime) -> None:
    """`Refused("attest.expired")` outside the certificate's dates, before as after."""
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise refuse(Refusal.EXPIRED, _name(certificate))


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    """A certificate may issue only when it says so: else every leaf's owner could issue the leaves he likes."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound as error:
        raise refuse(Refusal.CHAIN, f"{_name(issuer)} is no authority") from error
    if not constraints.ca or not _usage(issuer).key_cert_sign:
        raise refuse(Refusal.CHAIN, f"{_name(issuer)} is no authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise refuse(Refusal.CHAIN, f"{_name(issuer)} may have {constraints.path_length} authorities below it")


def _usage(issuer: x509.Certificate) -> x509.KeyUsage:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise refuse(Refusal.CHAIN, f"{_name(issuer)} says no use of its key") from error


def _check_critical(certificate: x509.Certificate, also: Collection[x509.ObjectIdentifier]) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL and extension.oid not in also:
            raise refuse(Refusal.CHAIN, f"critical extension {extension.oid.dotted_string}")


def load_revocations(der: bytes, issuer: x509.Certificate, now: datetime) -> x509.CertificateRevocationList:
    """A revocation list of `issuer`, signed and current; `Refused("attest.collateral")` otherwise."""
    if len(der) > 1 << 20:
        raise refuse(Refusal.COLLATERAL, "revocation list length")
    try:
        listed = x509.load_der_x509_crl(der)
        signed = listed.issuer == issuer.subject and listed.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        start, end = listed.last_update_utc, listed.next_update_utc
    except UNREADABLE as error:
        raise refuse(Refusal.COLLATERAL, f"revocation list: {error}") from error
    if not signed or not _usage(issuer).crl_sign:
        raise refuse(Refusal.COLLATERAL, f"revocation list not signed by {_name(issuer)}")
    if end is None or not start <= now <= end:
        raise refuse(Refusal.COLLATERAL, f"revocation list of {_name(issuer)} is not current")
    return listed


def check_not_revoked(certificate: x509.Certificate, listed: x509.CertificateRevocationList) -> None:
    """`Refused("attest.revoked")` when the list, of this certificate's issuer, names it."""
    if listed.issuer != certificate.issuer:
        raise refuse(Refusal.COLLATERAL, "revocation list of another issuer")
    if listed.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        raise refuse(Refusal.REVOKED, _name(certificate))


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:120]
