"""The traps that `demesne doctor` names are real: unmodified clients walk into each, and do not without it.

A store that answers nothing but remembers who signed, and Demesne's own agent beside it.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from demesne.agent import Agent
from demesne.credentials import Credentials
from demesne.doctor.environment import CONTAINER_RELATIVE_URI, CONTAINER_TOKEN_FILE, CONTAINER_URI, environment

BIN = Path(sys.executable).parent
ONCE = "retries={'total_max_attempts': 1}"
PYTHON = {
    "boto3": "import boto3; from botocore.config import Config; "
    f"c = boto3.client('s3', config=Config({ONCE})); [c.get_object(Bucket='bucket', Key='key') for _ in range(N)]",
    "pyarrow": "from pyarrow import fs; fs.S3FileSystem(endpoint_override=E, region='de', "
    "retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1)).get_file_info('bucket/key')",
    "obstore": "import obstore; from obstore.store import S3Store; obstore.get(S3Store('bucket', "
    "retry_config={'max_retries': 0}), 'key')",
    "polars": "import polars; polars.scan_parquet('s3://bucket/key.parquet', credential_provider=None, "
    "storage_options={'max_retries': 0}).collect()",
}
COMMANDS = {
    "rclone": [str(BIN / "rclone"), "--config", os.devnull, "--retries", "1", "--low-level-retries", "1", "cat",
               ":s3,provider=Other,env_auth,endpoint='@E',region=de:bucket/key"],
}  # fmt: skip
AGENT, STATIC = "ASAGENT", "AKSTATIC"
UNSIGNED = "unsigned"


@dataclass
class Seen:
    """Who signed what arrived, and tokens that a proxy was shown."""

    endpoint: str = ""
    keys: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    """Hosts that a proxy was asked to connect to."""


@pytest.fixture
def store() -> Iterator[Seen]:
    """Also a proxy: a proxy is asked for whole URLs."""
    seen = Seen()

    class Nothing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            said = self.headers.get("Authorization", "")
            if self.path.startswith("http://"):
                seen.tokens.append(said)
            else:
                seen.keys.append(said.partition("Credential=")[2].partition("/")[0] or UNSIGNED)
            body = b"<Error><Code>NoSuchKey</Code></Error>"
            self.send_response(404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_CONNECT(self) -> None:
            seen.tunnels.append(self.path)
            self.send_error(502)

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Nothing) as running:
        seen.endpoint = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield seen
        running.shutdown()
        thread.join()


@dataclass
class Asked:
    """The agent, and how often it was."""

    agent: Agent
    minutes: int = 60
    count: int = 0


@pytest.fixture
def asked() -> Iterator[Asked]:
    found: Asked

    def credentials() -> Credentials:
        found.count += 1
        return Credentials(AGENT, "secret", "token", datetime.now(UTC) + timedelta(minutes=found.minutes))

    found = Asked(Agent(credentials=credentials, reattest=None, fresh_seconds=900))
    found.agent.start()
    yield found
    found.agent.close()


def session(store: Seen, asked: Asked, home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_REGION": "de", "AWS_DEFAULT_REGION": "de", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ALLOW_HTTP": "true",
        CONTAINER_URI: asked.agent.uri, CONTAINER_TOKEN_FILE: str(asked.agent.token_file),
    }  # fmt: skip


def run(client: str, env: dict[str, str], times: int = 1) -> None:
    """One client's requests. That they fail is expected: the store has nothing."""
    if not (find_spec(client) if client in PYTHON else Path(COMMANDS[client][0]).exists()):
        pytest.skip(f"{client} is not installed")
    endpoint = env["AWS_ENDPOINT_URL"]
    command = (
        [sys.executable, "-c", f"E, N = {endpoint!r}, {times}\n{PYTHON[client]}"]
        if client in PYTHON
        else [part.replace("@E", endpoint) for part in COMMANDS[client]]
    )
    subprocess.run(command, env=env, capture_output=True, check=False, timeout=60)


def doctor_tells(env: dict[str, str], what: str) -> bool:
    return what in {finding.what for finding in environment(env)}


@pytest.mark.parametrize("client", [*PYTHON, *COMMANDS])
def test_without_a_trap_each_client_signs_as_the_session(
    client: str, store: Seen, asked: Asked, tmp_path: Path
) -> None:
    run(client, session(store, asked, tmp_path))
    assert set(store.keys) == {AGENT}


def test_pyarrows_constructor_goes_to_amazon(store: Seen, asked: Asked, tmp_path: Path) -> None:
    """Through a proxy, which sees where to, and lets nothing out."""
    env = session(store, asked, tmp_path)
    code = PYTHON["pyarrow"].replace("endpoint_override", "proxy_options")
    command = [sys.executable, "-c", f"E = {store.endpoint!r}\n{code}"]
    subprocess.run(command, env=env, capture_output=True, check=False, timeout=60)
    assert store.keys == []
    assert store.tunnels
    assert all("amazonaws.com" in host for host in store.tunnels)
    assert doctor_tells(env, "AWS_ENDPOINT_URL")


