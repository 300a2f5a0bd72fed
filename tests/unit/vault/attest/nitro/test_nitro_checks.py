"""Nitro: genuine documents give claims, and every check of the list has a document that only it refuses."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_nitro import PCRS, REMOVED, FakeNitro
from tests.fakes.attest_pki import NOW, NOW_MS, Shape, ec_key, issue, rsa_key
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims, Refusal
from vault.attest.nitro.verify import ROOTS, NitroPolicy, NitroVerifier, verify_nitro
from vault.errors import Refused

BOUND = b"\x5a" * 64
EXPECTED = ExpectedBinding("ab" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))


def verify(
    nitro: FakeNitro, raw: bytes, *, policy: NitroPolicy | None = None, roots: frozenset[str] | None = None,
    bound: bytes | None = BOUND, now_ms: int = NOW_MS,
) -> Claims:  # fmt: skip
    return verify_nitro(raw, nitro.roots if roots is None else roots, policy or NitroPolicy(), bound, now_ms)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason in set(Refusal)
    return caught.value.reason.removeprefix("attest.")


@pytest.fixture(scope="module")
def nitro() -> FakeNitro:
    return FakeNitro()


def test_a_genuine_document_gives_claims(nitro: FakeNitro) -> None:
    claims = verify(nitro, nitro.document(public_key=b"k" * 1024, user_data=b""))
    assert (claims.kind, claims.tee, claims.debug, claims.hardware, claims.synthetic_only) == (
        "nitro", "nitro", False, True, False,
    )  # fmt: skip
    assert claims.measurement == "01" * 48
    assert claims.platform["pcr8"] == "06" * 48
    assert "pcr15" not in claims.platform
    assert claims.platform["bound"] is True
    assert verify(nitro, nitro.document(), bound=None).platform["bound"] is False
    assert verify(nitro, nitro.document(public_key=REMOVED, user_data=REMOVED)).hardware


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": b"\x5b" * 64}, "binding"),
        ({"nonce": None}, "binding"),
        ({"nonce": REMOVED}, "binding"),
        ({"nonce": BOUND[:63]}, "binding"),
        ({"nonce": b"n" * 1025}, "malformed"),
        ({"nonce": "text"}, "malformed"),
        ({"user_data": b"u" * 1025}, "malformed"),
        ({"public_key": [1]}, "malformed"),
        ({"pcrs": PCRS | {0: bytes(48)}}, "debug"),
        ({"pcrs": PCRS | {1: bytes(48)}}, "debug"),
        ({"pcrs": PCRS | {2: bytes(48)}}, "debug"),
        ({"pcrs": {0: b"\1" * 48, 1: b"\1" * 48}}, "malformed"),
        ({"pcrs": {}}, "malformed"),
        ({"pcrs": PCRS | {32: bytes(48)}}, "malformed"),
        ({"pcrs": PCRS | {-1: bytes(48)}}, "malformed"),
        ({"pcrs": PCRS | {5: bytes(47)}}, "malformed"),
        ({"pcrs": PCRS | {5: "5" * 48}}, "malformed"),
        ({"pcrs": PCRS | {"5": bytes(48)}}, "malformed"),
        ({"pcrs": {0: b"\1" * 48, True: b"\1" * 48, 2: b"\1" * 48}}, "malformed"),
        ({"pcrs": [b"\1" * 48]}, "malformed"),
        ({"digest": "SHA256"}, "algorithm"),
        ({"digest": None}, "algorithm"),
        ({"timestamp": NOW_MS - 300_001}, "expired"),
        ({"timestamp": NOW_MS + 60_001}, "expired"),
        ({"timestamp": 0}, "malformed"),
        ({"timestamp": -1}, "malformed"),
        ({"timestamp": 1.0}, "malformed"),
        ({"timestamp": 1 << 60}, "malformed"),
        ({"module_id": ""}, "malformed"),
        ({"module_id": "m" * 257}, "malformed"),
        ({"module_id": b"m"}, "malformed"),
        ({"certificate": None}, "malformed"),
        ({"certificate": b"\x30\x00"}, "malformed"),
        ({"cabundle": None}, "chain"),
        ({"cabundle": []}, "chain"),
        ({"cabundle": "x"}, "malformed"),
        ({"cabundle": [b"\x30\x00"]}, "malformed"),
        ({"cabundle": [b"c"] * 8}, "malformed"),
        ({"more": 1}, "malformed"),
        ({"pcrs": REMOVED}, "malformed"),
    ],
)
def test_a_signed_document_with_one_wrong_field_is_refused(
    nitro: FakeNitro, changes: dict[str, Any], reason: str
) -> None:
    assert refusal(lambda: verify(nitro, nitro.document(**changes))) == reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({1: -7}, "algorithm"),
        ({1: -36}, "algorithm"),
        ({1: "ES384"}, "algorithm"),
        ({}, "malformed"),
        ({1: -35, 4: b"kid"}, "malformed"),
        ([1, -35], "malformed"),
    ],
)
def test_another_protected_header_is_refused(nitro: FakeNitro, header: Any, reason: str) -> None:
    raw = nitro.sign(cbor2.dumps(nitro.payload()), header)
    assert refusal(lambda: verify(nitro, raw)) == reason


def test_an_unprotected_header_is_refused(nitro: FakeNitro) -> None:
    raw = nitro.sign(cbor2.dumps(nitro.payload()), unprotected={4: b"kid"})
    assert refusal(lambda: verify(nitro, raw)) == "malformed"


def test_a_document_that_another_key_signed_is_refused(nitro: FakeNitro) -> None:
    raw = nitro.sign(cbor2.dumps(nitro.payload()), signer=ec_key())
    assert refusal(lambda: verify(nitro, raw)) == "signature"


def test_a_signature_of_another_length_is_refused(nitro: FakeNitro) -> None:
    parts = cbor2.loads(nitro.document())
    raw = cbor2.dumps([*parts[:3], parts[3] + b"\0"])
    assert refusal(lambda: verify(nitro, raw)) == "signature"


def repeated_key(payload: bytes) -> bytes:
    """The same map with `digest` twice: nine fields become ten."""
    return bytes((payload[0] + 1,)) + payload[1:] + cbor2.dumps("digest") + cbor2.dumps("SHA384")


@pytest.mark.parametrize(
    "spelling",
    [
        repeated_key,
        lambda payload: payload + b"\0",
        lambda payload: b"\xbf" + payload[1:] + b"\xff",
        lambda payload: b"\xb8" + bytes((payload[0] & 31,)) + payload[1:],
        lambda payload: b"\xd8\x18" + payload,
        lambda payload: b"\xc1" + payload,
        lambda payload: b"\x81" * 64 + payload,
        lambda payload: payload[:-1],
        lambda payload: b"",
        lambda payload: b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff" + payload,
    ],
    ids=["repeated", "tail", "indefinite", "long", "tag", "time", "deep", "cut", "empty", "length"],
)
def test_a_signed_payload_in_another_spelling_is_refused(nitro: FakeNitro, spelling: Callable[[bytes], bytes]) -> None:
    raw = nitro.sign(spelling(cbor2.dumps(nitro.payload())))
    assert refusal(lambda: verify(nitro, raw)) == "malformed"


@pytest.mark.parametrize("payload", [7, "text", None, [*FakeNitro().payload()]])
def test_a_signed_payload_that_is_no_map_is_refused(nitro: FakeNitro, payload: Any) -> None:
    assert refusal(lambda: verify(nitro, nitro.sign(cbor2.dumps(payload)))) == "malformed"


@pytest.mark.parametrize(
    "spelling",
    [
        lambda raw: raw + b"\0",
        lambda raw: b"\xd2" + raw,
        lambda raw: b"\x85" + raw[1:] + b"\0",
        lambda raw: b"\x81" * 100_000,
        lambda raw: b"\xd8\x23\x61\x28",
        lambda raw: b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
        lambda raw: b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        lambda raw: b"",
        lambda raw: raw + bytes(40_000),
    ],
)
def test_a_document_in_another_spelling_is_refused(nitro: FakeNitro, spelling: Callable[[bytes], bytes]) -> None:
    assert refusal(lambda: verify(nitro, spelling(nitro.document()))) == "malformed"


def test_roots(nitro: FakeNitro) -> None:
    raw = nitro.document()
    assert refusal(lambda: verify(nitro, raw, roots=frozenset())) == "no-trust"
    assert refusal(lambda: verify(nitro, raw, roots=ROOTS)) == "chain"


def test_a_bundle_whose_first_is_not_the_root_is_refused(nitro: FakeNitro) -> None:
    raw = nitro.document(cabundle=[nitro.region.der, nitro.instance.der])
    assert refusal(lambda: verify(nitro, raw)) == "chain"
    raw = nitro.document(cabundle=[nitro.root.der, nitro.instance.der])
    assert refusal(lambda: verify(nitro, raw)) == "chain"
    raw = nitro.document(cabundle=[nitro.root.der] * 8)
    assert refusal(lambda: verify(nitro, raw)) == "malformed"


def test_a_leaf_that_issues_is_refused(nitro: FakeNitro) -> None:
    """Any enclave holds a key with a certificate; if that could issue, every enclave could be any other."""
    below = issue("enclave", ec_key(), nitro.leaf, Shape(ca=False))
    bundle = [nitro.root.der, nitro.region.der, nitro.instance.der, nitro.leaf.der]
    raw = nitro.sign(cbor2.dumps(nitro.payload(certificate=below.der, cabundle=bundle)), signer=below.key)
    assert refusal(lambda: verify(nitro, raw)) == "chain"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"leaf_shape": Shape(ca=False, end=NOW - timedelta(seconds=1))}, "expired"),
        ({"leaf_shape": Shape(ca=False, start=NOW + timedelta(seconds=1))}, "expired"),
        ({"middle_shape": Shape(ca=True, end=NOW - timedelta(1))}, "expired"),
        ({"middle_shape": Shape(ca=False)}, "chain"),
        ({"middle_shape": Shape()}, "chain"),
        ({"middle_shape": Shape(ca=True, signs=False)}, "chain"),
        ({"root_shape": Shape(ca=True, path_length=1)}, "chain"),
        ({"curve": ec.SECP521R1()}, "algorithm"),
    ],
)
def test_a_certificate_that_is_wrong_in_one_way_is_refused(changes: dict[str, Any], reason: str) -> None:
    nitro = FakeNitro(**changes)
    assert refusal(lambda: verify(nitro, nitro.document())) == reason


def test_a_leaf_of_another_algorithm_is_refused(nitro: FakeNitro) -> None:
    leaf = issue("enclave", rsa_key(0), nitro.instance, Shape(ca=False))
    raw = nitro.sign(cbor2.dumps(nitro.payload(certificate=leaf.der)))
    assert refusal(lambda: verify(nitro, raw)) == "algorithm"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (NitroPolicy(pcrs={0: {b"\2" * 48}}), "measurement"),
        (NitroPolicy(pcrs={0: ()}), "measurement"),
        (NitroPolicy(pcrs={8: {b"\1" * 48}}), "measurement"),
        (NitroPolicy(pcrs={16: {b"\1" * 48}}), "measurement"),
        (NitroPolicy(modules=frozenset()), "platform"),
        (NitroPolicy(modules=frozenset({"i-0123"})), "platform"),
        (NitroPolicy(max_age_ms=999), "expired"),
    ],
)
def test_what_an_operator_asks_is_asked(nitro: FakeNitro, policy: NitroPolicy, reason: str) -> None:
    assert refusal(lambda: verify(nitro, nitro.document(), policy=policy)) == reason


def test_what_an_operator_asks_can_be_met(nitro: FakeNitro) -> None:
    policy = NitroPolicy(pcrs={0: {b"\1" * 48}, 8: {b"\6" * 48}}, modules=frozenset({"i-0123-enc0456"}))
    assert verify(nitro, nitro.document(), policy=policy).hardware


def test_the_port_checks_form_and_binding(nitro: FakeNitro) -> None:
    verifier = NitroVerifier(NitroPolicy(), nitro.roots)
    text = base64.b64encode(nitro.document(nonce=EXPECTED.report_data())).decode()
    form = {"kind": "nitro", "version": 1, "document": text}
    assert verifier.verify(form, EXPECTED, NOW_MS).hardware
    other = base64.b64encode(nitro.document()).decode()
    for change, reason in (
        ({"document": other}, "binding"), ({"version": 2}, "unknown-version"), ({"kind": "snp"}, "malformed"),
        ({"x": 1}, "malformed"), ({"document": 1}, "malformed"), ({"document": "A" * 500_000}, "malformed"),
    ):  # fmt: skip
        assert refusal(lambda c=change: verifier.verify(form | c, EXPECTED, NOW_MS)) == reason  # type: ignore[misc]


def test_truncated_at_every_byte_and_flipped(nitro: FakeNitro) -> None:
    raw = nitro.document()
    for at in range(len(raw)):
        assert refusal(lambda n=at: verify(nitro, raw[:n])) == "malformed"  # type: ignore[misc]
        bad = bytearray(raw)
        bad[at] ^= 1 << at % 8
        assert refusal(lambda b=bytes(bad): verify(nitro, b))  # type: ignore[misc]
