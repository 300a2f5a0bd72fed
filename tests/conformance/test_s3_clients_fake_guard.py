"""Unmodified clients against the S3 face over the fake guard, over plain HTTP and over TLS with a private CA."""

import io
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import trustme
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.fakes.s3_server import ACCESS_KEY, REGION, SECRET, Served, serve

KEYS: dict[str, Any] = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET}


@pytest.fixture(scope="module")
def plain() -> Iterator[Served]:
    with serve() as served:
        yield served


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    cert = ca.issue_cert("localhost", "127.0.0.1")
    paths = (folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    ca.cert_pem.write_to_path(str(paths[0]))
    for blob in cert.cert_chain_pems:
        blob.write_to_path(str(paths[1]), append=True)
    cert.private_key_pem.write_to_path(str(paths[2]))
    return paths


@pytest.fixture(scope="module")
def secured(authority: tuple[Path, Path, Path]) -> Iterator[Served]:
    with serve(certificate=authority[1], key=authority[2]) as served:
        yield served


def emptied(served: Served) -> Served:
    served.guard.__init__(REGION)  # type: ignore[misc]
    served.guard.create("claims")
    return served


@pytest.fixture(params=["plain", "secured"])
def served(request: pytest.FixtureRequest) -> Served:
    return emptied(request.getfixturevalue(request.param))


@pytest.fixture
def without_tls(plain: Served) -> Served:
    """For clients that take a private CA from the system's store only."""
    return emptied(plain)


@pytest.fixture
def verify(served: Served, authority: tuple[Path, Path, Path]) -> str | None:
    return str(authority[0]) if served.endpoint.startswith("https") else None


connect: Any = boto3.client  # the stubs know every service of AWS; their overloads do not know **KEYS


def client(served: Served, verify: str | None, **config: Any) -> Any:
    return connect(
        "s3",
        endpoint_url=served.endpoint,
        region_name=REGION,
        verify=verify,
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, **config),
        **KEYS,
    )


