"""The SDK against whole zones: a job's words in lineage, errors, workers, a session bound to its certificate."""

import io
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import demesne
import demesne.aio
from demesne.errors import from_s3
from tests.e2e.conftest import DATASET
from tests.e2e.world import PURPOSE, World

KEY = "part-0.parquet"
MODEL = "s3://models/risk.bin"
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def options(world: World, **more: Any) -> dict[str, Any]:
    """Arguments of `demesne.session` for the job of this world."""
    zone = world.zone()
    given: dict[str, Any] = {
        "endpoint": zone.api_endpoint, "s3_endpoint": zone.s3_endpoint, "region": "de", "purpose": PURPOSE,
        "scope": [DATASET], "credentials": world.job(), "attester": "sample", "ca": world.ca,
        "notice": io.StringIO(),
    }  # fmt: skip
    return given | more


def test_a_jobs_words_are_in_lineage_beside_what_was_seen(world: World, tmp_path: Path) -> None:
    model = tmp_path / "risk.bin"
    with demesne.session(**options(world, run="sdk-run")) as session:
        with session.run("risk-v7", outputs=[MODEL], models={MODEL: model}, parents=["last year's"]):
            session.boto3().get_object(Bucket=DATASET, Key=KEY)["Body"].read()
            model.write_bytes(b"weights")
        node: dict[str, Any] = {}
        end = time.monotonic() + 30
        while len(node.get("stated", ())) < 2:  # the projector follows the ledger
            assert time.monotonic() < end, node
            time.sleep(0.3)
            with world.api() as steward:
                try:
                    nodes = steward.lineage(run=session.run_id)["nodes"]
                except demesne.NotFound:
                    continue
                node = next(found for found in nodes if found["id"] == session.run_id)
        assert node["name"] == "sdk-run"
        assert [said["status"] for said in node["stated"]] == ["started", "completed"]
        assert node["stated"][1]["models"][MODEL]
        shown = world.run("lineage", "show", "--run", session.run_id).stdout
        assert "job says: name risk-v7; status completed; parents last year's" in shown
        with world.api() as steward:
            facets = [event["run"]["facets"] for event in steward.lineage_events()]
        assert any("demesne_stated" in each for each in facets)
        entry = json.dumps(next(e for e in world_decisions(world) if e["type"] == "run-statement"))
        assert "risk-v7" not in entry


def world_decisions(world: World) -> list[dict[str, Any]]:
    with world.api() as steward:
        found: list[dict[str, Any]] = steward.decisions(limit=500)
    return found


def test_refusals_carry_rule_decision_and_remedy_through_the_clients(world: World) -> None:
    with demesne.session(**options(world)) as session:
        client, files = session.boto3(), session.filesystem()
        asks: list[Callable[[str], Any]] = [
            lambda key: client.get_object(Bucket=DATASET, Key=key),
            lambda key: client.head_object(Bucket=DATASET, Key=key),
            lambda key: files.cat_file(f"{DATASET}/{key}"),
        ]
        for ask in asks:
            with pytest.raises(Exception) as raised:
                ask("absent")
            found = from_s3(raised.value)
            assert isinstance(found, demesne.NotFound), found
        with world.api() as steward:
            steward.end_session(session.session_id)
        for ask in asks:
            with pytest.raises(Exception) as raised:
                ask(KEY)
            found = from_s3(raised.value)
            assert isinstance(found, demesne.Refused), found
            assert found.remedy
            assert found.rule, found


def _columns(session: Any) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_table(f"{DATASET}/{KEY}", filesystem=session.pyarrow()).num_rows)


def test_workers_forked_and_spawned_read_raw(world: World) -> None:
    with demesne.session(**options(world)) as session:
        expected = _columns(session)
        with multiprocessing.get_context("spawn").Pool(1) as spawned:
            assert spawned.map(_columns, [session]) == [expected]
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                body = session.boto3().get_object(Bucket=DATASET, Key=KEY)["Body"].read()
                os.write(writing, str(len(body)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        size = session.boto3().head_object(Bucket=DATASET, Key=KEY)["ContentLength"]
        assert int(os.read(reading, 100)) == size


def test_a_successor_leaves_clients_of_the_session_before_it_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with demesne.session(**options(world, run="successor")) as session:
        client, first, run = session.boto3(), session.session_id, session.run_id
        raw = client.get_object(Bucket=DATASET, Key=KEY)["Body"].read()
        monkeypatch.setattr("demesne._exchange.RENEW_SECONDS", 4000)  # the hour is nearly over
        session.reattest()
        assert (session.session_id == first, session.run_id) == (False, run)
        assert client.get_object(Bucket=DATASET, Key=KEY)["Body"].read() == raw
        assert session.boto3().get_object(Bucket=DATASET, Key=KEY)["Body"].read() == raw
        second = session.session_id
    ended = world.catalog("select session_id from session where revoked_at is not null")
    assert {(first,), (second,)} <= set(ended)


def test_a_session_bound_to_its_certificate_opens_nothing_without_it(tls: World) -> None:
    with demesne.session(**options(tls, bind="certificate")) as session:
        certificate = session.reach().client_certificate
        assert certificate is not None
        assert certificate.key.stat().st_mode & 0o077 == 0
        raw = session.boto3().get_object(Bucket=DATASET, Key=KEY)["Body"].read()
        assert session.filesystem().cat_file(f"{DATASET}/{KEY}") == raw
        bare = tls.s3(session.credentials)
        with pytest.raises(Exception) as raised:
            bare.get_object(Bucket=DATASET, Key=KEY)["Body"].read()
        assert isinstance(from_s3(raised.value), demesne.Refused)
        session.reattest()
        assert session.boto3().get_object(Bucket=DATASET, Key=KEY)["Body"].read() == raw
    assert not certificate.key.exists()
