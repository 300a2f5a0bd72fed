"""Checksums that are kept: of whole objects, of parts, of uploads; where each is shown and where it must not be."""

import asyncio
import base64
import hashlib
import zlib
from typing import Any
from urllib.parse import quote

import pytest

from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard, checksum_of
from tests.fakes.s3_client import Response, call, signed

PART = b"p" * (5 << 20)
MODE = [("x-amz-checksum-mode", "ENABLED")]
ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")


def run(app: S3App, method: str, path: str, **more: Any) -> Response:
    return asyncio.run(call(app, signed(method, path, **more)))


def element(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition("<")[0]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_whole_object_keeps_what_was_verified(app: S3App, guard: FakeGuard, name: str) -> None:
    value = checksum_of(name, b"rows")
    header = f"x-amz-checksum-{name}"
    answer = run(app, "PUT", "/claims/k", body=b"rows", headers=[(header, value)])
    assert (answer.headers[header], answer.headers["x-amz-checksum-type"]) == (value, "FULL_OBJECT")
    for method in ("GET", "HEAD"):
        assert header not in run(app, method, "/claims/k").headers
        shown = run(app, method, "/claims/k", headers=MODE)
        assert (shown.headers[header], shown.headers["x-amz-checksum-type"]) == (value, "FULL_OBJECT")
        part = run(app, method, "/claims/k", headers=[*MODE, ("Range", "bytes=0-1")])
        assert (part.status, header in part.headers) == (206, False)
    listed = run(app, "GET", "/claims?list-type=2").body.decode()
    assert f"<ChecksumAlgorithm>{name.upper()}</ChecksumAlgorithm>" in listed


def begin(app: S3App, *headers: tuple[str, str]) -> tuple[str, Response]:
    answer = run(app, "POST", "/claims/k?uploads", headers=list(headers))
    return element(answer.body.decode(), "UploadId"), answer


def send(app: S3App, upload: str, number: int, body: bytes, name: str) -> Response:
    headers = [(f"x-amz-checksum-{name}", checksum_of(name, body))] if name else []
    return run(app, "PUT", f"/claims/k?partNumber={number}&uploadId={upload}", body=body, headers=headers)


def complete(app: S3App, upload: str, parts: list[Response], *headers: tuple[str, str], name: str = "") -> Response:
    lines = ""
    for number, part in enumerate(parts, 1):
        tag = f"Checksum{name.upper()}"
        own = f"<{tag}>{part.headers[f'x-amz-checksum-{name}']}</{tag}>" if name else ""
        lines += f"<Part><PartNumber>{number}</PartNumber><ETag>{part.headers['etag']}</ETag>{own}</Part>"
    body = f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>".encode()
    return run(app, "POST", f"/claims/k?uploadId={upload}", body=body, headers=list(headers))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("crc32", "COMPOSITE"), ("crc32", "FULL_OBJECT"), ("crc32c", "COMPOSITE"), ("crc64nvme", "FULL_OBJECT"),
     ("sha1", "COMPOSITE"), ("sha256", "COMPOSITE")],
)  # fmt: skip
def test_an_upload_in_parts(app: S3App, guard: FakeGuard, name: str, kind: str) -> None:
    guard.view = "open"
    upload, answer = begin(app, ("x-amz-checksum-algorithm", name.upper()), ("x-amz-checksum-type", kind))
    assert answer.headers["x-amz-checksum-algorithm"] == name.upper()
    assert answer.headers["x-amz-checksum-type"] == kind
    parts = [send(app, upload, 1, PART, name), send(app, upload, 2, b"tail", name)]
    listed = run(app, "GET", f"/claims/k?uploadId={upload}").body.decode()
    assert element(listed, f"Checksum{name.upper()}") == parts[0].headers[f"x-amz-checksum-{name}"]
    if kind == "FULL_OBJECT":
        whole = checksum_of(name, PART + b"tail")
    else:
        joined = b"".join(base64.b64decode(part.headers[f"x-amz-checksum-{name}"]) for part in parts)
        whole = checksum_of(name, joined) + "-2"
    done = complete(app, upload, parts, (f"x-amz-checksum-{name}", whole), ("x-amz-checksum-type", kind), name=name)
    text = done.body.decode()
    assert (element(text, f"Checksum{name.upper()}"), element(text, "ChecksumType")) == (whole, kind)
    assert run(app, "HEAD", "/claims/k", headers=MODE).headers[f"x-amz-checksum-{name}"] == whole
    second = run(app, "GET", "/claims/k?partNumber=2", headers=MODE)
    assert (second.status, second.body, second.headers["x-amz-mp-parts-count"]) == (206, b"tail", "2")
    assert second.headers[f"x-amz-checksum-{name}"] == parts[1].headers[f"x-amz-checksum-{name}"]
    shown = run(app, "GET", "/claims/k?attributes", headers=[("x-amz-object-attributes", "Checksum,ObjectParts")])
    assert shown.body.decode().count(f"<Checksum{name.upper()}>") == 3


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-checksum-algorithm": "MD6"}, "InvalidRequest"),
        ({"x-amz-checksum-type": "COMPOSITE"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "BOTH"}, "InvalidRequest"),
    ],
)
def test_what_an_upload_may_not_ask_for(app: S3App, guard: FakeGuard, headers: dict[str, str], code: str) -> None:
    assert begin(app, *headers.items())[1].code == code
    assert guard.uploads == {}


