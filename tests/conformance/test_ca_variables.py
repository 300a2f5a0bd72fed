"""Which variable each unmodified client reads its certificate authority from: `demesne doctor` tells people so."""

import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trustme

from demesne.doctor.trust import READERS

VARIABLES = {name for reader in READERS for name in reader.variables}
BIN = Path(sys.executable).parent
PYTHON = {
    "boto3": "import boto3; from botocore.config import Config; boto3.client('s3', endpoint_url=E, config=Config("
    "retries={'total_max_attempts': 1}, s3={'addressing_style': 'path'})).get_object(Bucket='bucket', Key='key')",
    "s3fs": "import s3fs; s3fs.S3FileSystem(endpoint_url=E, config_kwargs={'retries': {'total_max_attempts': 1}})"
    ".cat('bucket/key')",
    "pyarrow": "from pyarrow import fs; fs.S3FileSystem(endpoint_override=E, region='de', "
    "retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1)).get_file_info('bucket/key')",
    "obstore": "import obstore; from obstore.store import S3Store; obstore.get(S3Store('bucket', endpoint=E, "
    "region='de', retry_config={'max_retries': 0}), 'key')",
    "polars": "import polars; polars.scan_parquet('s3://bucket/key.parquet', storage_options={'aws_endpoint_url': E, "
    "'aws_region': 'de', 'max_retries': 0}).collect()",
    "minio": "import minio, urllib3; minio.Minio(E.removeprefix('https://'), 'AKIA', 'secret', region='de')"
    ".get_object('bucket', 'key')",
    "requests": "import requests; requests.get(E + '/bucket/key')",
    "httpx": "import httpx2; httpx2.get(E + '/bucket/key')",
}
COMMANDS = {
    "aws": [str(BIN / "aws"), "s3api", "head-object", "--bucket", "bucket", "--key", "key", "--endpoint-url", "@E"],
    "rclone": [str(BIN / "rclone"), "--config", os.devnull, "--retries", "1", "--low-level-retries", "1", "cat",
               ":s3,provider=Other,env_auth,endpoint='@E':bucket/key"],
    "s3cmd": [str(BIN / "s3cmd"), f"--config={os.devnull}", "--access_key=A", "--secret_key=S", "--host=@H",
              "--host-bucket=@H", "--region=de", "get", "s3://bucket/key", "-", "--force"],
    "curl": [shutil.which("curl") or "curl", "-s", "@E/bucket/key"],
}  # fmt: skip


@dataclass
class Server:
    """An https server of a private authority, and the requests that got through to it."""

    endpoint: str
    ca: Path
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    found = Server("", tmp_path / "ca.pem")

    class Nothing(BaseHTTPRequestHandler):
        def answer(self) -> None:
            found.requests.append(self.path)
            self.send_response(404)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    class Secure(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> Any:
            raw, address = super().get_request()
            raw.settimeout(10)
            return context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_: Any) -> None:
            pass  # a client that refuses us

    with Secure(("127.0.0.1", 0), Nothing) as running:
        found.endpoint = f"https://localhost:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield found
        running.shutdown()
        thread.join()


def reached(client: str, server: Server, variables: set[str]) -> bool:
    """Whether the client's request arrives when these variables name the authority."""
    server.requests.clear()
    host = server.endpoint.removeprefix("https://")
    command = (
        [sys.executable, "-c", f"E = {server.endpoint!r}; {PYTHON[client]}"]
        if client in PYTHON
        else [part.replace("@E", server.endpoint).replace("@H", host) for part in COMMANDS[client]]
    )
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(server.ca.parent), "AWS_ACCESS_KEY_ID": "AKIA", "AWS_REGION": "de",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "de", "AWS_EC2_METADATA_DISABLED": "true",
        **dict.fromkeys(variables, str(server.ca)),
    }  # fmt: skip
    subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    return bool(server.requests)


def installed(client: str) -> bool:
    if client in COMMANDS:
        return Path(COMMANDS[client][0]).exists()
    return find_spec({"httpx": "httpx2"}.get(client, client)) is not None


@pytest.mark.parametrize(
    ("client", "variables"),
    [(client, reader.variables) for reader in READERS for client in reader.clients if client != "demesne"],
)
def test_a_client_reads_its_own_variables_and_no_others(
    client: str, variables: tuple[str, ...], server: Server
) -> None:
    if not installed(client):
        pytest.skip(f"{client} is not installed")
    assert not reached(client, server, VARIABLES - set(variables))
    assert reached(client, server, {variables[0]})
