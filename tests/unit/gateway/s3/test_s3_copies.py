"""CopyObject and UploadPartCopy: what is copied, what is refused, and that a refusal changed nothing."""

import asyncio
from typing import Any

import pytest

from gateway.s3.copy_source import copy_source
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, call, quoted, signed

AT = "Mon, 21 Sep 2026 14:13:20 GMT"  # the fake's clock
BEFORE = "Mon, 21 Sep 2026 14:13:19 GMT"


def run(app: S3App, method: str, path: str, **more: Any) -> Response:
    headers = list(more.pop("headers", {}).items())
    return asyncio.run(call(app, signed(method, path, headers=headers, **more)))


def copy(app: S3App, source: str, target: str = "/claims/to", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return run(app, "PUT", target, headers={"x-amz-copy-source": source, **named})


@pytest.fixture
def etag(app: S3App, guard: FakeGuard) -> str:
    run(
        app, "PUT", "/claims/from", body=b"rows",
        headers={"x-amz-meta-made": "here", "x-amz-tagging": "a=1", "Content-Type": "text/csv"},
    )  # fmt: skip
    version = guard.version("claims", "from")
    assert version is not None
    return version.etag


def test_a_copy_keeps_metadata_type_tags_and_checksum(app: S3App, guard: FakeGuard, etag: str) -> None:
    answer = copy(app, "claims/from")
    assert answer.status == 200
    assert f"<ETag>&quot;{etag}&quot;</ETag>" in answer.body.decode()
    made = guard.version("claims", "to")
    assert made is not None
    assert (made.body, made.content_type, made.user_metadata, made.tags) == (
        b"rows", "text/csv", {"made": "here"}, {"a": "1"},
    )  # fmt: skip


def test_replace_takes_the_headers_of_the_copy(app: S3App, guard: FakeGuard, etag: str) -> None:
    copy(
        app, "/claims/from", x_amz_metadata_directive="REPLACE", x_amz_meta_now="this", content_type="text/plain",
        x_amz_tagging_directive="REPLACE", x_amz_tagging="b=2",
    )  # fmt: skip
    made = guard.version("claims", "to")
    assert made is not None
    assert (made.content_type, made.user_metadata, made.tags) == ("text/plain", {"now": "this"}, {"b": "2"})


def test_without_replace_the_headers_of_the_copy_are_not_taken(app: S3App, guard: FakeGuard, etag: str) -> None:
    copy(app, "/claims/from", x_amz_meta_now="this")
    made = guard.version("claims", "to")
    assert made is not None
    assert made.user_metadata == {"made": "here"}


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("claims", "InvalidArgument"),
        ("/claims/", "InvalidArgument"),
        ("/claims/from?acl", "InvalidArgument"),
        ("/claims/from?versionId=", "InvalidArgument"),
        ("/claims/from?versionId=zz", "InvalidArgument"),
        ("/claims/from?versionId=" + "0" * 32, "NoSuchVersion"),
        ("arn:aws:s3:::claims/from", "InvalidArgument"),
        ("/claims/%zz", "InvalidURI"),
        ("/claims/%ff", "InvalidURI"),
        ("/absent/from", "NoSuchBucket"),
        ("/claims/absent", "NoSuchKey"),
        ("/claims/fro%25m", "NoSuchKey"),
        ("/UPPER/from", "InvalidBucketName"),
    ],
)
def test_a_bad_source_copies_nothing(app: S3App, guard: FakeGuard, etag: str, source: str, code: str) -> None:
    assert copy(app, source).code == code
    assert guard.keys("claims") == ["from"]


@pytest.mark.parametrize("key", ["a b", "ü", "50%", "a+b", "x?versionId=null", "//", ".."])
def test_the_source_is_decoded_exactly_once(app: S3App, guard: FakeGuard, key: str) -> None:
    guard.put("claims", key, b"found")
    assert copy(app, "/claims/" + quoted(key)).status == 200
    assert guard.body("claims", "to") == b"found"


