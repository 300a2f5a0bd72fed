"""`demesne agent` as a process, `demesne creds`, and the loopback server below both."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from demesne.agent import Agent, Place
from demesne.agent_client import fetch
from demesne.cli.app import run
from demesne.credentials import Credentials, parse_time
from demesne.errors import Refused, SessionClosed, Unavailable
from demesne.loopback import PEERS, Loopback
from tests.fakes.api import FakeGateway, wait_until
from tests.unit.sdk.sdk_world import attested, gateway_with_claims

ROOT = Path(__file__).parents[3]
CREDENTIALS = Credentials("AK", "secret", "token", parse_time("2099-01-01T00:00:00Z"))


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEMESNE_"))]:
        monkeypatch.delenv(name)
    with gateway_with_claims() as running:
        yield running


class Sidecar:
    """`demesne agent` with files in a directory of its own."""

    def __init__(self, gateway: FakeGateway, directory: Path, *more: str, listen: str = "127.0.0.1:0") -> None:
        self.token, self.uri = directory / "token", directory / "uri"
        environment = {
            "PATH": os.environ["PATH"], "DEMESNE_ENDPOINT": gateway.api_endpoint, "AWS_REGION": "de",
            "DEMESNE_S3_ENDPOINT": gateway.s3_endpoint, "AWS_ACCESS_KEY_ID": "AKTRAIN",
            "AWS_SECRET_ACCESS_KEY": "train-secret", "PYTHONPATH": f"{ROOT}:{ROOT}/sdk/src", "TMPDIR": str(directory),
        }  # fmt: skip
        command = [
            sys.executable, "-c", "import demesne.cli; demesne.cli.main()", "agent", "--purpose", "p", "--scope",
            "claims", "--attester", "sample", "--listen", listen, "--token-file", str(self.token), "--uri-file",
            str(self.uri), "--json", *more,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ready(self) -> dict[str, Any]:
        """What it prints when it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        said: dict[str, Any] = json.loads(line)
        return said

    def credentials(self) -> Credentials:
        return fetch(self.uri.read_text(), self.token)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said

    def __enter__(self) -> "Sidecar":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def test_a_sidecar_serves_and_ends_with_everything_taken_back(gateway: FakeGateway, tmp_path: Path) -> None:
    with Sidecar(gateway, tmp_path) as sidecar:
        said = sidecar.ready()
        assert stat.S_IMODE(sidecar.token.stat().st_mode) == 0o600
        assert not sidecar.token.read_bytes().endswith(b"\n")
        assert sidecar.uri.read_text() == said["environment"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        code = "import boto3; boto3.client('s3').head_object(Bucket='claims', Key='part-0.parquet')"
        child = {"PATH": os.environ["PATH"], **said["environment"]}
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=child)
        assert sidecar.credentials().access_key_id == gateway.identities[-1]
        status, stderr = sidecar.end()
        assert status == 0, stderr
        assert gateway.sessions[said["session_id"]].revoked
        assert list(tmp_path.iterdir()) == []


def test_a_killed_sidecar_that_comes_back_serves_the_same_clients(gateway: FakeGateway, tmp_path: Path) -> None:
    with Sidecar(gateway, tmp_path) as first:
        first.ready()
        token, port = first.token.read_text(), first.uri.read_text().rsplit(":", 1)[1].split("/")[0]
        first.end(signal.SIGKILL)
    with pytest.raises(SessionClosed):
        first.credentials()
    with Sidecar(gateway, tmp_path, listen=f"127.0.0.1:{port}") as second:
        second.ready()
        assert first.credentials().access_key_id
        # Whoever took the port while it was nobody's was sent the old token.
        assert second.token.read_text() != token
        kept = tmp_path / "kept"
        kept.write_text(token)
        with pytest.raises(Refused, match="token file"):
            fetch(second.uri.read_text(), kept)


