"""What `demesne doctor` says of a gateway by its answers."""

import json
from email.utils import formatdate

import pytest

from demesne.doctor import gateway
from demesne.doctor.findings import Finding, State
from demesne.errors import NotConfigured

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, State.OK), (-20, State.OK), (45, State.WARN), (-45, State.WARN), (400, State.FAIL)]
)
def test_clock_skew_is_measured_against_the_date_header(seconds: int, state: State) -> None:
    assert gateway.clock("de", formatdate(NOW + seconds, usegmt=True), NOW).state is state


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_date_is_a_warning_not_a_crash(date: str | None) -> None:
    assert gateway.clock("de", date, NOW).state is State.WARN


def ready(status: int = 200, **parts: object) -> Finding:
    document = {
        "ready": status == 200,
        "zone": {"state": "open", "reason": ""},
        "doctrine": {"engine": "regorus", "revision": "ab" * 32, "loaded_at": 1, "refused": None},
        "ledger": {"state": "ok"},
        "broker": {"state": "ok"},
    }
    return gateway.readiness("de", status, json.dumps(document | parts).encode())


def test_a_ready_zone_names_its_doctrine() -> None:
    finding = ready()
    assert finding.state is State.OK
    assert "abababababab" in finding.detail


def test_a_refused_doctrine_is_a_warning_with_the_reason() -> None:
    refused = {"reason": "a.rego:3: expected }", "at": 1}
    finding = ready(doctrine={"engine": "regorus", "revision": "ab" * 32, "refused": refused})
    assert finding.state is State.WARN
    assert "a.rego:3" in finding.detail


def test_an_unready_zone_names_only_what_is_not_ready() -> None:
    finding = ready(503, zone={"state": "closed", "reason": "residency.mismatch"})
    assert finding.state is State.FAIL
    assert "residency.mismatch" in finding.detail
    assert "ledger" not in finding.detail
    assert ready(503, doctrine={"revision": ""}).detail.startswith('{"doctrine"')


def test_something_else_on_the_port_is_said_to_be_so() -> None:
    assert gateway.readiness("de", 200, b"<html>").state is State.FAIL
    assert gateway.readiness("de", 200, b"[]").state is State.FAIL


def test_no_gateway_named_is_skipped_and_one_that_is_named_and_absent_fails() -> None:
    assert gateway.not_configured(NotConfigured("endpoint.missing", "no gateway is named")).state is State.SKIP
    assert gateway.not_configured(NotConfigured("ready-file.absent", "cannot read the ready file")).state is State.FAIL


def test_an_unknown_authority_says_how_to_name_it() -> None:
    error = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate")
    assert "--ca" in gateway.unreachable("zone de", "https://x", error).remedy
    assert "--ca" not in gateway.unreachable("zone de", "https://x", OSError("refused")).remedy