def test_a_part_without_the_uploads_checksum_is_refused(app: S3App, guard: FakeGuard) -> None:
    upload, _ = begin(app, ("x-amz-checksum-algorithm", "SHA256"))
    for name in ("", "crc32"):
        assert send(app, upload, 1, b"x", name).code == "InvalidRequest"
    assert guard.uploads[upload].parts == {}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("x-amz-checksum-sha256", "bad")], "BadDigest"),
        ([("x-amz-checksum-sha256", base64.b64encode(hashlib.sha256(b"other").digest()).decode() + "-1")], "BadDigest"),
        ([("x-amz-mp-object-size", "9")], "InvalidRequest"),
        ([("x-amz-mp-object-size", "one")], "InvalidRequest"),
        ([("x-amz-checksum-type", "FULL_OBJECT")], "InvalidRequest"),
        ([("x-amz-checksum-type", "NONE")], "InvalidRequest"),
    ],
)
def test_a_completion_that_says_something_else_makes_nothing(
    app: S3App, guard: FakeGuard, headers: list[tuple[str, str]], code: str
) -> None:
    upload, _ = begin(app, ("x-amz-checksum-algorithm", "SHA256"))
    part = send(app, upload, 1, b"tail", "sha256")
    assert complete(app, upload, [part], *headers).code == code
    assert guard.body("claims", "k") is None
    assert complete(app, upload, [part]).status == 200  # it was the words that were wrong


def test_parts_have_a_place_a_view_has_none(app: S3App, guard: FakeGuard) -> None:
    upload, _ = begin(app)
    parts = [send(app, upload, 1, PART, ""), send(app, upload, 2, b"tail", "")]
    complete(app, upload, parts)
    guard.view = "open"
    head = run(app, "HEAD", "/claims/k?partNumber=1")
    assert head.headers["content-range"] == f"bytes 0-{len(PART) - 1}/{len(PART) + 4}"
    assert run(app, "GET", "/claims/k?partNumber=3").code == "InvalidPart"
    for stated in ("0", "10001", "x", ""):
        assert run(app, "GET", f"/claims/k?partNumber={stated}").code == "InvalidArgument"
    assert run(app, "GET", "/claims/k?partNumber=1", headers=[("Range", "bytes=0-0")]).code == "InvalidRequest"
    guard.view = "masked"  # what a caller is not shown raw has no parts to read or to count
    answer = run(app, "GET", "/claims/k?partNumber=1")
    assert "x-amz-mp-parts-count" not in answer.headers
    assert run(app, "GET", "/claims/k?partNumber=2").code == "InvalidPart"
    shown = run(app, "GET", "/claims/k?attributes", headers=[("x-amz-object-attributes", "ObjectParts,ETag")])
    assert b"<ObjectParts>" not in shown.body


