"""Strangers on the wire: heads that never end, heads that never come. No credentials are needed for either."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from gateway.processes import connection
from gateway.processes.connection import HEAD_BYTES, BoundedHeads

HEAD = b"GET / HTTP/1.1\r\nhost: here\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    while scope["method"] == "PUT" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.4)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedHeads, ws="none", lifespan="off", log_config=None, timeout_keep_alive=30)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join(10)
    listener.close()


def ended(client: socket.socket) -> bytes:
    """What the server says until it closes the connection. A TimeoutError when it does not."""
    client.settimeout(5)
    said = b""
    try:
        while piece := client.recv(65536):
            said += piece
    except ConnectionError:
        pass
    return said


@pytest.mark.parametrize("first", [b"", b"GET", HEAD + b"x-a: ", b"\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(port: int, first: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(first)
        assert ended(client) == b""


@pytest.mark.parametrize("second", [b"GET", b"\r\n"])
def test_so_does_the_head_of_a_further_request(port: int, second: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(HEAD + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(second)
        assert b"HTTP" not in ended(client)


def test_a_head_without_end_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        sent = 0
        try:
            client.sendall(HEAD)
            while sent < 64 * HEAD_BYTES:
                client.sendall(b"x-filler: " + b"y" * 8000 + b"\r\n")
                sent += 8012
        except OSError:
            pass
        assert sent < 16 * HEAD_BYTES  # what the kernel buffers on both sides is not ours


def test_a_long_body_is_no_long_head(port: int) -> None:
    body = b"z" * (3 * HEAD_BYTES)
    request = b"PUT / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(2):
            client.sendall(request)
            answer = b""
            while not answer.endswith(b"ok"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
