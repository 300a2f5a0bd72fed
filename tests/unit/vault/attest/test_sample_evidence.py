"""Sample evidence: the form, the binding, and claims that say what they are worth."""

import hashlib
from typing import Any

import pytest

from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Refusal
from vault.attest.sample import SampleVerifier, sample_evidence
from vault.errors import Refused

EXPECTED = ExpectedBinding("ab" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))


def refusal(evidence: dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        SampleVerifier().verify(evidence, EXPECTED, 0)
    assert caught.value.reason in set(Refusal)
    return caught.value.reason


def test_report_data_is_sha512_of_the_canonical_binding() -> None:
    canonical = (
        b'{"additional":"","gateway":"de.example","key":"' + b"T" * 43 + b'","nonce":"' + b"ab" * 32
        + b'","purpose":"claims-risk-model","scope":["claims","models"],"v":1}'
    )  # fmt: skip
    assert EXPECTED.report_data() == hashlib.sha512(canonical).digest()


def test_claims_say_that_nothing_is_proved() -> None:
    claims = SampleVerifier().verify(sample_evidence(EXPECTED, "job-1"), EXPECTED, 0).as_document()
    assert claims == {
        "kind": "sample", "tee": "none", "measurement": "job-1",
        "debug": True, "hardware": False, "synthetic_only": True,
    }  # fmt: skip


@pytest.mark.parametrize("missing", ["kind", "version", "report_data", "measurement", "notice"])
def test_evidence_without_a_field_is_malformed(missing: str) -> None:
    evidence = sample_evidence(EXPECTED)
    del evidence[missing]
    assert refusal(evidence) == "attest.malformed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"more": 1}, "attest.malformed"),
        ({"kind": "tdx"}, "attest.malformed"),
        ({"version": 2}, "attest.unknown-version"),
        ({"version": True}, "attest.unknown-version"),
        ({"version": "1"}, "attest.unknown-version"),
        ({"measurement": ""}, "attest.malformed"),
        ({"measurement": "x" * 129}, "attest.malformed"),
        ({"measurement": "x\n"}, "attest.malformed"),
        ({"measurement": None}, "attest.malformed"),
        ({"notice": 1}, "attest.malformed"),
        ({"notice": "x" * 513}, "attest.malformed"),
        ({"report_data": ""}, "attest.malformed"),
        ({"report_data": "00" * 63}, "attest.malformed"),
        ({"report_data": "AB" * 64}, "attest.malformed"),
        ({"report_data": None}, "attest.malformed"),
        ({"report_data": "00" * 64}, "attest.binding"),
        ({"report_data": EXPECTED.report_data().hex() + "00"}, "attest.malformed"),
    ],
)
def test_evidence_of_another_form_is_refused_by_name(change: dict[str, Any], reason: str) -> None:
    assert refusal({**sample_evidence(EXPECTED), **change}) == reason


def test_every_bit_of_report_data_counts() -> None:
    honest = EXPECTED.report_data()
    for place in range(64):
        changed = bytearray(honest)
        changed[place] ^= 1
        assert refusal({**sample_evidence(EXPECTED), "report_data": changed.hex()}) == "attest.binding"
