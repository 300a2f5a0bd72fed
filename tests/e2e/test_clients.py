"""Unmodified clients, one URI, two views: masked for the analyst's plain keys, raw for the attested job.

The same program (same_uri.py) runs twice; nothing but its environment differs. test_rolling_clients.py has the same
clients live through credentials that change.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import DATASET
from tests.e2e.people import ROWS, Input
from tests.e2e.s3_clients import CLIENTS
from tests.e2e.world import World

KEY = "part-0.parquet"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}  # Ray and Hugging Face would call home

Seen = dict[str, dict[str, Any]]
pytestmark = pytest.mark.timeout(180)


def analyst_environment(world: World) -> dict[str, str]:
    """What anybody sets to reach any S3 at all."""
    keys = world.credentials("analyst")
    environment = {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_ENDPOINT_URL": world.zone().s3_endpoint,
        "AWS_REGION": "de",
        "AWS_DEFAULT_REGION": "de",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ALLOW_HTTP": "true",
    }
    return environment | authorities(world)


def authorities(world: World) -> dict[str, str]:
    """What `demesne doctor` says of a private authority: botocore's clients read the one, all others here the other."""
    return {"AWS_CA_BUNDLE": str(world.ca), "SSL_CERT_FILE": str(world.ca)} if world.ca else {}


def read_by_all(environment: Mapping[str, str], home: Path, *clients: str) -> Seen:
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | QUIET
    wanted = ",".join(clients or installed())
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.same_uri", DATASET, KEY, wanted], cwd=ROOT,
        env=base | dict(environment), capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen: Seen = json.loads(done.stdout.splitlines()[-1])  # libraries print what they like before it
    return seen


def installed() -> list[str]:
    return [name for name in CLIENTS if name != "torch" or find_spec("torch")]


def over_tls() -> list[str]:
    """All but Ray, which is pyarrow's client in another process and slow to start."""
    return [name for name in installed() if name != "ray"]


def skip_unless_installed(client: str) -> None:
    if client not in installed():
        pytest.skip(f"{client} is not installed: PyPI's wheels of it bring GBs of CUDA")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def session(world: World) -> Iterator[Any]:
    with_session = world.attest(DATASET, run="clients")
    yield with_session
    with_session.close()


@pytest.fixture(scope="module")
def masked(world: World, home: Path) -> Seen:
    return read_by_all(analyst_environment(world), home)


@pytest.fixture(scope="module")
def raw(session: Any, home: Path) -> Seen:
    return read_by_all(session.env(), home)


@pytest.fixture(scope="module")
def tls_masked(tls: World, home: Path) -> Seen:
    return read_by_all(analyst_environment(tls), home, *over_tls())


@pytest.fixture(scope="module")
def tls_raw(tls: World, home: Path) -> Iterator[Seen]:
    session = tls.attest(DATASET, run="tls-clients")
    yield read_by_all(session.env() | authorities(tls), home, *over_tls())
    session.close()


def same_uri_two_views(client: str, masked: Seen, raw: Seen, made: Input) -> None:
    skip_unless_installed(client)
    for view in (masked, raw):
        assert "error" not in view[client], view[client]
        assert view[client]["rows"] == ROWS // 2
    assert raw[client]["first"] == made.emails[0]
    assert masked[client]["first"].startswith("p_")  # a pseudonym
    # Columns that hold no personal data are the same in both, and all clients saw the same rows.
    assert masked[client]["visits"] == raw[client]["visits"]
    assert masked[client]["sha256"] == masked["boto3"]["sha256"]
    assert raw[client]["sha256"] == raw["boto3"]["sha256"]


@pytest.mark.parametrize("client", CLIENTS)
def test_one_uri_is_masked_for_the_analyst_and_raw_for_the_attested_job(
    client: str, masked: Seen, raw: Seen, made: Input
) -> None:
    same_uri_two_views(client, masked, raw, made)


