"""The face as a whole, in this process: what is refused, with which code, and that nothing changed."""

import asyncio
import base64
import hashlib
from typing import Any

import botocore.session
import pytest

from gateway.errors import Denied, Unavailable
from gateway.s3.call import StreamAborted
from gateway.s3.errors import CODES, s3_failure
from gateway.s3.not_implemented import SUBRESOURCES
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, call, quoted, signed


def run(app: S3App, method: str, path: str, **more: Any) -> Response:
    return asyncio.run(call(app, signed(method, path, **more)))


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


IMPLEMENTED = {
    "AbortMultipartUpload", "CompleteMultipartUpload", "CreateBucket", "CreateMultipartUpload", "DeleteBucket",
    "DeleteObject", "DeleteObjects", "GetBucketLocation", "GetObject", "HeadBucket", "HeadObject", "ListBuckets",
    "ListMultipartUploads", "ListObjects", "ListObjectsV2", "ListParts", "PutObject", "UploadPart",
    "DeleteObjectTagging", "GetBucketVersioning", "GetObjectAttributes", "GetObjectTagging", "ListObjectVersions",
    "PutBucketVersioning", "PutObjectTagging", "CopyObject", "UploadPartCopy", "GetBucketAcl", "GetObjectAcl",
    "PutBucketAcl", "PutObjectAcl",
}  # fmt: skip
MODEL = botocore.session.Session().get_service_model("s3")
OTHER_ENDPOINTS = {"WriteGetObjectResponse", "ListDirectoryBuckets", "CreateSession"}


def operation_target(name: str) -> tuple[str, str]:
    http = MODEL.operation_model(name).http
    path = http["requestUri"].replace("{Bucket}", "claims").replace("{Key+}", "k")
    return http["method"], path


@pytest.mark.parametrize("name", sorted(set(MODEL.operation_names) - IMPLEMENTED - OTHER_ENDPOINTS))
def test_every_other_operation_of_s3_is_not_implemented_and_changes_nothing(
    app: S3App, guard: FakeGuard, name: str
) -> None:
    guard.put("claims", "k", b"before")
    method, path = operation_target(name)
    response = run(app, method, path, body=b"<x/>" if method in ("PUT", "POST") else b"")
    assert response.status == 501, response.body
    if method != "HEAD":
        assert response.code == "NotImplemented"
    assert guard.body("claims", "k") == b"before"
    assert guard.keys("claims") == ["k"]
    assert guard.outcomes == []


def test_subresources_name_every_selector_of_s3() -> None:
    known = set()
    for name in MODEL.operation_names:
        query = MODEL.operation_model(name).http["requestUri"].partition("?")[2]
        known |= {part.partition("=")[0] for part in query.split("&") if part}
    assert known - SUBRESOURCES <= {"list-type", "select-type", "x-id"}