def test_boto3_round_trip(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    put = s3.put_object(Bucket="claims", Key="a b/ü+&.txt", Body=b"hello", Metadata={"Colour": "Blue", "empty": ""})
    got = s3.get_object(Bucket="claims", Key="a b/ü+&.txt")
    assert got["Body"].read() == b"hello"
    assert got["ETag"] == put["ETag"] == s3.head_object(Bucket="claims", Key="a b/ü+&.txt")["ETag"]
    assert got["Metadata"] == {"colour": "Blue", "empty": ""}
    assert put["ChecksumCRC32"]
    listed = s3.list_objects_v2(Bucket="claims")["Contents"]
    assert [(item["Key"], item["ETag"], item["Size"]) for item in listed] == [("a b/ü+&.txt", put["ETag"], 5)]
    s3.delete_object(Bucket="claims", Key="a b/ü+&.txt")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="claims", Key="a b/ü+&.txt")
    assert caught.value.response["Error"]["Code"] == "NoSuchKey"
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_content_encoding_is_stored_without_the_framing(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    s3.put_object(Bucket="claims", Key="k", Body=io.BytesIO(b"zz"), ContentEncoding="gzip", CacheControl="no-store")
    head = s3.head_object(Bucket="claims", Key="k")
    assert (head["ContentEncoding"], head["CacheControl"]) == ("gzip", "no-store")
    assert served.guard.body("claims", "k") == b"zz"


def test_managed_transfer_is_multipart_and_back(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    body = bytes(range(256)) * (17 << 12)  # 17 MiB
    s3.upload_fileobj(io.BytesIO(body), "claims", "big")
    assert served.guard.body("claims", "big") == body
    sink = io.BytesIO()
    s3.download_fileobj("claims", "big", sink)
    assert sink.getvalue() == body
    assert s3.head_object(Bucket="claims", Key="big")["ETag"].endswith('-3"')
    assert served.guard.largest_write < 3 << 20


def test_buckets(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    s3.create_bucket(Bucket="other", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["claims", "other"]
    assert s3.get_bucket_location(Bucket="other")["LocationConstraint"] == REGION
    assert s3.head_bucket(Bucket="other")["BucketRegion"] == REGION
    with pytest.raises(ClientError) as caught:
        s3.create_bucket(Bucket="third", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert caught.value.response["Error"]["Code"] == "IllegalLocationConstraintException"
    assert ("acme", "third") not in served.guard.datasets
    s3.delete_bucket(Bucket="other")
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(Bucket="other")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_paginators_see_every_key_and_prefix_once(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    names = [f"p{i // 5}/k {i:02d}+" for i in range(23)] + ["plain"]
    for name in names:
        served.guard.put("claims", name, b"x")
    for operation in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(operation).paginate(Bucket="claims", PaginationConfig={"PageSize": 4})
        assert [item["Key"] for page in pages for item in page["Contents"]] == sorted(names)
        pages = list(
            s3.get_paginator(operation).paginate(Bucket="claims", Delimiter="/", PaginationConfig={"PageSize": 2})
        )
        prefixes = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
        assert prefixes == ["p0/", "p1/", "p2/", "p3/", "p4/"]
        assert [item["Key"] for page in pages for item in page.get("Contents", [])] == ["plain"]


def test_delete_objects(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    for name in ("a", "b<&>", "c"):
        served.guard.put("claims", name, b"x")
    answer = s3.delete_objects(Bucket="claims", Delete={"Objects": [{"Key": "a"}, {"Key": "b<&>"}, {"Key": "absent"}]})
    assert [item["Key"] for item in answer["Deleted"]] == ["a", "b<&>", "absent"]
    assert served.guard.keys("claims") == ["c"]


def test_conditional_writes(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    first = s3.put_object(Bucket="claims", Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="claims", Key="k", Body=b"2", IfNoneMatch="*")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert served.guard.body("claims", "k") == b"1"
    s3.put_object(Bucket="claims", Key="k", Body=b"3", IfMatch=first["ETag"])
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="claims", Key="absent", Body=b"3", IfMatch=first["ETag"])
    assert caught.value.response["Error"]["Code"] == "NoSuchKey"


def test_ranges_and_conditions_on_reads(served: Served, verify: str | None) -> None:
    s3 = client(served, verify)
    etag = served.guard.put("claims", "k", b"0123456789")
    for header, expected in (("bytes=0-3", b"0123"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=0-99", None)):
        got = s3.get_object(Bucket="claims", Key="k", Range=header)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == (expected or b"0123456789")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="claims", Key="k", Range="bytes=10-")
    assert caught.value.response["Error"]["Code"] == "InvalidRange"
    assert s3.get_object(Bucket="claims", Key="k", IfMatch=f'"{etag}"')["Body"].read() == b"0123456789"
    for name, value, status in (("IfNoneMatch", etag, 304), ("IfMatch", "other", 412)):
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket="claims", Key="k", **{name: value})
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_presigned_get_and_put(served: Served, verify: str | None) -> None:
    s3 = client(served, verify, signature_version="s3v4")
    context = ssl.create_default_context(cafile=verify) if verify else None
    served.guard.put("claims", "k", b"linked")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "claims", "Key": "k"}, ExpiresIn=3600)
    with urllib.request.urlopen(url, context=context) as response:
        assert response.read() == b"linked"
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "claims", "Key": "up"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(url, b"sent", method="PUT"), context=context) as response:
        assert response.status == 200
    assert served.guard.body("claims", "up") == b"sent"


def test_presigned_link_never_carries_raw(served: Served, verify: str | None) -> None:
    served.guard.put("claims", "k", b"raw rows")
    served.guard.view = "raw"
    s3 = client(served, verify, signature_version="s3v4")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "claims", "Key": "k"})
    context = ssl.create_default_context(cafile=verify) if verify else None
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, context=context)
    body = caught.value.read()
    assert caught.value.code == 403
    assert b"presigned.raw" in body
    assert b"raw rows" not in body
    assert served.guard.outcomes[-1] == ("read", "k", "aborted", 0)


def test_session_credentials(served: Served, verify: str | None) -> None:
    served.guard.put("claims", "k", b"1")
    for token, code in (("good-token", None), ("forged", "InvalidToken")):
        s3 = connect(
            "s3", endpoint_url=served.endpoint, region_name=REGION, verify=verify, aws_session_token=token, **KEYS
        )
        if code is None:
            assert s3.get_object(Bucket="claims", Key="k")["Body"].read() == b"1"
        else:
            with pytest.raises(ClientError) as caught:
                s3.get_object(Bucket="claims", Key="k")
            assert caught.value.response["Error"]["Code"] == code


def test_wrong_region_tells_the_right_one(served: Served, verify: str | None) -> None:
    s3 = connect("s3", endpoint_url=served.endpoint, region_name="us-east-1", verify=verify, **KEYS)
    with pytest.raises(ClientError) as caught:
        s3.list_buckets()
    assert caught.value.response["Error"]["Code"] == "AuthorizationHeaderMalformed"
    error: Any = caught.value.response["Error"]
    assert error["Region"] == REGION


def test_s3fs_reads_and_writes(served: Served, verify: str | None) -> None:
    s3fs = pytest.importorskip("s3fs")
    fs = s3fs.S3FileSystem(
        key=ACCESS_KEY,
        secret=SECRET,
        endpoint_url=served.endpoint,
        client_kwargs={"region_name": REGION, "verify": verify} if verify else {"region_name": REGION},
        skip_instance_cache=True,
    )
    with fs.open("claims/dir/a=1/x.bin", "wb") as file:
        file.write(b"abc" * 100)
    assert fs.cat("claims/dir/a=1/x.bin") == b"abc" * 100
    assert fs.ls("claims/dir") == ["claims/dir/a=1"]
    assert fs.info("claims/dir/a=1/x.bin")["size"] == 300
    fs.rm("claims/dir", recursive=True)
    assert served.guard.keys("claims") == []


def test_pyarrow_reads_and_writes(served: Served, verify: str | None) -> None:
    import pyarrow as pa
    import pyarrow.fs as pafs
    import pyarrow.parquet as pq

    scheme: Any
    scheme, _, host = served.endpoint.partition("://")
    options: dict[str, Any] = {"tls_ca_file_path": verify} if verify else {}
    fs = pafs.S3FileSystem(
        access_key=ACCESS_KEY, secret_key=SECRET, endpoint_override=host, scheme=scheme, region=REGION, **options
    )
    table = pa.table({"x": list(range(1000)), "year": [2020] * 1000})
    pq.write_to_dataset(table, "claims/t", partition_cols=["year"], filesystem=fs)
    assert pq.read_table("claims/t", filesystem=fs).num_rows == 1000
    assert any("year=2020" in key for key in served.guard.keys("claims"))
    info = fs.get_file_info(pafs.FileSelector("claims", recursive=True))
    assert sum(item.is_file for item in info) == 1
    with fs.open_output_stream("claims/big") as stream:
        stream.write(b"z" * (11 << 20))
    assert len(served.guard.body("claims", "big") or b"") == 11 << 20


def test_polars_reads(without_tls: Served) -> None:
    import polars as pl

    sink = io.BytesIO()
    pl.DataFrame({"x": [1, 2, 3]}).write_parquet(sink)
    without_tls.guard.put("claims", "d/t.parquet", sink.getvalue())
    options = {
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET,
        "aws_endpoint_url": without_tls.endpoint,
        "aws_region": REGION,
        "aws_allow_http": "true",
    }
    assert pl.scan_parquet("s3://claims/d/*.parquet", storage_options=options).collect()["x"].sum() == 6


def test_obstore_reads_and_writes(without_tls: Served) -> None:
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "claims",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET,
        endpoint=without_tls.endpoint,
        region=REGION,
        client_options={"allow_http": True},
    )
    obstore.put(store, "o/k=1", b"hello")
    assert bytes(obstore.get(store, "o/k=1").bytes()) == b"hello"
    assert bytes(obstore.get_range(store, "o/k=1", start=1, end=3)) == b"el"
    assert [item["path"] for page in obstore.list(store) for item in page] == ["o/k=1"]
    with pytest.raises(Exception, match=r"(?i)exist|precondition"):
        obstore.put(store, "o/k=1", b"other", mode="create")
    assert without_tls.guard.body("claims", "o/k=1") == b"hello"


def test_minio_reads_and_writes(served: Served, authority: tuple[Path, Path, Path]) -> None:
    import minio
    import urllib3

    secure = served.endpoint.startswith("https")
    pool = urllib3.PoolManager(ca_certs=str(authority[0])) if secure else None
    mc = minio.Minio(
        served.endpoint.partition("://")[2],
        access_key=ACCESS_KEY,
        secret_key=SECRET,
        secure=secure,
        region=REGION,
        http_client=pool,
    )
    mc.put_object("claims", "m/k", io.BytesIO(b"minio"), 5)
    response = mc.get_object("claims", "m/k")
    assert response.read() == b"minio"
    response.close()
    response.release_conn()
    assert [item.object_name for item in mc.list_objects("claims", recursive=True)] == ["m/k"]
