"""Hardware makers of our own: they sign any field values, so that each check has evidence that only it refuses.

The shapes are the vendors'; the roots are not, and a verifier must be told to trust them.
"""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
YEAR = timedelta(days=365)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and the key it is for."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def pin(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


@functools.cache
def rsa_key(which: int) -> rsa.RSAPrivateKey:
    """One of a few RSA keys, made once in a run: making them is slow. 2048 bits: only the signature's form matters."""
    del which
    return rsa.generate_private_key(65537, 2048)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP384R1())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


@dataclass(frozen=True)
class Shape:
    """What may be wrong with a certificate."""

    ca: bool | None = None  # None: no basicConstraints at all
    path_length: int | None = None
    signs: bool = True
    lists: bool = True
    start: datetime = NOW - YEAR
    end: datetime = NOW + YEAR
    extensions: tuple[tuple[str, bytes], ...] = ()
    critical: tuple[str, ...] = ()
    hash: hashes.HashAlgorithm = field(default_factory=hashes.SHA384)
    pss: bool = True


def issue(common: str, key: PrivateKey, issuer: Issued | None, shape: Shape, serial: int | None = None) -> Issued:
    """A certificate for `key`, signed by `issuer` (None: by itself)."""
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(issuer.certificate.subject if issuer else name(common))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(shape.start)
        .not_valid_after(shape.end)
    )
    if shape.ca is not None:
        limit = shape.path_length if shape.ca else None
        builder = builder.add_extension(x509.BasicConstraints(shape.ca, limit), critical=True)
        signs, lists = shape.ca and shape.signs, shape.ca and shape.lists
        usage = x509.KeyUsage(not shape.ca, False, False, False, False, signs, lists, False, False)
        builder = builder.add_extension(usage, critical=True)
    for oid, value in shape.extensions:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=oid in shape.critical
        )
    options: dict[str, Any] = {}
    if isinstance(signer, rsa.RSAPrivateKey) and shape.pss:
        options["rsa_padding"] = padding.PSS(padding.MGF1(shape.hash), shape.hash.digest_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Issued(builder.sign(signer, shape.hash, **options), key)  # type: ignore[arg-type]


def revocations(
    issuer: Issued,
    revoked: Sequence[Issued] = (),
    start: datetime = NOW - timedelta(days=1),
    end: datetime | None = None,
) -> bytes:
    """A revocation list, DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(start)
        .next_update(end or NOW + timedelta(days=30))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    for bad in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(bad.certificate.serial_number).revocation_date(start)
        builder = builder.add_revoked_certificate(entry.build())
    options: dict[str, Any] = {}
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        options["rsa_padding"] = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    digest: Any = issuer.certificate.signature_hash_algorithm
    return builder.sign(issuer.key, digest, **options).public_bytes(Encoding.DER)


def raw_signature(key: PrivateKey, message: bytes, size: int, order: str = "big", digest: Any = None) -> bytes:
    """r ‖ s of `size` bytes each."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest or hashes.SHA384())))
    return r.to_bytes(size, order) + s.to_bytes(size, order)  # type: ignore[arg-type]
