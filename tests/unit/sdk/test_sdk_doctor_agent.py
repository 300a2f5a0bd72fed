"""What `demesne doctor` says of the credentials endpoint and of old clients; and the command itself, run alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from demesne.agent import Agent
from demesne.cli.doctor import python
from demesne.credentials import Credentials
from demesne.doctor.agent_endpoint import agent_endpoint, ask
from demesne.doctor.clients import PACKAGES, clients, installed, on_path
from demesne.doctor.environment import CONTAINER_TOKEN_FILE, CONTAINER_URI
from demesne.doctor.findings import Finding, State

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENV = {CONTAINER_URI: "http://127.0.0.1:41999/v1/credentials"}


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def having(*one: str) -> Callable[[str], str | None]:
    """One client and its version, or none."""
    return lambda name: one[1] if one and one[0] == name else None


def answering(status: int, document: object) -> Callable[[str, str], tuple[int, bytes]]:
    return lambda _url, _token: (status, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("seconds", "state"), [(3600, State.OK), (1201, State.OK), (1199, State.WARN), (60, State.WARN), (-1, State.FAIL)]
)
def test_a_lifetime_below_twenty_minutes_is_told(seconds: int, state: State) -> None:
    end = (NOW + timedelta(seconds=seconds)).isoformat()
    found = only(agent_endpoint(ENV, answering(200, {"Expiration": end, "SecretAccessKey": "hush"}), NOW))
    assert found.state is state
    assert "hush" not in str(found)


@pytest.mark.parametrize(
    ("status", "document"),
    [(401, {"message": "no"}), (403, {"message": "revoked"}), (200, []), (200, {}), (200, {"Expiration": "soon"})],
)
def test_an_endpoint_that_gives_none_fails(status: int, document: object) -> None:
    found = only(agent_endpoint(ENV, answering(status, document), NOW))
    assert found.state is State.FAIL
    assert found.remedy


def test_an_endpoint_that_is_gone_fails() -> None:
    def gone(_url: str, _token: str) -> tuple[int, bytes]:
        raise httpx2.ConnectError("refused")

    assert only(agent_endpoint(ENV, gone, NOW)).state is State.FAIL


def test_no_token_is_sent_to_another_host_in_the_clear(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    asked: list[str] = []

    def listen(url: str, _token: str) -> tuple[int, bytes]:
        asked.append(url)
        return 200, b"{}"

    env = {CONTAINER_URI: "http://agent.example.org/", CONTAINER_TOKEN_FILE: str(tmp_path / "token")}
    assert agent_endpoint(env, listen, NOW) == []
    assert asked == []
    assert agent_endpoint({}, listen, NOW) == []


def test_a_real_agent_is_asked_with_its_token() -> None:
    now = datetime.now(UTC)
    agent = Agent(
        credentials=lambda: Credentials("AK", "secret", "token", now + timedelta(minutes=5)), reattest=None,
        fresh_seconds=900,
    )  # fmt: skip
    agent.start()
    try:
        env = {CONTAINER_URI: agent.uri, CONTAINER_TOKEN_FILE: str(agent.token_file)}
        assert only(agent_endpoint(env, ask, now)).state is State.WARN
        assert only(agent_endpoint({CONTAINER_URI: agent.uri}, ask, now)).state is State.FAIL
    finally:
        agent.close()


@pytest.mark.parametrize(
    ("name", "version", "good"),
    [
        ("boto3", "1.35.99", False), ("boto3", "1.36.0", True), ("botocore", "1.35.0", False),
        ("pyarrow", "25.0.0", False), ("pyarrow", "26.0.1", True), ("s3fs", "2023.12.0", False),
        ("minio", "7.2.20", True), ("obstore", "0.11.0", False), ("polars", "1.9", False),
        ("duckdb", "1.5.3.dev1", False),
    ],
)  # fmt: skip
def test_an_old_package_is_told(name: str, version: str, good: bool) -> None:
    found = only(clients(having(name, version), having()))
    assert found.state is (State.OK if good else State.WARN)
    assert (name in found.what) is not good


@pytest.mark.parametrize(
    ("name", "version", "good"),
    [("aws", "1.36.40", False), ("aws", "1.46.3", True), ("aws", "2.22.0", False), ("aws", "2.31", True),
     ("rclone", "1.65.0", False), ("rclone", "1.75.2", True)],
)  # fmt: skip
def test_an_old_program_is_told(name: str, version: str, good: bool) -> None:
    assert (only(clients(having(), having(name, version))).state is State.OK) is good


def test_no_client_at_all_is_skipped() -> None:
    assert only(clients(having(), having())).state is State.SKIP


def test_the_clients_of_this_environment_are_new_enough() -> None:
    assert [f for f in clients(installed, lambda _: None) if f.state is not State.OK] == []
    assert {name for name in PACKAGES if installed(name)} >= {"boto3", "pyarrow"}


def test_a_programs_version_is_asked_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aws").write_text("#!/bin/sh\necho aws-cli/2.17.3 Python/3.11\n")
    (tmp_path / "aws").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert on_path("aws") == "2.17.3"
    assert on_path("rclone") is None


def doctor(**env: str) -> subprocess.CompletedProcess[str]:
    """The command as a machine without the server has it."""
    alone = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"gateway", "vault", "lineage", "ingest"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from demesne.cli import main
sys.argv = ["demesne", "doctor", "--json"]
main()
"""
    base = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", alone], capture_output=True, text=True, check=False, timeout=60, env=base | env
    )


def test_the_command_needs_no_server_and_exits_by_what_it_found(tmp_path: Path) -> None:
    good = doctor(HOME=str(tmp_path))
    document = json.loads(good.stdout)
    assert (good.returncode, document["ok"]) == (0, True), document
    trap = doctor(HOME=str(tmp_path), AWS_ACCESS_KEY_ID="AK", AWS_CONTAINER_CREDENTIALS_FULL_URI="http://10.0.0.1/")
    document = json.loads(trap.stdout)
    assert (trap.returncode, document["ok"]) == (1, False)
    found = {check["what"]: check for check in document["checks"]}
    assert found["AWS_ACCESS_KEY_ID"]["state"] == "fail"
    assert set(found["AWS_ACCESS_KEY_ID"]) == {"what", "state", "detail", "why", "remedy"}


def test_old_python_fails_and_new_python_passes() -> None:
    assert python((3, 10, 9)).state is State.FAIL
    assert python((3, 11, 0)).state is State.OK
    assert python((4, 0, 0)).state is State.OK
