"""Reference manifests: golden values of a genuine one, every check, and the known ways to wrap a signature."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_manifest import (
    C14N,
    DRIVER,
    DRIVER_VALUES,
    ENVELOPED,
    FIRMWARE,
    FIRMWARE_VALUES,
    SWID,
    FakeManifests,
    resource,
)
from tests.fakes.attest_pki import NOW, Shape, ec_key
from vault.attest.claims import Refusal
from vault.attest.nvidia.manifest import parse_reference_manifest
from vault.attest.trust.manifests import parse_manifest
from vault.errors import Malformed, Refused

GOOD_1_0 = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"


@pytest.fixture(scope="module")
def maker() -> FakeManifests:
    return FakeManifests()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


def test_a_genuine_manifest_gives_golden_values(maker: FakeManifests) -> None:
    found = parse_reference_manifest(maker.firmware())
    assert (found.edition, found.product, found.version) == ("GPU", "GH100", "96.00.9F.00.01")
    assert found.golden == {block: frozenset(values) for block, values in FIRMWARE_VALUES.items()}
    assert (found.root, found.start, found.end) == (maker.root.pin, NOW - timedelta(365), NOW + timedelta(365))


def test_other_spellings_of_the_same_document_hold(maker: FakeManifests) -> None:
    """What is signed is the canonical form."""
    raw = maker.driver()
    again = b'<?xml version="1.0" encoding="UTF-8"?>\n' + raw.replace(b"></ns0:Resource>", b" />", 3) + b"\n"
    assert parse_reference_manifest(again).golden == parse_reference_manifest(raw).golden
    assert parse_reference_manifest(maker.driver(form=GOOD_1_0, transforms=(ENVELOPED, GOOD_1_0)))


def test_every_value_is_signed(maker: FakeManifests) -> None:
    raw = maker.driver()
    for before, after in (
        (b'Hash0="0b', b'Hash0="1b'),
        (b'active="False"', b'active="True"'),
        (b'colloquialVersion="550.90.07"', b'colloquialVersion="550.90.08"'),
        (b'alternatives="1"', b'alternatives="2"'),
        (b'xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"', b'xmlns:ns2="urn:other"'),
        (b'name="GH100"', b'name="GB100"'),
        (b"\n  <ns0:Payload>", b"\n <ns0:Payload>"),
    ):
        assert before in raw
        assert refusal(lambda a=before, b=after: parse_reference_manifest(raw.replace(a, b, 1))) == "signature"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("signing", "reason"),
    [
        ({"key": ec_key()}, "signature"),
        ({"digest": bytes(48)}, "signature"),
        ({"digest": bytes(20)}, "signature"),
        ({"reference": 'URI="#root"'}, "malformed"),
        ({"reference": ""}, "malformed"),
        ({"reference": 'Id="a" URI=""'}, "malformed"),
        ({"transforms": (ENVELOPED,)}, "malformed"),
        ({"transforms": (C14N, ENVELOPED)}, "algorithm"),
        ({"transforms": (ENVELOPED, C14N, C14N)}, "malformed"),
        ({"transforms": (ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116")}, "algorithm"),
        ({"transforms": (ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116")}, "algorithm"),
        ({"transforms": (ENVELOPED, "http://www.w3.org/2001/10/xml-exc-c14n#")}, "algorithm"),
        ({"form": "http://www.w3.org/2001/10/xml-exc-c14n#"}, "algorithm"),
        ({"method": "http://www.w3.org/2000/09/xmldsig#hmac-sha1"}, "algorithm"),
        ({"method": "http://www.w3.org/2001/04/xmldsig-more#hmac-sha384"}, "algorithm"),
        ({"method": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"}, "algorithm"),
        ({"digest_method": "http://www.w3.org/2000/09/xmldsig#sha1"}, "algorithm"),
    ],
)
def test_another_signature_is_refused(maker: FakeManifests, signing: dict[str, Any], reason: str) -> None:
    assert refusal(lambda: parse_reference_manifest(maker.driver(**signing))) == reason


class TestWrapping:
    """Documents in which a genuine signature stands, and something else is to be read."""

    def test_a_genuine_document_inside_another(self, maker: FakeManifests) -> None:
        evil = FakeManifests()
        outer = f'<SoftwareIdentity xmlns="{SWID}">{{}}</SoftwareIdentity>'
        for inner in (
            maker.driver().decode(),
            evil.driver(values={5: [b"\xee" * 48]}).decode() + maker.driver().decode(),
        ):
            assert refusal(lambda text=inner: parse_reference_manifest(outer.format(text).encode())) == "malformed"  # type: ignore[misc]

    def test_the_signature_moved(self, maker: FakeManifests) -> None:
        raw = maker.driver().decode()
        start, end = raw.index("<ds:Signature "), raw.index("</ds:Signature>") + len("</ds:Signature>")
        signature, rest = raw[start:end], raw[:start] + raw[end:]
        deeper = rest.replace("</ns0:Payload>", signature + "</ns0:Payload>")
        wrapped = rest.replace("</SoftwareIdentity>", f"<w>{signature}</w></SoftwareIdentity>")
        for text in (deeper, wrapped, rest):
            assert refusal(lambda text=text: parse_reference_manifest(text.encode())) == "malformed"  # type: ignore[misc]
        first = rest.replace(">", f">{signature}", 1)  # where it stands under the root does not matter
        assert parse_reference_manifest(first.encode()).version == "550.90.07"

    def test_two_signatures(self, maker: FakeManifests) -> None:
        """Of which the first would hold, if the second were part of what it is over or left out too."""
        raw = maker.driver().decode()
        start, end = raw.index("<ds:Signature "), raw.index("</ds:Signature>") + len("</ds:Signature>")
        twice = raw[:end] + raw[start:end] + raw[end:]
        assert refusal(lambda: parse_reference_manifest(twice.encode())) == "malformed"

    def test_values_inside_the_signature_are_not_read(self, maker: FakeManifests) -> None:
        """The one part that is not hashed: an object or a payload in it must not become golden values."""
        evil = resource(0, [b"\xee" * 48])
        for where in ("</ds:Signature>", "</ds:KeyInfo>", "</ds:X509Data>", "</ds:SignatureValue>"):
            for inner in (f"<ds:Object>{evil}</ds:Object>", evil, f"<ns0:Payload>{evil}</ns0:Payload>"):
                text = maker.driver().decode().replace(where, inner + where)
                assert refusal(lambda text=text: parse_reference_manifest(text.encode())) == "malformed"  # type: ignore[misc]

    def test_text_between(self, maker: FakeManifests) -> None:
        text = maker.driver().decode().replace("<ds:SignatureValue>", "x<ds:SignatureValue>")
        assert refusal(lambda: parse_reference_manifest(text.encode())) == "malformed"
        spaced = maker.driver().decode().replace("<ds:SignatureValue>", "\n <ds:SignatureValue>\n")
        assert parse_reference_manifest(spaced.encode())

    def test_attributes_and_contents_that_mean_something_elsewhere(self, maker: FakeManifests) -> None:
        """Ids to point at, parameters of algorithms: nothing of the kind is read, and nothing of the kind may stand."""
        text = maker.driver().decode()
        for before, after in (
            ("<ds:Signature ", '<ds:Signature Id="a" '),
            ("<ds:SignedInfo>", '<ds:SignedInfo Id="a">'),
            ("<ds:KeyInfo>", '<ds:KeyInfo Id="a">'),
            ("<ds:X509Data>", '<ds:X509Data Id="a">'),
            ("<ds:SignatureValue>", '<ds:SignatureValue Id="a">'),
            ("</ds:SignatureMethod>", "<ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>"),
            ("</ds:Transform>", "<ds:XPath>1</ds:XPath></ds:Transform>"),
            ("</ds:CanonicalizationMethod>", " </ds:CanonicalizationMethod>"),
        ):
            changed = text.replace(before, after, 1).encode()
            assert changed != text.encode()
            assert refusal(lambda raw=changed: parse_reference_manifest(raw)) == "malformed", before  # type: ignore[misc]

    def test_comments_cannot_split_a_value(self, maker: FakeManifests) -> None:
        text = maker.driver().decode().replace("</ns0:Payload>", "<!-- --></ns0:Payload>")
        assert refusal(lambda: parse_reference_manifest(text.encode())) == "malformed"

    def test_other_certificates_beside_the_signers(self, maker: FakeManifests) -> None:
        evil = FakeManifests()
        mixed = evil.driver(certificates=[evil.signer, *maker.chain[1:]])
        assert refusal(lambda: parse_reference_manifest(mixed)) == "chain"
        assert refusal(lambda: parse_reference_manifest(evil.driver(certificates=maker.chain))) == "signature"
        assert refusal(lambda: parse_reference_manifest(maker.driver(certificates=[maker.root]))) == "malformed"
        assert refusal(lambda: parse_reference_manifest(maker.driver(certificates=maker.chain[:2]))) == "chain"


def test_chains(maker: FakeManifests) -> None:
    assert refusal(lambda: parse_reference_manifest(FakeManifests(middle_shape=Shape(ca=False)).driver())) == "chain"
    assert refusal(lambda: parse_reference_manifest(FakeManifests(curve=ec.SECP256R1()).driver())) == "algorithm"
    short = FakeManifests(signer_shape=Shape(ca=False, end=NOW - timedelta(1)))
    assert parse_reference_manifest(short.driver()).end == NOW - timedelta(1)  # when it counts is the reader's question
    never = FakeManifests(signer_shape=Shape(ca=False, start=NOW - timedelta(400), end=NOW - timedelta(366)))
    assert refusal(lambda: parse_reference_manifest(never.driver())) == "expired"


@pytest.mark.parametrize(
    "changes",
    [
        {"meta": ""},
        {"meta": "<ns0:Meta></ns0:Meta>"},
        {"meta": '<ns0:Meta colloquialVersion="" edition="GPU" product="GH100"></ns0:Meta>'},
        {"meta": 2 * '<ns0:Meta colloquialVersion="1" edition="GPU" product="GH100"></ns0:Meta>'},
        {"edition": "CPU"},
        {"product": ""},
        {"resources": resource(0, [b"\1" * 48])},  # index 0 twice
        {"resources": resource(255, [b"\1" * 48])},
        {"resources": resource(64, [b"\1" * 48], index="-1")},
        {"resources": resource(64, [b"\1" * 48], index="064")},
        {"resources": resource(64, [b"\1" * 48], active="true")},
        {"resources": resource(64, [b"\1" * 48], size="32")},
        {"resources": resource(64, [b"\1" * 48], alternatives="2")},
        {"resources": resource(64, [b"\1" * 48, b"\2" * 48], alternatives="1")},
        {"resources": resource(64, [])},
        {"resources": resource(64, [b"\1" * 48], type="File")},
        {"resources": resource(64, [b"\1" * 48]).replace("Hash0", "Hash1")},
        {"resources": "<ns0:Payload></ns0:Payload>"},
        {"resources": "<Resource></Resource>"},
        {"values": {}},
        {"root": "Other"},
    ],
)
def test_a_signed_tag_of_another_form_is_refused(maker: FakeManifests, changes: dict[str, Any]) -> None:
    assert refusal(lambda: parse_reference_manifest(maker.driver(**changes))) == "malformed"


def test_a_digest_of_another_length_is_refused(maker: FakeManifests) -> None:
    listed = resource(64, [b"\1" * 32])
    assert refusal(lambda: parse_reference_manifest(maker.driver(resources=listed))) == "algorithm"


class TestFiles:
    def test_names_are_what_was_signed(self, maker: FakeManifests) -> None:
        manifest, dated = parse_manifest(f"{DRIVER}.xml", maker.driver())
        assert (manifest.kind, manifest.board, manifest.golden.keys()) == ("driver", (), DRIVER_VALUES.keys())
        assert dated.expires_ms == int((NOW + timedelta(365)).timestamp()) * 1000
        manifest, _ = parse_manifest(f"{FIRMWARE}.xml", maker.firmware())
        assert (manifest.kind, manifest.board) == ("firmware", ("1010", "0200", "882"))

    @pytest.mark.parametrize(
        "name",
        [
            "driver.xml", "NV_GPU_DRIVER_GH100_550.90.08.xml", "NV_GPU_DRIVER_GB100_550.90.07.xml",
            "NV_GPU_VBIOS_1010_0200_882_5509007000.xml", "NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
            "../NV_GPU_DRIVER_GH100_550.90.07.xml", "NV_GPU_DRIVER_GH100_550.90.07.xml.xml",
        ],
    )  # fmt: skip
    def test_another_name_is_unreadable(self, maker: FakeManifests, name: str) -> None:
        with pytest.raises(Malformed):
            parse_manifest(name, maker.driver())