REFUSED_WRITES = {
    "copy onto itself": ({"x-amz-copy-source": "/claims/k"}, "", "InvalidRequest"),
    "copy of nothing": ({"x-amz-copy-source": "/claims"}, "", "InvalidArgument"),
    "copy header without a copy": ({"x-amz-copy-source-if-match": '"x"'}, "", "NotImplemented"),
    "directive without a copy": ({"x-amz-metadata-directive": "REPLACE"}, "", "NotImplemented"),
    "delete header on a put": ({"x-amz-if-match-size": "1"}, "", "NotImplemented"),
    "tag twice": ({"x-amz-tagging": "a=b&a=c"}, "", "InvalidTag"),
    "tag that does not decode": ({"x-amz-tagging": "a=%zz"}, "", "InvalidArgument"),
    "kms": ({"x-amz-server-side-encryption": "aws:kms"}, "", "NotImplemented"),
    "customer key": ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "", "NotImplemented"),
    "object lock": ({"x-amz-object-lock-mode": "GOVERNANCE"}, "", "NotImplemented"),
    "object lock of a bucket": ({"x-amz-bucket-object-lock-enabled": "true"}, "", "NotImplemented"),
    "append": ({"x-amz-write-offset-bytes": "0"}, "", "NotImplemented"),
    "redirect": ({"x-amz-website-redirect-location": "/"}, "", "NotImplemented"),
    "unknown amz header": ({"x-amz-new-thing": "1"}, "", "NotImplemented"),
    "public acl": ({"x-amz-acl": "public-read"}, "", "AccessControlListNotSupported"),
    "grant": ({"x-amz-grant-read": "id=1"}, "", "AccessControlListNotSupported"),
    "storage class": ({"x-amz-storage-class": "GLACIER"}, "", "InvalidStorageClass"),
    "unknown subresource": ({}, "?newThing", "NotImplemented"),
    "acl of nothing": ({}, "?acl", "MalformedXML"),
    "acl that is public": ({"x-amz-acl": "public-read"}, "?acl", "AccessControlListNotSupported"),
    "tagging": ({}, "?tagging", "MalformedXML"),
    "encryption": ({}, "?encryption", "NotImplemented"),
    "unknown checksum": ({"x-amz-checksum-sha512": "AAAA"}, "", "NotImplemented"),
    "two subresources": ({}, "?uploadId=x&acl", "NotImplemented"),
    "part number alone": ({}, "?partNumber=1", "InvalidArgument"),
    "version": ({}, "?versionId=null", "InvalidArgument"),
    "other owner": ({"x-amz-expected-bucket-owner": "someone"}, "", "AccessDenied"),
    "if-none-match two etags": ({"If-None-Match": '"abc", "def"'}, "", "NotImplemented"),
    "bad md5": ({"Content-MD5": "zzz"}, "", "InvalidDigest"),
    "other md5": ({"Content-MD5": md5(b"other")}, "", "BadDigest"),
    "bad crc": ({"x-amz-checksum-crc32": "AAAA"}, "", "BadDigest"),
    "other crc": ({"x-amz-checksum-crc32": "AAAAAA=="}, "", "BadDigest"),
    "two checksums": ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="}, "", "InvalidRequest"),
    "algorithm without checksum": ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "", "InvalidRequest"),
    "much metadata": ({"x-amz-meta-a": "b" * 3000}, "", "MetadataTooLarge"),
    "aws-chunked without the form": ({"x-amz-decoded-content-length": "5"}, "", "InvalidRequest"),
    "trailer without the form": ({"x-amz-trailer": "x-amz-checksum-crc32"}, "", "InvalidRequest"),
}


@pytest.mark.parametrize("name", REFUSED_WRITES)
def test_refused_write_changes_nothing(app: S3App, guard: FakeGuard, name: str) -> None:
    guard.put("claims", "k", b"before")
    headers, query, code = REFUSED_WRITES[name]
    response = run(app, "PUT", f"/claims/k{query}", body=b"after", headers=list(headers.items()))
    assert response.code == code, response.body
    assert response.status == CODES[code]
    assert guard.body("claims", "k") == b"before"
    assert all(status == "aborted" for _, _, status, _ in guard.outcomes)


def test_body_must_be_what_was_hashed(app: S3App, guard: FakeGuard) -> None:
    request = signed("PUT", "/claims/k", body=b"signed")
    request.body = b"forged"
    response = asyncio.run(call(app, request))
    assert (response.status, response.code) == (400, "XAmzContentSHA256Mismatch")
    assert guard.body("claims", "k") is None


@pytest.mark.parametrize("fail", ["before", "after"])
def test_failed_commit_is_never_a_success(app: S3App, guard: FakeGuard, fail: str) -> None:
    guard.fail_commit = fail
    response = run(app, "PUT", "/claims/k", body=b"x")
    assert (response.status, response.code) == (503, "ServiceUnavailable")
    assert response.headers["retry-after"] == "1"
    assert (guard.body("claims", "k") is None) == (fail == "before")


def test_plain_put_without_length_is_refused(app: S3App, guard: FakeGuard) -> None:
    request = signed("PUT", "/claims/k", body=b"x", payload="UNSIGNED-PAYLOAD")
    request.headers = [item for item in request.headers if item[0] != b"content-length"]
    request.headers.append((b"transfer-encoding", b"chunked"))
    response = asyncio.run(call(app, request))
    assert (response.status, response.code) == (411, "MissingContentLength")
    assert guard.body("claims", "k") is None


