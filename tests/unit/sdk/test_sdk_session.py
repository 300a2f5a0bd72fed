"""attest() and the session with the real S3 clients people use, against the live fake."""

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rfc8785
from botocore.exceptions import ClientError

import demesne
from demesne.attest import additional_digest, device_nonce, report_data
from demesne.evidence.sample import SampleAttester
from demesne.session import Session
from tests.fakes.api import FakeGateway, StoredObject, wait_until

TRAINER = {"access_key_id": "AKTRAIN", "secret_access_key": "train-secret"}
TABLE = pa.table({"name": ["Ada", "Grace"], "age": [36, 85]})


@pytest.fixture(autouse=True)
def _no_foreign_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEMESNE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        running.datasets["claims"] = {"name": "claims", "zone": "de", "synthetic": True}
        buffer = io.BytesIO()
        pq.write_table(TABLE, buffer)
        body = buffer.getvalue()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        modified = datetime.now(UTC)
        running.objects["claims", "part-0.parquet"] = StoredObject(body, etag, "application/x-parquet", {}, modified)
        yield running


def _attest(gateway: FakeGateway, **options: Any) -> Session:
    given = {"purpose": "claims-risk-model", "scope": ["claims"], "credentials": TRAINER, "region": "de"}
    return demesne.attest(gateway.api_endpoint, **(given | {"notice": io.StringIO()} | options))


@pytest.fixture
def session(gateway: FakeGateway) -> Iterator[Session]:
    running = _attest(gateway)
    yield running
    running.close()


def _key_of(session: Session) -> str:
    return session.credentials.access_key_id


def test_report_data_is_sha512_of_the_canonical_binding() -> None:
    odd = 'p"\n\x01é'
    said: dict[str, Any] = {"nonce": "ab", "gateway": "g", "purpose": odd, "scope": ["b", "a"], "thumbprint": "k"}
    binding: dict[str, Any] = {"v": 1, "nonce": "ab", "gateway": "g", "key": "k", "purpose": odd, "scope": ["a", "b"]}
    devices: list[dict[str, Any]] = [{"kind": "nvgpu", "evidence": {"report": "é", "version": 1}}]
    digest = hashlib.sha256(rfc8785.dumps(devices)).hexdigest()
    assert (additional_digest([]), additional_digest(devices)) == ("", digest)
    for additional in ("", digest):
        expected = hashlib.sha512(rfc8785.dumps(binding | {"additional": additional})).digest()
        assert report_data(**said, additional=additional) == expected
    expected = hashlib.sha512(rfc8785.dumps(binding | {"additional": "device"})).digest()
    assert device_nonce(**said) == expected[:32]


def test_session_carries_ids_and_the_notice_is_loud(gateway: FakeGateway) -> None:
    said = io.StringIO()
    with _attest(gateway, run="train-1", notice=said) as session:
        assert session.session_id in gateway.sessions
        assert session.run_id == hashlib.md5(b"train-1").hexdigest()
        assert gateway.sessions[session.session_id].scope == ["claims"]
        assert "SAMPLE ATTESTATION" in said.getvalue()
        assert session.credentials.secret_access_key not in repr(session)


def test_boto3_reads_with_the_sessions_identity(gateway: FakeGateway, session: Session) -> None:
    body = session.boto3().get_object(Bucket="claims", Key="part-0.parquet")["Body"].read()
    assert pq.read_table(io.BytesIO(body)) == TABLE
    assert set(gateway.identities) == {_key_of(session)}


def test_s3fs_and_pandas_read_with_the_sessions_identity(gateway: FakeGateway, session: Session) -> None:
    with session.filesystem().open("claims/part-0.parquet") as file:
        assert pq.read_table(file) == TABLE
    import pandas as pd

    frame = pd.read_parquet("s3://claims/part-0.parquet", storage_options=session.storage_options())
    assert list(frame["name"]) == ["Ada", "Grace"]
    assert set(gateway.identities) == {_key_of(session)}


def test_pyarrow_reads_with_the_sessions_identity(gateway: FakeGateway, session: Session) -> None:
    before = dict(os.environ)
    filesystem = session.pyarrow()
    assert dict(os.environ) == before
    assert pq.read_table("claims/part-0.parquet", filesystem=filesystem) == TABLE
    assert set(gateway.identities) == {_key_of(session)}


