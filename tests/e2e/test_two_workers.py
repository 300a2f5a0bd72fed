"""Two front workers behind one address: each serves alone, both see one state, neither keeps a revoked session.

One of them is stopped (SIGSTOP) while the other is spoken to: who answers is then certain.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from demesne.credentials import Credentials
from tests.e2e.conftest import DATASET
from tests.e2e.deployment import ONCE
from tests.e2e.world import World, connect, refused

KEY = "part-0.parquet"
WORKERS = ("front-0", "front-1")
pytestmark = pytest.mark.timeout(120)


@contextmanager
def only(world: World, worker: str) -> Iterator[None]:
    """The other worker takes no connection until the block ends."""
    [other] = set(WORKERS) - {worker}
    process = world.child(other).process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def client(world: World, keys: Credentials) -> Iterator[Any]:
    """A connection of its own, which no other worker has taken before."""
    made = connect(
        "s3", endpoint_url=world.zone().s3_endpoint, region_name="de", aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key, aws_session_token=keys.session_token, config=ONCE,
    )  # fmt: skip
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("worker", WORKERS)
def test_each_worker_serves_alone(worker: str, spare: World) -> None:
    with only(spare, worker):
        assert httpx2.get(f"{spare.zone().api_endpoint}/readyz", trust_env=False).status_code == 200
        with client(spare, spare.credentials("analyst")) as s3:
            assert s3.get_object(Bucket=DATASET, Key=KEY)["Body"].read()[:4] == b"PAR1"


@pytest.mark.parametrize(("writer", "reader"), [WORKERS, WORKERS[::-1]])
def test_what_one_wrote_the_other_reads_at_once(writer: str, reader: str, spare: World) -> None:
    bucket = f"two-workers-{time.monotonic_ns()}"
    steward, analyst = spare.credentials("steward"), spare.credentials("analyst")
    with only(spare, writer), client(spare, steward) as s3:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "de"})
    for number in range(3):
        with only(spare, writer), client(spare, steward) as s3:
            s3.put_object(Bucket=bucket, Key="same", Body=b"%d" % number)
            s3.put_object(Bucket=bucket, Key=f"new/{number}", Body=b"")
        with only(spare, reader), client(spare, analyst) as s3:
            assert s3.get_object(Bucket=bucket, Key="same")["Body"].read() == b"%d" % number
            listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix="new/")["Contents"]]
            assert listed == [f"new/{each}" for each in range(number + 1)]
    with only(spare, writer), client(spare, steward) as s3:
        s3.delete_object(Bucket=bucket, Key="same")
    with only(spare, reader), client(spare, analyst) as s3:
        assert refused(lambda: s3.get_object(Bucket=bucket, Key="same")).status == 404


@pytest.mark.parametrize(("revoking", "other"), [WORKERS, WORKERS[::-1]])
def test_a_session_ended_at_one_is_refused_by_the_other_within_five_seconds(
    revoking: str, other: str, spare: World
) -> None:
    session = spare.attest(DATASET, run=f"ended-at-{revoking}")
    keys = session.credentials
    for worker in WORKERS:  # both have seen it, and may remember it
        with only(spare, worker), client(spare, keys) as s3:
            assert s3.get_object(Bucket=DATASET, Key=KEY)["Body"].read()[:4] == b"PAR1"
    with only(spare, revoking):
        session.close()
        ended = time.monotonic()
        with client(spare, keys) as s3:
            assert refused(lambda: s3.get_object(Bucket=DATASET, Key=KEY)).status in {400, 403}
    with only(spare, other), client(spare, keys) as s3:
        time.sleep(max(0.0, ended + 5.0 - time.monotonic()))
        assert refused(lambda: s3.get_object(Bucket=DATASET, Key=KEY)).status in {400, 403}
