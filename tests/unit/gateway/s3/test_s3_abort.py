"""What happens on the wire when a read fails after its first byte, and to connections with a body nobody read."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.errors import Unavailable
from tests.fakes.s3_client import signed
from tests.fakes.s3_server import Served, serve

BODY = bytes(range(256)) * (4096 * 8)  # 8 MiB


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serve() as served:
        yield served


@pytest.fixture
def served(server: Served) -> Served:
    server.guard.__init__()  # type: ignore[misc]
    server.guard.put("claims", "k", BODY)
    return server


def exchange(served: Served, data: bytes) -> bytes:
    """Everything the server sends until it closes; a reset counts as a close."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(data)
        received = bytearray()
        try:
            while chunk := connection.recv(1 << 20):
                received += chunk
        except ConnectionResetError:
            pass
        return bytes(received)


def get(served: Served, path: str = "/claims/k") -> bytes:
    request = signed("GET", path, host=f"127.0.0.1:{served.port}")
    return request.bytes()


@pytest.mark.parametrize(
    "failure", [Unavailable("integrity.body", "the stored bytes do not verify"), RuntimeError("secret detail")]
)
def test_failure_after_the_first_byte_cuts_the_connection(served: Served, failure: Exception) -> None:
    served.guard.fail_stream_at = 3 << 20
    served.guard.stream_failure = failure
    answer = exchange(served, get(served))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: %d" % len(BODY) in head
    assert b"chunked" not in head
    assert len(body) <= 3 << 20
    assert body == BODY[: len(body)], "nothing but verified bytes: no error text, no next response"
    assert served.guard.outcomes == [("read", "k", "aborted", 3 << 20)]


def test_failure_before_the_first_byte_is_an_answer(served: Served) -> None:
    served.guard.fail_stream_at = 0
    request = signed("GET", "/claims/k", host=f"127.0.0.1:{served.port}", headers=[("connection", "close")])
    head, _, body = exchange(served, request.bytes()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"integrity.body" in body
    assert served.guard.outcomes == [("read", "k", "aborted", 0)]


def test_stream_that_ends_early_is_no_clean_end(served: Served) -> None:
    served.guard.end_stream_at = 2 << 20
    answer = exchange(served, get(served))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(BODY) in head
    assert body == BODY[: 2 << 20]
    assert served.guard.outcomes == [("read", "k", "aborted", 2 << 20)]


def test_client_that_leaves_stops_the_unsealing(served: Served) -> None:
    served.guard.put("claims", "k", BODY * 8)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(get(served))
        connection.recv(1000)
    for _ in range(100):
        if served.guard.outcomes:
            break
        time.sleep(0.05)
    action, _, status, sent = served.guard.outcomes[0]
    assert (action, status) == ("read", "aborted")
    assert sent < len(BODY) * 8


def test_refused_upload_that_waits_for_100_closes_the_connection(served: Served) -> None:
    """Else the body, sent late, would be read as the next request."""
    request = signed("PUT", "/absent/k", body=b"GET /claims/k HTTP/1.1\r\n\r\n", host=f"127.0.0.1:{served.port}")
    request.headers.append((b"expect", b"100-continue"))
    request.body = b""
    answer = exchange(served, request.bytes())
    assert answer.startswith(b"HTTP/1.1 404 ") or b"100 Continue" in answer
    assert answer.count(b"HTTP/1.1 404") == 1
    assert b"connection: close" in answer


def test_refused_upload_of_a_part_is_heard_by_a_client_that_sends_first(served: Served) -> None:
    bad = signed("PUT", "/absent/k", body=BODY, host=f"127.0.0.1:{served.port}")
    good = signed("HEAD", "/claims/k", host=f"127.0.0.1:{served.port}", headers=[("connection", "close")])
    answer = exchange(served, bad.bytes() + good.bytes())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"HTTP/1.1 200 OK" in answer
    assert [outcome[0] for outcome in served.guard.outcomes] == ["head"]


def test_large_upload_of_a_stranger_is_not_read(served: Served) -> None:
    request = signed("PUT", "/claims/new", body=BODY, secret="wrong", host=f"127.0.0.1:{served.port}")
    with suppress(ConnectionResetError, BrokenPipeError):
        answer = exchange(served, request.bytes())
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"connection: close" in answer
    assert served.unauthenticated[-1][0] == "SignatureDoesNotMatch"
    assert served.guard.body("claims", "new") is None


def test_refused_small_upload_keeps_the_connection(served: Served) -> None:
    bad = signed("PUT", "/absent/k", body=b"small", host=f"127.0.0.1:{served.port}")
    good = signed("HEAD", "/claims/k", host=f"127.0.0.1:{served.port}", headers=[("connection", "close")])
    answer = exchange(served, bad.bytes() + good.bytes())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"HTTP/1.1 200 OK" in answer


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"bad header: x\r\n",
    ],
)
def test_ambiguous_framing_is_refused(served: Served, lines: bytes) -> None:
    answer = exchange(served, b"PUT /claims/new HTTP/1.1\r\nhost: 127.0.0.1\r\n" + lines + b"\r\nabc")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
    assert served.guard.body("claims", "new") is None


def test_upload_cut_in_the_middle_leaves_nothing(served: Served) -> None:
    request = signed("PUT", "/claims/new", body=BODY, host=f"127.0.0.1:{served.port}")
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request.bytes()[: 5 << 20])
    for _ in range(100):
        if served.guard.outcomes:
            break
        time.sleep(0.05)
    assert served.guard.outcomes == [("write", "new", "aborted", 0)]
    assert served.guard.body("claims", "new") is None
