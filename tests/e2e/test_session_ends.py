"""Where a session's credentials count, and how fast it ends: one zone behind TLS, two workers, real connections."""

import json
import secrets
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
import trustme
from botocore.auth import S3SigV4Auth
from botocore.config import Config
from botocore.httpsession import SSLError
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.attested_job import AttestedJob, seconds_until_cut, signed
from tests.e2e.world import World, connect, refused, started, until, work_dir

BUCKET, KEY, BIG = "payroll-2026", "small.csv", "big.bin"
SMALL = b"name,iban\nAda Lovelace,DE02120300000000202051\n"
FRESHNESS = 15
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def zone() -> Iterator[World]:
    with work_dir("ends") as directory:
        authority = trustme.CA()
        made = authority.issue_cert("localhost", "127.0.0.1")
        ca, cert, key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(str(ca))
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        made.private_key_pem.write_to_path(str(key))
        extra = {"DEMESNE_FRESHNESS_SECONDS": str(FRESHNESS), "DEMESNE_FRESHNESS_GRACE_SECONDS": "0"}
        with started(directory, ca=ca, zones=("de",), tls_cert=cert, tls_key=key, workers=2, extra=extra) as world:
            world.make_dataset(BUCKET, name="pii.name", iban="pii.iban")
            s3 = world.s3("steward")
            s3.put_object(Bucket=BUCKET, Key=KEY, Body=SMALL)
            s3.put_object(Bucket=BUCKET, Key=BIG, Body=secrets.token_bytes(1 << 20) * 64)
            yield world


def rule_of(world: World, decision_id: str) -> str:
    """The first rule of a denied decision, as the ledger has it."""
    with world.api("steward") as api:
        found = until(lambda: [e for e in api.decisions(limit=200) if e["id"] == decision_id], 5, "not on record")
    return str(found[0]["decision"]["codes"][0])


# --- where credentials count


def test_credentials_copied_to_another_host_open_nothing(zone: World) -> None:
    job = AttestedJob(zone, [BUCKET])
    assert job.get(BUCKET, KEY)[::2] == (200, SMALL)
    status, headers, body = job.get(BUCKET, KEY, source="127.0.0.2")
    assert (status, SMALL in body) == (403, False)
    assert rule_of(zone, headers["x-demesne-decision"]) == "session.other-source"
    assert job.get(BUCKET, KEY)[::2] == (200, SMALL)  # a thief who shows himself ends nobody's work


def test_a_machine_that_moved_attests_again_from_where_it_is(zone: World) -> None:
    job = AttestedJob(zone, [BUCKET])
    job.source = "127.0.0.3"
    assert job.get(BUCKET, KEY)[0] == 403
    assert job.reattest()[0] == 200
    until(lambda: job.get(BUCKET, KEY)[0], 6, "not from the new address", lambda status: status == 200)
    # A worker that did not serve the renewal knows the session of up to 5 s ago.
    until(
        lambda: job.get(BUCKET, KEY, source="127.0.0.1")[0], 6, "still from the old address",
        lambda status: status == 403,
    )  # fmt: skip


def certificate_file(job: AttestedJob, directory: Path, name: str = "job.pem") -> Path:
    """Certificate and key in one file, as clients take them."""
    path = directory / name
    private: Any = job.key.private_key
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(job.session["certificate"].encode() + key)
    return path


def test_with_a_certificate_the_credentials_count_only_on_its_connection(zone: World, tmp_path: Path) -> None:
    job, other = (AttestedJob(zone, [BUCKET], bind="certificate") for _ in range(2))
    mine, theirs = certificate_file(job, tmp_path), certificate_file(other, tmp_path, "other.pem")
    assert job.get(BUCKET, KEY, client_cert=mine)[::2] == (200, SMALL)
    assert job.get(BUCKET, KEY, client_cert=mine, source="127.0.0.2")[::2] == (200, SMALL)  # it may move
    for certificate in (None, theirs):
        status, headers, body = job.get(BUCKET, KEY, client_cert=certificate)
        assert (status, SMALL in body) == (403, False)
        assert rule_of(zone, headers["x-demesne-decision"]) == "session.other-key"


def test_unmodified_clients_show_the_certificate(zone: World, tmp_path: Path) -> None:
    job = AttestedJob(zone, [BUCKET], bind="certificate")
    path = certificate_file(job, tmp_path)
    address = zone.zone().s3_endpoint
    named: dict[str, Any] = {
        "endpoint_url": address, "region_name": "de", "verify": str(zone.ca),
        "aws_access_key_id": job.keys["access_key_id"], "aws_secret_access_key": job.keys["secret_access_key"],
        "aws_session_token": job.keys["session_token"],
    }  # fmt: skip
    once: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}}
    s3 = connect("s3", **named, config=Config(client_cert=str(path), **once))
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == SMALL
    bare = connect("s3", **named, config=Config(**once))
    assert refused(lambda: bare.get_object(Bucket=BUCKET, Key=KEY)).status == 403

    headers = signed(S3SigV4Auth(job.signing, "s3", "de"), address, "GET", f"/{BUCKET}/{KEY}", b"")
    url = f"{address}/{BUCKET}/{KEY}"
    assert requests.get(url, headers=headers, verify=str(zone.ca), cert=str(path), timeout=20).content == SMALL
    context = ssl.create_default_context(cafile=str(zone.ca))
    context.load_cert_chain(path)
    assert httpx2.get(url, headers=headers, verify=context, trust_env=False, timeout=20).content == SMALL
    assert requests.get(url, headers=headers, verify=str(zone.ca), timeout=20).status_code == 403


