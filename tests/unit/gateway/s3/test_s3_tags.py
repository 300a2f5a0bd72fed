"""Object tags: limits and spellings, on the header, in the document, and over a key's versions."""

import asyncio
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.s3.router import S3App
from gateway.s3.tags import check_tags, parse_tagging_header
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, call, signed


def run(app: S3App, method: str, path: str, **more: Any) -> Response:
    return asyncio.run(call(app, signed(method, path, **more)))


def document(*tags: tuple[str, str]) -> bytes:
    inner = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{inner}</TagSet></Tagging>".encode()


def test_put_get_replace_and_delete(app: S3App, guard: FakeGuard) -> None:
    guard.put("claims", "k", b"x")
    assert run(app, "PUT", "/claims/k?tagging", body=document(("b", "2"), ("a", "1 &amp; 1"))).code == "InvalidTag"
    assert run(app, "PUT", "/claims/k?tagging", body=document(("b", "2"), ("a", "ü 1"))).status == 200
    text = run(app, "GET", "/claims/k?tagging").body.decode()
    assert text.index("<Key>a</Key><Value>ü 1</Value>") < text.index("<Key>b</Key>")
    assert run(app, "HEAD", "/claims/k").headers["x-amz-tagging-count"] == "2"
    assert run(app, "DELETE", "/claims/k?tagging").status == 204
    assert "<TagSet></TagSet>" in run(app, "GET", "/claims/k?tagging").body.decode()
    assert "x-amz-tagging-count" not in run(app, "GET", "/claims/k").headers


def test_tags_of_one_version(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    first, second = (run(app, "PUT", "/claims/k", body=b).headers["x-amz-version-id"] for b in (b"1", b"2"))
    answer = run(app, "PUT", f"/claims/k?tagging&versionId={first}", body=document(("a", "1")))
    assert answer.headers["x-amz-version-id"] == first
    assert "<Key>a</Key>" in run(app, "GET", f"/claims/k?tagging&versionId={first}").body.decode()
    assert "<Key>a</Key>" not in run(app, "GET", f"/claims/k?tagging&versionId={second}").body.decode()
    assert run(app, "GET", "/claims/absent?tagging").code == "NoSuchKey"


def test_the_header_of_a_write(app: S3App, guard: FakeGuard) -> None:
    run(app, "PUT", "/claims/k", body=b"x", headers=[("x-amz-tagging", "a%20b=c%2Bd&alone&e=f+g")])
    version = guard.version("claims", "k")
    assert version is not None
    assert version.tags == {"a b": "c+d", "alone": "", "e": "f g"}


@pytest.mark.parametrize(
    "pairs",
    [
        [(str(i), "") for i in range(11)],
        [("k" * 129, "")],
        [("", "v")],
        [("k", "v" * 257)],
        [("k", "1"), ("k", "2")],
        [("k*", "v")],
        [("k", "v\n")],
        [("k", "a,b")],
        [("aws:made", "v")],
        [("AWS:made", "v")],
    ],
)
def test_limits(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest) as caught:
        check_tags(pairs)
    assert caught.value.code == "InvalidTag"


def test_the_limits_themselves_are_allowed() -> None:
    assert len(check_tags([(f"{i}" + "k" * 127, "ü" * 256) for i in range(10)])) == 10
    assert check_tags([("a b_.:/=+-@", "")]) == {"a b_.:/=+-@": ""}


@pytest.mark.parametrize("value", ["a=%", "a=%zz", "a=%ff", "%c3=1"])
def test_a_header_that_does_not_decode(value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_tagging_header(value)
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<Tagging/>", b"<Tagging><TagSet/><TagSet/></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>",
    ],
)  # fmt: skip
def test_a_bad_document_changes_nothing(app: S3App, guard: FakeGuard, body: bytes) -> None:
    guard.put("claims", "k", b"x")
    run(app, "PUT", "/claims/k?tagging", body=document(("a", "1")))
    assert run(app, "PUT", "/claims/k?tagging", body=body).code == "MalformedXML"
    assert "<Key>a</Key>" in run(app, "GET", "/claims/k?tagging").body.decode()


def test_an_upload_in_parts_keeps_its_tags(app: S3App, guard: FakeGuard) -> None:
    created = run(app, "POST", "/claims/k?uploads", headers=[("x-amz-tagging", "a=1")]).body.decode()
    upload = created.partition("<UploadId>")[2].partition("<")[0]
    etag = run(app, "PUT", f"/claims/k?partNumber=1&uploadId={upload}", body=b"x").headers["etag"]
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
    assert run(app, "POST", f"/claims/k?uploadId={upload}", body=body.encode()).status == 200
    assert run(app, "HEAD", "/claims/k").headers["x-amz-tagging-count"] == "1"
