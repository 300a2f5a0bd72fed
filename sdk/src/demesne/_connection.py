"""The one place where the SDK sends: signs what httpx2 will put on the wire, and names what goes wrong."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from demesne import sigv4
from demesne.credentials import Credentials
from demesne.errors import Invalid, Unavailable

TIMEOUT = httpx2.Timeout(60.0, connect=5.0)  # seconds; a minute without one byte is an outage
TRIES = 3  # of requests that change nothing


def now_utc() -> datetime:
    return datetime.now(UTC)


class Connection:
    """Signed requests to one endpoint. Thread-safe as httpx2.Client is.

    Proxies of the environment are not used: a proxy variable must not send personal data elsewhere.
    Redirects are not followed: a signature is for one host.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Callable[[], Credentials],
        *,
        region: str,
        service: str,
        ca: Path | None = None,
        clock: Callable[[], datetime] = now_utc,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise Invalid("endpoint", f"{endpoint!r} is not an http:// or https:// URL")
        self.endpoint = endpoint.rstrip("/")
        self.region = region
        self._credentials = credentials
        self._service = service
        self._clock = clock
        self._pause = pause
        trust = ssl.create_default_context(cafile=str(ca)) if ca is not None else True
        self._http = httpx2.Client(verify=trust, trust_env=False, timeout=TIMEOUT, follow_redirects=False)

    def send(
        self,
        method: str,
        path: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | Callable[[], Iterator[bytes]] = b"",
        payload_sha256: str,
    ) -> httpx2.Response:
        """Sign and send; the answer is read whole. GET and HEAD are tried 3 times, nothing else is repeated.

        `path` is already percent-encoded. A callable `content` makes the stream anew for each try.
        Raises Unavailable when no answer came.
        """
        tries = TRIES if method in {"GET", "HEAD"} else 1
        for attempt in range(1, tries + 1):
            last = attempt == tries
            try:
                response = self._send_once(method, path, query, dict(headers or {}), content, payload_sha256)
            except httpx2.TransportError as error:
                if last:
                    raise self._no_answer(error) from error
            else:
                if response.status_code != 503 or last:
                    return response
            self._pause(0.2 * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    def _send_once(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...],
        headers: dict[str, str],
        content: bytes | Callable[[], Iterator[bytes]],
        payload_sha256: str,
    ) -> httpx2.Response:
        url = httpx2.URL(self.endpoint + path)
        if query:
            pairs = (f"{sigv4.encode(name)}={sigv4.encode(value)}" for name, value in query)
            url = url.copy_with(query="&".join(pairs).encode())
        signed = sigv4.sign(
            method=method,
            host=url.netloc.decode("ascii"),
            raw_path=url.raw_path.decode("ascii").partition("?")[0],
            raw_query=url.query.decode("ascii"),
            headers=headers,
            payload_sha256=payload_sha256,
            credentials=self._credentials(),
            region=self.region,
            service=self._service,
            now=self._clock(),
        )
        body = content() if callable(content) else content
        return self._http.request(method, url, headers=signed, content=body)

    def _no_answer(self, error: httpx2.TransportError) -> Unavailable:
        remedy = "is the gateway running, and is this its endpoint? 'demesne doctor' tells"
        return Unavailable("endpoint.unreachable", f"no answer from {self.endpoint}: {error}", remedy=remedy)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