def test_pyarrow_is_not_taken_over_by_keys_of_the_environment(
    gateway: FakeGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKSTEWARD")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "steward-secret")
    assert pq.read_table("claims/part-0.parquet", filesystem=session.pyarrow()) == TABLE
    assert set(gateway.identities) == {_key_of(session)}


def test_boto3_is_not_taken_over_by_keys_of_the_environment(
    gateway: FakeGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKSTEWARD")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "steward-secret")
    session.boto3().head_object(Bucket="claims", Key="part-0.parquet")
    with session.filesystem().open("claims/part-0.parquet") as file:
        file.read()
    assert set(gateway.identities) == {_key_of(session)}


def test_polars_reads_with_the_sessions_identity(gateway: FakeGateway, session: Session) -> None:
    polars = pytest.importorskip("polars")
    options = session.storage_options("polars")
    scan = polars.scan_parquet("s3://claims/part-0.parquet", storage_options=options, credential_provider=None)
    assert scan.collect()["name"].to_list() == ["Ada", "Grace"]
    assert set(gateway.identities) == {_key_of(session)}


def test_inside_the_block_plain_clients_and_children_use_the_session(gateway: FakeGateway) -> None:
    before = dict(os.environ)
    with _attest(gateway) as session:
        key = _key_of(session)
        boto3.Session().client("s3").head_object(Bucket="claims", Key="part-0.parquet")
        code = "import boto3; boto3.client('s3').head_object(Bucket='claims', Key='part-0.parquet')"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        token_file = Path(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
        assert token_file.exists()
    assert gateway.identities == [key, key]
    assert dict(os.environ) == before
    assert not token_file.exists()
    assert gateway.sessions[session.session_id].revoked


def test_token_file_is_private_and_has_no_newline(session: Session) -> None:
    path = Path(session.env()["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.read_bytes().endswith((b"\n", b"\r"))


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_endpoint_without_the_token_answers_401_and_no_secret(session: Session, token: str | None) -> None:
    request = urllib.request.Request(session.env()["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    if token is not None:
        request.add_header("Authorization", token)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    with caught.value:
        body = caught.value.read().decode()
    assert caught.value.code == 401
    assert session.credentials.secret_access_key not in body


def test_endpoint_answers_with_an_end_in_utc(session: Session) -> None:
    env = session.env()
    token = Path(env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text()
    request = urllib.request.Request(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers={"Authorization": token})
    with urllib.request.urlopen(request, timeout=5) as answer:
        document = json.load(answer)
    assert document["AccessKeyId"] == session.credentials.access_key_id
    assert document["Expiration"].endswith("Z")


def test_the_agent_reattests_before_freshness_ends(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1
    with _attest(gateway) as session:
        wait_until(lambda: gateway.sessions[session.session_id].attested >= 3)
        assert session.failure is None


def test_without_reattest_nobody_asks_again(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1
    with _attest(gateway, reattest=False) as session:
        session.reattest()
        assert gateway.sessions[session.session_id].attested == 2


def test_a_passing_outage_is_survived(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1
    with _attest(gateway) as session:
        session._agent._renewal._first_retry = 0.05
        gateway.hook_before = lambda _m, path: (503, "ServiceUnavailable") if "challenges" in path else None
        wait_until(lambda: session.failure is not None)
        gateway.hook_before = lambda _m, _p: None
        wait_until(lambda: session.failure is None)
        assert gateway.sessions[session.session_id].attested >= 2


def test_a_revoked_session_ends_the_endpoint_with_the_reason(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1
    with _attest(gateway) as session:
        gateway.sessions[session.session_id].revoked = True
        wait_until(lambda: session.failure is not None)
        status, document = session._agent.answer("/v1/credentials", session._agent._token)
        assert (status, document["code"]) == (403, "session.revoked")
        with pytest.raises(ClientError, match=r"InvalidAccessKeyId|403"):
            boto3.client(
                "s3", endpoint_url=gateway.s3_endpoint, region_name="de", aws_access_key_id=_key_of(session),
                aws_secret_access_key=session.credentials.secret_access_key,
                aws_session_token=session.credentials.session_token,
            ).get_object(Bucket="claims", Key="part-0.parquet")  # fmt: skip


def test_credentials_near_their_end_are_replaced_by_a_new_session_of_the_same_run(gateway: FakeGateway) -> None:
    gateway.credential_seconds = 600
    with _attest(gateway, run="train-1", reattest=False) as session:
        first, run = session.session_id, session.run_id
        session.reattest()
        assert session.session_id != first
        assert session.run_id == run
        keys = {entry.thumbprint for entry in gateway.sessions.values()}
        assert len(keys) == 1


def test_refusal_carries_rule_remedy_and_decision(gateway: FakeGateway) -> None:
    with pytest.raises(demesne.Refused) as caught:
        _attest(gateway, purpose="forbidden")
    refused = caught.value
    assert (refused.rule, refused.remedy, refused.decision_id) == ("access.purpose", "ask the steward", "e" * 32)
    assert gateway.sessions == {}


def test_evidence_of_another_binding_is_refused(gateway: FakeGateway) -> None:
    class Lying(SampleAttester):
        def evidence(self, report_data: bytes) -> dict[str, Any]:
            return super().evidence(bytes(64))

    with pytest.raises(demesne.Refused, match=r"attestation\.binding"):
        _attest(gateway, attester=Lying())
    assert gateway.sessions == {}


def test_a_key_of_a_raw_session_is_never_served_for_static_credentials() -> None:
    with pytest.raises(demesne.Malformed):
        demesne.Credentials("AK", "s").as_container_document()


def test_endpoint_from_the_ready_file_and_scope_of_what_is_known(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.datasets["real"] = {"name": "real", "zone": "de", "synthetic": False}
    path = tmp_path / "ready.json"
    path.write_text(json.dumps(gateway.ready_document()))
    monkeypatch.setenv("DEMESNE_READY_FILE", str(path))
    with demesne.attest(purpose="claims-risk-model", credentials=TRAINER, notice=io.StringIO()) as session:
        assert gateway.sessions[session.session_id].scope == ["claims"]
        assert session.s3_endpoint == gateway.s3_endpoint


def test_nobody_attests_as_the_steward_by_accident(gateway: FakeGateway) -> None:
    with pytest.raises(demesne.NotConfigured, match=r"credentials\.missing"):
        demesne.attest(gateway.api_endpoint, purpose="p", region="de")
    assert gateway.requests == []


def test_unknown_attester_names_those_there_are(gateway: FakeGateway) -> None:
    with pytest.raises(demesne.Invalid, match="sample"):
        _attest(gateway, attester="abacus")


class Gpu:
    kind = "nvidia-gpu"

    def __init__(self, count: int = 2) -> None:
        self.nonces: list[bytes] = []
        self._count = count

    def evidence(self, nonce: bytes) -> list[dict[str, Any]]:
        self.nonces.append(nonce)
        return [{"kind": self.kind, "version": 1, "report": f"{index:02x}"} for index in range(self._count)]


def test_what_devices_say_is_bound_into_the_machines_evidence(gateway: FakeGateway) -> None:
    gpu = Gpu()
    with _attest(gateway, devices=[gpu]) as session:  # the fake refuses evidence that does not commit to them
        session.reattest()
    assert [len(nonce) for nonce in gpu.nonces] == [32, 32]
    assert gpu.nonces[0] != gpu.nonces[1]
    for proof in gateway.proofs:
        assert [entry["kind"] for entry in proof["additional"]] == ["nvidia-gpu"] * 2
        assert proof["additional"][1]["evidence"]["report"] == "01"


def test_more_devices_than_the_protocol_takes(gateway: FakeGateway) -> None:
    with pytest.raises(demesne.Invalid, match=r"evidence\.devices"):
        _attest(gateway, devices=[Gpu(17)])
    assert gateway.sessions == {}


def test_a_bound_sessions_key_lies_in_private_files_and_only_clients_that_can_show_it_are_made(
    gateway: FakeGateway,
) -> None:
    with _attest(gateway, bind="certificate") as session:
        shown = session.reach().client_certificate
        assert shown is not None
        assert {stat.S_IMODE(path.stat().st_mode) for path in (shown.certificate, shown.key)} == {0o600}
        assert b"PRIVATE KEY" in shown.key.read_bytes()
        assert session.boto3().meta.config.client_cert == shown.pair
        assert session.storage_options()["config_kwargs"]["client_cert"] == shown.pair
        for make in (session.pyarrow, lambda: session.storage_options("polars")):
            with pytest.raises(demesne.Invalid, match="client certificate"):
                make()
    assert not shown.key.exists()
    assert gateway.proofs[0]["bind"] == "certificate"


def test_sessions_that_ask_for_no_certificate_write_no_key(session: Session) -> None:
    assert [path.name for path in session._agent.directory.iterdir()] == ["token"]
