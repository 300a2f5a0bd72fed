"""aws-chunked, signed and not: what decodes, and every way it may be bent."""

import base64
import zlib
from collections.abc import Callable

import pytest

from gateway.identity import canonical
from gateway.identity.chunked import MAX_TRAILER, ChunkedDecoder
from gateway.identity.errors import Unauthenticated
from gateway.identity.sigv4 import Payload, PayloadKind, VerifiedRequest
from tests.fakes.aws_chunked import Encoder, encode_unsigned
from tests.fakes.s3_server import PRINCIPAL

KEY = canonical.signing_key("secret", "20260101", "de-1", "s3")
SCOPE = "20260101/de-1/s3/aws4_request"
STAMP = "20260101T000000Z"
SEED = "5" * 64
BODY = bytes(range(256)) * 700


def verified(kind: PayloadKind) -> VerifiedRequest:
    return VerifiedRequest(PRINCIPAL, Payload(kind), SEED, KEY, SCOPE, STAMP, presigned=False)


def encode_signed(body: bytes, size: int, trailer: dict[str, str] | None = None, *, end: str = "\r\n") -> bytes:
    return Encoder(KEY, SCOPE, STAMP, SEED).signed(body, size, trailer, end=end)


CRC = {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()}


def decode(
    kind: PayloadKind, data: bytes, length: int = len(BODY), *, step: int = 4096
) -> tuple[bytes, dict[str, str]]:
    names = tuple(CRC) if kind.trailer else ()
    decoder = ChunkedDecoder(verified(kind), length, names)
    out = bytearray()
    for i in range(0, len(data), step):
        for piece in decoder.feed(data[i : i + step]):
            out += piece
    decoder.finish()
    return bytes(out), decoder.trailers


SIGNED, TRAILED, UNSIGNED = (
    PayloadKind.STREAMING_SIGNED,
    PayloadKind.STREAMING_SIGNED_TRAILER,
    PayloadKind.STREAMING_UNSIGNED_TRAILER,
)
GOOD = {
    SIGNED: encode_signed(BODY, 65536),
    TRAILED: encode_signed(BODY, 65536, CRC),
    UNSIGNED: encode_unsigned(BODY, 65536, CRC),
}


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.name)
def test_round_trip_in_any_pieces(kind: PayloadKind, step: int) -> None:
    body, trailers = decode(kind, GOOD[kind], step=step)
    assert body == BODY
    assert trailers == (CRC if kind.trailer else {})


def test_trailer_as_the_manual_prints_it() -> None:
    assert decode(TRAILED, encode_signed(BODY, 9000, CRC, end="\n\r\n"))[0] == BODY
    assert decode(TRAILED, encode_signed(BODY, 9000, CRC, end="\n"))[0] == BODY


def test_empty_body() -> None:
    for kind, data in ((SIGNED, encode_signed(b"", 9)), (UNSIGNED, encode_unsigned(b"", 9, CRC))):
        assert decode(kind, data, 0)[0] == b""


def test_signed_chunk_is_held_until_it_is_verified() -> None:
    decoder = ChunkedDecoder(verified(SIGNED), len(BODY), ())
    bent = bytearray(encode_signed(BODY, len(BODY)))
    bent[-200] ^= 1
    released: list[object] = []
    last = len(bent) - 1000
    for i in range(0, last, 1000):
        released += decoder.feed(bytes(bent[i : i + 1000]))
    with pytest.raises(Unauthenticated):
        decoder.feed(bytes(bent[last - last % 1000 :]))
    assert released == []


def swap_first_chunks(data: bytes) -> bytes:
    length = data.index(b"\r\n") + 2 + 65536 + 2
    return data[length : 2 * length] + data[:length] + data[2 * length :]


