"""The negative table of SigV4 by name, at the S3 port: one case, one error code, and a guard that was asked nothing.

Streamed bodies are the exception that has to be: their bytes are judged while they arrive, so the guard was asked to
open a write; there nothing may have been committed.
"""

import asyncio
import base64
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from gateway.identity import canonical
from gateway.identity.sigv4 import Verifier
from gateway.s3.router import S3App
from tests.fakes.aws_chunked import Encoder, encode_unsigned
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, WireRequest, call, signed
from tests.fakes.s3_server import REGION, SECRET, OneKey
from tests.unit.gateway.identity.test_identity_sigv4 import HEADER_TABLE, PRESIGNED_TABLE

BODY = bytes(range(256)) * 300
CRC = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
TRAILER = {"x-amz-checksum-crc32": CRC}
UNSIGNED, SIGNED, TRAILED = (
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
)  # fmt: skip


class Watched:
    """Passes on to a fake guard and writes down what it was asked; attributes count as questions too."""

    def __init__(self, guard: FakeGuard) -> None:
        self._guard = guard
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name != "region":
            self.asked.append(name)
        return getattr(self._guard, name)


@pytest.fixture
def guard() -> FakeGuard:
    made = FakeGuard(REGION)
    made.put("claims", "k", b"what was there")
    return made


@pytest.fixture
def watched(guard: FakeGuard) -> Watched:
    return Watched(guard)


@pytest.fixture
def ask(guard: FakeGuard, watched: Watched) -> Iterator[Callable[..., Response]]:
    def run(request: WireRequest, *, later: float = 0.0, client: str = "127.0.0.1") -> Response:
        verifier = Verifier(OneKey(), region=REGION, clock=lambda: time.time() + later)
        port: Any = watched
        app = S3App(port, verifier.authenticate, zone="de", region=REGION)
        watched.asked.clear()
        return asyncio.run(call(app, request, client=client, piece=7000))

    yield run
    assert guard.body("claims", "k") == b"what was there"
    assert guard.keys("claims") == ["k"]


@pytest.mark.parametrize("name", HEADER_TABLE)
def test_header_form(name: str, ask: Callable[..., Response], watched: Watched) -> None:
    change, code = HEADER_TABLE[name]
    request = signed("GET", "/claims/k")
    assert ask(request).status == 200
    change(request)
    answer = ask(request)
    if request.method == "HEAD":
        assert answer.status >= 400
    else:
        assert answer.code == code
    assert watched.asked == []


@pytest.mark.parametrize("name", PRESIGNED_TABLE)
def test_presigned_form(name: str, ask: Callable[..., Response], watched: Watched) -> None:
    change, code = PRESIGNED_TABLE[name]
    request = signed("GET", "/claims/k", presign=600)
    assert ask(request).status == 200
    change(request)
    assert ask(request).code == code
    assert watched.asked == []


