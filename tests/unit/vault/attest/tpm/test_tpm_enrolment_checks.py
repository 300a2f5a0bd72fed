"""Each check of an enrolment request has a request that only it refuses; the credential opens in a real TPM."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from demesne.evidence.tpm_commands import ECC as ECC_KEY
from demesne.evidence.tpm_commands import ENDORSEMENT, OWNER, Tpm
from demesne.evidence.tpm_public import attestation_template, endorsement_template
from tests.fakes.attest_pki import NOW, NOW_MS, Shape, ec_key, issue, rsa_key
from tests.fakes.attest_tpm_enrolment import OTHER_USE, FakeMachine, FakeMaker, as_document, with_attributes, with_key
from tests.fakes.swtpm import Swtpm, need_swtpm
from vault.attest.tpm.credential import make_credential
from vault.attest.tpm.enrolment import EndorsementTrust, EnrolmentRequest, check_request, parse_request
from vault.attest.tpm.public import parse_public
from vault.errors import Refused

MAKER = FakeMaker()
MACHINE = FakeMachine(MAKER)
FIXED_TPM, FIXED_PARENT, ORIGIN, RESTRICTED, DECRYPT, SIGN = 1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 17, 1 << 18


def refused(request: EnrolmentRequest, why: str, trust: EndorsementTrust | None = None, now_ms: int = NOW_MS) -> str:
    with pytest.raises(Refused) as caught:
        check_request(request, MAKER.trust if trust is None else trust, now_ms)
    assert caught.value.reason == f"attest.{why}"
    return caught.value.detail


@pytest.mark.parametrize("ek", [rsa_key(11), ec_key(ec.SECP256R1())], ids=["rsa-ek", "ecc-ek"])
@pytest.mark.parametrize("ak", [rsa_key(12), ec_key(ec.SECP256R1())], ids=["rsa-ak", "ecc-ak"])
def test_a_tpm_of_a_pinned_maker_may_be_challenged(ek: Any, ak: Any) -> None:
    machine = FakeMachine(MAKER, ek, ak)
    candidate = check_request(parse_request(as_document(machine.request())), MAKER.trust, NOW_MS)
    assert len(candidate.attestation_key.name) == 34
    assert {len(candidate.key_name), len(candidate.ek_sha256)} == {64}
    made = candidate.challenge(b"s" * 32, os.urandom)
    assert made != candidate.challenge(b"s" * 32, os.urandom)


def test_nobodys_certificates_count_without_roots() -> None:
    refused(MACHINE.request(), "no-trust", EndorsementTrust())


def test_a_chain_that_the_machine_brings_is_enough() -> None:
    certificate = MAKER.certificate(MACHINE.ek.public_key())
    trust = EndorsementTrust({MAKER.root.pin})
    check_request(MACHINE.request(certificates=[certificate, MAKER.root.der, MAKER.issuer.der]), trust, NOW_MS)
    refused(MACHINE.request(), "chain", trust)


def test_another_makers_root_is_not_trusted() -> None:
    other = FakeMaker()
    machine = FakeMachine(other)
    request = machine.request(certificates=[
        other.certificate(machine.ek.public_key()), other.issuer.der, other.root.der
    ])  # fmt: skip
    refused(request, "chain")


def test_a_certificate_forged_under_the_issuers_name_is_refused() -> None:
    forger = replace(MAKER)
    forger.root = MAKER.root
    forger.issuer = issue("TPM maker's EK issuer", ec_key(), None, Shape(ca=True, path_length=0))
    refused(MACHINE.request(certificates=[forger.certificate(MACHINE.ek.public_key())]), "chain")


def test_renewed_issuers_of_one_name_are_told_apart_by_their_keys() -> None:
    identifier = x509.SubjectKeyIdentifier.from_public_key(MAKER.issuer.key.public_key())
    old = issue("TPM maker's EK issuer", ec_key(), MAKER.root, Shape(ca=True, path_length=0, extensions=(
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string, bytes.fromhex("0414") + b"o" * 20),
    )))  # fmt: skip
    new = issue("TPM maker's EK issuer", MAKER.issuer.key, MAKER.root, Shape(ca=True, path_length=0, extensions=(
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string, bytes.fromhex("0414") + identifier.digest),
    )))  # fmt: skip
    named = Shape(ca=False, extensions=(
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string, bytes.fromhex("30168014") + identifier.digest),
    ))  # fmt: skip
    certificate = MAKER.certificate(MACHINE.ek.public_key(), named)
    trust = EndorsementTrust({MAKER.root.pin}, (old.der, new.der, MAKER.root.der))
    check_request(MACHINE.request(certificates=[certificate]), trust, NOW_MS)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_certificate_outside_its_dates_is_refused(days: int) -> None:
    refused(MACHINE.request(), "expired", now_ms=NOW_MS + days * 86_400_000)


def test_an_expired_endorsement_certificate_is_refused() -> None:
    old = MAKER.certificate(MACHINE.ek.public_key(), Shape(ca=False, end=NOW - timedelta(days=1)))
    refused(MACHINE.request(certificates=[old]), "expired")


@pytest.mark.parametrize("use", [None, OTHER_USE])
def test_a_certificate_for_another_use_is_refused(use: bytes | None) -> None:
    certificate = MAKER.certificate(MACHINE.ek.public_key(), use=use)
    assert "endorsement key" in refused(MACHINE.request(certificates=[certificate]), "chain")


def test_an_authoritys_certificate_is_none() -> None:
    certificate = MAKER.certificate(MACHINE.ek.public_key(), Shape(ca=True))
    refused(MACHINE.request(certificates=[certificate]), "chain")


def test_an_unknown_critical_extension_is_refused() -> None:
    strange = Shape(ca=False, extensions=(("1.2.3.4", b"\x05\x00"),), critical=("1.2.3.4",))
    certificate = MAKER.certificate(MACHINE.ek.public_key(), strange)
    assert "critical" in refused(MACHINE.request(certificates=[certificate]), "chain")


def test_a_certificate_of_another_tpm_does_not_vouch_for_this_one() -> None:
    other = FakeMachine(MAKER, ek=ec_key(ec.SECP256R1()))
    assert "another key" in refused(MACHINE.request(ek=other.ek_area), "chain")


@pytest.mark.parametrize(
    ("off", "on"),
    [
        (RESTRICTED, 0), (FIXED_TPM, 0), (FIXED_PARENT, 0), (ORIGIN, 0), (SIGN, 0), (0, DECRYPT), (0, 1 << 30),
        (0, 1 << 19),
    ],
    ids=["unrestricted", "not fixed", "free of its parent", "imported", "no signing", "decrypts", "unknown", "x509"],
)  # fmt: skip
def test_a_key_that_signs_what_others_write_is_no_attestation_key(off: int, on: int) -> None:
    refused(MACHINE.request(ak=with_attributes(MACHINE.ak_area, on=on, off=off)), "policy")


@pytest.mark.parametrize(
    ("off", "on"), [(FIXED_TPM, 0), (RESTRICTED, 0), (DECRYPT, 0), (ORIGIN, 0), (0, SIGN)],
)  # fmt: skip
def test_a_key_that_is_no_storage_key_of_its_tpm_is_no_endorsement_key(off: int, on: int) -> None:
    refused(MACHINE.request(ek=with_attributes(MACHINE.ek_area, on=on, off=off)), "policy")


def test_an_endorsement_key_under_another_policy_is_refused() -> None:
    area = MACHINE.ek_area
    refused(MACHINE.request(ek=area[:10] + b"\x11" * 32 + area[42:]), "policy")


@pytest.mark.parametrize(
    "area",
    [
        with_key(attestation_template(ECC_KEY), ec_key(ec.SECP384R1()).public_key()),
        with_key(attestation_template(1), rsa.generate_private_key(65537, 1024).public_key()),
        MACHINE.ak_area[:2] + b"\x00\x04" + MACHINE.ak_area[4:],
        b"\x00\x08" + MACHINE.ak_area[2:],
        MACHINE.ak_area.replace(b"\x00\x18\x00\x0b", b"\x00\x18\x00\x04"),
        MACHINE.ak_area.replace(b"\x00\x18\x00\x0b", b"\x00\x1a\x00\x0b"),
    ],
    ids=["p384", "rsa1024", "sha1 name", "keyed hash", "sha1 scheme", "ecdaa"],
)
def test_other_algorithms_are_refused(area: bytes) -> None:
    refused(MACHINE.request(ak=area), "algorithm")


def test_a_public_area_cut_anywhere_or_longer_is_malformed() -> None:
    area = MACHINE.ak_area
    for length in range(len(area)):
        with pytest.raises(Refused) as caught:
            parse_public(area[:length])
        assert caught.value.reason in {"attest.malformed", "attest.algorithm"}
    for longer in (area + b"\0", area + bytes(2000)):
        with pytest.raises(Refused, match=r"attest\.malformed"):
            parse_public(longer)


def test_a_point_off_the_curve_is_malformed() -> None:
    area = MACHINE.ak_area
    refused(MACHINE.request(ak=area[:-1] + bytes((area[-1] ^ 1,))), "malformed")


@pytest.mark.parametrize(
    "change",
    [
        {"endorsement_certificates": []}, {"endorsement_certificates": ["AAAA"] * 9}, {"endorsement_certificates": "A"},
        {"endorsement_certificates": [1]}, {"endorsement_key": 5}, {"attestation_key": "!"}, {"more": 1},
        {"attestation_key": "A" * 4000},
    ],
)  # fmt: skip
def test_a_request_of_another_form_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"attest\.malformed"):
        parse_request(as_document(MACHINE.request()) | change)


@pytest.fixture(scope="module")
def tpm() -> Iterator[Tpm]:
    need_swtpm()
    with Swtpm() as machine, Tpm(machine.transport()) as opened:
        yield opened


@pytest.mark.servers
@pytest.mark.parametrize("algorithm", [1, ECC_KEY], ids=["rsa", "ecc"])
def test_a_credential_opens_in_the_tpm_it_was_made_for_and_for_that_key_only(tpm: Tpm, algorithm: int) -> None:
    ek = tpm.create_primary(ENDORSEMENT, endorsement_template(algorithm))
    ak = tpm.create_primary(OWNER, attestation_template(ECC_KEY))
    other = tpm.create_primary(OWNER, attestation_template(ECC_KEY, b"other"))
    try:
        endorsement, attestation = parse_public(tpm.read_public(ek)), parse_public(tpm.read_public(ak))
        secret = os.urandom(32)
        made = make_credential(endorsement.key, attestation.name, secret, os.urandom)
        assert tpm.activate_credential(ak, ek, made.blob, made.secret) == secret
        with pytest.raises(Exception, match="ActivateCredential"):
            tpm.activate_credential(other, ek, made.blob, made.secret)
        with pytest.raises(Exception, match="ActivateCredential"):
            tpm.activate_credential(ak, ek, made.blob[:-1] + bytes((made.blob[-1] ^ 1,)), made.secret)
    finally:
        for handle in (ek, ak, other):
            tpm.flush(handle)


@pytest.mark.servers
def test_the_tpms_own_tools_make_credentials_that_our_job_opens_and_open_ours_alike(tpm: Tpm, tmp_path: Path) -> None:
    """`tpm2_makecredential`, an implementation of others, over the same name and key."""
    if shutil.which("tpm2_makecredential") is None:
        pytest.skip("tpm2_makecredential is not installed")
    ek = tpm.create_primary(ENDORSEMENT, endorsement_template(1))
    ak = tpm.create_primary(OWNER, attestation_template(ECC_KEY))
    try:
        endorsement, attestation = parse_public(tpm.read_public(ek)), parse_public(tpm.read_public(ak))
        (tmp_path / "ek.pem").write_bytes(endorsement.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        (tmp_path / "secret").write_bytes(b"s" * 32)
        subprocess.run(
            ["tpm2_makecredential", "-T", "none", "-G", "rsa", "-u", str(tmp_path / "ek.pem"), "-s",
             str(tmp_path / "secret"), "-n", attestation.name.hex(), "-o", str(tmp_path / "out")],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip
        made = (tmp_path / "out").read_bytes()
        assert made[:8] == bytes.fromhex("badcc0de00000001")
        size = int.from_bytes(made[8:10], "big")
        blob, secret = made[10 : 10 + size], made[12 + size :]
        assert tpm.activate_credential(ak, ek, blob, secret) == b"s" * 32
        ours = make_credential(endorsement.key, attestation.name, b"s" * 32, os.urandom)
        assert (len(ours.blob), len(ours.secret)) == (len(blob), len(secret))
    finally:
        for handle in (ek, ak):
            tpm.flush(handle)


@pytest.mark.parametrize("length", [0, 33])
def test_a_secret_has_at_most_the_length_that_tpms_take(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 32"):
        make_credential(rsa_key(11).public_key(), b"n" * 34, bytes(length), os.urandom)