@pytest.mark.parametrize("client", over_tls())
def test_the_same_over_tls_with_a_private_authority(client: str, tls_masked: Seen, tls_raw: Seen, made: Input) -> None:
    same_uri_two_views(client, tls_masked, tls_raw, made)


def test_tls_is_not_spoken_with_a_stranger(tls: World, home: Path) -> None:
    """Without the private authority no client talks to the zone: the certificate is what makes it the zone."""
    environment = {k: v for k, v in analyst_environment(tls).items() if k not in authorities(tls)}
    seen = read_by_all(environment | {"AWS_MAX_ATTEMPTS": "1"}, home, "boto3", "obstore")
    assert "SSL" in seen["boto3"]["error"]
    assert "error" in seen["obstore"]


def test_session_storage_options_for_pandas(session: Any, made: Input) -> None:
    frame = pd.read_parquet(f"s3://{DATASET}/{KEY}", columns=["email"], storage_options=session.storage_options())
    assert tuple(frame["email"]) == made.emails


def test_session_storage_options_for_polars(session: Any, made: Input) -> None:
    frame = pl.read_parquet(
        f"s3://{DATASET}/{KEY}", columns=["email"], storage_options=session.storage_options("polars")
    )
    assert tuple(frame["email"]) == made.emails


def test_session_filesystem_for_duckdb(session: Any, made: Input) -> None:
    connection = duckdb.connect()
    try:
        connection.register_filesystem(session.filesystem())
        rows = connection.execute(f"select email from read_parquet('s3://{DATASET}/{KEY}')").fetchall()
    finally:
        connection.close()
    assert tuple(row[0] for row in rows) == made.emails


def test_session_pyarrow_reads_the_whole_dataset(session: Any, made: Input) -> None:
    files = ds.dataset(f"{DATASET}/", filesystem=session.pyarrow(), format="parquet", exclude_invalid_files=True)
    table = files.to_table(columns=["email"])
    assert table.num_rows == ROWS
    assert set(made.emails) <= set(table["email"].to_pylist())


@pytest.mark.parametrize("who", ["analyst", "job"])
def test_head_list_get_and_ranges_tell_one_story(who: str, world: World, session: Any, made: Input) -> None:
    client = world.s3("analyst") if who == "analyst" else session.boto3()
    listed = client.list_objects_v2(Bucket=DATASET)["Contents"]
    assert {entry["Key"] for entry in listed} == {"members.csv", "part-0.parquet", "part-1.parquet"}
    assert [entry["Key"] for entry in client.list_objects(Bucket=DATASET)["Contents"]] == [e["Key"] for e in listed]
    for entry in listed:
        key = entry["Key"]
        head = client.head_object(Bucket=DATASET, Key=key)
        got = client.get_object(Bucket=DATASET, Key=key)
        body = got["Body"].read()
        assert {entry["Size"], head["ContentLength"], got["ContentLength"]} == {len(body)}
        assert len({entry["ETag"], head["ETag"], got["ETag"]}) == 1
        assert head["LastModified"] == got["LastModified"]
        original = (made.directory / key).read_bytes()
        assert (body == original) == (who == "job")
        # Not even the hash of the raw bytes, which tells who has a copy that it is this one.
        assert (hashlib.sha256(original).hexdigest() in str(head)) == (who == "job")
        if who == "job":
            assert got["ETag"].strip('"') == hashlib.md5(original, usedforsecurity=False).hexdigest()
        half = len(body) // 2
        for spec, part in (("bytes=100-299", body[100:300]), ("bytes=-8", body[-8:]), (f"bytes={half}-", body[half:])):
            piece = client.get_object(Bucket=DATASET, Key=key, Range=spec)
            assert piece["Body"].read() == part
            assert piece["ETag"] == got["ETag"]
            assert piece["ContentRange"].endswith(f"/{len(body)}")
    if who == "job":
        client.close()