@pytest.mark.parametrize("client", ["boto3", "obstore", "polars", "rclone"])
def test_a_newline_in_the_token_file_keeps_clients_from_their_credentials(
    client: str, store: Seen, asked: Asked, tmp_path: Path
) -> None:
    env = session(store, asked, tmp_path)
    with asked.agent.token_file.open("a") as file:
        file.write("\n")
    run(client, env)
    assert AGENT not in store.keys
    assert doctor_tells(env, CONTAINER_TOKEN_FILE)


@pytest.mark.parametrize("client", [*PYTHON, *COMMANDS])
def test_a_static_key_wins(client: str, store: Seen, asked: Asked, tmp_path: Path) -> None:
    env = session(store, asked, tmp_path) | {"AWS_ACCESS_KEY_ID": STATIC, "AWS_SECRET_ACCESS_KEY": "secret"}
    run(client, env)
    assert set(store.keys) == {STATIC}
    assert doctor_tells(env, "AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("client", ["boto3", "pyarrow", "rclone"])
def test_a_profile_wins(client: str, store: Seen, asked: Asked, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = {STATIC}\naws_secret_access_key = secret\n"
    )
    env = session(store, asked, tmp_path)
    run(client, env)
    assert set(store.keys) == {STATIC}
    assert doctor_tells(env, "AWS_PROFILE")


@pytest.mark.parametrize("client", ["boto3", "pyarrow", "obstore", "polars", "rclone"])
def test_the_relative_uri_wins(client: str, store: Seen, asked: Asked, tmp_path: Path) -> None:
    env = session(store, asked, tmp_path) | {CONTAINER_RELATIVE_URI: "/v2/credentials"}
    env |= {"AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1", "AWS_METADATA_SERVICE_TIMEOUT": "1"}
    run(client, env)
    assert AGENT not in store.keys
    assert doctor_tells(env, CONTAINER_RELATIVE_URI)


@pytest.mark.parametrize("client", ["boto3", "obstore", "polars", "rclone"])
def test_a_web_identity_wins(client: str, store: Seen, asked: Asked, tmp_path: Path) -> None:
    env = with_web_identity(session(store, asked, tmp_path), tmp_path, store)
    run(client, env)
    assert AGENT not in store.keys
    assert doctor_tells(env, "AWS_WEB_IDENTITY_TOKEN_FILE")


def test_pyarrow_with_a_web_identity_alone_sends_unsigned_requests(store: Seen, asked: Asked, tmp_path: Path) -> None:
    env = with_web_identity(session(store, asked, tmp_path), tmp_path, store)
    del env[CONTAINER_URI], env[CONTAINER_TOKEN_FILE]
    run("pyarrow", env)
    assert store.keys[-1] == UNSIGNED
    assert doctor_tells(env, "AWS_WEB_IDENTITY_TOKEN_FILE")


def with_web_identity(env: dict[str, str], directory: Path, store: Seen) -> dict[str, str]:
    (directory / "identity").write_text("a.b.c")
    return env | {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "identity"), "AWS_ENDPOINT_URL_STS": store.endpoint,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/job",
    }  # fmt: skip


def test_obstore_refuses_plain_http_without_permission(store: Seen, asked: Asked, tmp_path: Path) -> None:
    env = session(store, asked, tmp_path)
    del env["AWS_ALLOW_HTTP"]
    run("obstore", env)
    assert store.keys == []
    assert doctor_tells(env, "AWS_ALLOW_HTTP")


@pytest.mark.parametrize("client", ["obstore", "polars"])
def test_a_proxy_is_shown_the_agents_token(client: str, store: Seen, asked: Asked, tmp_path: Path) -> None:
    env = session(store, asked, tmp_path) | {"HTTP_PROXY": store.endpoint, "http_proxy": store.endpoint}
    run(client, env)
    assert asked.agent.token_file.read_text() in store.tokens
    assert doctor_tells(env, "NO_PROXY")
    store.tokens.clear()
    run(client, env | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
    assert store.tokens == []


@pytest.mark.parametrize(("minutes", "fetched"), [(60, 1), (15, 5)])
def test_short_credentials_are_asked_for_at_every_request(
    minutes: int, fetched: int, store: Seen, asked: Asked, tmp_path: Path
) -> None:
    asked.minutes = minutes
    code = PYTHON["boto3"].replace("[c.get_object(Bucket='bucket', Key='key') for _ in range(N)]", TRIES)
    env = session(store, asked, tmp_path)
    subprocess.run([sys.executable, "-c", f"N = 5\n{code}"], env=env, capture_output=True, check=False, timeout=60)
    assert len(store.keys) == 5
    assert (asked.count >= fetched) if minutes == 15 else (asked.count == fetched)


TRIES = """
for _ in range(N):
    try:
        c.get_object(Bucket='bucket', Key='key')
    except c.exceptions.ClientError:
        pass
"""
