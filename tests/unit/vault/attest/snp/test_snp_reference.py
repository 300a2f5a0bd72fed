"""Endorsed measurements: a statement by a trusted endorser, or a refusal by name."""

from datetime import timedelta
from typing import Any

import cbor2
import pytest

from tests.fakes.attest_endorsement import EKU, ISSUER, LEAF, MIDDLE, PURPOSE, ROOT, leaf, statement
from tests.fakes.attest_pki import NOW, NOW_MS, Issued, Shape, ec_key, issue
from vault.attest.claims import Refusal
from vault.attest.snp.reference import Endorser, endorsed_measurement
from vault.errors import Refused

TRUSTED = [Endorser(ISSUER, "uvm", 22)]


def refusal(raw: bytes, endorsers: list[Endorser] | None = None, at_ms: int = NOW_MS) -> str:
    with pytest.raises(Refused) as caught:
        endorsed_measurement(raw, TRUSTED if endorsers is None else endorsers, at_ms)
    assert caught.value.reason in set(Refusal)
    return caught.value.reason.removeprefix("attest.")


def test_a_trusted_statement_names_a_measurement() -> None:
    endorsed = endorsed_measurement(statement(), TRUSTED, NOW_MS)
    assert (endorsed.measurement, endorsed.svn, endorsed.feed) == (b"\x11" * 48, 22, "uvm")


def test_nobody_trusted_is_a_refusal() -> None:
    assert refusal(statement(), []) == "no-trust"


@pytest.mark.parametrize(
    "endorser",
    [
        Endorser(ISSUER, "other", 0),
        Endorser(ISSUER + "1", "uvm", 0),
        Endorser(ISSUER.replace("sha256:", "sha256:A"), "uvm", 0),
        Endorser(ISSUER, "uvm", 23),
    ],
)
def test_another_endorser_is_refused(endorser: Endorser) -> None:
    assert refusal(statement(), [endorser]) == "endorsement"


@pytest.mark.parametrize(
    "issuer",
    ["did:x509:0:sha256:" + "A" * 43 + "::eku:" + PURPOSE, ISSUER.replace(".257.1", ".257.2"), "did:web:example", "x"],
    ids=["fingerprint", "purpose", "method", "text"],
)
def test_what_the_identifier_says_must_hold_for_the_chain(issuer: str) -> None:
    assert refusal(statement(header={"iss": issuer}), [Endorser(issuer, "uvm", 0)]) == "endorsement"


@pytest.mark.parametrize(
    "header",
    [{1: -39}, {1: "PS384"}, {2: [99]}, {33: None}, {33: []}, {33: [7, 8]}, {"iss": None}, {"feed": b"uvm"}],
)
def test_another_header_is_refused(header: dict[Any, Any]) -> None:
    assert refusal(statement(header=header)) == "endorsement"


@pytest.mark.parametrize(
    "payload",
    [
        {"x-ms-sevsnpvm-guestsvn": "21"},
        {"x-ms-sevsnpvm-guestsvn": 22},
        {"x-ms-sevsnpvm-guestsvn": "-1"},
        {"x-ms-sevsnpvm-guestsvn": " 22"},
        {"x-ms-sevsnpvm-guestsvn": "1_000"},
        {"x-ms-sevsnpvm-launchmeasurement": "11" * 47},
        {"x-ms-sevsnpvm-launchmeasurement": "zz"},
        {"x-ms-sevsnpvm-launchmeasurement": 7},
        b"[]",
        b"{",
        b"[" * 60_000,
    ],
)
def test_another_statement_is_refused(payload: Any) -> None:
    assert refusal(statement(payload)) in {"endorsement", "malformed"}


@pytest.mark.parametrize(
    "chain",
    [
        [leaf(end=NOW - timedelta(1)), MIDDLE, ROOT],
        [leaf(extensions=()), MIDDLE, ROOT],
        [LEAF, ROOT],
        [issue("Releases", ec_key(), MIDDLE, Shape(ca=False, extensions=(EKU,))), MIDDLE, ROOT],
    ],
    ids=["expired", "purpose", "link", "key"],
)  # fmt: skip
def test_another_chain_is_refused(chain: list[Issued]) -> None:
    assert refusal(statement(chain=chain)) == "endorsement"


def test_a_chain_has_a_leaf_and_its_issuers() -> None:
    """A root that signs statements itself, and a chain longer than a reader should walk."""
    assert refusal(statement(chain=[ROOT])) == "endorsement"
    assert refusal(statement(header={33: [LEAF.der, *[MIDDLE.der] * 9, ROOT.der]})) == "endorsement"


@pytest.mark.parametrize("protected", [[], "text", 7])
def test_a_protected_header_that_is_no_map_is_refused(protected: Any) -> None:
    parts = cbor2.loads(statement()).value
    raw = cbor2.dumps(cbor2.CBORTag(18, [cbor2.dumps(protected), *parts[1:]]))
    assert refusal(raw) == "endorsement"


@pytest.mark.parametrize("at", [0, 2, 3])
def test_parts_of_a_statement_are_byte_strings(at: int) -> None:
    parts = [*cbor2.loads(statement()).value]
    parts[at] = "text"
    assert refusal(cbor2.dumps(cbor2.CBORTag(18, parts))) == "malformed"


def test_a_statement_is_of_bounded_length() -> None:
    assert refusal(statement(unprotected={"timestamp": bytes(70_000)})) == "malformed"


def test_a_signature_that_does_not_hold_is_refused() -> None:
    assert refusal(statement(salt=20)) == "endorsement"
    parts = cbor2.loads(statement()).value
    changed = cbor2.CBORTag(18, [parts[0], {}, parts[2].replace(b"11", b"12"), parts[3]])
    assert refusal(cbor2.dumps(changed)) == "endorsement"


@pytest.mark.parametrize(
    "raw",
    [
        statement(tag=None),
        statement(tag=17),
        statement(parts=3),
        statement(unprotected=[]),
        statement() + b"\0",
        bytes(70_000),
        cbor2.dumps(cbor2.CBORTag(18, [b"\xa0", {}, None, b""])),
        cbor2.dumps(cbor2.CBORTag(18, [b"\xc4\x82\x01\x01", {}, b"", b""])),
    ],
)
def test_another_form_is_malformed(raw: bytes) -> None:
    assert refusal(raw) in {"malformed", "endorsement"}


def test_a_flipped_bit_anywhere_is_refused() -> None:
    raw = statement(unprotected={})
    for at in range(0, len(raw), 7):
        bad = bytearray(raw)
        bad[at] ^= 1 << at % 8
        assert refusal(bytes(bad))
