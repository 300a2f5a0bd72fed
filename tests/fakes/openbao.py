"""A real OpenBao server on loopback: TLS by a private authority, Transit, one policy and two credentials a key class.

Not `-dev`: initialised and unsealed as an operator would, storage in memory, gone with its directory.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import trustme

from tests.fakes.seaweedfs import free_ports
from vault.keys.provider import KeyClass

POLICY = """
path "transit/keys/{prefix}-{key_class}-*"    {{ capabilities = ["create", "read", "update", "delete"] }}
path "transit/encrypt/{prefix}-{key_class}-*" {{ capabilities = ["update"] }}
path "transit/decrypt/{prefix}-{key_class}-*" {{ capabilities = ["update"] }}
"""


def bao_binary() -> str | None:
    beside = Path(sys.executable).with_name("bao")
    return str(beside) if beside.exists() else shutil.which("bao")


@dataclass
class OpenBao:
    """A running server. `credentials`: token files by class; `approles`: AppRole files by class."""

    url: str
    ca: Path
    directory: Path
    root: str = ""
    unseal_key: str = ""
    credentials: dict[KeyClass, Path] = field(default_factory=dict)
    approles: dict[KeyClass, Path] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> dict[str, Any]:
        """As the operator, with the root token."""
        answer = requests.request(
            method, f"{self.url}/v1/{path}", json=body, verify=str(self.ca), timeout=5,
            headers={"X-Vault-Token": token or self.root}, proxies={"https": "", "http": ""},
        )  # fmt: skip
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        document: dict[str, Any] = answer.json() if answer.content else {}
        return document

    def token(self, policies: list[str], **more: Any) -> str:
        made = self.ask("POST", "auth/token/create", {"policies": policies, "no_parent": True, **more})
        return str(made["auth"]["client_token"])

    def seal(self) -> None:
        self.ask("PUT", "sys/seal")

    def unseal(self) -> None:
        self.ask("PUT", "sys/unseal", {"key": self.unseal_key})


@contextmanager
def openbao(directory: Path, prefix: str = "demesne") -> Iterator[OpenBao]:
    """Up, unsealed, with policies and credentials, when the block begins; killed when it ends."""
    binary = bao_binary()
    assert binary is not None, "bao is not installed"
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca, cert, key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(ca))
    certificate.private_key_pem.write_to_path(str(key))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(cert), append=True)
    (port,) = free_ports(1)
    config = directory / "bao.json"
    config.write_text(json.dumps({
        "storage": {"inmem": {}}, "disable_mlock": True, "api_addr": f"https://127.0.0.1:{port}",
        "listener": {"tcp": {"address": f"127.0.0.1:{port}", "tls_cert_file": str(cert), "tls_key_file": str(key)}},
    }))  # fmt: skip
    with (directory / "bao.log").open("wb") as log:
        server = subprocess.Popen([binary, "server", f"-config={config}"], stdout=log, stderr=subprocess.STDOUT)
        try:
            bao = OpenBao(f"https://127.0.0.1:{port}", ca, directory)
            _wait(bao, server, directory / "bao.log")
            _set_up(bao, prefix)
            yield bao
        finally:
            server.kill()
            server.wait(10)


def _wait(bao: OpenBao, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and server.poll() is None:
        try:
            requests.get(f"{bao.url}/v1/sys/seal-status", verify=str(bao.ca), timeout=1, proxies={"https": ""})
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"OpenBao does not start: {log.read_text(errors='replace')[-2000:]}")


def _set_up(bao: OpenBao, prefix: str) -> None:
    made = bao.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    bao.root, bao.unseal_key = made["root_token"], made["keys_base64"][0]
    bao.unseal()
    bao.ask("POST", "sys/mounts/transit", {"type": "transit"})
    bao.ask("POST", "sys/auth/approle", {"type": "approle"})
    for key_class in KeyClass:
        policy = f"{prefix}-{key_class}"
        bao.ask("PUT", f"sys/policies/acl/{policy}", {"policy": POLICY.format(prefix=prefix, key_class=key_class)})
        bao.credentials[key_class] = bao.directory / f"{key_class}.token"
        bao.credentials[key_class].write_text(bao.token([policy]) + "\n")
        bao.ask("POST", f"auth/approle/role/{policy}", {"token_policies": [policy], "token_ttl": "1h"})
        role = bao.ask("GET", f"auth/approle/role/{policy}/role-id")["data"]["role_id"]
        secret = bao.ask("POST", f"auth/approle/role/{policy}/secret-id")["data"]["secret_id"]
        bao.approles[key_class] = bao.directory / f"{key_class}.approle"
        bao.approles[key_class].write_text(json.dumps({"role_id": role, "secret_id": secret}))