def test_a_token_file_that_others_could_read_is_not_taken_over(gateway: FakeGateway, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("k" * 40)
    token.chmod(0o644)
    with Sidecar(gateway, tmp_path) as sidecar:
        sidecar.ready()
        assert token.read_text() != "k" * 40
        assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_a_sidecar_keeps_fresh_and_leaves_when_it_is_refused_for_good(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.fresh_seconds = 1
    with Sidecar(gateway, tmp_path) as sidecar:
        session = gateway.sessions[sidecar.ready()["session_id"]]
        wait_until(lambda: session.attested >= 3)
        session.revoked = True
        _, stderr = sidecar.process.communicate(timeout=20)
        assert sidecar.process.returncode == 3
        assert "session.revoked" in stderr
        assert list(tmp_path.iterdir()) == []


def test_a_gateway_that_is_not_up_yet_is_waited_for(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.hook_before = lambda _m, _p: (503, "ServiceUnavailable")
    with Sidecar(gateway, tmp_path) as sidecar:
        wait_until(lambda: len(gateway.requests) >= 1, 20)
        gateway.hook_before = lambda _m, _p: None
        assert sidecar.ready()["session_id"] in gateway.sessions


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "10.0.0.1:8080", "127.0.0.1", "127.0.0.1:70000", "localhost:0"])
def test_nothing_but_loopback_is_listened_on(gateway: FakeGateway, listen: str, capsys: Any) -> None:
    assert run(["agent", "--purpose", "p", "--listen", listen]) == 5
    assert "agent.listen" in capsys.readouterr().err
    assert gateway.requests == []


def test_creds_speaks_awss_process_protocol_from_a_running_agent(
    gateway: FakeGateway, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attested(gateway) as session:
        assert run(["creds", "--aws-process"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["Version"] == 1
        assert document["AccessKeyId"] == session.credentials.access_key_id
        assert set(document) == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}


def test_boto3_takes_creds_as_its_credential_process(gateway: FakeGateway, tmp_path: Path) -> None:
    with attested(gateway) as session:
        env = session.env()
        uri, token = tmp_path / "uri", env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
        uri.write_text(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        config = tmp_path / "config"
        python = f'{sys.executable} -c "import demesne.cli; demesne.cli.main()"'
        config.write_text(f"[default]\ncredential_process = {python} creds --aws-process --uri-file {uri} "
                          f"--token-file {token}\n")  # fmt: skip
        code = "import boto3; boto3.client('s3').head_object(Bucket='claims', Key='part-0.parquet')"
        child = {
            "PATH": os.environ["PATH"], "AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": gateway.s3_endpoint,
            "AWS_DEFAULT_REGION": "de", "PYTHONPATH": f"{ROOT}:{ROOT}/sdk/src",
        }  # fmt: skip
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=child)
        assert gateway.identities == [session.credentials.access_key_id]


def test_creds_that_attest_by_themselves_end_with_their_freshness(
    gateway: FakeGateway, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMESNE_ENDPOINT", gateway.api_endpoint)
    monkeypatch.setenv("DEMESNE_S3_ENDPOINT", gateway.s3_endpoint)
    monkeypatch.setenv("AWS_REGION", "de")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTRAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "train-secret")
    options = ["--purpose", "p", "--scope", "claims", "--attester", "sample"]
    assert run(["creds", "--aws-process", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert 0 < parse_time(document["Expiration"]).timestamp() - time.time() <= 900
    (session,) = gateway.sessions.values()
    assert not session.revoked
    client = boto3.client(
        "s3", endpoint_url=gateway.s3_endpoint, region_name="de", aws_access_key_id=document["AccessKeyId"],
        aws_secret_access_key=document["SecretAccessKey"], aws_session_token=document["SessionToken"],
    )  # fmt: skip
    assert client.head_object(Bucket="claims", Key="part-0.parquet")["ContentLength"]


def test_creds_with_nobody_to_ask(gateway: FakeGateway, capsys: Any) -> None:
    assert run(["creds", "--aws-process"]) == 9
    assert "agent.missing" in capsys.readouterr().err


def test_an_agent_that_was_refused_tells_its_clients_why(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1
    with attested(gateway) as session:
        gateway.sessions[session.session_id].revoked = True
        assert session.ended(10)
        env = session.env()
        with pytest.raises(Refused, match=r"session\.revoked"):
            fetch(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], Path(env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]))


# The server below.


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(credentials=lambda: CREDENTIALS, reattest=None, fresh_seconds=900)
    made.start()
    yield made
    made.close()


def connection(agent: Agent) -> socket.socket:
    host, port = agent.uri.removeprefix("http://").split("/")[0].split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def ask(agent: Agent, raw: bytes) -> bytes:
    """Everything that comes back until the server closes or is silent for a moment."""
    with connection(agent) as client:
        client.sendall(raw)
        client.settimeout(0.5)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while chunk := client.recv(65536):
                found += chunk
        return found


def request(agent: Agent, *, path: str = "/v1/credentials", version: str = "1.1", extra: str = "") -> bytes:
    return (
        f"GET {path} HTTP/{version}\r\nHost: x\r\nAuthorization: {agent.token_file.read_text()}\r\n{extra}\r\n"
    ).encode()


def test_one_connection_answers_many_requests_split_anywhere(agent: Agent) -> None:
    wanted = request(agent)
    with connection(agent) as client:
        for cut in (1, len(wanted) // 2, len(wanted) - 1):
            client.sendall(wanted[:cut])
            time.sleep(0.02)
            client.sendall(wanted[cut:])
            assert b"200 OK" in client.recv(65536)
    assert ask(agent, wanted * 3).count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"POST /v1/credentials HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"GET /v1/credentials HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"GET /v1/credentials HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"405"),
        (b"GET /v1/credentials HTTP/1.1\r\nX: " + b"y" * 40_000, b"431"),
        (b"GET /v1/credentials HTTP/1.1\r\n\r\n", b"401"),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", b"404"),
    ],
)
def test_bad_requests_are_refused_and_tell_nothing(agent: Agent, raw: bytes, status: bytes) -> None:
    found = ask(agent, raw)
    # What is too long is not read to its end: the kernel may reset before the answer is seen.
    assert found.startswith(b"HTTP/1.1 " + status) or (status == b"431" and found == b"")
    assert b"secret" not in found
    assert b"200 OK" in ask(agent, request(agent))


def test_readiness_needs_no_token_and_says_no_secret(agent: Agent) -> None:
    found = ask(agent, b"GET /readyz HTTP/1.0\r\n\r\n")
    assert b"200 OK" in found
    assert b"secret" not in found


def test_idle_strangers_cannot_lock_clients_out(agent: Agent) -> None:
    with contextlib.ExitStack() as strangers:
        for _ in range(PEERS + 20):
            strangers.enter_context(connection(agent))
        assert b"200 OK" in ask(agent, request(agent))


def test_an_address_that_is_taken_is_told(agent: Agent) -> None:
    port = int(agent.uri.split(":")[2].split("/")[0])
    with pytest.raises(Unavailable, match=r"agent\.address"):
        Loopback(lambda _path, _token: (200, b"{}"), port=port)
    second = Agent(credentials=lambda: CREDENTIALS, reattest=None, fresh_seconds=1, place=Place(port=port))
    with pytest.raises(Unavailable):
        second.start()
    second.close()


def test_requests_that_arrived_are_answered_before_the_end(agent: Agent) -> None:
    wanted = request(agent)
    with connection(agent) as client:
        client.sendall(wanted)
        agent.close()
        assert b"200 OK" in client.recv(65536)
