"""Large bodies past the event loop, over real sockets: order, back-pressure, clients that leave or say nonsense."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import pytest
import uvicorn

from gateway.processes.connection import BoundedHeads
from gateway.processes.outlet import PATIENCE_MS, Patience

BODY = bytes(range(256)) * (48 << 10)  # 12 MiB
HEAD = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


class Pouring:
    """An app that pours BODY in pieces of 1 MiB; counts how it ended."""

    def __init__(self) -> None:
        self.bursts = 0
        self.ended: list[str] = []
        self.over = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        outlet = scope["extensions"]["demesne.outlet"]
        held = memoryview(BODY)

        def burst(push: Any) -> Literal["more", "slow", "done"]:
            nonlocal held
            self.bursts += 1
            while len(held):
                piece = held[: 1 << 20]
                taken = push(piece)
                held = held[taken:]
                if taken < len(piece):
                    return "slow"
                if self.bursts % 2:
                    return "more"
            return "done"

        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(BODY))]}
        )
        try:
            await outlet.pour(burst, 30.0)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            self.ended.append("complete")
        except ConnectionError:
            self.ended.append("gone")
        finally:
            self.over.set()


@pytest.fixture
def app() -> Pouring:
    return Pouring()


@pytest.fixture(params=["asyncio", "uvloop"])
def port(app: Pouring, request: pytest.FixtureRequest) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    with ThreadPoolExecutor(1) as pool:
        protocol: Any = partial(BoundedHeads, pool=pool)
        server = uvicorn.Server(
            uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None, loop=request.param)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join(10)
    listener.close()


def answer(client: socket.socket) -> bytes:
    """The body of one whole answer."""
    said = bytearray()
    while (end := said.find(b"\r\n\r\n")) < 0 or len(said) < end + 4 + len(BODY):
        piece = client.recv(1 << 20)
        if not piece:
            break
        said += piece
    assert said.startswith(b"HTTP/1.1 200 ")
    return bytes(said[said.find(b"\r\n\r\n") + 4 :])


def test_every_byte_and_the_connection_serves_on(port: int, app: Pouring) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(20)
        for _ in range(3):
            client.sendall(HEAD)
            assert answer(client) == BODY
    assert app.ended == ["complete"] * 3


def test_pipelined_requests_are_answered_one_after_the_other(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(20)
        client.sendall(HEAD + HEAD)
        said = bytearray()
        while len(said) < 2 * len(BODY):
            said += client.recv(1 << 20)
        head = said.index(b"\r\n\r\n") + 4
        assert said[head : head + len(BODY)] == BODY
        assert said[head + len(BODY) :].startswith(b"HTTP/1.1 200 ")


def test_a_slow_reader_holds_no_thread(port: int) -> None:
    """One sending thread, one client that stops reading: the next client is served all the same."""
    with socket.socket() as slow, socket.create_connection(("127.0.0.1", port)) as other:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", port))
        slow.settimeout(20)
        slow.sendall(HEAD)
        slow.recv(100, socket.MSG_PEEK)
        other.settimeout(20)
        other.sendall(HEAD)
        assert answer(other) == BODY
        assert answer(slow) == BODY


def test_a_client_that_leaves_ends_the_work(port: int, app: Pouring) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(HEAD)
        client.recv(100)
    assert app.over.wait(10)
    assert app.ended == ["gone"]


def test_nonsense_behind_the_request_is_not_answered_into_the_body(port: int, app: Pouring) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(20)
        client.sendall(HEAD)
        client.recv(10, socket.MSG_PEEK)
        time.sleep(0.1)
        client.sendall(b"\x00 this is no HTTP \r\n\r\n")
        said = bytearray()
        try:
            while piece := client.recv(1 << 20):
                said += piece
        except ConnectionError:
            pass
        body = bytes(said.partition(b"\r\n\r\n")[2])
        assert BODY.startswith(body), "cut, and not one foreign byte"
    assert app.over.wait(10)
    assert app.ended == ["gone"]


def test_a_slow_reader_is_waited_for_once_and_again_for_what_it_takes() -> None:
    never, patience = select.poll(), Patience()

    def waited() -> float:
        began = time.monotonic()
        assert not patience.wait(never)
        return (time.monotonic() - began) * 1000

    assert waited() >= PATIENCE_MS - 1
    began = time.monotonic()
    for _ in range(200):  # as often as it likes
        assert not patience.wait(never)
        patience.earn(100)
    assert (time.monotonic() - began) * 1000 < 100
    patience.earn(1 << 30)
    assert PATIENCE_MS - 1 <= waited() < 10 * PATIENCE_MS
