"""Client certificates of attested keys: signed by the zone's own authority, trusted by nobody for anything else."""

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.fakes.broker import BrokerWorld, new_jwk
from vault.attest.binding import key_thumbprint
from vault.broker.client_certificates import SLACK_MS, SessionAuthority, certificate_thumbprint
from vault.errors import Refused

NOW = 1_900_000_000_000
HOUR = 3_600_000


def authority(secret: bytes = b"s" * 32, zone: str = "de") -> SessionAuthority:
    return SessionAuthority(secret, tenant="main", zone=zone)


def test_a_certificate_says_whose_key_it_is_and_no_more() -> None:
    jwk = new_jwk()
    made = x509.load_pem_x509_certificate(authority().issue(jwk, "ab" * 16, NOW, NOW + HOUR).encode())
    assert made.subject.rfc4514_string() == f"CN={'ab' * 16}"
    assert (made.not_valid_after_utc.timestamp(), made.not_valid_before_utc.timestamp()) == (
        (NOW + HOUR) / 1000, (NOW - SLACK_MS) / 1000,
    )  # fmt: skip
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False
    own = x509.load_der_x509_certificate(authority().certificate)
    made.verify_directly_issued_by(own)
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert certificate_thumbprint(made.public_bytes(Encoding.DER)) == key_thumbprint(jwk)


def test_brokers_of_one_zone_are_one_authority_and_others_are_not() -> None:
    made = x509.load_pem_x509_certificate(authority().issue(new_jwk(), "x", NOW, NOW + HOUR).encode())
    made.verify_directly_issued_by(x509.load_der_x509_certificate(authority().certificate))
    assert authority().certificate == authority().certificate
    for other in (authority(b"t" * 32), authority(zone="fr")):
        with pytest.raises((ValueError, Exception)):
            made.verify_directly_issued_by(x509.load_der_x509_certificate(other.certificate))


def test_no_certificate_for_what_is_no_public_key() -> None:
    for change in ({"crv": "P-384"}, {"d": "AAAA"}, {"x": "A" * 43}):
        with pytest.raises(Refused) as refused:
            authority().issue({**new_jwk(), **change}, "x", NOW, NOW + HOUR)
        assert refused.value.reason == "attest.key"


def test_a_certificate_of_another_sort_of_key_is_nobodys() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(dt.datetime(2020, 1, 1)).not_valid_after(dt.datetime(2040, 1, 1))
        .sign(key, SHA256())
    )  # fmt: skip
    assert certificate_thumbprint(made.public_bytes(Encoding.DER)) == ""
    assert certificate_thumbprint(b"") == ""
    assert certificate_thumbprint(b"\x30\x03\x02\x01\x00") == ""


def test_gateways_trust_what_the_broker_shows(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    nonce = world.broker.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
    made = world.broker.attest(nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id, bind_key=True)
    shown = x509.load_pem_x509_certificate(made.certificate.encode())
    trusted = world.broker.hello().session_authority
    shown.verify_directly_issued_by(x509.load_der_x509_certificate(trusted))
    assert certificate_thumbprint(shown.public_bytes(Encoding.DER)) == made.bound_key == made.key_thumbprint
    assert shown.not_valid_after_utc.timestamp() * 1000 == made.expires_at
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=trusted)
    assert len(context.get_ca_certs()) == 1
