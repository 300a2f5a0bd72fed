"""The request body: bounded, timed, de-chunked, and checked against everything the client said about it.

Order of trust: signed chunks are verified before their bytes go on; every other promise (payload hash, checksum,
MD5, length) is checked in `finish`, before the guard commits. A body that fails leaves nothing visible.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator

from gateway.errors import BadRequest
from gateway.identity import checksums
from gateway.identity.chunked import ChunkedDecoder
from gateway.identity.sigv4 import PayloadKind
from gateway.s3.call import Answer, Call
from gateway.s3.ports import NO_CHECKSUMS, Buffer, Checksums, WriteDigests

PIECE = 1 << 20
SMALL = 4096  # bytes of the body that are worth an object of their own
MAX_OBJECT = 5 << 30  # bytes of one PUT or one part
SILENCE_SECONDS = 30.0  # without a byte
GRACE_SECONDS = 10.0  # before the minimum rate counts
MINIMUM_RATE = 1024  # bytes a second
_PREFIX = checksums.HEADER_PREFIX


class BodyReader:
    """Reads one body once. Construct it before the guard is asked: lengths and names are refused here."""

    def __init__(self, call: Call, max_bytes: int = MAX_OBJECT, *, describes_itself: bool = True) -> None:
        """`describes_itself`: x-amz-checksum-* headers are about this body (of a completion they are not)."""
        self._call = call
        self._payload = call.verified.payload
        self._max = max_bytes
        self._trailers = self._trailer_names()
        self.length = self._declared_length()
        self._decoder: ChunkedDecoder | None = None
        if self._payload.kind.chunked:
            assert self.length is not None  # a framed body always states its own
            self._decoder = ChunkedDecoder(call.verified, self.length, self._trailers)
        elif call.header(b"x-amz-decoded-content-length") is not None:
            # A framed body whose form does not say so: storing the framing is how others corrupted files (boto3#4435).
            raise BadRequest("InvalidRequest", "aws-chunked needs a STREAMING- value in x-amz-content-sha256")
        self._sha256 = hashlib.sha256() if self._payload.kind is PayloadKind.SHA256 else None
        self._stated = self._stated_checksums() if describes_itself else {}
        names = [*self._stated, *(name.removeprefix(_PREFIX) for name in self._trailers)]
        if len(names) > 1:
            raise BadRequest("InvalidRequest", "more than one x-amz-checksum-* was sent; send one")
        self._running = {name: checksums.new_checksum(name) for name in names}
        if self._call.header(b"x-amz-sdk-checksum-algorithm") and not names:
            raise BadRequest("InvalidRequest", "x-amz-sdk-checksum-algorithm was sent without a checksum or trailer")
        self._md5 = parse_md5(call.header(b"content-md5"))
        self._arrival = Arrival(call.answer)
        self._decoded = 0

    async def pieces(self) -> AsyncIterator[Buffer]:
        """Decoded bytes in pieces of about PIECE. Memory: one piece, and one signed chunk."""
        held: list[Buffer] = []
        size = 0
        while (data := await self._arrival.next()) is not None:
            for part in self._decoder.feed(data) if self._decoder else (data,):
                _hold(held, part)
                size += len(part)
            if size >= PIECE:
                yield self._take(held)
                held, size = [], 0
        if size:
            yield self._take(held)
        self._finish()

    async def read(self) -> bytes:
        """The whole of a small body."""
        return b"".join([bytes(piece) async for piece in self.pieces()])

    @property
    def verified(self) -> Checksums:
        """The checksum that was sent and found right, after the last piece: kept with the object, and echoed."""
        if not self._running:
            return NO_CHECKSUMS
        values = {name: checksums.spell_checksum(running.digest()) for name, running in self._running.items()}
        return Checksums(values, "FULL_OBJECT")

    def check(self, digests: WriteDigests) -> None:
        """For the guard, just before its commit: what it stored is what was sent."""
        if digests.size != self._decoded:
            raise BadRequest("IncompleteBody", "fewer bytes were stored than were sent")
        if self._md5 is not None and not hmac.compare_digest(digests.md5, self._md5):
            raise BadRequest("BadDigest", "the Content-MD5 you specified did not match what we received")

    def check_md5_of(self, document: bytes) -> None:
        """For a body that is read here and not stored."""
        self.check(WriteDigests(len(document), hashlib.md5(document, usedforsecurity=False).digest()))

    def _take(self, held: list[Buffer]) -> Buffer:
        piece = held[0] if len(held) == 1 else b"".join(held)
        self._decoded += len(piece)
        if self._decoded > self._max:
            raise self._too_large()
        if self._sha256 is not None:
            self._sha256.update(piece)
        for running in self._running.values():
            running.update(piece)
        return piece

    def _finish(self) -> None:
        if self._decoder is not None:
            self._decoder.finish()
        if self.length is not None and self._decoded != self.length:
            raise BadRequest("IncompleteBody", "the body is not as long as was declared")
        if self._sha256 is not None and not hmac.compare_digest(self._sha256.hexdigest(), self._payload.sha256 or ""):
            raise BadRequest("XAmzContentSHA256Mismatch", "x-amz-content-sha256 does not match what was received")
        stated = dict(self._stated)
        if self._decoder is not None:
            for name, value in self._decoder.trailers.items():
                algorithm = name.removeprefix(_PREFIX)
                stated[algorithm] = checksums.parse_checksum(algorithm, value)
        for algorithm, digest in stated.items():
            if not hmac.compare_digest(self._running[algorithm].digest(), digest):
                raise BadRequest("BadDigest", f"the {algorithm.upper()} you specified did not match what we received")

    def _declared_length(self) -> int | None:
        """None: HTTP chunks without a length, of a body whose signed hash says when it is whole."""
        name = b"x-amz-decoded-content-length" if self._payload.kind.chunked else b"content-length"
        stated = self._call.header(name)
        if stated is None:
            if not self._payload.kind.chunked and self._call.header(b"transfer-encoding") is None:
                return 0  # HTTP: neither length nor transfer coding means no body
            if self._payload.kind is PayloadKind.SHA256:
                return None
            raise BadRequest("MissingContentLength", f"you must provide the {name.decode('ascii')} header", status=411)
        if not (stated.isascii() and stated.isdigit() and len(stated) <= 15):
            raise BadRequest("InvalidArgument", f"{name.decode('ascii')} is not a number of bytes")
        if int(stated) > self._max:
            raise self._too_large()
        return int(stated)

    def _too_large(self) -> BadRequest:
        code = "EntityTooLarge" if self._max == MAX_OBJECT else "MaxMessageLengthExceeded"
        return BadRequest(code, f"the body is longer than the {self._max} bytes that are allowed")

    def _trailer_names(self) -> tuple[str, ...]:
        stated = self._call.header(b"x-amz-trailer")
        if stated is None:
            if self._payload.kind.trailer:
                raise BadRequest("MalformedTrailerError", "a trailer is announced and x-amz-trailer does not name it")
            return ()
        if not self._payload.kind.trailer:
            raise BadRequest("InvalidRequest", "x-amz-trailer needs a STREAMING-...-TRAILER payload")
        names = tuple(name.strip().lower() for name in stated.split(","))
        for name in names:
            if name.removeprefix(_PREFIX) not in checksums.ALGORITHMS or not name.startswith(_PREFIX):
                raise BadRequest("InvalidRequest", "the value specified in the x-amz-trailer header is not supported")
        return names

    def _stated_checksums(self) -> dict[str, bytes]:
        found = {}
        for algorithm in checksums.ALGORITHMS:
            value = self._call.amz(_PREFIX + algorithm)
            if value is not None:
                found[algorithm] = checksums.parse_checksum(algorithm, value)
        return {name: digest for name, digest in found.items() if not self._is_of_a_body_to_come(name, digest)}

    def _is_of_a_body_to_come(self, algorithm: str, digest: bytes) -> bool:
        """A URL signed without a body carries the checksum of nothing (the JS SDK's default): it is about no body."""
        signed_in_url = self._call.header((_PREFIX + algorithm).encode("ascii")) is None
        return signed_in_url and self.length != 0 and digest == checksums.new_checksum(algorithm).digest()


class Arrival:
    """The bytes of one request body as they come. A client that is silent, or too slow for too long, is refused."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._started: float | None = None
        self._received = 0

    async def next(self) -> bytes | None:
        """None after the last. Raises BadRequest "RequestTimeout", ClientGone."""
        now = asyncio.get_running_loop().time
        started = self._started = now() if self._started is None else self._started
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await self._answer.receive()
        except TimeoutError:
            raise _too_slow() from None
        if data is None:
            return None
        self._received += len(data)
        elapsed = now() - started
        if elapsed > GRACE_SECONDS and self._received < (elapsed - GRACE_SECONDS) * MINIMUM_RATE:
            raise _too_slow()
        return data


def _hold(held: list[Buffer], part: Buffer) -> None:
    """A body that comes byte by byte must not cost an object, fifty times its size, for each."""
    if len(part) >= SMALL:
        held.append(part)
    elif held and isinstance(held[-1], bytearray):
        held[-1] += part
    else:
        held.append(bytearray(part))


def parse_md5(stated: str | None) -> bytes | None:
    """Content-MD5. Raises BadRequest "InvalidDigest" for what is no MD5."""
    if stated is None:
        return None
    try:
        digest = base64.b64decode(stated, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise BadRequest("InvalidDigest", "the Content-MD5 you specified is not valid")
    return digest


async def read_document(call: Call, max_bytes: int, *, describes_itself: bool = True) -> bytes:
    """A small body, whole, checked. Raises BadRequest."""
    reader = BodyReader(call, max_bytes, describes_itself=describes_itself)
    document = await reader.read()
    reader.check_md5_of(document)
    return document


def _too_slow() -> BadRequest:
    return BadRequest("RequestTimeout", "the body did not arrive fast enough; the connection was idle or too slow")
