"""aws-chunked uploads through the whole face: stored without framing when right, not stored at all when wrong."""

import asyncio
import base64
import zlib

import pytest

from gateway.identity import canonical
from gateway.s3.router import S3App
from tests.fakes.aws_chunked import Encoder, encode_unsigned
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, WireRequest, call, signed
from tests.fakes.s3_server import REGION, SECRET

BODY = bytes(range(256)) * 12_000  # 3 MB
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def upload(form: str, *, checksum: str | None = None, length: int = len(BODY)) -> WireRequest:
    headers = [("x-amz-decoded-content-length", str(length)), ("content-encoding", "aws-chunked")]
    if form.endswith("-TRAILER"):
        headers.append(("x-amz-trailer", "x-amz-checksum-crc32"))
    request = signed("PUT", "/claims/k", payload=form, headers=headers)
    trailer = {"x-amz-checksum-crc32": checksum or crc32(BODY)}
    if form == UNSIGNED:
        request.body = encode_unsigned(BODY, 65536, trailer)
    else:
        stamp = dict(request.headers)[b"x-amz-date"].decode()
        key = canonical.signing_key(SECRET, stamp[:8], REGION, "s3")
        seed = dict(request.headers)[b"authorization"][-64:].decode()
        encoder = Encoder(key, f"{stamp[:8]}/{REGION}/s3/aws4_request", stamp, seed)
        request.body = encoder.signed(BODY, 65536, trailer if form.endswith("-TRAILER") else None)
    request.headers.append((b"transfer-encoding", b"chunked"))  # as boto3 does over TLS: HTTP chunks around them
    return request


def run(app: S3App, request: WireRequest, piece: int = 50_000) -> Response:
    return asyncio.run(call(app, request, piece=piece))


@pytest.mark.parametrize("form", [SIGNED, SIGNED + "-TRAILER", UNSIGNED])
def test_stored_without_its_framing(app: S3App, guard: FakeGuard, form: str) -> None:
    response = run(app, upload(form))
    assert response.status == 200, response.body
    assert guard.body("claims", "k") == BODY
    kept = guard.version("claims", "k")
    assert kept is not None
    assert kept.user_metadata == {}
    if form != SIGNED:
        assert response.headers["x-amz-checksum-crc32"] == crc32(BODY)


@pytest.mark.parametrize("form", [SIGNED + "-TRAILER", UNSIGNED])
def test_wrong_trailing_checksum_stores_nothing(app: S3App, guard: FakeGuard, form: str) -> None:
    response = run(app, upload(form, checksum=crc32(b"other")))
    assert (response.status, response.code) == (400, "BadDigest")
    assert guard.body("claims", "k") is None


@pytest.mark.parametrize("form", [SIGNED, SIGNED + "-TRAILER"])
def test_tampered_chunk_is_403_and_stores_nothing(app: S3App, guard: FakeGuard, form: str) -> None:
    request = upload(form)
    middle = len(request.body) // 2
    request.body = request.body[:middle] + bytes([request.body[middle] ^ 1]) + request.body[middle + 1 :]
    response = run(app, request)
    assert (response.status, response.code) == (403, "SignatureDoesNotMatch")
    assert guard.body("claims", "k") is None
    assert guard.outcomes == [("write", "k", "aborted", 0)]


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1])
@pytest.mark.parametrize("form", [SIGNED, UNSIGNED])
def test_wrong_decoded_length_stores_nothing(app: S3App, guard: FakeGuard, form: str, length: int) -> None:
    response = run(app, upload(form, length=length))
    assert (response.status, response.code) == (400, "IncompleteBody")
    assert guard.body("claims", "k") is None


def test_no_decoded_length(app: S3App, guard: FakeGuard) -> None:
    request = signed("PUT", "/claims/k", payload=UNSIGNED, headers=[("x-amz-trailer", "x-amz-checksum-crc32")])
    assert run(app, request).code == "MissingContentLength"


def test_unsigned_form_from_afar_is_refused(app: S3App, guard: FakeGuard) -> None:
    response = asyncio.run(call(app, upload(UNSIGNED), client="192.0.2.1"))
    assert (response.status, response.code) == (403, "AccessDenied")
    assert guard.outcomes == []


def test_memory_is_one_piece(app: S3App, guard: FakeGuard) -> None:
    run(app, upload(UNSIGNED))
    assert guard.largest_write < 2 << 20