BENT: dict[str, tuple[PayloadKind, Callable[[bytes], bytes], str]] = {
    "data bit": (SIGNED, lambda d: d[:300] + bytes([d[300] ^ 1]) + d[301:], "SignatureDoesNotMatch"),
    "chunk signature": (SIGNED, lambda d: d.replace(d[22:32], b"0" * 10, 1), "SignatureDoesNotMatch"),
    "chunks swapped": (SIGNED, swap_first_chunks, "SignatureDoesNotMatch"),
    "last data chunk dropped": (
        SIGNED,
        lambda d: d[: d.index(b"\r\n") + 2 + 65536 + 2] + d[d.rindex(b"0;chunk") :],
        "SignatureDoesNotMatch",
    ),
    "final chunk missing": (SIGNED, lambda d: d[: d.rindex(b"0;chunk")], "IncompleteBody"),
    "final chunk unsigned": (SIGNED, lambda d: d[: d.rindex(b"0;chunk")] + b"0\r\n\r\n", "InvalidRequest"),
    "unsigned chunk among signed": (SIGNED, lambda d: b"1\r\nx\r\n" + d, "InvalidRequest"),
    "signed chunk among unsigned": (
        UNSIGNED,
        lambda d: b"1;chunk-signature=" + b"0" * 64 + b"\r\nx\r\n" + d,
        "InvalidRequest",
    ),
    "extra after the end": (SIGNED, lambda d: d + b"GET / HTTP/1.1\r\n", "InvalidRequest"),
    "end cut": (SIGNED, lambda d: d[:-2], "InvalidRequest"),
    "bare LF": (SIGNED, lambda d: d.replace(b"\r\n", b"\n", 1), "InvalidRequest"),
    "size not hex": (UNSIGNED, lambda d: b"x" + d, "InvalidRequest"),
    "size negative": (UNSIGNED, lambda d: b"-" + d, "InvalidRequest"),
    "size with 0x": (UNSIGNED, lambda d: b"0x" + d, "InvalidRequest"),
    "size with a space": (UNSIGNED, lambda d: d.replace(b"\r\n", b" \r\n", 1), "InvalidRequest"),
    "size too small": (UNSIGNED, lambda d: b"ffff" + d[5:], "InvalidRequest"),
    "size over the declared length": (UNSIGNED, lambda d: b"fffffff" + d[5:], "IncompleteBody"),
    "size of 17 digits": (UNSIGNED, lambda d: b"0" * 17 + d[5:], "InvalidRequest"),
    "endless chunk head": (UNSIGNED, lambda d: b"0" * 100_000, "InvalidRequest"),
    "trailer missing": (UNSIGNED, lambda d: d[: d.rindex(b"0\r\nx-amz")] + b"0\r\n\r\n", "MalformedTrailerError"),
    "trailer cut": (UNSIGNED, lambda d: d[:-6], "IncompleteBody"),
    "trailer of another name": (UNSIGNED, lambda d: d.replace(b"crc32:", b"sha1:"), "MalformedTrailerError"),
    "trailer twice": (UNSIGNED, lambda d: d[:-2] + d[d.rindex(b"x-amz-ch") :], "MalformedTrailerError"),
    "trailer not announced": (UNSIGNED, lambda d: d[:-2] + b"x-amz-meta-a:b\r\n\r\n", "MalformedTrailerError"),
    "trailer too long": (UNSIGNED, lambda d: d[:-2] + b"a" * MAX_TRAILER + b"\r\n\r\n", "InvalidRequest"),
    "trailer signature on an unsigned body": (
        UNSIGNED,
        lambda d: d[:-2] + b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n",
        "MalformedTrailerError",
    ),
    "signed trailer value": (TRAILED, lambda d: d.replace(b"crc32:", b"crc32:A"), "SignatureDoesNotMatch"),
    "signed trailer without signature": (
        TRAILED,
        lambda d: d[: d.rindex(b"x-amz-trailer-sig")] + b"\r\n",
        "SignatureDoesNotMatch",
    ),
    "signed trailer with a wrong signature": (TRAILED, lambda d: d[:-8] + b"0000" + d[-4:], "SignatureDoesNotMatch"),
}


@pytest.mark.parametrize("step", [1, 100_000_000])
@pytest.mark.parametrize("name", BENT)
def test_bent_body_is_refused(name: str, step: int) -> None:
    kind, bend, code = BENT[name]
    with pytest.raises(Unauthenticated) as caught:
        decode(kind, bend(GOOD[kind]), step=step)
    assert caught.value.code == code


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1, 0])
@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.name)
def test_declared_length_must_be_the_decoded_one(kind: PayloadKind, length: int) -> None:
    with pytest.raises(Unauthenticated) as caught:
        decode(kind, GOOD[kind], length)
    assert caught.value.code == "IncompleteBody"


def test_memory_of_a_signed_chunk_is_bounded() -> None:
    decoder = ChunkedDecoder(verified(SIGNED), 1 << 33, ())
    with pytest.raises(Unauthenticated, match="longer than"):
        decoder.feed(b"2000000;chunk-signature=" + b"0" * 64 + b"\r\n")
