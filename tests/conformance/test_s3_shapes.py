"""Every answer of every operation, read by botocore's own parser: what it finds, and that it overlooks nothing.

A header or element that botocore does not know under the name we give it would be lost on every client made with it.
"""

import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.model import ListShape, OperationModel, Shape, StructureShape

from tests.fakes.guard import FakeGuard
from tests.fakes.s3_server import ACCESS_KEY, REGION, SECRET, Served, serve
from tests.unit.gateway.s3.test_s3_face import IMPLEMENTED

PART = b"p" * (5 << 20)
# Headers of HTTP itself, of S3's own that the model leaves out, and ours.
BESIDE = frozenset(
    ("date", "content-length", "content-type", "connection", "transfer-encoding", "location", "server",
     "x-amz-request-id", "x-amz-id-2", "x-demesne-decision", "x-demesne-view", "x-demesne-promise", "accept-ranges")
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        running.guard.view = "open"
        yield running


class Seen:
    """A client whose every answer is held against the output shape of its operation."""

    def __init__(self, served: Served) -> None:
        connect: Any = boto3.client
        self.s3 = connect(
            "s3", endpoint_url=served.endpoint, region_name=REGION, aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET, config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )  # fmt: skip
        self.operations: set[str] = set()
        self.s3.meta.events.register("after-call.s3", self._hold)

    def _hold(self, http_response: Any, model: OperationModel, **_: Any) -> None:
        self.operations.add(model.name)
        if http_response.status_code >= 300:
            return
        shape = model.output_shape
        members = shape.members.values() if isinstance(shape, StructureShape) else ()
        headers = {m.serialization.get("name", "").lower() for m in members if m.serialization.get("location")}
        for name in http_response.headers:
            known = name.lower() in headers or name.lower() in BESIDE or name.lower().startswith("x-amz-meta-")
            assert known, f"{model.name}: header {name} is not botocore's"
        if isinstance(shape, StructureShape) and "payload" not in shape.serialization and http_response.content:
            root = ET.fromstring(http_response.content)
            if model.name != "GetBucketLocation":  # its one element is the root itself
                _walk(root, shape, model.name)


def _walk(element: ET.Element, shape: StructureShape, where: str) -> None:
    known: dict[str, Shape] = {}
    for name, member in shape.members.items():
        flat = isinstance(member, ListShape) and member.serialization.get("flattened")
        inner = member.member.serialization.get("name") if flat and isinstance(member, ListShape) else None
        known[member.serialization.get("name") or inner or name] = member
    for child in element:
        name = child.tag.rpartition("}")[2]
        assert name in known, f"{where}: element {name} is not botocore's"
        member = known[name]
        if isinstance(member, StructureShape):
            _walk(child, member, f"{where}.{name}")
        elif isinstance(member, ListShape) and isinstance(member.member, StructureShape):
            for item in [child] if member.serialization.get("flattened") else list(child):
                _walk(item, member.member, f"{where}.{name}")


def test_every_operation_answers_what_botocore_reads(served: Served) -> None:
    guard: FakeGuard = served.guard
    seen = Seen(served)
    s3 = seen.s3
    s3.create_bucket(Bucket="shapes", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert s3.list_buckets(Prefix="sh", MaxBuckets=1)["Buckets"][0]["BucketRegion"] == REGION
    assert s3.head_bucket(Bucket="shapes")["BucketRegion"] == REGION
    assert s3.get_bucket_location(Bucket="shapes")["LocationConstraint"] == REGION
    assert "Status" not in s3.get_bucket_versioning(Bucket="shapes")
    s3.put_bucket_versioning(Bucket="shapes", VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket="shapes")["Status"] == "Enabled"

    put = s3.put_object(Bucket="shapes", Key="a +ü", Body=b"rows", Tagging="t=1", ChecksumAlgorithm="SHA256")
    assert put["ChecksumType"] == "FULL_OBJECT"
    got = s3.get_object(Bucket="shapes", Key="a +ü", ChecksumMode="ENABLED")
    assert (got["VersionId"], got["TagCount"], got["ChecksumSHA256"]) == (put["VersionId"], 1, put["ChecksumSHA256"])
    assert got["Body"].read() == b"rows"
    assert s3.head_object(Bucket="shapes", Key="a +ü")["LastModified"]
    s3.put_object_tagging(Bucket="shapes", Key="a +ü", Tagging={"TagSet": [{"Key": "b", "Value": "2"}]})
    assert s3.get_object_tagging(Bucket="shapes", Key="a +ü")["TagSet"] == [{"Key": "b", "Value": "2"}]
    s3.delete_object_tagging(Bucket="shapes", Key="a +ü")
    for acl in (s3.get_bucket_acl(Bucket="shapes"), s3.get_object_acl(Bucket="shapes", Key="a +ü")):
        grantee = {"ID": "acme", "DisplayName": "acme", "Type": "CanonicalUser"}
        assert acl["Grants"] == [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]
        own = {"Owner": acl["Owner"], "Grants": acl["Grants"]}
        s3.put_bucket_acl(Bucket="shapes", AccessControlPolicy=own)
        s3.put_object_acl(Bucket="shapes", Key="a +ü", AccessControlPolicy=own)

    copied = s3.copy_object(
        Bucket="shapes", Key="copy", CopySource={"Bucket": "shapes", "Key": "a +ü", "VersionId": put["VersionId"]}
    )
    assert copied["CopySourceVersionId"] == put["VersionId"]
    assert copied["CopyObjectResult"]["ChecksumSHA256"] == put["ChecksumSHA256"]

    made = s3.create_multipart_upload(
        Bucket="shapes", Key="parts", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )
    at = {"Bucket": "shapes", "Key": "parts", "UploadId": made["UploadId"]}
    one = s3.upload_part(**at, PartNumber=1, Body=PART)
    two = s3.upload_part_copy(
        **at, PartNumber=2, CopySource={"Bucket": "shapes", "Key": "copy"}, CopySourceRange="bytes=0-1"
    )["CopyPartResult"]
    parts = s3.list_parts(**at)
    assert (parts["ChecksumAlgorithm"], parts["ChecksumType"], parts["Owner"]["ID"]) == ("CRC32", "FULL_OBJECT", "acme")
    assert [part["ChecksumCRC32"] for part in parts["Parts"]] == [one["ChecksumCRC32"], two["ChecksumCRC32"]]
    other = s3.create_multipart_upload(Bucket="shapes", Key="dir/x")
    uploads = s3.list_multipart_uploads(Bucket="shapes", Delimiter="/")
    assert [item["Key"] for item in uploads["Uploads"]] == ["parts"]
    assert [item["Prefix"] for item in uploads["CommonPrefixes"]] == ["dir/"]
    s3.abort_multipart_upload(Bucket="shapes", Key="dir/x", UploadId=other["UploadId"])
    listed = [{"PartNumber": n, "ETag": part["ETag"]} for n, part in ((1, one), (2, two))]
    whole = s3.complete_multipart_upload(**at, MultipartUpload={"Parts": listed}, MpuObjectSize=len(PART) + 2)
    assert whole["ChecksumType"] == "FULL_OBJECT"
    second = s3.get_object(Bucket="shapes", Key="parts", PartNumber=2)
    assert (second["PartsCount"], second["Body"].read()) == (2, b"ro")
    shown = s3.get_object_attributes(
        Bucket="shapes", Key="parts",
        ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"],
    )  # fmt: skip
    assert (shown["ObjectParts"]["TotalPartsCount"], shown["ObjectSize"]) == (2, len(PART) + 2)
    assert shown["Checksum"]["ChecksumCRC32"] == whole["ChecksumCRC32"]

    gone = s3.delete_object(Bucket="shapes", Key="copy")
    assert gone["DeleteMarker"]
    versions = s3.list_object_versions(Bucket="shapes")
    assert [item["Key"] for item in versions["Versions"]] == ["a +ü", "copy", "parts"]
    assert [item["VersionId"] for item in versions["DeleteMarkers"]] == [gone["VersionId"]]
    assert versions["Versions"][0]["ChecksumAlgorithm"] == ["SHA256"]
    assert s3.list_objects(Bucket="shapes")["Contents"][0]["Owner"]["ID"] == "acme"
    assert s3.list_objects_v2(Bucket="shapes", FetchOwner=True)["Contents"][0]["Owner"]["ID"] == "acme"
    marked = s3.delete_objects(Bucket="shapes", Delete={"Objects": [{"Key": "a +ü"}, {"Key": "x" * 2000}]})
    assert marked["Deleted"][0]["DeleteMarkerVersionId"]
    assert marked["Errors"][0]["Code"] == "KeyTooLongError"
    everything = s3.list_object_versions(Bucket="shapes")
    for item in everything["Versions"] + everything["DeleteMarkers"]:
        s3.delete_object(Bucket="shapes", Key=item["Key"], VersionId=item["VersionId"])
    s3.delete_bucket(Bucket="shapes")
    assert ("acme", "shapes") not in guard.datasets
    assert seen.operations == IMPLEMENTED


@pytest.mark.parametrize("key", ["k", "a b/ü+&.txt", "//", "..", "trail/"])
def test_virtual_hosts_and_paths_name_the_same_objects(
    served: Served, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    # Not every resolver answers for sub-domains of localhost, as RFC 6761 has it.
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **named: resolve(
            "127.0.0.1" if str(host).endswith(".localhost") else host, *more, **named
        )
    )  # fmt: skip
    served.guard.create("claims")
    connect: Any = boto3.client
    port = served.endpoint.rpartition(":")[2]
    virtual, path = (
        connect(
            "s3", endpoint_url=f"http://localhost:{port}", region_name=REGION, aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET, config=Config(s3={"addressing_style": style}),
        )
        for style in ("virtual", "path")
    )  # fmt: skip
    hosts: list[str] = []

    def note(request: Any, **_: Any) -> None:
        hosts.append(request.url)

    virtual.meta.events.register("before-send.s3", note)
    virtual.put_object(Bucket="claims", Key=key, Body=b"x")
    assert hosts[0].startswith("http://claims.localhost:")
    assert path.get_object(Bucket="claims", Key=key)["Body"].read() == b"x"
    assert virtual.get_object(Bucket="claims", Key=key)["Body"].read() == b"x"
    assert [item["Key"] for item in virtual.list_objects_v2(Bucket="claims")["Contents"]] == [key]
