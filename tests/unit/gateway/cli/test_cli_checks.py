"""What `demesne doctor` concludes from what it saw."""

import json
from email.utils import formatdate
from pathlib import Path

import pytest

from demesne.errors import NotConfigured
from gateway.cli import checks
from gateway.cli.checks import Finding, State

NOW = 1_795_000_000.0


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_old_python_fails_and_new_python_passes() -> None:
    assert checks.python((3, 10, 9)).state is State.FAIL
    assert checks.python((3, 11, 0)).state is State.OK
    assert checks.python((4, 0, 0)).state is State.OK


def test_a_missing_needed_package_fails_and_a_missing_extra_is_skipped() -> None:
    found = {"fastapi": "1", "pyarrow": None}
    assert checks.packages("packages", found, needed=True).state is State.FAIL
    assert "pyarrow" in checks.packages("packages", found, needed=True).detail
    assert checks.packages("demo packages", found, needed=False).state is State.SKIP


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, State.OK), (-20, State.OK), (45, State.WARN), (-45, State.WARN), (400, State.FAIL)]
)
def test_clock_skew_is_measured_against_the_date_header(seconds: int, state: State) -> None:
    assert checks.clock("de", formatdate(NOW + seconds, usegmt=True), NOW).state is state


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_date_is_a_warning_not_a_crash(date: str | None) -> None:
    assert checks.clock("de", date, NOW).state is State.WARN


def ready(status: int = 200, **parts: object) -> Finding:
    document = {
        "ready": status == 200,
        "zone": {"state": "open", "reason": ""},
        "doctrine": {"engine": "regorus", "revision": "ab" * 32, "loaded_at": 1, "refused": None},
        "ledger": {"state": "ok"},
        "broker": {"state": "ok"},
    }
    return checks.readiness("de", status, json.dumps(document | parts).encode())


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
    assert checks.readiness("de", 200, b"<html>").state is State.FAIL
    assert checks.readiness("de", 200, b"[]").state is State.FAIL


def test_an_environment_without_aws_variables_has_no_traps() -> None:
    assert only(checks.environment({"PATH": "/bin"})).state is State.OK


def test_an_endpoint_variable_warns_that_pyarrow_ignores_it() -> None:
    found = checks.environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_REGION": "de"})
    assert only(found).state is State.WARN
    assert "pyarrow" in only(found).detail


def test_two_regions_that_differ_fail() -> None:
    assert only(checks.environment({"AWS_REGION": "de", "AWS_DEFAULT_REGION": "fr"})).state is State.FAIL
    assert only(checks.environment({"AWS_REGION": "de", "AWS_DEFAULT_REGION": "de"})).state is State.OK


def test_a_missing_region_is_told_only_where_it_matters() -> None:
    found = checks.environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    assert [finding.what for finding in found] == ["AWS_ENDPOINT_URL", "AWS_REGION"]


@pytest.mark.parametrize(
    ("content", "mode", "state"),
    [(b"token\n", 0o600, State.FAIL), (b"token\r", 0o600, State.FAIL), (b"token", 0o644, State.WARN)],
)
def test_a_token_file_that_breaks_clients_or_leaks_is_found(
    tmp_path: Path, content: bytes, mode: int, state: State
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    assert only(checks.environment({checks.CONTAINER_TOKEN_FILE: str(path)})).state is state


def test_a_good_token_file_is_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"token")
    path.chmod(0o600)
    assert only(checks.environment({checks.CONTAINER_TOKEN_FILE: str(path)})).what == "AWS environment"
    path.unlink()
    assert only(checks.environment({checks.CONTAINER_TOKEN_FILE: str(path)})).state is State.FAIL


def test_a_static_key_beside_the_agent_is_told() -> None:
    env = {checks.CONTAINER_URI: "http://127.0.0.1:1/", "AWS_ACCESS_KEY_ID": "AK", "AWS_REGION": "de"}
    assert only(checks.environment(env)).what == "AWS_ACCESS_KEY_ID"


def test_no_gateway_named_is_skipped_and_one_that_is_named_and_absent_fails() -> None:
    assert checks.not_configured(NotConfigured("endpoint.missing", "no gateway is named")).state is State.SKIP
    assert checks.not_configured(NotConfigured("ready-file.absent", "cannot read the ready file")).state is State.FAIL


def test_an_unknown_authority_says_how_to_name_it() -> None:
    error = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate")
    assert "--ca" in checks.unreachable("zone de", "https://x", error).remedy
    assert "--ca" not in checks.unreachable("zone de", "https://x", OSError("refused")).remedy
