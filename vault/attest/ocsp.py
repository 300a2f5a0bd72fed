"""OCSP answers (RFC 6960) that somebody else fetched: what an issuer says of one certificate, signed and current.

Asked for nothing here: a verifier reaches no network. Answers carry no nonce of ours, so their own dates are all that
bounds a replay; one without an end is refused.
"""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from vault.attest.certificates import UNREADABLE, check_issued, check_validity
from vault.attest.claims import Refusal, refuse
from vault.errors import Refused

MAX_ANSWER = 16 * 1024
_SIGNATURE_HASHES = (SHA256, SHA384, SHA512)


def load_answer(der: bytes) -> ocsp.OCSPResponse:
    """A successful answer, its parts readable; `Refused("attest.collateral")` otherwise."""
    if len(der) > MAX_ANSWER:
        raise refuse(Refusal.COLLATERAL, "OCSP answer length")
    try:
        answer = ocsp.load_der_ocsp_response(der)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise refuse(Refusal.COLLATERAL, "OCSP answer says nothing")
        _ = answer.certificates, answer.serial_number, answer.certificate_status, answer.this_update_utc
        _ = answer.hash_algorithm, answer.signature_hash_algorithm, answer.extensions
    except UNREADABLE as error:
        raise refuse(Refusal.COLLATERAL, f"OCSP answer: {error}") from error
    return answer


def is_about(answer: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the answer is about this certificate of this issuer: serial, and hashes of issuer's name and key."""
    return (
        answer.serial_number == certificate.serial_number
        and answer.issuer_name_hash == _digest(answer.hash_algorithm, issuer.subject.public_bytes())
        and answer.issuer_key_hash == _digest(answer.hash_algorithm, _key_bits(issuer))
    )


def check_good(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> None:
    """`Refused`: `collateral` unless signed for `issuer` and current; `revoked` unless it says good."""
    responder = _responder(answer, issuer, now)
    key, algorithm = responder.public_key(), answer.signature_hash_algorithm
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(algorithm, _SIGNATURE_HASHES):
        raise refuse(Refusal.COLLATERAL, "signature algorithm of an OCSP answer")
    try:
        key.verify(answer.signature, answer.tbs_response_bytes, ECDSA(algorithm))
    except InvalidSignature as error:
        raise refuse(Refusal.COLLATERAL, "OCSP answer is not signed by its responder") from error
    end = answer.next_update_utc
    if end is None or not answer.this_update_utc <= now <= end:
        raise refuse(Refusal.COLLATERAL, "OCSP answer is not current")
    if answer.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise refuse(Refusal.REVOKED, answer.certificate_status.name.lower())


def _responder(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> x509.Certificate:
    """The issuer itself, or whom it certified for answering, and for nothing less (RFC 6960 §4.2.2.2)."""
    listed = answer.certificates
    if not listed or listed[0] == issuer:
        return issuer
    try:
        check_issued(listed[0], issuer)
        check_validity(listed[0], now)
        purposes = listed[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (Refused, x509.ExtensionNotFound, ValueError) as error:
        raise refuse(Refusal.COLLATERAL, "OCSP responder is not the issuer's") from error
    if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        raise refuse(Refusal.COLLATERAL, "OCSP responder may not answer")
    return listed[0]


def _digest(algorithm: HashAlgorithm, data: bytes) -> bytes:
    digest = Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _key_bits(issuer: x509.Certificate) -> bytes:
    """The key's BIT STRING without its head, as answers hash it: an EC key's point."""
    key = issuer.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise refuse(Refusal.COLLATERAL, "an OCSP answer for an issuer of another key type than P-256 or P-384")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
