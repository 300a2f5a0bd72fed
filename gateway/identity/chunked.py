"""aws-chunked: the framing S3 clients put inside the HTTP body, decoded as it arrives, verified before it is used.

    chunk   = hex-size [;chunk-signature=<64 hex>] CRLF data CRLF        the last chunk has size 0 and no data
    trailer = name:value (CRLF | LF) ... [x-amz-trailer-signature:<64 hex> CRLF] CRLF

Source: "Signature calculations: transferring a payload in multiple chunks", S3 API reference. Signed chunks are held
until their signature is checked (memory: one chunk, at most MAX_SIGNED_CHUNK); unsigned ones pass through.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence

from gateway.identity.canonical import EMPTY_SHA256
from gateway.identity.errors import Unauthenticated
from gateway.identity.sigv4 import VerifiedRequest

MAX_SIGNED_CHUNK = 16 << 20
MAX_CHUNK = 5 << 30
MAX_LINE = 256
MAX_TRAILER = 4096

_LINE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
_TRAILER_LINE = re.compile(rb"([a-z0-9-]{1,64}):[ \t]*([!-~]{1,512})[ \t]*")
_TRAILER_SIGNATURE = b"x-amz-trailer-signature"

Buffer = bytes | bytearray | memoryview


class ChunkedDecoder:
    """Feed it the HTTP body; it answers decoded bytes that are verified as far as the form allows.

    After `finish()` the framing was complete, the length is the declared one, and `trailers` are authentic
    for the signed form. Raises Unauthenticated; after one failure it must not be fed again.
    """

    def __init__(self, verified: VerifiedRequest, declared_length: int, trailer_names: Sequence[str]) -> None:
        kind = verified.payload.kind
        assert kind.chunked
        self._signed = kind.signed_chunks
        self._expects_trailer = kind.trailer
        self._names = tuple(trailer_names)
        self._key = verified.signing_key
        self._context = f"{verified.timestamp}\n{verified.scope}\n"
        self._previous = verified.seed_signature
        self._declared = declared_length
        self._decoded = 0
        self._line = bytearray()  # a chunk head, or the CRLF after a chunk, so far
        self._state: Callable[[memoryview, list[Buffer]], int] = self._take_head
        self._left = 0  # bytes of the current chunk still to come
        self._claimed = ""  # its signature
        self._held = bytearray()
        self._rest = bytearray()  # what follows the last chunk
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> list[Buffer]:
        out: list[Buffer] = []
        view = memoryview(data)
        while view:
            view = view[self._state(view, out) :]
        return out

    def finish(self) -> None:
        if self._state != self._take_rest:
            raise Unauthenticated("IncompleteBody", "the body ended before its last chunk")
        if self._decoded != self._declared:
            raise _wrong_length(self._declared)
        self._parse_trailer(bytes(self._rest))

    def _take_head(self, view: memoryview, _out: list[Buffer]) -> int:
        taken = self._fill_line(view)
        if self._line[-1:] != b"\n":
            return taken
        match = _LINE.fullmatch(self._line[:-2]) if self._line.endswith(b"\r\n") else None
        if match is None or (match[2] is not None) != self._signed:
            raise _malformed("a chunk does not start with its size" + (" and signature" if self._signed else ""))
        self._line.clear()
        self._left = int(match[1], 16)
        self._claimed = match[2].decode("ascii") if match[2] else ""
        if self._decoded + self._left > self._declared:
            raise _wrong_length(self._declared)
        if self._left > (MAX_SIGNED_CHUNK if self._signed else MAX_CHUNK):
            raise _malformed(f"a chunk is longer than {MAX_SIGNED_CHUNK} bytes")
        if self._left == 0:
            self._verify_chunk(b"")
            self._state = self._take_rest
        else:
            self._state = self._take_data
        return taken

    def _take_data(self, view: memoryview, out: list[Buffer]) -> int:
        piece = view[: self._left]
        self._left -= len(piece)
        self._decoded += len(piece)
        if not self._signed:
            out.append(piece)
        else:
            self._held += piece
            if self._left == 0:
                self._verify_chunk(self._held)
                out.append(self._held)
                self._held = bytearray()
        if self._left == 0:
            self._state = self._take_end
        return len(piece)

    def _take_end(self, view: memoryview, _out: list[Buffer]) -> int:
        taken = min(2 - len(self._line), len(view))
        self._line += view[:taken]
        if not b"\r\n".startswith(self._line):
            raise _malformed("a chunk is longer than its size says")
        if len(self._line) == 2:
            self._line.clear()
            self._state = self._take_head
        return taken

    def _take_rest(self, view: memoryview, _out: list[Buffer]) -> int:
        self._rest += view[: MAX_TRAILER + 1]
        if len(self._rest) > MAX_TRAILER:
            raise _malformed("the trailer is too long")
        return len(view)

    def _fill_line(self, view: memoryview) -> int:
        """Move bytes up to and including the next LF into the line."""
        window = bytes(view[: MAX_LINE + 1 - len(self._line)])
        end = window.find(b"\n")
        taken = end + 1 if end >= 0 else len(window)
        self._line += window[:taken]
        if len(self._line) > MAX_LINE:
            raise _malformed("a chunk head is too long")
        return taken

    def _verify_chunk(self, data: Buffer) -> None:
        if not self._signed:
            return
        digest = hashlib.sha256(data).hexdigest()
        message = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._context}{self._previous}\n{EMPTY_SHA256}\n{digest}"
        self._check_signature(message, self._claimed, "a chunk")

    def _check_signature(self, message: str, claimed: str, what: str) -> None:
        expected = hmac.digest(self._key, message.encode("ascii"), "sha256").hex()
        if not hmac.compare_digest(expected, claimed):
            raise Unauthenticated("SignatureDoesNotMatch", f"the signature of {what} does not match its bytes")
        self._previous = expected

    def _parse_trailer(self, rest: bytes) -> None:
        if not self._expects_trailer:
            if rest != b"\r\n":
                raise _malformed("bytes follow the last chunk")
            return
        if not rest.endswith(b"\r\n"):
            raise Unauthenticated("IncompleteBody", "the body ended inside its trailer")
        lines = [line.removesuffix(b"\r") for line in rest.split(b"\n")]
        found: dict[bytes, bytes] = {}
        for line in lines:
            if not line:  # the line that ends the trailer; the S3 manual also shows one before the signature
                continue
            match = _TRAILER_LINE.fullmatch(line)
            if match is None or match[1] in found:
                raise Unauthenticated("MalformedTrailerError", "a trailer line does not parse, or stands twice")
            found[match[1]] = match[2]
        claimed = found.pop(_TRAILER_SIGNATURE, None)
        if sorted(name.decode("ascii") for name in found) != sorted(self._names):
            raise Unauthenticated("MalformedTrailerError", "the trailer does not hold what x-amz-trailer announced")
        if self._signed:
            canonical = b"".join(name + b":" + value + b"\n" for name, value in sorted(found.items()))
            digest = hashlib.sha256(canonical).hexdigest()
            message = f"AWS4-HMAC-SHA256-TRAILER\n{self._context}{self._previous}\n{digest}"
            self._check_signature(message, (claimed or b"").decode("ascii"), "the trailer")
        elif claimed is not None:
            raise Unauthenticated("MalformedTrailerError", "an unsigned body carries a trailer signature")
        self.trailers = {name.decode("ascii"): value.decode("ascii") for name, value in found.items()}


def _malformed(why: str) -> Unauthenticated:
    return Unauthenticated("InvalidRequest", f"the aws-chunked body is malformed: {why}")


def _wrong_length(declared: int) -> Unauthenticated:
    return Unauthenticated("IncompleteBody", f"the decoded body is not the {declared} bytes it was declared to be")
