"""The broker's wire: one Unix socket, one JSON message each way at a time.

    message  = u32 big-endian length (1 to 65536) || UTF-8 JSON object
    request  = {"arguments": {...}, "method": name, "v": 1}
    answer   = {"ok": value, "v": 1} | {"error": {"detail", "kind", "reason"}, "v": 1}

Bytes travel as base64. No floats, no repeated names, no unknown fields. The peer must run as the same user
(SO_PEERCRED, asked of the kernel on accept). Format: docs/spec/keys.md §6.
"""

import base64
import binascii
import json
import socket
import struct
from typing import Any, NoReturn

from vault.errors import Broken, Conflict, Malformed, NotFound, Refused, Unavailable, VaultError

MAX_MESSAGE = (1 << 20) + (1 << 18)  # a body of the API, which bounds evidence, and what is said around it
_LENGTH = struct.Struct(">I")
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
# Most specific first: an error travels as what it is.
_KINDS: dict[str, type[VaultError]] = {
    "not-found": NotFound,
    "conflict": Conflict,
    "refused": Refused,
    "malformed": Malformed,
    "unavailable": Unavailable,
    "broken": Broken,
}


class Closed(Exception):
    """The peer closed the connection between two messages: the orderly end."""


def send_message(connection: socket.socket, document: dict[str, Any]) -> None:
    """`Malformed("broker.size")` before a byte is sent, `OSError` when the connection fails."""
    payload = _encoder.encode(document).encode("utf-8")
    if len(payload) > MAX_MESSAGE:
        raise Malformed("broker.size", f"{len(payload)} bytes; at most {MAX_MESSAGE}")
    connection.sendall(_LENGTH.pack(len(payload)) + payload)


def receive_message(connection: socket.socket) -> dict[str, Any]:
    """One message. `Closed` at the orderly end, `Malformed("broker.message")` otherwise, or `OSError`."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, first=True))
    if not 0 < length <= MAX_MESSAGE:
        raise Malformed("broker.message", f"length {length}")
    payload = _exactly(connection, length)
    try:
        document = json.loads(
            payload.decode("utf-8"),
            object_pairs_hook=_no_repeats,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise Malformed("broker.message", "not JSON") from error
    if not isinstance(document, dict) or document.get("v") != 1:
        raise Malformed("broker.message", "version")
    return document


def error_document(error: VaultError) -> dict[str, Any]:
    """The answer that carries one failure."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(error, cls)), "broken")
    return {"v": 1, "error": {"kind": kind, "reason": error.reason, "detail": error.detail[:512]}}


def answer_value(document: dict[str, Any]) -> Any:
    """The value of an answer; raises the `VaultError` it carries, or `Malformed` when it is neither."""
    if set(document) == {"v", "ok"}:
        return document["ok"]
    error = document.get("error")
    if set(document) != {"v", "error"} or not isinstance(error, dict) or error.get("kind") not in _KINDS:
        raise Malformed("broker.message", "neither an answer nor an error")
    raise _KINDS[error["kind"]](str(error.get("reason", "broker")), str(error.get("detail", "")))


def encode_bytes(value: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(value).decode("ascii")


def decode_bytes(value: object) -> bytes:
    """`Malformed("broker.field")` for anything but strict base64."""
    if not isinstance(value, str):
        raise Malformed("broker.field", "base64 text expected")
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Malformed("broker.field", "not base64") from error


def _exactly(connection: socket.socket, length: int, *, first: bool = False) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = connection.recv(length - len(received))
        if not piece:
            if first and not received:
                raise Closed
            raise ConnectionResetError("the connection ended inside a message")
        received += piece
    return bytes(received)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Malformed("broker.message", "a name stands twice")
    return document


def _refuse_number(text: str) -> NoReturn:
    raise Malformed("broker.message", f"number {text[:40]}")