MORE: dict[str, tuple[Callable[[], WireRequest], float, str]] = {
    "date in the past": (lambda: signed("GET", "/claims/k"), 3600, "RequestTimeTooSkewed"),
    "date in the future": (lambda: signed("GET", "/claims/k"), -3600, "RequestTimeTooSkewed"),
    "another secret": (lambda: signed("GET", "/claims/k", secret="guess"), 0, "SignatureDoesNotMatch"),
    "another service": (lambda: signed("GET", "/claims/k", service="sts"), 0, "AuthorizationHeaderMalformed"),
    "another region": (lambda: signed("GET", "/claims/k", region="us-east-1"), 0, "AuthorizationHeaderMalformed"),
    "a token that is not ours": (lambda: signed("GET", "/claims/k", token="stolen"), 0, "InvalidToken"),
    "link expired": (lambda: signed("GET", "/claims/k", presign=60), 61, "AccessDenied"),
    "link of another day": (lambda: signed("GET", "/claims/k", presign=604_800), 86_400, "AccessDenied"),
    "link not yet valid": (lambda: signed("GET", "/claims/k", presign=60), -3600, "AccessDenied"),
    "link under another secret": (
        lambda: signed("GET", "/claims/k", presign=60, secret="guess"), 0, "SignatureDoesNotMatch"
    ),
    "link to write under another secret": (
        lambda: signed("PUT", "/claims/new", presign=60, secret="guess"), 0, "SignatureDoesNotMatch"
    ),
    "no signature at all": (lambda: WireRequest("GET", b"/claims/k", b"", [(b"host", b"h")]), 0, "AccessDenied"),
    "a form that is posted unsigned": (
        lambda: WireRequest("POST", b"/claims/k", b"select", [(b"host", b"h")]), 0, "AccessDenied"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_time_secret_and_scope(name: str, ask: Callable[..., Response], watched: Watched) -> None:
    make, later, code = MORE[name]
    assert ask(make(), later=later).code == code
    assert watched.asked == []


BODIES: dict[str, tuple[dict[str, str], bytes, str]] = {
    "payload hash of another body": ({}, b"changed on the way", "XAmzContentSHA256Mismatch"),
    "MD5 of another body": ({"content-md5": base64.b64encode(b"0" * 16).decode()}, b"", "BadDigest"),
    "MD5 that is none": ({"content-md5": "no"}, b"", "InvalidDigest"),
    "checksum of another body": ({"x-amz-checksum-crc32": "AAAAAA=="}, b"", "BadDigest"),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_was_said_of_the_body(name: str, ask: Callable[..., Response], guard: FakeGuard) -> None:
    headers, swapped, code = BODIES[name]
    request = signed("PUT", "/claims/new", body=BODY, headers=list(headers.items()))
    if swapped:
        request.body = swapped.ljust(len(BODY))
    assert ask(request).code == code
    assert guard.body("claims", "new") is None


def streamed(
    kind: str, encode: Callable[[WireRequest], bytes], *, headers: Sequence[tuple[str, str]] = (),
    length: str | None = str(len(BODY)), trailer: str | None = "x-amz-checksum-crc32",
) -> WireRequest:  # fmt: skip
    """A PUT whose body `encode` makes once the head is signed."""
    more = list(headers)
    if length is not None:
        more.append(("x-amz-decoded-content-length", length))
    if trailer is not None and kind != SIGNED:
        more.append(("x-amz-trailer", trailer))
    request = signed("PUT", "/claims/new", headers=more, payload=kind)
    request.body = encode(request)
    request.headers.append((b"content-length", b"%d" % len(request.body)))
    return request


def plain(size: int = 65536, trailer: dict[str, str] | None = None) -> Callable[[WireRequest], bytes]:
    return lambda _: encode_unsigned(BODY, size, TRAILER if trailer is None else trailer)


def bent(change: Callable[[bytes], bytes]) -> Callable[[WireRequest], bytes]:
    return lambda _: change(encode_unsigned(BODY, 65536, TRAILER))


UNSIGNED_TRAILER: dict[str, tuple[Callable[[], WireRequest], str]] = {
    "no x-amz-trailer": (lambda: streamed(UNSIGNED, plain(), trailer=None), "MalformedTrailerError"),
    "unknown checksum announced": (
        lambda: streamed(UNSIGNED, plain(), trailer="x-amz-checksum-md4"), "InvalidRequest"
    ),
    "no checksum announced": (lambda: streamed(UNSIGNED, plain(), trailer="content-md5"), "InvalidRequest"),
    "two checksums announced": (
        lambda: streamed(UNSIGNED, plain(), trailer="x-amz-checksum-crc32,x-amz-checksum-sha1"), "InvalidRequest"
    ),
    "no decoded length": (lambda: streamed(UNSIGNED, plain(), length=None), "MissingContentLength"),
    "decoded length that is none": (lambda: streamed(UNSIGNED, plain(), length="many"), "InvalidArgument"),
    "decoded length negative": (lambda: streamed(UNSIGNED, plain(), length="-5"), "InvalidArgument"),
    "decoded length too small": (lambda: streamed(UNSIGNED, plain(), length="5"), "IncompleteBody"),
    "decoded length too large": (lambda: streamed(UNSIGNED, plain(), length="99999999"), "IncompleteBody"),
    "trailer missing": (lambda: streamed(UNSIGNED, plain(trailer={})), "MalformedTrailerError"),
    "trailer of another name": (
        lambda: streamed(UNSIGNED, plain(trailer={"x-amz-checksum-sha1": CRC})), "MalformedTrailerError"
    ),
    "trailer twice": (
        lambda: streamed(UNSIGNED, bent(lambda d: d[:-2] + d[d.rindex(b"x-amz-ch") :])), "MalformedTrailerError"
    ),
    "trailer not announced": (
        lambda: streamed(UNSIGNED, plain(trailer=TRAILER | {"x-amz-meta-role": "admin"})), "MalformedTrailerError"
    ),
    "trailer of another body": (
        lambda: streamed(UNSIGNED, plain(trailer={"x-amz-checksum-crc32": "AAAAAA=="})), "BadDigest"
    ),
    "trailer that is not base64": (
        lambda: streamed(UNSIGNED, plain(trailer={"x-amz-checksum-crc32": "!!!!"})), "BadDigest"
    ),
    "trailer of another length": (
        lambda: streamed(UNSIGNED, plain(trailer={"x-amz-checksum-crc32": "AAAA"})), "BadDigest"
    ),
    "trailer signature where nothing is signed": (
        lambda: streamed(UNSIGNED, plain(trailer=TRAILER | {"x-amz-trailer-signature": "0" * 64})),
        "MalformedTrailerError",
    ),
    "checksum in the head as well": (
        lambda: streamed(UNSIGNED, plain(), headers=[("x-amz-checksum-crc32", CRC)]), "InvalidRequest"
    ),
    "no last chunk": (lambda: streamed(UNSIGNED, bent(lambda d: d[: d.rindex(b"0\r\nx-amz")])), "IncompleteBody"),
    "cut in a chunk": (lambda: streamed(UNSIGNED, bent(lambda d: d[:1000])), "IncompleteBody"),
    "size that is not hexadecimal": (lambda: streamed(UNSIGNED, bent(lambda d: b"z" + d)), "InvalidRequest"),
    "size too small": (lambda: streamed(UNSIGNED, bent(lambda d: b"0ffff" + d[5:])), "InvalidRequest"),
    "signed chunk among unsigned": (
        lambda: streamed(UNSIGNED, bent(lambda d: b"1;chunk-signature=" + b"0" * 64 + b"\r\nx\r\n" + d)),
        "InvalidRequest",
    ),
    "bytes after the end": (lambda: streamed(UNSIGNED, bent(lambda d: d + b"PUT / HTTP/1.1\r\n\r\n")),
                            "MalformedTrailerError"),
    "not chunked at all": (lambda: streamed(UNSIGNED, lambda _: BODY), "InvalidRequest"),
    "trailer without its form": (
        lambda: streamed(SIGNED, signed_body(), headers=[("x-amz-trailer", "x-amz-checksum-crc32")]), "InvalidRequest"
    ),
}  # fmt: skip


def signed_body(
    change: Callable[[bytes], bytes] = lambda data: data, *, secret: str = SECRET, seed: str | None = None,
    trailer: dict[str, str] | None = None,
) -> Callable[[WireRequest], bytes]:  # fmt: skip
    def encode(request: WireRequest) -> bytes:
        head = dict(request.headers)
        stamp = head[b"x-amz-date"].decode()
        key = canonical.signing_key(secret, stamp[:8], REGION, "s3")
        found = head[b"authorization"][-64:].decode()
        scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
        return change(Encoder(key, scope, stamp, seed or found).signed(BODY, 30_000, trailer))

    return encode


def swapped(data: bytes) -> bytes:
    first = data.index(b"\r\n") + 2 + 30_000 + 2
    return data[first : 2 * first] + data[:first] + data[2 * first :]


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


SIGNED_STREAM: dict[str, tuple[Callable[[], WireRequest], str]] = {
    "a bit of the data": (lambda: streamed(SIGNED, signed_body(flipped(500))), "SignatureDoesNotMatch"),
    "a bit of a signature": (
        lambda: streamed(SIGNED, signed_body(lambda d: d.replace(d[22:32], b"0" * 10, 1))), "SignatureDoesNotMatch"
    ),
    "chunks swapped": (lambda: streamed(SIGNED, signed_body(swapped)), "SignatureDoesNotMatch"),
    "a chunk dropped": (
        lambda: streamed(SIGNED, signed_body(lambda d: d[d.index(b"\r\n") + 30_004 :])), "SignatureDoesNotMatch"
    ),
    "a chunk repeated": (
        lambda: streamed(SIGNED, signed_body(lambda d: d[: d.index(b"\r\n") + 30_004] + d), length="106800"),
        "SignatureDoesNotMatch",
    ),
    "chunks of another request": (
        lambda: streamed(SIGNED, signed_body(seed="5" * 64)), "SignatureDoesNotMatch"
    ),
    "chunks under another secret": (lambda: streamed(SIGNED, signed_body(secret="guess")), "SignatureDoesNotMatch"),
    "an unsigned chunk among them": (
        lambda: streamed(SIGNED, signed_body(lambda d: b"1\r\nx\r\n" + d)), "InvalidRequest"
    ),
    "no last chunk": (
        lambda: streamed(SIGNED, signed_body(lambda d: d[: d.rindex(b"0;chunk")])), "IncompleteBody"
    ),
    "an unsigned last chunk": (
        lambda: streamed(SIGNED, signed_body(lambda d: d[: d.rindex(b"0;chunk")] + b"0\r\n\r\n")), "InvalidRequest"
    ),
    "a last chunk signed by nobody": (
        lambda: streamed(SIGNED, signed_body(lambda d: d[:-68] + b"0" * 64 + d[-4:])), "SignatureDoesNotMatch"
    ),
    "decoded length too small": (lambda: streamed(SIGNED, signed_body(), length="10"), "IncompleteBody"),
    "decoded length too large": (lambda: streamed(SIGNED, signed_body(), length="76801"), "IncompleteBody"),
    "no decoded length": (lambda: streamed(SIGNED, signed_body(), length=None), "MissingContentLength"),
    "a chunk beyond every bound": (
        lambda: streamed(SIGNED, lambda _: b"2000000;chunk-signature=" + b"0" * 64 + b"\r\n", length="33554432"),
        "InvalidRequest",
    ),
    "not chunked at all": (lambda: streamed(SIGNED, lambda _: BODY), "InvalidRequest"),
    "trailer changed": (
        lambda: streamed(TRAILED, signed_body(lambda d: d.replace(CRC.encode(), b"AAAAAA=="), trailer=TRAILER)),
        "SignatureDoesNotMatch",
    ),
    "trailer without its signature": (
        lambda: streamed(
            TRAILED, signed_body(lambda d: d[: d.rindex(b"x-amz-trailer-sig")] + b"\r\n", trailer=TRAILER)
        ),
        "SignatureDoesNotMatch",
    ),
    "trailer signed by nobody": (
        lambda: streamed(TRAILED, signed_body(lambda d: d[:-10] + b"000000" + d[-4:], trailer=TRAILER)),
        "SignatureDoesNotMatch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSIGNED_TRAILER)
def test_unsigned_trailer(name: str, ask: Callable[..., Response], guard: FakeGuard) -> None:
    make, code = UNSIGNED_TRAILER[name]
    assert ask(make()).code == code
    assert guard.body("claims", "new") is None


@pytest.mark.parametrize("name", SIGNED_STREAM)
def test_signed_stream(name: str, ask: Callable[..., Response], guard: FakeGuard) -> None:
    make, code = SIGNED_STREAM[name]
    assert ask(make()).code == code
    assert guard.body("claims", "new") is None


def test_an_unsigned_body_over_plain_http_from_afar_is_refused_before_the_guard(
    ask: Callable[..., Response], watched: Watched
) -> None:
    assert ask(streamed(UNSIGNED, plain()), client="192.0.2.7").code == "AccessDenied"
    assert watched.asked == []


def test_what_is_right_is_taken(guard: FakeGuard, watched: Watched) -> None:
    """The tables bend these: each is accepted as it is."""
    port: Any = watched
    app = S3App(port, Verifier(OneKey(), region=REGION, clock=time.time).authenticate, zone="de", region=REGION)
    for request in (
        streamed(UNSIGNED, plain()), streamed(SIGNED, signed_body()), streamed(TRAILED, signed_body(trailer=TRAILER)),
    ):  # fmt: skip
        assert asyncio.run(call(app, request)).status == 200
        assert guard.body("claims", "new") == BODY


@pytest.mark.parametrize("kind", [SIGNED, TRAILED])
def test_every_changed_byte_of_a_signed_stream_is_refused(
    kind: str, ask: Callable[..., Response], guard: FakeGuard
) -> None:
    """As tests/property/test_sigv4.py does for the head: all of framing, data, signatures and trailer."""
    small = BODY[:300]
    trailer = {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(small).to_bytes(4, "big")).decode()}

    def encode(request: WireRequest) -> bytes:
        head = dict(request.headers)
        stamp = head[b"x-amz-date"].decode()
        key = canonical.signing_key(SECRET, stamp[:8], REGION, "s3")
        maker = Encoder(key, f"{stamp[:8]}/{REGION}/s3/aws4_request", stamp, head[b"authorization"][-64:].decode())
        return maker.signed(small, 120, trailer if kind == TRAILED else None)

    request = streamed(kind, encode, length="300")
    whole = request.body
    for at in range(len(whole)):
        request.body = flipped(at)(whole)
        answer = ask(request)
        assert answer.status in {400, 403}, f"byte {at}: {whole[at - 20 : at + 20]!r}"
        assert guard.body("claims", "new") is None
    assert len(whole) > 600


def test_the_table_is_as_long_as_is_said() -> None:
    counts = {
        "header": len(HEADER_TABLE) + 6, "presigned": len(PRESIGNED_TABLE) + 5,
        "unsigned trailer": len(UNSIGNED_TRAILER), "signed stream": len(SIGNED_STREAM),
    }  # fmt: skip
    print(counts)
    assert counts["header"] >= 25
    assert counts["presigned"] >= 27
    assert counts["unsigned trailer"] >= 17
    assert counts["signed stream"] >= 9
