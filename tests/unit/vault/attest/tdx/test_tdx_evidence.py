"""How TDX evidence arrives, and the port with its binding and the operator's collateral."""

import base64
from typing import Any

import pytest

from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_pki import NOW_MS
from tests.unit.vault.attest.tdx.test_event_log import LOG, REGISTERS
from vault.attest.binding import ExpectedBinding
from vault.attest.tdx.evidence import TdxVerifier
from vault.attest.tdx.verify import TdxPolicy
from vault.errors import Refused

EXPECTED = ExpectedBinding("ab" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.fixture(scope="module")
def intel() -> FakeIntel:
    return FakeIntel()


@pytest.fixture(scope="module")
def form(intel: FakeIntel) -> dict[str, Any]:
    raw = intel.quote(report_data=EXPECTED.report_data(), rtmrs=b"".join(REGISTERS))
    return {"kind": "tdx", "version": 1, "quote": b64(raw), "event_log": b64(LOG)}


@pytest.fixture(scope="module")
def verifier(intel: FakeIntel) -> TdxVerifier:
    return TdxVerifier({FMSPC: intel.collateral()}, TdxPolicy(), intel.roots)


def test_genuine_evidence_gives_claims(verifier: TdxVerifier, form: dict[str, Any]) -> None:
    platform = verifier.verify(form, EXPECTED, NOW_MS).platform
    assert (platform["bound"], platform["event_log"]) == (True, True)
    assert verifier.verify(form | {"event_log": ""}, EXPECTED, NOW_MS).platform["event_log"] is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"more": 1}, "malformed"),
        ({"kind": "snp"}, "malformed"),
        ({"version": 2}, "unknown-version"),
        ({"version": 1.0}, "unknown-version"),
        ({"quote": ""}, "malformed"),
        ({"quote": None}, "malformed"),
        ({"quote": "A" * 1_000_000}, "malformed"),
        ({"event_log": None}, "malformed"),
        ({"event_log": "AAAA"}, "event-log"),
        ({"event_log": b64(LOG[:-120])}, "event-log"),
    ],
)
def test_another_form_is_refused(
    verifier: TdxVerifier, form: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        verifier.verify(form | changes, EXPECTED, NOW_MS)
    assert caught.value.reason == f"attest.{reason}"


def test_another_binding_is_refused(verifier: TdxVerifier, form: dict[str, Any]) -> None:
    other = ExpectedBinding("ab" * 32, "fr.example", "T" * 43, "claims-risk-model", ("claims", "models"))
    with pytest.raises(Refused, match=r"attest\.binding"):
        verifier.verify(form, other, NOW_MS)


def test_a_platform_without_collateral_is_refused(intel: FakeIntel, form: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"attest\.collateral"):
        TdxVerifier({b"\1" * 6: intel.collateral()}, TdxPolicy(), intel.roots).verify(form, EXPECTED, NOW_MS)
    wrong = intel.collateral({"fmspc": "01" * 6})
    with pytest.raises(Refused, match=r"attest\.fmspc"):
        TdxVerifier({FMSPC: wrong}, TdxPolicy(), intel.roots).verify(form, EXPECTED, NOW_MS)
