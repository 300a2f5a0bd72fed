"""/dev/nsm: the real structure and request, answers of every shape, a document that the gateway's verifier takes."""

import errno
import json
from typing import Any

import cbor2
import pytest

from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.nitro import NitroAttester
from tests.fakes.attest_nitro import FakeNitro
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.nsm_device import FakeNsm
from vault.attest.binding import ExpectedBinding
from vault.attest.nitro.verify import NitroPolicy, NitroVerifier
from vault.errors import Refused

EXPECTED = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",))
BOUND = EXPECTED.report_data()
AWS = FakeNitro()


def module(**changes: Any) -> FakeNsm:
    return FakeNsm(lambda nonce: AWS.document(nonce=nonce, **changes))


def test_a_document_verifies_at_the_gateway() -> None:
    device = module()
    evidence = json.loads(json.dumps(NitroAttester(calls=device).evidence(BOUND)))
    claims = NitroVerifier(NitroPolicy(), AWS.roots).verify(evidence, EXPECTED, NOW_MS)
    assert (claims.kind, claims.platform["bound"]) == ("nitro", True)
    assert device.requests == [{"Attestation": {"user_data": None, "nonce": BOUND, "public_key": None}}]
    assert device.open_descriptors == 0


def test_a_document_for_another_challenge_is_refused_by_the_gateway() -> None:
    evidence = NitroAttester(calls=module()).evidence(BOUND)
    other = ExpectedBinding("cd" * 32, "gateway", "thumbprint", "train", ("claims",))
    with pytest.raises(Refused, match=r"attest\.binding"):
        NitroVerifier(NitroPolicy(), AWS.roots).verify(evidence, other, NOW_MS)


def test_a_document_as_large_as_real_ones_arrives_whole() -> None:
    evidence = NitroAttester(calls=module(user_data=b"u" * 1024, public_key=b"k" * 1024)).evidence(BOUND)
    NitroVerifier(NitroPolicy(), AWS.roots).verify(evidence, EXPECTED, NOW_MS)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EPERM, NotConfigured), (errno.ETIMEDOUT, Unavailable), (errno.EMSGSIZE, Unavailable)],
)
def test_errors_of_the_driver(code: int, kind: type[DemesneError]) -> None:
    device = module()
    device.fault = code
    with pytest.raises(kind):
        NitroAttester(calls=device).evidence(BOUND)
    assert device.open_descriptors == 0


@pytest.mark.parametrize(("name", "kind"), [("InvalidArgument", Malformed), ("InternalError", Unavailable)])
def test_errors_of_the_module_are_named(name: str, kind: type[DemesneError]) -> None:
    device = module()
    device.error = name
    with pytest.raises(kind, match=name):
        NitroAttester(calls=device).evidence(BOUND)


def test_no_device_is_no_enclave() -> None:
    device = module()
    device.absent = True
    with pytest.raises(NotConfigured, match="/dev/nsm"):
        NitroAttester(calls=device).evidence(BOUND)


GOOD = cbor2.dumps({"Attestation": {"document": b"d" * 300}})


@pytest.mark.parametrize(
    "answer",
    [
        *(GOOD[:length] for length in range(1, len(GOOD), 7)), GOOD + b"\0",
        cbor2.dumps({"Attestation": {"document": "text"}}), cbor2.dumps({"Attestation": {"other": b""}}),
        cbor2.dumps({"Attestation": {"document": b"", "more": 1}}), cbor2.dumps({"Random": {"random": b""}}),
        cbor2.dumps([1]), cbor2.dumps("Attestation"), b"\xbf\xff", b"\xa1\x6bAttestation\xa1\x68document\x5f\xff",
        b"\xa1\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_answers_of_another_shape_are_malformed(answer: bytes) -> None:
    device = module()
    device.answer = answer
    with pytest.raises(Malformed):
        NitroAttester(calls=device).evidence(BOUND)


@pytest.mark.parametrize("length", [0, 0x3001, 1 << 63])
def test_a_length_beyond_the_room_is_not_read(length: int) -> None:
    device = module()
    device.length = length
    with pytest.raises(Malformed, match="wrote"):
        NitroAttester(calls=device).evidence(BOUND)


def test_report_data_of_another_length_never_reaches_the_module() -> None:
    device = module()
    with pytest.raises(Invalid):
        NitroAttester(calls=device).evidence(b"")
    assert device.requests == []
