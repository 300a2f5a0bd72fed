"""Buckets made by CreateBucket on a real zone with --created-buckets open: uploads in parts, listings, deletes."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.e2e.world import World, refused

pytestmark = pytest.mark.timeout(180)

MIB = 1 << 20
LARGE = 20 * MIB
YEARS, MONTHS, PARTS = (2024, 2025), (1, 2, 3), (0, 1)
NAMES = [f"year={year}/month={month:02}/part-{part}.bin" for year in YEARS for month in MONTHS for part in PARTS]
ODD = ["a b/ü+%&.txt", "year=2024/_SUCCESS", "zz"]


@pytest.fixture(scope="module")
def bucket(_spare: World) -> str:
    _spare.s3("steward").create_bucket(
        Bucket="open-lists", CreateBucketConfiguration={"LocationConstraint": "de"}
    )
    for name in NAMES + ODD:
        _spare.s3("steward").put_object(Bucket="open-lists", Key=name, Body=name.encode())
    return "open-lists"


def test_a_file_uploaded_in_parts_comes_back_whole(spare: World, tmp_path: Path) -> None:
    steward = spare.s3("steward")
    steward.create_bucket(Bucket="open-large", CreateBucketConfiguration={"LocationConstraint": "de"})
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(LARGE))
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=3)
    steward.upload_file(str(path), "open-large", "deep/large.bin", Config=config)
    listed = steward.list_objects_v2(Bucket="open-large")["Contents"]
    assert [(entry["Key"], entry["Size"]) for entry in listed] == [("deep/large.bin", LARGE)]
    assert listed[0]["ETag"].endswith('-3"')  # three parts
    analyst = spare.s3("analyst")  # open: no personal data, so whoever may read reads it as it is
    back = io.BytesIO()
    analyst.download_fileobj("open-large", "deep/large.bin", back, Config=config)
    assert back.getvalue() == path.read_bytes()
    across = f"bytes={8 * MIB - 100}-{8 * MIB + 99}"  # over the seam of two parts
    piece = analyst.get_object(Bucket="open-large", Key="deep/large.bin", Range=across)["Body"].read()
    assert piece == path.read_bytes()[8 * MIB - 100 : 8 * MIB + 100]
    steward.delete_object(Bucket="open-large", Key="deep/large.bin")
    assert refused(lambda: analyst.head_object(Bucket="open-large", Key="deep/large.bin")).status == 404
    steward.delete_bucket(Bucket="open-large")
    assert "open-large" not in {found["Name"] for found in steward.list_buckets()["Buckets"]}


def pages(client: Any, operation: str, **options: Any) -> list[dict[str, Any]]:
    return list(client.get_paginator(operation).paginate(**options, PaginationConfig={"PageSize": 3}))


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("who", ["steward", "analyst"])
def test_listing_in_pages_shows_every_key_once_in_order(operation: str, who: str, spare: World, bucket: str) -> None:
    found = pages(spare.s3(who), operation, Bucket=bucket)
    keys = [entry["Key"] for page in found for entry in page.get("Contents", [])]
    assert keys == sorted(NAMES + ODD)
    assert len(found) == 5
    assert [page["IsTruncated"] for page in found] == [True] * 4 + [False]


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_a_delimiter_folds_keys_also_across_pages(operation: str, spare: World, bucket: str) -> None:
    client = spare.s3("analyst")
    found = pages(client, operation, Bucket=bucket, Delimiter="/")
    prefixes = [each["Prefix"] for page in found for each in page.get("CommonPrefixes", [])]
    assert prefixes == ["a b/", "year=2024/", "year=2025/"]
    assert [entry["Key"] for page in found for entry in page.get("Contents", [])] == ["zz"]
    inner = pages(client, operation, Bucket=bucket, Delimiter="/", Prefix="year=2024/")
    assert [entry["Key"] for page in inner for entry in page.get("Contents", [])] == ["year=2024/_SUCCESS"]
    assert len([each for page in inner for each in page.get("CommonPrefixes", [])]) == 3


def test_start_after_and_encoding(spare: World, bucket: str) -> None:
    client = spare.s3("analyst")
    after = client.list_objects_v2(Bucket=bucket, StartAfter="year=2025/month=03/part-0.bin")["Contents"]
    assert [entry["Key"] for entry in after] == ["year=2025/month=03/part-1.bin", "zz"]
    assert client.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    assert client.get_object(Bucket=bucket, Key=ODD[0])["Body"].read() == ODD[0].encode()


def test_delete_objects_tells_of_each_key(spare: World) -> None:
    steward = spare.s3("steward")
    steward.create_bucket(Bucket="open-deletes", CreateBucketConfiguration={"LocationConstraint": "de"})
    for number in range(5):
        steward.put_object(Bucket="open-deletes", Key=f"k{number}", Body=b"x")
    assert refused(lambda: steward.delete_bucket(Bucket="open-deletes")).code == "BucketNotEmpty"
    refusal = refused(lambda: spare.s3("analyst").delete_object(Bucket="open-deletes", Key="k0"))
    assert refusal.status == 403
    done = steward.delete_objects(
        Bucket="open-deletes", Delete={"Objects": [{"Key": f"k{n}"} for n in range(4)] + [{"Key": "absent"}]}
    )
    assert {entry["Key"] for entry in done["Deleted"]} == {"k0", "k1", "k2", "k3", "absent"}
    assert "Errors" not in done
    assert [entry["Key"] for entry in steward.list_objects_v2(Bucket="open-deletes")["Contents"]] == ["k4"]
    steward.delete_objects(Bucket="open-deletes", Delete={"Objects": [{"Key": "k4"}], "Quiet": True})
    steward.delete_bucket(Bucket="open-deletes")


def test_what_is_wrong_with_a_list_of_parts_is_said(spare: World, bucket: str) -> None:
    steward = spare.s3("steward")
    upload = steward.create_multipart_upload(Bucket=bucket, Key="odd")["UploadId"]
    made = [
        {"PartNumber": n, "ETag": steward.upload_part(
            Bucket=bucket, Key="odd", UploadId=upload, PartNumber=n, Body=b"x" * n)["ETag"]}
        for n in (1, 2)
    ]  # fmt: skip
    expected = {
        "InvalidPart": [made[0] | {"ETag": made[1]["ETag"]}],
        "InvalidPartOrder": made[::-1],
        "EntityTooSmall": made,  # the first of two has one byte
    }
    for code, parts in expected.items():
        refusal = refused(
            steward.complete_multipart_upload,
            Bucket=bucket, Key="odd", UploadId=upload, MultipartUpload={"Parts": parts},
        )  # fmt: skip
        assert (refusal.status, refusal.code) == (400, code)
    assert refused(lambda: steward.head_object(Bucket=bucket, Key="odd")).status == 404
    steward.abort_multipart_upload(Bucket=bucket, Key="odd", UploadId=upload)
    gone = refused(lambda: steward.upload_part(Bucket=bucket, Key="odd", UploadId=upload, PartNumber=1, Body=b"x"))
    assert (gone.status, gone.code) == (404, "NoSuchUpload")


def test_names_that_are_taken_or_absent_are_told_apart(spare: World, bucket: str) -> None:
    steward = spare.s3("steward")
    taken = refused(
        lambda: steward.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "de"})
    )
    assert (taken.status, taken.code) == (409, "BucketAlreadyOwnedByYou")
    assert refused(lambda: steward.get_object(Bucket="never-made", Key="x")).code == "NoSuchBucket"
    assert refused(lambda: spare.s3("analyst").get_object(Bucket=bucket, Key="never-written")).code == "NoSuchKey"


def test_an_upload_that_is_aborted_leaves_nothing(spare: World, bucket: str) -> None:
    steward = spare.s3("steward")
    upload = steward.create_multipart_upload(Bucket=bucket, Key="never")["UploadId"]
    steward.upload_part(Bucket=bucket, Key="never", UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    listed = steward.list_parts(Bucket=bucket, Key="never", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, 1000)]
    assert refused(lambda: spare.s3("analyst").head_object(Bucket=bucket, Key="never")).status == 404
    steward.abort_multipart_upload(Bucket=bucket, Key="never", UploadId=upload)
    assert refused(
        lambda: steward.list_parts(Bucket=bucket, Key="never", UploadId=upload)
    ).code == "NoSuchUpload"  # fmt: skip
    assert "Uploads" not in steward.list_multipart_uploads(Bucket=bucket)
