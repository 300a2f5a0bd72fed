"""AWS KMS on loopback: moto's server in a process of its own, with two accounts and signatures checked.

What moto checks itself: signatures, IAM actions (`INITIAL_NO_AUTH_ACTION_COUNT=0`), encryption contexts, and that a
key of one account is nothing in another. What it does not, and KMS does, is laid over it here: a disabled key and one
that is pending deletion neither encrypt nor decrypt, and a test may let the waiting period be over. It knows no
conditions and no key policies for principals, so raw and view are two accounts in tests.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import requests

from vault.keys.provider import KeyClass

REGION = "eu-central-1"
ACCOUNTS = {KeyClass.RAW: "111111111111", KeyClass.VIEW: "222222222222"}
ACTIONS = [
    "CreateKey", "CreateAlias", "TagResource", "DescribeKey", "Encrypt", "Decrypt", "EnableKey", "DisableKey",
    "ScheduleKeyDeletion", "CancelKeyDeletion",
]  # fmt: skip
_REFUSED = {
    "Disabled": "DisabledException",
    "PendingDeletion": "KMSInvalidStateException",
}

connect: Any = boto3.client


@dataclass
class KmsServer:
    """A running server. `credentials`: files with an access key, by class, each of another account."""

    url: str
    region: str
    directory: Path
    credentials: dict[KeyClass, Path] = field(default_factory=dict)

    def client(self, credential: Path) -> Any:
        """boto3 as the operator of that account would have it."""
        lines = dict(line.split(" = ") for line in credential.read_text().splitlines() if " = " in line)
        return connect("kms", endpoint_url=self.url, region_name=self.region, **lines)


@contextmanager
def kms_server(directory: Path) -> Iterator[KmsServer]:
    """Up, with users and access keys in both accounts, when the block begins; killed when it ends."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "moto.log").open("wb") as log:
        environment = {
            "PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).parents[2]),
            "INITIAL_NO_AUTH_ACTION_COUNT": "1000000", "MOTO_PORT": "0", "PYTHONHASHSEED": "0",
        }  # fmt: skip
        server = subprocess.Popen([sys.executable, "-m", "tests.fakes.kms_server", str(directory / "port")],
                                  stdout=log, stderr=log, env=environment)  # fmt: skip
        try:
            port = _wait(server, directory / "port", directory / "moto.log")
            kms = KmsServer(f"http://127.0.0.1:{port}", REGION, directory)
            _set_up(kms)
            yield kms
        finally:
            server.kill()
            server.wait(10)


def _wait(server: subprocess.Popen[bytes], port: Path, log: Path) -> int:
    end = time.monotonic() + 30
    while time.monotonic() < end and server.poll() is None:
        if port.exists() and port.read_text().endswith("\n"):
            return int(port.read_text())
        time.sleep(0.05)
    raise RuntimeError(f"moto does not start: {log.read_text(errors='replace')[-2000:]}")


def _set_up(kms: KmsServer) -> None:
    root = {"endpoint_url": kms.url, "region_name": kms.region, "aws_access_key_id": "root",
            "aws_secret_access_key": "root"}  # fmt: skip
    for key_class, account in ACCOUNTS.items():
        role = connect("sts", **root).assume_role(
            RoleArn=f"arn:aws:iam::{account}:role/operator", RoleSessionName="set-up"
        )["Credentials"]
        iam = connect(
            "iam", endpoint_url=kms.url, region_name=kms.region, aws_access_key_id=role["AccessKeyId"],
            aws_secret_access_key=role["SecretAccessKey"], aws_session_token=role["SessionToken"],
        )  # fmt: skip
        name = f"demesne-{key_class}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": [f"kms:{each}" for each in ACTIONS], "Resource": "*"}],
        }))  # fmt: skip
        made = iam.create_access_key(UserName=name)["AccessKey"]
        kms.credentials[key_class] = kms.directory / f"{key_class}.ini"
        kms.credentials[key_class].write_text(
            f"[default]\naws_access_key_id = {made['AccessKeyId']}\n"
            f"aws_secret_access_key = {made['SecretAccessKey']}\n"
        )
    requests.post(f"{kms.url}/moto-api/reset-auth", data="0", timeout=5, proxies={"http": ""}).raise_for_status()


class KeyStates:
    """WSGI: answers for KMS where moto does not look at the state of a key."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/for-tests/delete/"):
            _delete(environ["PATH_INFO"].rpartition("/")[2])
            start("200 OK", [])
            return [b""]
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if operation in {"Encrypt", "Decrypt"}:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            code = _REFUSED.get(_state(str(json.loads(body).get("KeyId", ""))))
            if code is not None:
                answer = json.dumps({"__type": code, "message": code}).encode()
                start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
                return [answer]
        answers: Iterable[bytes] = self._application(environ, start)
        return answers


def _delete(alias: str) -> None:
    """The key and its alias are gone, as KMS has it when the waiting period is over."""
    from moto.kms.models import kms_backends

    for account in ACCOUNTS.values():
        backend = kms_backends[account][REGION]
        key_id = backend.get_key_id_from_alias(f"alias/{alias}")
        if key_id is not None:
            backend.delete_alias(f"alias/{alias}")
            backend.delete_key(key_id)


def _state(arn: str) -> str:
    from moto.kms.models import kms_backends

    account, key_id = arn.split(":")[4:6] if arn.count(":") == 5 else ("", "")
    key = kms_backends[account][REGION].keys.get(key_id.removeprefix("key/")) if account else None
    return str(key.key_state) if key is not None else ""


def serve(port_file: Path) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, KeyStates(DomainDispatcherApplication(create_backend_app)), threaded=True)
    port_file.write_text(f"{server.server_port}\n")
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
