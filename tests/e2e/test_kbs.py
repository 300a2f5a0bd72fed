"""Trustee's protocol against a running zone: a guest written from its documents, and Trustee's own clients, unmodified.

The clients are Rust programs that nobody packages: KBS_CLIENT names their files (`make kbs-client`); else one line
says so.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from demesne.credentials import Credentials
from tests.e2e.conftest import DATASET
from tests.e2e.people import Input
from tests.e2e.world import PURPOSE, World
from tests.fakes.attest_kbs import CREDENTIALS, TeeKeyPair, attestation, digest_of, request, sample_evidence

CLIENTS = [Path(name) for name in os.environ.get("KBS_CLIENT", "").split(":") if name]


def ticket(world: World, *scope: str) -> str:
    """The base that a client is given: a principal asked for it with its own keys."""
    with world.api(world.job()) as api:
        asked = {"purpose": PURPOSE, "scope": list(scope) or [DATASET]}
        granted = api.request("POST", "/v1/kbs/tickets", document=asked)
    return world.zone().api_endpoint + str(granted["path"])


@contextmanager
def guest_of(world: World, base: str) -> "Iterator[Guest]":
    with httpx2.Client(trust_env=False, verify=world.trust, timeout=20) as client:
        yield Guest(client, base)


def first_row(world: World, credentials: dict[str, str]) -> str:
    """The first row of one file, read by boto3 with a session's credentials: raw, or masked."""
    keys = Credentials(credentials["access_key_id"], credentials["secret_access_key"], credentials["session_token"])
    client = world.s3(keys)
    listed = client.list_objects_v2(Bucket=DATASET)["Contents"]
    key = min(entry["Key"] for entry in listed if entry["Key"].endswith(".csv"))
    body: bytes = client.get_object(Bucket=DATASET, Key=key)["Body"].read()
    return body.decode().splitlines()[1]


class Guest:
    def __init__(self, client: httpx2.Client, base: str) -> None:
        self.client = client
        self.base = base
        self.key = TeeKeyPair()

    def post(self, path: str, body: Any) -> httpx2.Response:
        return self.client.post(f"{self.base}/kbs/v0/{path}", json=body)

    def attest(self) -> str:
        nonce = self.post("auth", request("sample")).raise_for_status().json()["nonce"]
        body = attestation(nonce, self.key.jwk, sample_evidence(digest_of(nonce, self.key.jwk)))
        return str(self.post("attest", body).raise_for_status().json()["token"])

    def resource(self, **headers: str) -> httpx2.Response:
        return self.client.get(f"{self.base}/kbs/v0/resource/{CREDENTIALS}", headers=headers)


@pytest.mark.parametrize("kind", ["world", "tls"])
def test_a_guest_reads_raw_rows_with_what_it_was_given(kind: str, request: pytest.FixtureRequest, made: Input) -> None:
    zone: World = request.getfixturevalue(kind)
    with guest_of(zone, ticket(zone)) as guest:
        token = guest.attest()
        credentials = json.loads(guest.key.opened(guest.resource().raise_for_status().json()))
        again = json.loads(guest.key.opened(guest.resource(authorization=f"Bearer {token}").raise_for_status().json()))
    assert again["access_key_id"] == credentials["access_key_id"]
    assert made.emails[0] in first_row(zone, credentials)


def test_a_stranger_gets_neither_session_nor_rows(world: World) -> None:
    before = world.catalog("select count(*) from session")
    with guest_of(world, world.zone().api_endpoint) as guest:
        nonce = guest.post("auth", request("sample")).raise_for_status().json()["nonce"]
        body = attestation(nonce, guest.key.jwk, sample_evidence(digest_of(nonce, guest.key.jwk)))
        answer = guest.post("attest", body)  # sample evidence is for synthetic datasets, and this names none
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:demesne:error:attestation.sample-scope")
        assert guest.resource().status_code == 401
    assert world.catalog("select count(*) from session") == before


# --- Trustee's own


def clients() -> list[Any]:
    if not CLIENTS:
        return [pytest.param(Path(), marks=pytest.mark.skip(reason="no client of Trustee here: KBS_CLIENT names none"))]
    return [pytest.param(path, id=path.name) for path in CLIENTS]


def ran(client: Path, zone: World, base: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    authority = ("--cert-file", str(zone.ca)) if zone.ca else ()
    return subprocess.run(
        [str(client), "--url", base, *authority, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={"RUST_LOG": "info", "RUST_BACKTRACE": "0", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def resource(client: Path, way: str = CREDENTIALS) -> tuple[str, ...]:
    """`trustee-attester` puts a slash too many before a path that is no URI, which no server takes."""
    return ("get-resource", "--path", f"kbs:///{way}" if client.name == "trustee-attester" else way)


def credentials_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What the client prints: base64 of the resource that it decrypted."""
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(base64.b64decode(done.stdout.strip().splitlines()[-1]))
    return found


@pytest.mark.parametrize("client", clients())
@pytest.mark.parametrize("kind", ["world", "tls"])
def test_an_unmodified_client_reads_raw_rows(
    client: Path, kind: str, request: pytest.FixtureRequest, made: Input
) -> None:
    zone: World = request.getfixturevalue(kind)
    assert made.emails[0] in first_row(zone, credentials_of(ran(client, zone, ticket(zone), *resource(client))))


@pytest.mark.parametrize("client", clients())
def test_an_unmodified_client_reads_our_refusals(client: Path, world: World) -> None:
    """It knows an unknown ticket, an unknown resource and a scope that may not be for what they are, and says so."""
    base = ticket(world)
    stranger = ran(client, world, f"{base[:-43]}{'A' * 43}", *resource(client))
    assert (stranger.returncode != 0, "kbs.ticket" in stranger.stderr) == (True, True), stranger.stderr[-2000:]
    other = ran(client, world, base, *resource(client, "default/key/1"))
    assert (other.returncode != 0, "kbs.resource" in other.stderr) == (True, True), other.stderr[-2000:]


@pytest.mark.parametrize("client", [one for one in clients() if not CLIENTS or one.id == "kbs-client"])
@pytest.mark.parametrize("kind", ["P-256", "P-521", "RSA"])
def test_an_unmodified_client_brings_its_own_key_and_token(
    client: Path, kind: str, world: World, tmp_path: Path
) -> None:
    """The passport model: attest first, ask with the token afterwards; for each sort of key that it can hold."""
    pair, key, token = TeeKeyPair(kind), tmp_path / "tee.pem", tmp_path / "token"
    form = PrivateFormat.TraditionalOpenSSL if kind == "RSA" else PrivateFormat.PKCS8
    key.write_bytes(pair.private.private_bytes(Encoding.PEM, form, NoEncryption()))
    base = ticket(world)
    attested = ran(client, world, base, "attest", "--tee-key-file", str(key))
    assert attested.returncode == 0, attested.stderr[-2000:]
    token.write_text(attested.stdout.strip().splitlines()[-1])
    asked = ("--tee-key-file", str(key), "--attestation-token", str(token))
    assert credentials_of(ran(client, world, base, *resource(client), *asked))["session_token"]
