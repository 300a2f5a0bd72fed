"""TPM quotes: an enrolled key's quote gives claims, and every check has evidence that only it refuses."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.fakes.attest_tpm import EXTRA, VALUES, FakeTpm
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims, Refusal
from vault.attest.tpm.verify import TpmEvidence, TpmPolicy, TpmVerifier, verify_tpm
from vault.errors import Refused


def verify(
    tpm: FakeTpm, message: bytes | None = None, *, bound: bytes | None = EXTRA, policy: TpmPolicy | None = None,
    pcrs: dict[int, bytes] | None = None, enrolled: frozenset[str] | None = None, signature: bytes | None = None,
    key: bytes | None = None,
) -> Claims:  # fmt: skip
    said = tpm.message() if message is None else message
    evidence = TpmEvidence(
        tpm.public if key is None else key, said, tpm.sign(said) if signature is None else signature,
        tpm.pcrs if pcrs is None else pcrs,
    )  # fmt: skip
    return verify_tpm(evidence, frozenset({tpm.name}) if enrolled is None else enrolled, policy or TpmPolicy(), bound)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


@pytest.fixture(scope="module")
def tpm() -> FakeTpm:
    return FakeTpm()


@pytest.mark.parametrize("ecc", [False, True])
def test_an_enrolled_keys_quote_gives_claims_that_are_never_hardware(ecc: bool) -> None:
    tpm = FakeTpm(ec.generate_private_key(ec.SECP256R1())) if ecc else FakeTpm()
    claims = verify(tpm)
    assert (claims.kind, claims.tee, claims.hardware, claims.platform["bound"]) == ("tpm", "tpm", False, True)
    assert claims.platform["pcr7"] == "07" * 32
    assert "pcr0" not in claims.platform  # zero
    assert verify(tpm, bound=None).platform["bound"] is False


def test_the_binding_is_the_bytes_or_their_hash(tpm: FakeTpm) -> None:
    long = b"\x11" * 64
    assert verify(tpm, tpm.message(extra=hashlib.sha256(long).digest()), bound=long)
    assert verify(tpm, tpm.message(extra=long), bound=long)
    assert refusal(lambda: verify(tpm, bound=long)) == "binding"
    assert refusal(lambda: verify(tpm, tpm.message(extra=EXTRA[:31]))) == "binding"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"magic": 0xFF544348}, "malformed"), ({"kind": 0x8017}, "unknown-kind"), ({"extra": b""}, "nonce"),
     ({"extra": bytes(67)}, "malformed"), ({"safe": 2}, "malformed"), ({"banks": 2}, "malformed"),
     ({"bank": 4}, "algorithm"), ({"selection": ()}, "malformed"), ({"selection": (24,)}, "malformed"),
     ({"digest": bytes(32)}, "measurement"), ({"digest": bytes(48)}, "algorithm"), ({"tail": b"\0"}, "malformed"),
     ({"selection": (0, 1)}, "measurement")],
)  # fmt: skip
def test_each_field_of_a_signed_quote(tpm: FakeTpm, changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: verify(tpm, tpm.message(**changes), bound=None)) == expected


def test_keys(tpm: FakeTpm) -> None:
    assert refusal(lambda: verify(tpm, enrolled=frozenset())) == "no-trust"
    assert refusal(lambda: verify(tpm, enrolled=frozenset({"00" * 32}))) == "chain"
    assert refusal(lambda: verify(tpm, key=b"no key")) == "malformed"
    other = FakeTpm(rsa.generate_private_key(65537, 2048))
    assert refusal(lambda: verify(tpm, signature=other.sign(tpm.message()))) == "signature"
    assert refusal(lambda: verify(FakeTpm(ec.generate_private_key(ec.SECP384R1())))) == "algorithm"
    assert refusal(lambda: verify(FakeTpm(rsa.generate_private_key(65537, 1024)))) == "algorithm"


def test_pcr_values_and_the_selection_that_policy_needs(tpm: FakeTpm) -> None:
    few = FakeTpm(pcrs={4: VALUES[4], 7: VALUES[7]})
    assert verify(few, policy=TpmPolicy({7: {VALUES[7]}}))
    assert refusal(lambda: verify(few, policy=TpmPolicy({7: {VALUES[4]}}))) == "measurement"
    assert refusal(lambda: verify(few, policy=TpmPolicy({7: set()}))) == "measurement"
    # Right values in the evidence, and a quote that is not over them.
    assert refusal(lambda: verify(few, policy=TpmPolicy({9: {VALUES[9]}}))) == "measurement"
    assert refusal(lambda: verify(few, pcrs=VALUES)) == "measurement"
    assert refusal(lambda: verify(tpm, pcrs=VALUES | {3: bytes(32)})) == "measurement"
    assert refusal(lambda: verify(tpm, pcrs={})) == "measurement"


@pytest.mark.parametrize("last", [(4, 0, 0), (3, 2, 0), (3, 1, 1001)])
def test_a_tpm_that_went_back(tpm: FakeTpm, last: tuple[int, int, int]) -> None:
    assert refusal(lambda: verify(tpm, policy=TpmPolicy(boots={tpm.name: last}))) == "platform"
    assert verify(tpm, policy=TpmPolicy(boots={tpm.name: (3, 1, 1000)}))


def test_cut_or_flipped_anywhere_is_refused(tpm: FakeTpm) -> None:
    message = tpm.message()
    signature = tpm.sign(message)
    for length in range(len(message)):
        assert refusal(lambda n=length: verify(tpm, message[:n], signature=signature))  # type: ignore[misc]
    for at in range(len(message)):
        flipped = bytearray(message)
        flipped[at] ^= 1 << at % 8
        assert refusal(lambda raw=bytes(flipped): verify(tpm, raw, signature=signature))  # type: ignore[misc]


def test_evidence_in_our_form(tpm: FakeTpm) -> None:
    expected = ExpectedBinding("n", "g", "k", "p", ("a",))
    message = tpm.message(extra=expected.report_data())
    document: dict[str, Any] = {
        "kind": "tpm", "version": 1, "key": base64.b64encode(tpm.public).decode(),
        "message": base64.b64encode(message).decode(), "signature": base64.b64encode(tpm.sign(message)).decode(),
        "pcrs": {str(index): value.hex() for index, value in VALUES.items()},
    }  # fmt: skip
    verifier = TpmVerifier({tpm.name}, TpmPolicy())
    assert verifier.verify(document, expected, 0).platform["bound"] is True
    for name in document:
        without = {key: value for key, value in document.items() if key != name}
        assert refusal(lambda d=without: verifier.verify(d, expected, 0)) == "malformed"  # type: ignore[misc]
    for change, name in (
        ({"version": 2}, "unknown-version"), ({"kind": "snp"}, "malformed"), ({"pcrs": {"24": "00" * 32}}, "malformed"),
        ({"pcrs": {"1": "0"}}, "malformed"), ({"pcrs": []}, "malformed"), ({"message": "!"}, "malformed"),
        ({"signature": 1}, "malformed"),
    ):  # fmt: skip
        assert refusal(lambda c=change: verifier.verify(document | c, expected, 0)) == name  # type: ignore[misc]