def test_onto_itself_only_with_a_change(app: S3App, guard: FakeGuard, etag: str) -> None:
    assert copy(app, "/claims/from", "/claims/from").code == "InvalidRequest"
    assert copy(app, "/claims/from", "/claims/from", x_amz_metadata_directive="REPLACE").status == 200
    assert guard.body("claims", "from") == b"rows"
    assert copy(app, "/claims/from", x_amz_metadata_directive="replace").code == "InvalidArgument"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"match": "{etag}"}, True),
        ({"match": '"{etag}"'}, True),
        ({"match": '"other"'}, False),
        ({"none_match": '"other"'}, True),
        ({"none_match": "{etag}"}, False),
        ({"modified_since": BEFORE}, True),
        ({"modified_since": AT}, False),
        ({"unmodified_since": AT}, True),
        ({"unmodified_since": BEFORE}, False),
        ({"match": "{etag}", "unmodified_since": BEFORE}, True),
        ({"none_match": "{etag}", "modified_since": BEFORE}, False),
    ],
)
def test_conditions_on_the_source(
    app: S3App, guard: FakeGuard, etag: str, headers: dict[str, str], passes: bool
) -> None:
    spelled = {f"x_amz_copy_source_if_{name}": value.format(etag=etag) for name, value in headers.items()}
    answer = copy(app, "/claims/from", **spelled)
    assert (answer.status == 200) == passes
    assert passes or answer.code == "PreconditionFailed"
    assert (guard.body("claims", "to") == b"rows") == passes


def test_conditions_on_the_target(app: S3App, guard: FakeGuard, etag: str) -> None:
    guard.put("claims", "to", b"there")
    assert copy(app, "/claims/from", if_none_match="*").code == "PreconditionFailed"
    assert guard.body("claims", "to") == b"there"


def test_a_copy_of_a_version_names_both_versions(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    first = run(app, "PUT", "/claims/k", body=b"1").headers["x-amz-version-id"]
    run(app, "PUT", "/claims/k", body=b"2")
    answer = copy(app, f"/claims/k?versionId={first}")
    assert answer.headers["x-amz-copy-source-version-id"] == first
    assert answer.headers["x-amz-version-id"] not in ("", first)
    assert guard.body("claims", "to") == b"1"


def test_a_new_checksum_is_asked_for_by_name(app: S3App, guard: FakeGuard, etag: str) -> None:
    text = copy(app, "/claims/from", x_amz_checksum_algorithm="SHA256").body.decode()
    assert "<ChecksumSHA256>" in text
    assert "<ChecksumType>FULL_OBJECT</ChecksumType>" in text
    assert copy(app, "/claims/from", x_amz_checksum_algorithm="MD6").code == "InvalidRequest"


@pytest.mark.parametrize("fail", ["before", "after"])
def test_a_lost_copy_is_no_success(app: S3App, guard: FakeGuard, etag: str, fail: str) -> None:
    guard.fail_commit = fail
    assert copy(app, "/claims/from").status == 503
    assert (guard.body("claims", "to") is None) == (fail == "before")


def begun(app: S3App, key: str = "to") -> str:
    return run(app, "POST", f"/claims/{key}?uploads").body.decode().partition("<UploadId>")[2].partition("<")[0]


@pytest.mark.parametrize(
    ("span", "code"),
    [
        ("bytes=0-3", None), ("bytes=1-2", None), (None, None), ("0-3", "InvalidArgument"),
        ("bytes=0-", "InvalidArgument"),
        ("bytes=-2", "InvalidArgument"), ("bytes=3-1", "InvalidArgument"), ("bytes=0-1,2-3", "InvalidArgument"),
        ("bytes=0-4", "InvalidRange"), ("bytes=9-10", "InvalidRange"), ("bytes=a-b", "InvalidArgument"),
    ],
)  # fmt: skip
def test_part_copies_take_an_exact_range(
    app: S3App, guard: FakeGuard, etag: str, span: str | None, code: str | None
) -> None:
    upload = begun(app)
    headers = {"x-amz-copy-source": "/claims/from"} | ({"x-amz-copy-source-range": span} if span else {})
    answer = run(app, "PUT", f"/claims/to?partNumber=1&uploadId={upload}", headers=headers)
    parts = guard.uploads[upload].parts
    if code is None:
        assert answer.status == 200
        wanted = slice(int(span[6]), int(span[8]) + 1) if span else slice(None)
        assert parts[1].body == b"rows"[wanted]
    else:
        assert answer.code == code
        assert parts == {}


def test_a_presigned_copy_carries_its_source_signed(app: S3App, guard: FakeGuard, etag: str) -> None:
    request = signed("PUT", "/claims/to", presign=60)
    request.headers.append((b"x-amz-copy-source", b"/claims/from"))
    assert asyncio.run(call(app, request)).code == "AccessDenied"  # an unsigned x-amz-* header
    assert guard.body("claims", "to") is None


def test_the_source_is_always_of_the_callers_tenant(app: S3App, guard: FakeGuard, etag: str) -> None:
    guard.create("claims", tenant="other")
    guard.put("claims", "secret", b"theirs", tenant="other")
    assert copy(app, "/claims/secret").code == "NoSuchKey"
    assert copy_source.__doc__ is not None
