"""The sequencer's wire form, shared by both ends of the Unix socket. Format: docs/spec/ledger.md §6.

    request   u32 body length | u32 request id | u32 entry length | entry | sealed decision input
    response  u32 body length | u32 request id | u8 status | payload
                status 0: u64 index | u64 at (ms) | 64-byte signature      durable
                status 1: reason "\\n" detail                               malformed, never retry
                status 2: reason "\\n" detail                               unavailable, nothing is promised

All integers big-endian. The promise's leaf is not sent: the client hashes what it sent, so that a sequencer
which recorded something else produces a promise that does not verify.
"""

import struct

from lineage.errors import LineageError, Malformed, Unavailable

MAX_SEALED = 1 << 20
MAX_BODY = 8 + 0xFFFF + MAX_SEALED

OK, MALFORMED, UNAVAILABLE = 0, 1, 2

_LENGTH = struct.Struct(">I")
_REQUEST = struct.Struct(">III")
_RESPONSE = struct.Struct(">IIB")
_PROMISED = struct.Struct(">IIBQQ64s")


def request(request_id: int, entry: bytes, sealed: bytes) -> bytes:
    """Raises Malformed("sealed.size") over 1 MiB of sealed input."""
    if len(sealed) > MAX_SEALED:
        raise Malformed("sealed.size", f"{len(sealed)} bytes; the most is {MAX_SEALED}")
    return _REQUEST.pack(8 + len(entry) + len(sealed), request_id, len(entry)) + entry + sealed


def promised(request_id: int, index: int, at: int, signature: bytes) -> bytes:
    return _PROMISED.pack(_PROMISED.size - 4, request_id, OK, index, at, signature)


def refusal(request_id: int, status: int, error: LineageError) -> bytes:
    text = f"{error.reason}\n{error.detail}".encode()[:4096]
    return _RESPONSE.pack(5 + len(text), request_id, status) + text


def split(buffer: bytearray) -> list[bytes]:
    """Take the complete frames off the front of `buffer`; Malformed("frame") for an impossible length."""
    frames: list[bytes] = []
    start = 0
    while len(buffer) - start >= 4:
        (length,) = _LENGTH.unpack_from(buffer, start)
        if not 5 <= length <= MAX_BODY:
            raise Malformed("frame", f"length {length}")
        if len(buffer) - start - 4 < length:
            break
        frames.append(bytes(buffer[start + 4 : start + 4 + length]))
        start += 4 + length
    if start:
        del buffer[:start]
    return frames


def parse_request(frame: bytes) -> tuple[int, bytes, bytes]:
    """Body of a request -> (request id, entry, sealed)."""
    if len(frame) < 8:
        raise Malformed("frame", "short request")
    request_id, length = struct.unpack_from(">II", frame)
    if 8 + length > len(frame):
        raise Malformed("frame", "entry longer than its frame")
    return request_id, frame[8 : 8 + length], frame[8 + length :]


def parse_response(frame: bytes) -> tuple[int, tuple[int, int, bytes] | LineageError]:
    """Body of a response -> (request id, (index, at, signature) or the error to raise)."""
    request_id, status = struct.unpack_from(">IB", frame)
    if status == OK:
        if len(frame) != _PROMISED.size - 4:
            raise Malformed("frame", "promise of a wrong length")
        return request_id, struct.unpack_from(">QQ64s", frame, 5)
    reason, _, detail = frame[5:].decode("utf-8", "replace").partition("\n")
    return request_id, (Malformed(reason, detail) if status == MALFORMED else Unavailable(reason, detail))