def test_a_certificate_of_anybody_else_ends_the_handshake(zone: World, tmp_path: Path) -> None:
    stranger = trustme.CA().issue_cert("job.example")
    path = tmp_path / "stranger.pem"
    stranger.private_key_and_cert_chain_pem.write_to_path(str(path))
    job = AttestedJob(zone, [BUCKET])
    with pytest.raises((OSError, SSLError)):
        job.get(BUCKET, KEY, client_cert=path)


# --- how fast a session ends


def ends_within(zone: World, job: AttestedJob, why: Any, most: float) -> float:
    """Seconds from `why` to the end of a stream whose client stands still; then both workers refuse."""
    with job.standing_still(BUCKET, BIG) as stream:
        why()
        taken = seconds_until_cut(stream, most)
    assert time.monotonic() - job.attested_at < FRESHNESS  # or it would have ended by itself
    for _ in range(4):
        assert job.get(BUCKET, KEY)[0] == 403
    return taken


def test_a_revoked_session_ends_its_open_stream(zone: World) -> None:
    job = AttestedJob(zone, [BUCKET])
    taken = ends_within(zone, job, lambda: zone.command("session", "revoke", job.session_id), 10.0)
    listed = {entry["session_id"]: entry for entry in zone.command("session", "list")["sessions"]}
    assert (listed[job.session_id]["state"], listed[job.session_id]["bound_source"]) == ("revoked", "127.0.0.1")
    print(f"session revoked: stream ended after {taken:.1f} s")


@pytest.mark.parametrize("what", ["measurement", "subject"])
def test_revoked_trust_ends_every_session_that_rests_on_it(zone: World, what: str) -> None:
    if what == "subject":
        with zone.api("steward") as api:  # a principal of its own: for good means for good
            made = api.create_principal(
                f"job-{secrets.token_hex(3)}", kind="workload", roles=["trainer"], jurisdiction="de",
                purposes=["claims-risk-model"], purpose="claims-risk-model",
            )  # fmt: skip
        before, zone.trainer = zone.job(), type(zone.job())(made["access_key_id"], made["secret_access_key"])
    job = AttestedJob(zone, [BUCKET])
    try:
        shown = zone.command("session", "show", job.session_id)
        [value] = {entry["value"] for entry in shown["revocable"] if entry["what"] == what}
        told: list[Any] = []
        revoke = ("attest", "revoke", f"--{what}", value, "--reason", "a test")
        taken = ends_within(zone, job, lambda: told.append(zone.command(*revoke)), 10.0)
        print(f"{what} revoked: stream ended after {taken:.1f} s")
        assert job.session_id in told[0]["sessions"]
        assert (what, told[0]["value"]) in {
            (entry["what"], entry["value"]) for entry in zone.command("attest", "revoked")["revocations"]
        }
        body = job.proof() | {"purpose": "claims-risk-model", "scope": [BUCKET]}
        status, _, answer = job.api("POST", "/v1/sessions", body)
        assert (status, json.loads(answer)["rule"]) == (403, "attest.revoked")
    finally:
        if what == "subject":
            zone.trainer = before


def test_over_plain_http_too(spare: World) -> None:
    """Large answers leave past the event loop there."""
    bucket = f"ends-{secrets.token_hex(4)}"
    spare.make_dataset(bucket, name="pii.name")
    spare.s3("steward").put_object(Bucket=bucket, Key=BIG, Body=bytes(32 << 20))
    job = AttestedJob(spare, [bucket])
    with job.standing_still(bucket, BIG) as stream:
        assert job.api("DELETE", f"/v1/sessions/{job.session_id}")[0] == 204
        seconds_until_cut(stream, 10.0)
    assert job.get(bucket, BIG)[0] == 403


def test_a_session_that_is_not_attested_again_ends_its_open_stream(zone: World) -> None:
    job = AttestedJob(zone, [BUCKET])
    attested = time.monotonic()
    with job.standing_still(BUCKET, BIG) as stream:
        seconds_until_cut(stream, FRESHNESS + 10.0)
        after = time.monotonic() - attested - FRESHNESS
    assert -1.0 < after < 10.0
    print(f"freshness lapsed: stream ended {after:.1f} s later")
