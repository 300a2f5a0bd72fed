"""Certificates for attested keys: who opens a connection with one holds the key that was attested, and not a copy of
the credentials.

The authority's key derives from the zone's root and never leaves the broker. Gateways trust its certificate for client
certificates and nothing else in the world, so one says no more than: this key was attested, for that session.
"""

import datetime as dt
import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vault.attest.binding import public_key, thumbprint_of

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
_BEGIN = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_END = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)
SLACK_MS = 300_000  # a gateway's clock may be behind the broker's


class SessionAuthority:
    """One zone's authority for client certificates; the same one in every broker that has the zone's secrets."""

    def __init__(self, secret: bytes, *, tenant: str, zone: str) -> None:
        scalar = int.from_bytes(hashlib.sha512(b"demesne/session-authority/1\x00" + secret).digest(), "big")
        self._key = ec.derive_private_key(scalar % (_ORDER - 1) + 1, ec.SECP256R1())
        self._name = x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{tenant}/{zone}"[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "demesne sessions"),
        ])  # fmt: skip
        self._certificate = self._own()

    @property
    def certificate(self) -> bytes:
        """What gateways trust, DER."""
        return self._certificate.public_bytes(Encoding.DER)

    def issue(self, public_jwk: dict[str, Any], session_id: str, begins_at: int, expires_at: int) -> str:
        """A client certificate (PEM) for the attested key, good from `begins_at` to `expires_at` (ms).

        `Refused("attest.key")` for what is no public P-256 key.
        """
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, session_id)])
        built = (
            self._builder(subject, public_key(public_jwk), x509.random_serial_number())
            .not_valid_before(_time(begins_at - SLACK_MS))
            .not_valid_after(_time(expires_at))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return built.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode("ascii")

    def _own(self) -> x509.Certificate:
        """The same bytes in every broker and after every restart: nobody has to ask whether it is still the same."""
        serial = int.from_bytes(hashlib.sha256(self._name.public_bytes()).digest()[:16], "big")
        built = (
            self._builder(self._name, self._key.public_key(), serial)
            .not_valid_before(_BEGIN)
            .not_valid_after(_END)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        return built.sign(self._key, SHA256(), ecdsa_deterministic=True)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, serial: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
            .serial_number(serial)
        )  # fmt: skip


def certificate_thumbprint(der: bytes) -> str:
    """RFC 7638 thumbprint of the key a certificate is for; "" for any key but one on P-256: it is nobody's."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except ValueError:
        return ""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return ""
    return thumbprint_of(key)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=False,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _time(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms // 1000, dt.UTC)