def test_attributes_page_their_parts(app: S3App, guard: FakeGuard) -> None:
    guard.view = "open"
    upload, _ = begin(app)
    complete(app, upload, [send(app, upload, number, PART, "") for number in (1, 2, 3)])

    def parts(*headers: tuple[str, str]) -> str:
        asked = [("x-amz-object-attributes", "ObjectParts"), *headers]
        return run(app, "GET", "/claims/k?attributes", headers=asked).body.decode()

    page = parts(("x-amz-max-parts", "1"), ("x-amz-part-number-marker", "1"))
    assert [element(page, name) for name in ("PartsCount", "PartNumber", "NextPartNumberMarker", "IsTruncated")] == [
        "3", "2", "2", "true",
    ]  # fmt: skip
    assert parts().count("<Part>") == 3
    for headers in ([], [("x-amz-object-attributes", "Owner")], [("x-amz-object-attributes", "")]):
        assert run(app, "GET", "/claims/k?attributes", headers=headers).code == "InvalidArgument"
    bad = [("x-amz-object-attributes", "ETag"), ("x-amz-max-parts", "-1")]
    assert run(app, "GET", "/claims/k?attributes", headers=bad).code == "InvalidArgument"


def test_a_crc_sent_with_other_bytes(app: S3App, guard: FakeGuard) -> None:
    value = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    assert run(app, "PUT", "/claims/k", body=b"rows", headers=[("x-amz-checksum-crc32", value)]).code == "BadDigest"
    assert guard.body("claims", "k") is None


def test_http_chunks_need_a_signed_hash(app: S3App, guard: FakeGuard) -> None:
    request = signed("PUT", "/claims/k", body=b"rows")
    request.headers = [item for item in request.headers if item[0] != b"content-length"]
    request.headers.append((b"transfer-encoding", b"chunked"))
    assert asyncio.run(call(app, request)).status == 200
    assert guard.body("claims", "k") == b"rows"
    request.body = b"ro"
    assert asyncio.run(call(app, request)).code == "XAmzContentSHA256Mismatch"
    assert guard.body("claims", "k") == b"rows"


def test_a_part_named_twice_counts_as_it_was_sent_last(app: S3App, guard: FakeGuard) -> None:
    """Two attempts at one part, both reported: the later line stands, if it is what is stored."""
    guard.view = "open"
    upload, _ = begin(app)
    stale, kept = send(app, upload, 1, b"first", ""), send(app, upload, 1, b"again", "")
    line = "<Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>"
    for order, code in (((kept, stale), "InvalidPart"), ((stale, kept), "")):
        lines = "".join(line.format(part.headers["etag"]) for part in order)
        body = f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>".encode()
        assert run(app, "POST", f"/claims/k?uploadId={upload}", body=body).code == code
    assert guard.body("claims", "k") == b"again"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_checksum_signed_into_a_url_is_held(app: S3App, guard: FakeGuard, name: str) -> None:
    value = quote(checksum_of(name, b"rows"), safe="")
    path = f"/claims/k?x-amz-checksum-{name}={value}&x-amz-sdk-checksum-algorithm={name.upper()}"
    assert run(app, "PUT", path, body=b"others", presign=60).code == "BadDigest"
    assert guard.body("claims", "k") is None
    answer = run(app, "PUT", path, body=b"rows", presign=60)
    assert answer.headers[f"x-amz-checksum-{name}"] == checksum_of(name, b"rows")


def test_a_url_signed_without_a_body_says_nothing_about_one(app: S3App, guard: FakeGuard) -> None:
    """The JS SDK signs the CRC32 of no bytes into every PUT it presigns; a body that is there is not those."""
    path = "/claims/k?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
    answer = run(app, "PUT", path, body=b"rows", presign=60)
    assert (answer.status, "x-amz-checksum-crc32" in answer.headers) == (200, False)
    assert guard.body("claims", "k") == b"rows"
    empty = run(app, "PUT", path, presign=60)
    assert (empty.status, empty.headers["x-amz-checksum-crc32"]) == (200, "AAAAAA==")
    stated = [("x-amz-checksum-crc32", "AAAAAA==")]
    assert run(app, "PUT", "/claims/k", body=b"rows", headers=stated).code == "BadDigest"
