"""One request to one of the makers' services: HTTPS, to a declared host, within a time and a size, or nothing.

Answers are material to check, never instructions: no redirect, no content encoding, no cookie is honoured, and what
comes is worth only what its signature is. The deadline is for the whole exchange, so a service that sends a byte a
second ends like one that sends none.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vault.endpoint.address import Endpoint
from vault.endpoint.dialer import Dialer
from vault.errors import Unavailable

TOTAL_SECONDS = 30.0
MAX_BYTES = 2 << 20
_WHAT = "collateral"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer of status 200. Header names are lower case."""

    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Requests through a `Dialer`, which knows the hosts. `context`: whose certificates are believed.

    Raises Unavailable: `collateral.` + what the dialer says, or `status`, `redirect`, `size`, `slow`, `answer`, `tls`.
    """

    def __init__(
        self, dialer: Dialer, context: ssl.SSLContext, *, total_seconds: float = TOTAL_SECONDS,
        most: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._dialer = dialer
        self._context = context
        self._total = total_seconds
        self._most = most
        self._clock = clock

    def get(self, endpoint: Endpoint, target: str) -> Fetched:
        return self._exchange(endpoint, f"GET {target} HTTP/1.1\r\n", b"", "")

    def post(self, endpoint: Endpoint, target: str, body: bytes, content_type: str) -> Fetched:
        return self._exchange(endpoint, f"POST {target} HTTP/1.1\r\n", body, content_type)

    def _exchange(self, endpoint: Endpoint, line: str, body: bytes, content_type: str) -> Fetched:
        ends = self._clock() + self._total
        secure = endpoint.scheme == "https"
        if not secure:
            raise Unavailable(f"{_WHAT}.plain-http", f"{endpoint.host}: only https")
        plain = self._dialer.connect(endpoint.host, endpoint.port, self._left(ends), secure=True)
        try:
            plain.settimeout(self._left(ends))
            with self._context.wrap_socket(plain, server_hostname=endpoint.host) as connection:
                self._dialer.check_key(endpoint.host, connection.getpeercert(binary_form=True))
                head = f"Host: {endpoint.host}\r\nAccept-Encoding: identity\r\nConnection: close\r\n"
                if body:
                    head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
                connection.settimeout(self._left(ends))
                connection.sendall(f"{line}{head}\r\n".encode("ascii") + body)
                return self._answer(_Reading(connection, lambda: self._left(ends)))
        except ssl.SSLError as error:
            raise Unavailable(f"{_WHAT}.tls", f"{endpoint.host}: {error.reason or type(error).__name__}") from error
        except TimeoutError as error:
            raise Unavailable(f"{_WHAT}.slow", f"{endpoint.host}: not done in {self._total:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{_WHAT}.answer", f"{endpoint.host}: {type(error).__name__}") from error
        finally:
            with suppress(OSError):
                plain.close()

    def _answer(self, reading: "_Reading") -> Fetched:
        answer = http.client.HTTPResponse(reading)  # type: ignore[arg-type]
        answer.begin()
        if 300 <= answer.status < 400:
            raise self._dialer.redirected(answer.status)
        if answer.status != http.client.OK:
            raise Unavailable(f"{_WHAT}.status", f"answered {answer.status}")
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if headers.get("content-encoding", "identity") != "identity":
            raise Unavailable(f"{_WHAT}.answer", "an encoding that nobody asked for")
        if answer.length is not None and answer.length > self._most:
            raise Unavailable(f"{_WHAT}.size", f"{answer.length} bytes announced, at most {self._most}")
        body = answer.read(self._most + 1)
        if len(body) > self._most:
            raise Unavailable(f"{_WHAT}.size", f"more than {self._most} bytes")
        if answer.length:
            raise Unavailable(f"{_WHAT}.answer", "it ended before its end")
        return Fetched(headers, body)

    def _left(self, ends: float) -> float:
        left = ends - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


class _Reading:
    """A socket as `HTTPResponse` wants it, whose every read has what is left of the time."""

    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        self._connection = connection
        self._left = left

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._connection, self._left))


class _Raw(io.RawIOBase):
    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        self._connection = connection
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._left())
        return self._connection.recv_into(buffer)
