"""The traps that `demesne doctor` finds in the environment: each alone, and nothing where it is not set."""

from pathlib import Path

import pytest

from demesne.doctor.environment import CONTAINER_RELATIVE_URI, CONTAINER_TOKEN_FILE, CONTAINER_URI, environment
from demesne.doctor.findings import Finding, State

AGENT = "http://127.0.0.1:41999/v1/credentials"
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    """What a session sets, over plain http: one warning is left, which nothing in the environment can heal."""
    token = tmp_path / "token"
    token.write_text("token")
    token.chmod(0o600)
    return {
        "HOME": str(tmp_path), CONTAINER_URI: AGENT, CONTAINER_TOKEN_FILE: str(token), "AWS_REGION": "de",
        "AWS_DEFAULT_REGION": "de", "AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_ALLOW_HTTP": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def beyond(env: dict[str, str]) -> list[Finding]:
    """Findings but for the one of pyarrow's endpoint."""
    return [finding for finding in environment(env) if finding.what != "AWS_ENDPOINT_URL"]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert findings[0].remedy
    assert findings[0].why
    return findings[0]


def test_an_environment_without_aws_variables_has_no_traps() -> None:
    [finding] = environment({"PATH": "/bin"})
    assert finding.state is State.OK


def test_what_a_session_sets_has_one_trap_that_pyarrow_ignores_the_endpoint(good: dict[str, str]) -> None:
    found = only(environment(good))
    assert (found.what, found.state) == ("AWS_ENDPOINT_URL", State.WARN)
    assert "pyarrow" in found.detail


@pytest.mark.parametrize(
    ("change", "what", "state"),
    [
        ({"AWS_ALLOW_HTTP": "false"}, "AWS_ALLOW_HTTP", State.WARN),
        ({"AWS_DEFAULT_REGION": "fr"}, "AWS_REGION", State.FAIL),
        ({"AWS_DEFAULT_REGION": "", "AWS_REGION": ""}, "AWS_REGION", State.WARN),
        ({CONTAINER_URI: "http://agent.example.org/v1"}, CONTAINER_URI, State.FAIL),
        ({CONTAINER_RELATIVE_URI: "/v2/creds"}, CONTAINER_RELATIVE_URI, State.FAIL),
        ({CONTAINER_TOKEN_FILE: "/nowhere/token"}, CONTAINER_TOKEN_FILE, State.FAIL),
        ({"AWS_ACCESS_KEY_ID": "AK"}, "AWS_ACCESS_KEY_ID", State.FAIL),
        ({"AWS_PROFILE": "work"}, "AWS_PROFILE", State.FAIL),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/token"}, "AWS_WEB_IDENTITY_TOKEN_FILE", State.FAIL),
        ({"AWS_EC2_METADATA_DISABLED": ""}, "AWS_EC2_METADATA_DISABLED", State.WARN),
        ({"HTTP_PROXY": "http://proxy:3128"}, "NO_PROXY", State.FAIL),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "example.org"}, "NO_PROXY", State.FAIL),
        ({"ALL_PROXY": "socks5://proxy"}, "NO_PROXY", State.FAIL),
        ({"AWS_CA_BUNDLE": "/nowhere/ca.pem"}, "AWS_CA_BUNDLE", State.FAIL),
        ({"SSL_CERT_FILE": "/dev/null"}, "SSL_CERT_FILE", State.FAIL),
    ],
)
def test_a_trap_is_found_alone_with_why_and_a_way_out(
    change: dict[str, str], what: str, state: State, good: dict[str, str]
) -> None:
    found = only(beyond(good | change))
    assert (found.what, found.state) == (what, state)


@pytest.mark.parametrize(
    "change",
    [
        {"AWS_ALLOW_HTTP": "", "AWS_ENDPOINT_URL": "https://127.0.0.1:9000"},
        {CONTAINER_URI: "http://169.254.170.23/v1/credentials"},
        {CONTAINER_URI: "http://[::1]:80/v1"},
        {CONTAINER_URI: "https://agent.example.org/v1"},
        {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1,localhost"},
        {"HTTP_PROXY": "http://proxy:3128", "no_proxy": "*"},
        {"HTTPS_PROXY": "http://proxy:3128"},
    ],
)
def test_what_is_right_is_no_finding(change: dict[str, str], good: dict[str, str]) -> None:
    assert beyond(good | change) == []


def test_web_identity_without_an_agent_warns_of_pyarrow() -> None:
    env = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/token", "AWS_REGION": "de"}
    found = only(environment(env))
    assert found.state is State.WARN
    assert "unsigned" in found.detail


@pytest.mark.parametrize(
    ("content", "mode", "state"),
    [(b"token\n", 0o600, State.FAIL), (b"token\r", 0o600, State.FAIL), (b"token", 0o644, State.WARN)],
)
def test_a_token_file_that_breaks_clients_or_leaks_is_found(
    good: dict[str, str], content: bytes, mode: int, state: State
) -> None:
    path = Path(good[CONTAINER_TOKEN_FILE])
    path.write_bytes(content)
    path.chmod(mode)
    found = only(beyond(good))
    assert (found.what, found.state) == (CONTAINER_TOKEN_FILE, state)
    assert "token" not in found.detail.removeprefix(str(path))


def test_a_default_profile_of_the_home_directory_wins_over_the_agent(good: dict[str, str]) -> None:
    shared = Path(good["HOME"]) / ".aws" / "credentials"
    shared.parent.mkdir()
    shared.write_text("[default]\naws_access_key_id = AK\n")
    assert only(beyond(good)).what == "AWS_PROFILE"
    assert beyond(good | {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}) == []
    shared.write_text("[other]\naws_access_key_id = AK\n")
    assert beyond(good) == []


def test_a_bundle_of_certificates_is_no_finding(good: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    assert beyond(good | {"AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}) == []
