"""Certificates, PEM chains, paths, revocation lists and CBOR that every kind of evidence leans on."""

from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.fakes.attest_pki import NOW, Issued, Shape, ec_key, issue, name, revocations
from vault.attest.certificates import (
    check_not_revoked,
    check_path,
    load_certificate,
    load_pem_chain,
    load_revocations,
    pinned,
)  # fmt: skip
from vault.attest.claims import Refusal
from vault.attest.cose import strict_cbor
from vault.errors import Refused

ROOT = issue("root", ec_key(), None, Shape(ca=True))
LEAF = issue("leaf", ec_key(), ROOT, Shape(ca=False))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason in set(Refusal)
    return caught.value.reason.removeprefix("attest.")


def path(*issued: Issued) -> list[x509.Certificate]:
    return [one.certificate for one in issued]


def test_a_path_needs_a_root_and_something_under_it() -> None:
    check_path(path(LEAF, ROOT), {ROOT.pin}, NOW)
    assert refusal(lambda: check_path(path(LEAF, ROOT), set(), NOW)) == "no-trust"
    assert refusal(lambda: check_path([], set(), NOW)) == "no-trust"
    assert refusal(lambda: check_path([], {ROOT.pin}, NOW)) == "chain"
    assert refusal(lambda: check_path(path(ROOT), {ROOT.pin}, NOW)) == "chain"
    assert refusal(lambda: check_path(path(*[ROOT] * 9), {ROOT.pin}, NOW)) == "chain"
    assert refusal(lambda: check_path(path(LEAF, ROOT), {LEAF.pin}, NOW)) == "chain"


def test_pins() -> None:
    assert pinned(ROOT.certificate, {ROOT.pin}) is ROOT.certificate
    assert refusal(lambda: pinned(ROOT.certificate, ())) == "no-trust"
    assert refusal(lambda: pinned(ROOT.certificate, {LEAF.pin})) == "chain"


def test_an_authority_without_key_usage_is_none() -> None:
    key = ec_key()
    builder = (
        x509.CertificateBuilder().subject_name(name("bare")).issuer_name(name("bare")).public_key(key.public_key())
        .serial_number(1).not_valid_before(Shape().start).not_valid_after(Shape().end)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
    )  # fmt: skip
    bare = Issued(builder.sign(key, hashes.SHA384()), key)
    leaf = issue("leaf", ec_key(), bare, Shape(ca=False))
    assert refusal(lambda: check_path(path(leaf, bare), {bare.pin}, NOW)) == "chain"


def test_a_certificate_has_a_greatest_length() -> None:
    shape = replace(Shape(ca=False), extensions=(("1.2.3", b"\4\x82\x27\x10" + bytes(10_000)),))
    assert refusal(lambda: load_certificate(issue("long", ec_key(), ROOT, shape).der)) == "malformed"
    assert refusal(lambda: load_certificate(b"")) == "malformed"
    assert refusal(lambda: load_certificate(LEAF.der + b"\0")) == "malformed"


def test_pem_chains() -> None:
    both = LEAF.pem + ROOT.pem
    assert [c.subject for c in load_pem_chain(both)] == [c.subject for c in path(LEAF, ROOT)]
    assert load_pem_chain(both.replace(b"\n", b"\r\n") + b"\n \n") == load_pem_chain(both)


def respelt(pem: bytes) -> bytes:
    """The same bytes by other base64: the bits behind the last byte are free, which padding shows."""
    for number in range(64):
        shape = replace(Shape(ca=False), extensions=(("1.2.3", b"\4" + bytes((number,)) + bytes(number)),))
        found = issue("leaf", ec_key(), ROOT, shape).pem
        at = found.index(b"=") - 1 if b"=\n" in found else -1
        if at > 0 and found[at : at + 1] in b"AQgw":
            return found[:at] + bytes((found[at] + 1,)) + found[at + 1 :]
    raise AssertionError(pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"text",
        LEAF.pem + b"text",
        b"text" + LEAF.pem,
        LEAF.pem + b"text\n" + ROOT.pem,
        LEAF.pem * 9,
        LEAF.pem + b"\n" * 200_000,
        LEAF.pem.replace(b"-----BEGIN CERTIFICATE-----", b""),
        LEAF.pem.replace(b"\n", b"!\n", 2),
        LEAF.pem.replace(b"CERTIFICATE", b"PUBLIC KEY"),
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        respelt(LEAF.pem),
    ],
)
def test_another_pem_is_malformed(pem: bytes) -> None:
    assert refusal(lambda: load_pem_chain(pem)) == "malformed"


def test_a_list_is_about_its_issuers_certificates_alone() -> None:
    other = issue("other", ec_key(), None, Shape(ca=True))
    listed = load_revocations(revocations(other, [LEAF]), other.certificate, NOW)
    assert refusal(lambda: check_not_revoked(LEAF.certificate, listed)) == "collateral"
    assert refusal(lambda: check_not_revoked(LEAF.certificate, load_revocations(
        revocations(ROOT, [LEAF]), ROOT.certificate, NOW))) == "revoked"  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        cbor2.dumps(1 << 64),
        cbor2.dumps(cbor2.CBORTag(100_000, 1)),
        cbor2.dumps(cbor2.CBORTag(18, [])),
        b"\xd8\x23\x61a",
        b"\x18\x01",
        b"\xf9\x3c\x00\x00",
        b"\xa2\x01\x01\x01\x01",
        b"\x9f\xff",
        b"\x81" * 9 + b"\x01",
    ],
)
def test_cbor_has_one_spelling_and_no_tags(raw: bytes) -> None:
    assert refusal(lambda: strict_cbor(raw, "test")) == "malformed"


def test_tags_that_are_asked_for_stay_tags() -> None:
    assert strict_cbor(cbor2.dumps(cbor2.CBORTag(1, 5)), "test", (1,)) == cbor2.CBORTag(1, 5)
    assert strict_cbor(b"\x81" * 7 + b"\x01", "test")