ODD_KEYS = [
    ".",
    "..",
    "a//b",
    "/lead",
    "trail/",
    "a/../b",
    "%2F",
    "a%b",
    "+",
    " ",
    "ü",
    "é",
    "é",
    "\U0001f600",
    "a" * 1024,
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_is_exactly_what_was_sent(app: S3App, guard: FakeGuard, key: str) -> None:
    assert run(app, "PUT", "/claims/" + quoted(key), body=b"x").status == 200
    assert guard.keys("claims") == [key]
    assert run(app, "GET", "/claims/" + quoted(key)).body == b"x"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/claims/" + "a" * 1025, "KeyTooLongError"),
        ("/claims/a%00b", "KeyTooLongError"),
        ("/claims/%ff", "InvalidURI"),
        ("/claims/%c0%af", "InvalidURI"),
        ("/claims/%zz", "InvalidURI"),
        ("/UPPER/k", "InvalidBucketName"),
        ("/a..b/k", "InvalidBucketName"),
        ("/10.0.0.1/k", "InvalidBucketName"),
        ("/claims%2Fx/k", "InvalidBucketName"),
        ("/absent/k", "NoSuchBucket"),
        ("/claims/absent", "NoSuchKey"),
    ],
)
def test_bad_name(app: S3App, guard: FakeGuard, path: str, code: str) -> None:
    for method in ("GET", "PUT"):
        response = run(app, method, path, body=b"x" if method == "PUT" else b"")
        if (method, code) != ("PUT", "NoSuchKey"):
            assert response.code == code, response.body


def test_bucket_from_the_host_and_from_the_path_are_one(app: S3App, guard: FakeGuard) -> None:
    run(app, "PUT", "/dir/k", body=b"host", host="claims.s3.localhost:9000")
    assert run(app, "GET", "/claims/dir/k").body == b"host"
    assert run(app, "GET", "/?list-type=2", host="claims.s3.localhost:9000").status == 200
    assert run(app, "GET", "/dir/k", host="claims.localhost").body == b"host"
    for host in ("s3.localhost:9000", "localhost"):  # a name of the endpoint is no bucket
        assert run(app, "GET", "/claims/dir/k", host=host).body == b"host"


def test_refusal_names_rule_decision_and_remedy_and_one_request_id(app: S3App, guard: FakeGuard) -> None:
    guard.deny = Denied(
        "attestation.required",
        "raw rows need an attested session",
        rule="access.raw",
        decision_id="d" * 32,
        remedy="attest",
    )
    response = run(app, "GET", "/claims/k", headers=[("x-demesne-require-view", "raw")])
    assert (response.status, response.code) == (403, "AccessDenied")
    text = response.body.decode()
    for part in ("attestation.required", "<Rule>access.raw</Rule>", "d" * 32, "attest"):
        assert part in text
    assert f"<RequestId>{response.headers['x-amz-request-id']}</RequestId>" in text
    assert response.headers["x-demesne-decision"] == "d" * 32


def test_our_names_get_the_code_clients_act_on() -> None:
    assert s3_failure(Denied("ReattestationRequired", "stale")).code == "ReattestationRequired"
    assert s3_failure(Unavailable("SlowDown", "building", retry_after=2)).status == 503
    assert s3_failure(Unavailable("zone.closed", "closed")).code == "ServiceUnavailable"


def test_unexpected_error_says_nothing_and_reaches_nobody(
    app: S3App, guard: FakeGuard, capsys: pytest.CaptureFixture[str]
) -> None:
    guard.deny = RuntimeError("alice@example.org")  # type: ignore[assignment]
    response = run(app, "GET", "/claims/k")
    assert (response.status, response.code) == (500, "InternalError")
    assert b"alice" not in response.body
    captured = capsys.readouterr()
    assert "alice" not in captured.out + captured.err


def test_failure_after_the_first_byte_leaves_the_app(app: S3App, guard: FakeGuard) -> None:
    guard.put("claims", "k", b"x" * (3 << 20))
    guard.fail_stream_at = 1 << 20
    response = run(app, "GET", "/claims/k")
    assert isinstance(response.error, StreamAborted)
    assert not response.ended
    assert response.body == b"x" * (1 << 20)


def test_head_refusal_has_no_body(app: S3App) -> None:
    response = run(app, "HEAD", "/claims/absent")
    assert (response.status, response.body) == (404, b"")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("max-keys=-1", "InvalidArgument"),
        ("max-keys=junk", "InvalidArgument"),
        ("encoding-type=base64", "InvalidArgument"),
        ("list-type=3", "InvalidArgument"),
        ("list-type=2&continuation-token=zzz", "InvalidArgument"),
        ("list-type=2&continuation-token=1%25", "InvalidArgument"),
        ("prefix=a&prefix=b", "InvalidArgument"),
    ],
)
def test_bad_listing(app: S3App, query: str, code: str) -> None:
    assert run(app, "GET", f"/claims?{query}").code == code


