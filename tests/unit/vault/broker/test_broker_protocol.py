"""Framing and answers, read alone: what is not exactly a message or an answer is refused."""

import socket
import struct
from typing import Any

import pytest

from vault.broker.protocol import Closed, answer_value, decode_bytes, error_document, receive_message
from vault.errors import Broken, Conflict, Malformed, NotFound, Refused, Unavailable, VaultError


def received(sent: bytes) -> dict[str, Any]:
    here, there = socket.socketpair()
    with here, there:
        here.sendall(sent)
        here.shutdown(socket.SHUT_WR)
        there.settimeout(2)
        return receive_message(there)


def test_end_between_messages_is_orderly() -> None:
    with pytest.raises(Closed):
        received(b"")


@pytest.mark.parametrize("sent", [b"\x00", b"\x00\x00\x00", struct.pack(">I", 9), struct.pack(">I", 9) + b'{"v":1'])
def test_end_inside_a_message_is_a_broken_connection(sent: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        received(sent)


@pytest.mark.parametrize("error", [NotFound, Conflict, Refused, Malformed, Unavailable, Broken])
def test_every_kind_of_error_crosses_as_itself(error: type[VaultError]) -> None:
    with pytest.raises(error) as caught:
        answer_value(error_document(error("some.reason", "detail")))
    assert type(caught.value) is error
    assert (caught.value.reason, caught.value.detail) == ("some.reason", "detail")


@pytest.mark.parametrize(
    "document",
    [
        {"v": 1},
        {"v": 1, "ok": 1, "error": {}},
        {"v": 1, "ok": 1, "more": 1},
        {"v": 1, "error": "refused"},
        {"v": 1, "error": {"kind": "allowed", "reason": "", "detail": ""}},
        {"v": 1, "error": {}},
    ],
)
def test_answer_that_is_neither_value_nor_error_is_malformed(document: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match=r"broker\.message"):
        answer_value(document)


@pytest.mark.parametrize("value", [None, 7, ["YQ=="], "YQ", "YQ==\n", "Y Q==", "é", "-_8="])
def test_bytes_in_another_spelling_are_malformed(value: object) -> None:
    with pytest.raises(Malformed, match=r"broker\.field"):
        decode_bytes(value)
