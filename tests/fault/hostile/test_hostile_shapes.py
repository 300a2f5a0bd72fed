"""Request shapes that two HTTP parsers read in two ways. Each is refused, ends its connection, and hides no second
request: what follows on the same connection, a valid signed read, is never answered."""

import pytest

from tests.fault.hostile.wire import BUCKET, Target, statuses, told

CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
TE = b"Transfer-Encoding: chunked\r\n"

WRITES = {
    "te-and-cl": (b"Content-Length: 5\r\n" + TE, CHUNKED),
    "cl-and-te": (TE + b"Content-Length: 5\r\n", CHUNKED),
    "cl-twice": (b"Content-Length: 5\r\n" * 2, b"hello"),
    "cl-twice-differing": (b"Content-Length: 5\r\nContent-Length: 50\r\n", b"hello"),
    "cl-list": (b"Content-Length: 5, 5\r\n", b"hello"),
    "cl-plus": (b"Content-Length: +5\r\n", b"hello"),
    "cl-negative": (b"Content-Length: -1\r\n", b"hello"),
    "cl-hex": (b"Content-Length: 0x5\r\n", b"hello"),
    "cl-overflow": (b"Content-Length: 18446744073709551621\r\n", b"hello"),
    "cl-empty": (b"Content-Length:\r\n", b"hello"),
    "cl-space-before-colon": (b"Content-Length : 5\r\n", b"hello"),
    "te-chunked-identity": (b"Transfer-Encoding: chunked, identity\r\n", CHUNKED),
    "te-identity": (b"Transfer-Encoding: identity\r\n", b"hello"),
    "te-gzip-chunked": (b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED),
    "te-unknown": (b"Transfer-Encoding: xchunked\r\n", CHUNKED),
    "te-twice": (TE + b"Transfer-Encoding: identity\r\n", CHUNKED),
    "te-vertical-tab": (b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED),
    "te-space-before-colon": (b"Transfer-Encoding : chunked\r\n", CHUNKED),
    "te-folded": (b"Transfer-Encoding:\r\n chunked\r\n", CHUNKED),
    "chunk-size-overflow": (TE, b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-negative": (TE, b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-prefixed": (TE, b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-empty": (TE, b"\r\nhello\r\n0\r\n\r\n"),
    "chunk-bare-lf": (TE, b"5\nhello\n0\n\n"),
    "chunk-extension-lf": (TE, b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk-too-long": (TE, b"5\r\nhelloworld\r\n0\r\n\r\n"),
    "upgrade-h2c": (b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n", b"hello"),
}

LINES = {
    "obs-fold": b"x-a: b\r\n c\r\n",
    "nul-in-value": b"x-a: b\0c\r\n",
    "nul-in-name": b"x\0a: b\r\n",
    "space-before-colon": b"x-a : b\r\n",
    "bare-lf-line": b"x-a: b\n",
    "bare-cr": b"x-a: b\rx-c: d\r\n",
    "no-colon": b"xxxx\r\n",
    "empty-name": b": x\r\n",
    "high-byte-in-name": b"x-\xff: b\r\n",
    "upgrade-websocket": b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    "http2-settings": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
}

START = {
    "absolute-form": (b"GET /", b"GET http://other.example/"),
    "absolute-form-own-host": (b"GET /", b"GET http://127.0.0.1/"),
    "authority-form": (b"GET /hostile/small", b"GET other.example:80"),
    "connect": (b"GET /hostile/small", b"CONNECT other.example:80"),
    "fragment": (b"/small HTTP", b"/small#x HTTP"),
    "space-in-target": (b"/small HTTP", b"/sm all HTTP"),
    "tab-for-space": (b"/small HTTP", b"/small\tHTTP"),
    "version-1.9": (b"HTTP/1.1", b"HTTP/1.9"),
    "version-2.0": (b"HTTP/1.1", b"HTTP/2.0"),
    "version-11": (b"HTTP/1.1", b"HTTP/11"),
    "lower-case-method": (b"GET ", b"get "),
    "unknown-method": (b"GET ", b"BREW "),
    "space-before-first-header": (b"\r\nHost", b"\r\n Host"),
}


def alone(target: Target, sent: bytes) -> None:
    """It is refused, and what follows is not answered."""
    with target.connect() as client:
        client.sendall(sent + target.get())
        said = told(client, 5)
    assert statuses(said) == [400], said[:300]


def test_the_writes_below_would_be_taken_without_their_twist(target: Target) -> None:
    for extra, body in ((b"Content-Length: 5\r\n", b"hello"), (TE, CHUNKED)):
        with target.connect() as client:
            client.sendall(target.signed("PUT", f"/{BUCKET}/taken", body=b"hello", extra=extra) + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert target.exists("taken")


@pytest.mark.parametrize("name", WRITES)
def test_a_body_whose_end_is_in_doubt_is_not_stored(target: Target, name: str) -> None:
    extra, body = WRITES[name]
    alone(target, target.signed("PUT", f"/{BUCKET}/doubt-{name}", body=b"hello", extra=extra) + body)
    assert not target.exists(f"doubt-{name}")


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_is_no_header_ends_the_connection(target: Target, name: str) -> None:
    alone(target, target.get(extra=LINES[name]))


@pytest.mark.parametrize("name", START)
def test_a_first_line_of_another_form_ends_the_connection(target: Target, name: str) -> None:
    alone(target, target.get().replace(*START[name], 1))


def test_bare_line_feeds_end_the_connection(target: Target) -> None:
    alone(target, target.get().replace(b"\r\n", b"\n"))


def test_the_preface_of_http2_ends_the_connection(target: Target) -> None:
    alone(target, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def test_http_0_9_is_refused_and_ends_the_connection(target: Target) -> None:
    alone(target, b"GET /hostile/small\r\n\r\n")


@pytest.mark.parametrize("line", [b"Host: other.example\r\n", b"Content-Type: a\r\nContent-Type: b\r\n"])
def test_a_header_that_stands_twice_is_not_chosen_from(target: Target, line: bytes) -> None:
    head = target.signed("PUT", f"/{BUCKET}/twice", body=b"hello", extra=line + b"Content-Length: 5\r\n")
    with target.connect() as client:
        client.sendall(head + b"hello" + target.get() + b"\0")
        assert statuses(told(client, 10))[0] in {400, 403}
    assert not target.exists("twice")


def test_nothing_behind_an_error_is_answered(target: Target) -> None:
    """An error, then a whole signed write: it is not taken for a request."""
    write = target.signed("PUT", f"/{BUCKET}/behind", body=b"hello", extra=b"Content-Length: 5\r\n") + b"hello"
    with target.connect() as client:
        client.sendall(b"\0\r\n\r\n" + write)
        assert statuses(told(client, 5)) == [400]
    assert not target.exists("behind")


def test_nonsense_behind_a_whole_write_is_not_its_answer(target: Target) -> None:
    """The write happened, so its answer is 200 and not the 400 of what follows it; then the connection ends."""
    write = target.signed("PUT", f"/{BUCKET}/whole", body=b"hello", extra=b"Content-Length: 5\r\n") + b"hello"
    with target.connect() as client:
        client.sendall(write + b"\0 nonsense \r\n\r\n")
        assert statuses(told(client, 10)) == [200]
    assert target.exists("whole")


def test_nonsense_behind_a_second_request_is_not_put_into_the_first_answer(target: Target) -> None:
    with target.connect(receive_buffer=4096) as client:
        client.sendall(target.get("big"))
        client.recv(1000)
        client.sendall(target.get() + b"\0 nonsense \r\n\r\n")
        said = told(client)
    assert b"Invalid HTTP request" not in said
    assert statuses(said[:64]) in ([], [200])