def test_listing_echoes_and_encodes(app: S3App, guard: FakeGuard) -> None:
    for key in ("a b+", "dir/x", "é"):
        guard.put("claims", key, b"x")
    text = run(app, "GET", "/claims?delimiter=%2F&encoding-type=url&marker=%20").body.decode()
    assert "<Key>a%20b%2B</Key>" in text
    assert "<Key>%C3%A9</Key>" in text
    assert "<Prefix>dir/</Prefix>" in text
    assert "<Marker>%20</Marker>" in text
    assert "<MaxKeys>0</MaxKeys>" in run(app, "GET", "/claims?max-keys=0").body.decode()
    assert run(app, "GET", "/absent?max-keys=0").code == "NoSuchBucket"
    owner = "<Owner><ID>acme</ID><DisplayName>acme</DisplayName></Owner>"
    assert "<Owner>" not in run(app, "GET", "/claims?list-type=2").body.decode()
    assert owner in run(app, "GET", "/claims?list-type=2&fetch-owner=true").body.decode()


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"<CompleteMultipartUpload/>", "MalformedXML"),
        (b"", "MalformedXML"),
        (b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>", "MalformedXML"),
        (
            (
                b"<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>a</ETag></Part>"
                b"<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>"
            ),
            "InvalidPartOrder",
        ),
        (
            b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
            "InvalidPart",
        ),
    ],
)
def test_bad_completion_changes_nothing(app: S3App, guard: FakeGuard, document: bytes, code: str) -> None:
    created = run(app, "POST", "/claims/k?uploads").body.decode()
    upload_id = created.partition("<UploadId>")[2].partition("<")[0]
    assert run(app, "POST", f"/claims/k?uploadId={upload_id}", body=document).code == code
    assert guard.body("claims", "k") is None


@pytest.mark.parametrize("number", ["0", "10001", "x", "", "-1", "1.5"])
def test_bad_part_number(app: S3App, guard: FakeGuard, number: str) -> None:
    response = run(app, "PUT", f"/claims/k?uploadId=abc&partNumber={number}", body=b"x")
    assert response.code == "InvalidArgument"


def test_unknown_upload(app: S3App) -> None:
    assert run(app, "PUT", "/claims/k?uploadId=abc&partNumber=1", body=b"x").code == "NoSuchUpload"
    assert run(app, "DELETE", "/claims/k?uploadId=..%2F").code == "NoSuchUpload"


def test_preflight_is_refused_without_credentials(app: S3App) -> None:
    request = signed("OPTIONS", "/claims/k")
    assert asyncio.run(call(app, request)).status == 400
    request.headers += [(b"origin", b"https://x"), (b"access-control-request-method", b"GET")]
    assert asyncio.run(call(app, request)).code == "AccessForbidden"


def test_response_overrides(app: S3App, guard: FakeGuard) -> None:
    guard.put("claims", "k", b"x")
    response = run(app, "GET", "/claims/k?response-content-type=text%2Fcsv&response-cache-control=no-store")
    assert (response.headers["content-type"], response.headers["cache-control"]) == ("text/csv", "no-store")
    assert run(app, "GET", "/claims/k?response-content-type=a%0D%0Ab").code == "InvalidArgument"


def test_no_whole_object_checksum_beside_a_part(app: S3App, guard: FakeGuard) -> None:
    guard.put("claims", "k", b"0123456789")
    response = run(app, "GET", "/claims/k", headers=[("Range", "bytes=0-1"), ("x-amz-checksum-mode", "ENABLED")])
    assert response.status == 206
    assert not [name for name in response.headers if name.startswith("x-amz-checksum")]


def test_unauthenticated_are_counted_and_reach_no_guard(guard: FakeGuard) -> None:
    from gateway.identity.sigv4 import Verifier
    from tests.fakes.s3_server import REGION, OneKey

    heard: list[tuple[str, str]] = []
    verifier = Verifier(OneKey(), region=REGION, clock=lambda: 0.0)
    app = S3App(
        guard,
        verifier.authenticate,
        zone="de",
        region=REGION,
        on_unauthenticated=lambda code, source: heard.append((code, source)),
    )
    assert run(app, "GET", "/claims/k").code == "RequestTimeTooSkewed"
    assert heard == [("RequestTimeTooSkewed", "127.0.0.1")]
    assert guard.required == []


@pytest.mark.parametrize("size", [3 << 20, 9 << 20])
def test_stream_that_ends_early_leaves_the_app(app: S3App, guard: FakeGuard, size: int) -> None:
    guard.put("claims", "k", b"x" * size)
    guard.end_stream_at = 1 << 20
    response = run(app, "GET", "/claims/k")
    assert isinstance(response.error, StreamAborted)
    assert not response.ended
