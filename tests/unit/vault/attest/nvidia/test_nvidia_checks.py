"""NVIDIA devices: a genuine report gives claims, and every check has evidence that only it refuses."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from tests.fakes.attest_nvidia import MEASUREMENTS, NONCE, OPAQUE, FakeNvidia, ocsp_answer
from tests.fakes.attest_pki import NOW, NOW_MS, Issued, Shape, ec_key, issue, revocations
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims, Refusal
from vault.attest.nvidia.evidence import NvidiaVerifier, parse_list
from vault.attest.nvidia.verify import ROOTS, NvidiaPolicy, verify_nvidia
from vault.errors import Refused

BOUND = NONCE + b"\1" * 32


def verify(
    maker: FakeNvidia, raw: bytes | None = None, *, policy: NvidiaPolicy | None = None, bound: bytes | None = BOUND,
    chain: list[bytes] | None = None, roots: frozenset[str] | None = None, lists: tuple[bytes, ...] = (),
) -> Claims:  # fmt: skip
    return verify_nvidia(
        maker.report() if raw is None else raw, maker.chain if chain is None else chain,
        maker.roots if roots is None else roots, policy or NvidiaPolicy(), bound, NOW_MS, lists,
    )  # fmt: skip


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


@pytest.fixture(scope="module")
def maker() -> FakeNvidia:
    return FakeNvidia()


@pytest.mark.parametrize("blackwell", [False, True])
def test_genuine_reports_give_claims(blackwell: bool) -> None:
    claims = verify(FakeNvidia(blackwell=blackwell))
    assert (claims.kind, claims.tee, claims.hardware, claims.measurement) == ("nvgpu", "nvgpu", True, "77" * 48)
    assert claims.platform["driver"] == "550.90.07"
    assert claims.platform["vbios"] == "96.00.9F.00.01"
    assert (claims.platform["bound"], claims.platform["revocation_checked"]) == (True, 0)


def test_switches_and_old_firmware(maker: FakeNvidia) -> None:
    switch = verify(maker, maker.report(opaque=[(6, b"96.10.55.00.01"), (22, bytes(8))]), bound=None)
    assert (switch.tee, switch.platform["vbios"], switch.platform["bound"]) == ("nvswitch", "96.10.55.00.01", False)
    assert switch.platform["firmware_identity"] is False
    silent = maker.report(opaque=[one for one in OPAQUE if one[0] != 20])
    assert refusal(lambda: verify(maker, silent, policy=NvidiaPolicy(needs_firmware_identity=True))) == "tcb"


def test_trust(maker: FakeNvidia) -> None:
    assert refusal(lambda: verify(maker, roots=frozenset())) == "no-trust"
    assert refusal(lambda: verify(maker, roots=ROOTS)) == "chain"
    assert refusal(lambda: verify(maker, chain=maker.chain[1:])) == "signature"
    assert refusal(lambda: verify(maker, chain=[])) == "chain"
    assert refusal(lambda: verify(maker, chain=[maker.chain[0], *maker.chain[2:]])) == "chain"
    assert refusal(lambda: verify(FakeNvidia(device_shape=Shape(ca=False)))) == "chain"
    assert refusal(lambda: verify(FakeNvidia(leaf_shape=Shape(end=NOW - timedelta(1))))) == "expired"
    assert refusal(lambda: verify(FakeNvidia(curve=ec.SECP256R1()))) == "algorithm"
    assert refusal(lambda: verify(maker, maker.report(signer=ec_key()))) == "signature"


def test_the_certificate_is_for_this_firmware(maker: FakeNvidia) -> None:
    assert refusal(lambda: verify(FakeNvidia(firmware=b"\1" * 48))) == "platform"
    assert refusal(lambda: verify(FakeNvidia(extension=b""))) == "chain"
    assert refusal(lambda: verify(FakeNvidia(extension=b"short", blackwell=True))) == "chain"


def test_nonce(maker: FakeNvidia) -> None:
    assert refusal(lambda: verify(maker, bound=b"\1" * 64)) == "binding"
    assert refusal(lambda: verify(maker, bound=NONCE[:31])) == "binding"


def test_golden_values_and_versions(maker: FakeNvidia) -> None:
    assert verify(maker, policy=NvidiaPolicy({3: {MEASUREMENTS[3]}}))
    assert refusal(lambda: verify(maker, policy=NvidiaPolicy({3: {MEASUREMENTS[4]}}))) == "measurement"
    assert refusal(lambda: verify(maker, policy=NvidiaPolicy({3: set()}))) == "measurement"
    assert refusal(lambda: verify(maker, policy=NvidiaPolicy({65: {MEASUREMENTS[4]}}))) == "measurement"
    assert verify(maker, policy=NvidiaPolicy({36: set()}))  # NVDEC0 is off
    on = maker.report(opaque=[(name, b"\xaa" if name == 11 else value) for name, value in OPAQUE])
    assert refusal(lambda: verify(maker, on, policy=NvidiaPolicy({36: set()}))) == "measurement"
    assert refusal(lambda: verify(maker, policy=NvidiaPolicy(drivers=frozenset()))) == "tcb"
    assert refusal(lambda: verify(maker, policy=NvidiaPolicy(vbioses=frozenset({"x"})))) == "tcb"


def test_revocation_lists(maker: FakeNvidia) -> None:
    issuers = (maker.device, maker.provisioner, maker.model, maker.root)
    good = tuple(revocations(issuer) for issuer in issuers)
    needs = NvidiaPolicy(needs_revocation=True)
    assert verify(maker, policy=needs, lists=good).platform["revocation_checked"] == 4
    assert refusal(lambda: verify(maker, policy=needs, lists=good[:3])) == "collateral"
    assert refusal(lambda: verify(maker, lists=(revocations(maker.provisioner, [maker.device]),))) == "revoked"
    assert (
        refusal(
            lambda: verify(maker, lists=(revocations(maker.root, end=NOW - timedelta(1), start=NOW - timedelta(2)),))
        )
        == "collateral"
    )
    assert refusal(lambda: verify(maker, lists=(revocations(FakeNvidia().leaf),))) == "collateral"
    assert refusal(lambda: verify(maker, lists=(b"no list",))) == "collateral"
    odd = revocations(maker.root).replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)  # a version that there is not
    assert refusal(lambda: verify(maker, lists=(odd,))) == "collateral"


def test_ocsp_answers(maker: FakeNvidia) -> None:
    pairs = ((maker.leaf, maker.device), (maker.device, maker.provisioner), (maker.provisioner, maker.model),
             (maker.model, maker.root))  # fmt: skip
    good = tuple(ocsp_answer(*pair) for pair in pairs)
    needs = NvidiaPolicy(needs_revocation=True)
    assert verify(maker, policy=needs, lists=good).platform["revocation_checked"] == 4
    mixed = (good[0], *(revocations(issuer) for _, issuer in pairs[1:]))
    assert verify(maker, policy=needs, lists=mixed)
    assert refusal(lambda: verify(maker, policy=needs, lists=(good[0],) * 4)) == "collateral"

    def one(**changes: Any) -> str:
        return refusal(lambda: verify(maker, lists=(ocsp_answer(*pairs[1], **changes),)))

    assert one(status=ocsp.OCSPCertStatus.REVOKED) == "revoked"
    assert one(status=ocsp.OCSPCertStatus.UNKNOWN) == "revoked"
    assert one(end=NOW - timedelta(hours=1)) == "collateral"
    assert one(end=None) == "collateral"
    assert one(start=NOW + timedelta(hours=1)) == "collateral"
    assert one(signer=maker.root) == "collateral"
    assert one(signer=maker.root, shown=True) == "collateral"
    assert refusal(lambda: verify(maker, lists=(ocsp_answer(maker.root, maker.root),))) == "collateral"
    assert refusal(lambda: verify(maker, lists=(good[0][:-9],))) == "collateral"
    assert refusal(lambda: verify(maker, lists=(good[0][:-1] + bytes((good[0][-1] ^ 1,)),))) == "collateral"
    assert refusal(lambda: verify(maker, lists=(b"\x30\x03\x0a\x01\x06",))) == "collateral"  # unauthorized


def test_who_may_answer_for_an_issuer(maker: FakeNvidia) -> None:
    purpose = (("2.5.29.37", bytes.fromhex("300a06082b06010505070309")),)

    def answered(shape: Shape, by: Issued = maker.provisioner) -> Claims:
        responder = issue("Responder", ec_key(), by, shape)
        answer = ocsp_answer(maker.device, maker.provisioner, signer=responder, shown=True)
        return verify(maker, lists=(answer,))

    assert answered(Shape(extensions=purpose)).platform["revocation_checked"] == 1
    assert refusal(lambda: answered(Shape())) == "collateral"
    client = (("2.5.29.37", bytes.fromhex("300a06082b06010505070302")),)
    assert refusal(lambda: answered(Shape(extensions=client))) == "collateral"
    assert refusal(lambda: answered(Shape(extensions=purpose, end=NOW - timedelta(1)))) == "collateral"
    assert refusal(lambda: answered(Shape(extensions=purpose), maker.model)) == "collateral"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"request": b"\x12\xe0\x01\xff"}, "unknown-version"), ({"request": b"\x11\xe0\x00\xff"}, "malformed"),
     ({"response": b"\x12\x60\0\0"}, "unknown-version"), ({"response": b"\x11\x7f\0\0"}, "malformed"),
     ({"count": 63}, "malformed"), ({"count": 65}, "malformed"), ({"specification": 2}, "malformed"),
     ({"value_size": 47}, "malformed"), ({"measurements": {0: bytes(48)}}, "malformed"),
     ({"measurements": {1: bytes(32)}, "value_size": 32}, "algorithm"), ({"opaque": [*OPAQUE, OPAQUE[0]]}, "malformed"),
     ({"opaque_tail": b"\1"}, "malformed"), ({"tail": b"\1"}, "malformed"), ({"tail": bytes(17)}, "malformed"),
     ({"tail": bytes(20_000)}, "malformed")],
)  # fmt: skip
def test_each_field_of_a_signed_report(maker: FakeNvidia, changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: verify(maker, maker.report(**changes), bound=None)) == expected


def test_cut_or_flipped_is_refused(maker: FakeNvidia) -> None:
    report = maker.report(tail=bytes(8))
    for length in range(0, len(report) - 8, 11):
        assert refusal(lambda n=length: verify(maker, report[:n]))  # type: ignore[misc]
    for at in range(0, len(report), 13):
        flipped = bytearray(report)
        flipped[at] ^= 1 << at % 8
        assert refusal(lambda raw=bytes(flipped): verify(maker, raw))  # type: ignore[misc]


def test_evidence_in_our_form_and_in_the_tools(maker: FakeNvidia) -> None:
    expected = ExpectedBinding("n", "g", "k", "p", ("a",))
    report = maker.report(nonce=expected.device_nonce())
    document: dict[str, Any] = {
        "kind": "nvgpu", "version": 1, "report": base64.b64encode(report).decode(),
        "certificates": [base64.b64encode(der).decode() for der in maker.chain],
    }  # fmt: skip
    verifier = NvidiaVerifier(NvidiaPolicy(), maker.roots)
    assert verifier.verify(document, expected, NOW_MS).platform["bound"] is True
    changes: tuple[dict[str, Any], ...] = (
        {"kind": "snp"}, {"more": 1}, {"certificates": [""] * 9}, {"certificates": 1}, {"report": "!"},
    )  # fmt: skip
    for change in changes:
        assert refusal(lambda c=change: verifier.verify(document | c, expected, NOW_MS)) == "malformed"  # type: ignore[misc]
    assert refusal(lambda: verifier.verify(document | {"version": 2}, expected, NOW_MS)) == "unknown-version"
    pem = b"".join(one.pem for one in (maker.leaf, maker.device, maker.provisioner, maker.model, maker.root))
    device = {"arch": "HOPPER", "nonce": report[4:36].hex(), "evidence": document["report"],
              "certificate": base64.b64encode(pem).decode()}  # fmt: skip
    assert parse_list(json.dumps([device, device]).encode()) == [(report, maker.chain)] * 2
    assert refusal(lambda: parse_list(json.dumps([device | {"nonce": "00" * 32}]).encode())) == "nonce"
    for wrong in (b"", b"[]", b"[1]", json.dumps([device] * 33).encode(), b"[" * 100_000):
        assert refusal(lambda w=wrong: parse_list(w)) == "malformed"  # type: ignore[misc]
