"""`demesne dev` started again on what it left: data, credentials and ledger are there; a taken port is a sentence."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx2
import pytest

import demesne
from demesne.credentials import Credentials
from lineage.ledger.proof import verify_receipt
from lineage.ledger.verify import verify_directory
from tests.e2e.test_dev_lifecycle import COMMAND, descendants, dev, gone, wait_for
from vault.keys.signing import verify_signature

pytestmark = pytest.mark.timeout(180)

connect: Any = boto3.client
DATA = os.urandom(300_000)


def s3(ready: dict[str, Any], who: str) -> Any:
    keys = ready["credentials"][who]
    return connect(
        "s3", endpoint_url=ready["s3_endpoint"], region_name=ready["region"],
        aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
    )  # fmt: skip


def test_a_taken_port_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option, other in (("--s3-port", "--api-port"), ("--api-port", "--s3-port")):
            state = tmp_path / option.strip("-")
            done = subprocess.run(
                [*COMMAND, "--state-dir", str(state), option, str(port), other, "0", "--json"],
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 2
            assert len(done.stderr.strip().splitlines()) == 1
            assert str(port) in done.stderr
            assert option in done.stderr  # what to do
            assert str(port) in json.loads(done.stdout)["error"]
            assert "Traceback" not in done.stdout + done.stderr
            assert not (state / "ready.json").exists()
            assert not (state / "zones").exists()


def test_the_ready_file_has_exactly_the_documented_shape_and_data_outlives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    options = ("--zones", "de", "--created-buckets", "open", "--workers", "2")
    with dev(state, *options) as process:
        wait_for(state / "ready.json", process)
        first = json.loads((state / "ready.json").read_text())
        in_shape(first)
        steward = s3(first, "steward")
        steward.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "de"})
        written = steward.put_object(Bucket="kept", Key="a/b.bin", Body=DATA)
        decision = written["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
        steward.close()
        started = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert not (state / "ready.json").exists()
        assert gone(started)
    with dev(state, *options) as process:
        wait_for(state / "ready.json", process)
        second = json.loads((state / "ready.json").read_text())
        assert second["credentials"] == first["credentials"]
        analyst = s3(second, "analyst")
        assert analyst.get_object(Bucket="kept", Key="a/b.bin")["Body"].read() == DATA
        analyst.close()
        keys = Credentials(**second["credentials"]["steward"])
        with demesne.Client(second["api_endpoint"], keys, region="de") as api:
            receipt = api.receipt(decision)
            public_key = bytes.fromhex(api.request("GET", "/v1/ledger/key")["public_key"])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert verify_receipt(receipt, public_key, verify_signature).entry["id"] == decision  # the record of the first run
    report = verify_directory(state / "zones" / "de" / "ledger", public_key, verify_signature, zone="de")
    assert report.verified, report.problems


def test_a_second_one_on_the_same_state_is_told_and_harms_nothing(tmp_path: Path) -> None:
    """Two sequencers on one ledger must not be; nor may the one that is refused take the other's ready file away."""
    state = tmp_path / "state"
    with dev(state, "--zones", "de") as process:
        wait_for(state / "ready.json", process)
        port = str(urlsplit(json.loads((state / "ready.json").read_text())["s3_endpoint"]).port)
        for s3_port, code, said in (("0", 1, f"process {process.pid}"), (port, 2, port)):
            second = subprocess.run(
                [*COMMAND, "--state-dir", str(state), "--zones", "de", "--s3-port", s3_port, "--api-port", "0"],
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert second.returncode == code
            assert len(second.stderr.strip().splitlines()) == 1
            assert said in second.stderr
            assert (state / "ready.json").exists()
        assert eventually_ready(json.loads((state / "ready.json").read_text())["api_endpoint"]) == 200
        started = descendants(process.pid)
        process.kill()  # its children are told by the kernel, and end by themselves
        process.wait(10)
        assert gone(started)
    (state / "ready.json").unlink(missing_ok=True)
    with dev(state, "--zones", "de") as third:
        wait_for(state / "ready.json", third)
        assert eventually_ready(json.loads((state / "ready.json").read_text())["api_endpoint"]) == 200


def in_shape(document: dict[str, Any]) -> None:
    """Design §6: these names and no others, the top level being the first zone."""
    assert list(document) == ["s3_endpoint", "api_endpoint", "region", "pid", "zones", "credentials"]
    (zone,) = document["zones"]
    assert set(zone) == {"name", "jurisdiction", "s3_endpoint", "api_endpoint"}
    assert (zone["s3_endpoint"], zone["api_endpoint"]) == (document["s3_endpoint"], document["api_endpoint"])
    assert (zone["name"], zone["jurisdiction"], document["region"]) == ("de", "de", "de")
    for keys in document["credentials"].values():
        assert set(keys) == {"access_key_id", "secret_access_key"}
    assert set(document["credentials"]) == {"steward", "analyst", "custodian"}
    for endpoint in (zone["s3_endpoint"], zone["api_endpoint"]):
        assert urlsplit(endpoint).scheme == "http"
        assert urlsplit(endpoint).hostname == "127.0.0.1"
    assert httpx2.get(f"{zone['api_endpoint']}/readyz", trust_env=False).status_code == 200


def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    """Whichever dies, the zone serves again within seconds, and the ready file stays where it is."""
    state = tmp_path / "state"
    with dev(state, "--zones", "de") as process:
        wait_for(state / "ready.json", process)
        ready = json.loads((state / "ready.json").read_text())
        steward = s3(ready, "steward")
        before = descendants(process.pid)
        for pid in before:
            if parent(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
        assert gone(before)  # their own children too: an engine without its worker ends
        assert eventually_ready(ready["api_endpoint"]) == 200
        assert steward.list_buckets()["Buckets"] == []
        steward.close()
        assert (state / "ready.json").exists()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def eventually_ready(endpoint: str) -> int:
    status, end = 0, time.monotonic() + 30
    while status != 200 and time.monotonic() < end:
        try:
            status = httpx2.get(f"{endpoint}/readyz", trust_env=False, timeout=2).status_code
        except httpx2.HTTPError:
            status = 0
        time.sleep(0.1)
    return status
