"""One port of a worker over real sockets: how many connections, which make room, handshakes that are never finished."""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import trustme
import uvloop

from gateway.processes import acceptor
from gateway.processes.server import FrontServer

HEAD = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
LIMIT = 20


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/signed":
        scope["extensions"]["demesne.known"]()
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body = b"ok" if scope["path"] != "/much" else b"m" * (8 << 20)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(context: ssl.SSLContext | None = None, stall_seconds: float = 60) -> Iterator[tuple[int, FrontServer]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    made: list[FrontServer] = []
    ready = threading.Event()

    async def serve() -> None:
        server = FrontServer(app, None, context, connections=LIMIT, stall_seconds=stall_seconds, drain_seconds=1)
        made.append(server)
        cutting = asyncio.ensure_future(server.cut_off_stalled())
        asyncio.get_running_loop().call_later(0.1, ready.set)
        await server.serve(sockets=[listener])
        cutting.cancel()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(5)
    try:
        yield int(listener.getsockname()[1]), made[0]
    finally:
        made[0].should_exit = True
        thread.join(15)
        listener.close()


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ended(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        return client.recv(10) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def ask(client: socket.socket, path: bytes = b"/") -> bytes:
    client.settimeout(5)
    client.sendall(HEAD.replace(b"/", path, 1))
    said = b""
    while not said.endswith(b"ok") and (piece := client.recv(65536)):
        said += piece
    return said


def busy(server: FrontServer) -> int:
    """Connections with a request under way."""
    cycles = [getattr(each, "cycle", None) for each in list(server.server_state.connections)]
    return sum(cycle is not None and not cycle.response_complete for cycle in cycles)


def test_the_longest_idle_stranger_makes_room() -> None:
    with serving() as (port, server), ExitStack() as stack:
        signed = stack.enter_context(connect(port))
        assert ask(signed, b"/signed").startswith(b"HTTP/1.1 200")
        clients = [stack.enter_context(connect(port)) for _ in range(LIMIT - 1)]
        time.sleep(0.2)
        assert not any(ended(client) for client in clients[:3])
        assert ask(stack.enter_context(connect(port))).startswith(b"HTTP/1.1 200")
        assert ended(clients[0])
        assert not ended(clients[1])
        assert ask(signed, b"/signed").startswith(b"HTTP/1.1 200"), "who signed is the last to go"
        for _ in range(3 * LIMIT):
            stack.enter_context(connect(port))
        time.sleep(0.2)
        assert len(server.server_state.connections) <= LIMIT
        assert ask(signed, b"/signed").startswith(b"HTTP/1.1 200")


def test_where_none_is_idle_the_next_one_is_told_when_to_come_back() -> None:
    with serving() as (port, server), ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(connect(port)).sendall(HEAD.replace(b"/", b"/wait", 1))
        end = time.monotonic() + 10
        while busy(server) < LIMIT and time.monotonic() < end:
            time.sleep(0.02)
        assert busy(server) == LIMIT
        late = stack.enter_context(connect(port))
        with suppress(OSError):
            late.sendall(HEAD)
        said = late.recv(65536)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in said
        assert b"<Code>SlowDown</Code>" in said
        assert server.room.turned_away == 1
    with serving() as (port, _), connect(port) as client:
        assert ask(client).startswith(b"HTTP/1.1 200")


@pytest.fixture
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_handshakes_that_are_never_finished_end(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    """As many as there may be connections: the oldest makes room, and none outlives its time."""
    monkeypatch.setattr(acceptor, "HANDSHAKE_SECONDS", 1.0)
    before = len(os.listdir("/proc/self/fd"))
    with serving(tls[0]) as (port, _), ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(LIMIT)]
        for client in clients:
            client.sendall(first)
        time.sleep(0.2)
        with tls[1].wrap_socket(connect(port), server_hostname="127.0.0.1") as good:
            assert ask(good).startswith(b"HTTP/1.1 200")
            assert ended(clients[0])
            assert not ended(clients[1])
            time.sleep(1.3)
            assert all(ended(client) for client in clients)
            assert ask(good).startswith(b"HTTP/1.1 200")
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_an_answer_over_tls_that_nobody_takes_ends(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with serving(tls[0], stall_seconds=1) as (port, server):
        with tls[1].wrap_socket(connect(port), server_hostname="127.0.0.1") as client:
            client.sendall(HEAD.replace(b"/", b"/much", 1))
            time.sleep(0.2)
            assert len(server.server_state.connections) == 1
            time.sleep(2.5)
            assert len(server.server_state.connections) == 0
            with suppress(OSError):
                assert len(client.recv(1 << 24)) < 8 << 20


def test_a_connection_that_waits_for_us_is_not_stalled() -> None:
    """Nothing is owed to it: the answer has not begun."""
    with serving(stall_seconds=0.4) as (port, server), connect(port) as client:
        client.sendall(HEAD.replace(b"/", b"/wait", 1))
        time.sleep(1.2)
        assert len(server.server_state.connections) == 1
