"""The one place where the SDK sends: signs what httpx2 will put on the wire, and names what goes wrong."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from demesne import sigv4
from demesne.credentials import Credentials
from demesne.errors import Invalid, Unavailable

TIMEOUT = httpx2.Timeout(60.0, connect=5.0)  # seconds; a minute without one byte is an outage
TRIES = 3  # of requests that change nothing


def now_utc() -> datetime:
    return datetime.now(UTC)


class Signer:
    """What both connections share: where to, as whom, and the headers of one request. No socket."""

    def __init__(
        self,
        endpoint: str,
        credentials: Callable[[], Credentials],
        *,
        region: str,
        service: str,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise Invalid("endpoint", f"{endpoint!r} is not an http:// or https:// URL")
        self.endpoint = endpoint.rstrip("/")
        self.region = region
        self._credentials = credentials
        self._service = service
        self._clock = clock

    def prepare(
        self, method: str, path: str, query: tuple[tuple[str, str], ...], headers: dict[str, str], payload_sha256: str
    ) -> tuple[httpx2.URL, dict[str, str]]:
        """The URL and the headers to send, signed now."""
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
        return url, signed

    def no_answer(self, error: httpx2.TransportError) -> Unavailable:
        remedy = "is the gateway running, and is this its endpoint? 'demesne doctor' tells"
        return Unavailable("endpoint.unreachable", f"no answer from {self.endpoint}: {error}", remedy=remedy)


def client_options(ca: Path | None) -> dict[str, Any]:
    """Proxies of the environment are not used: a proxy variable must not send personal data elsewhere.
    Redirects are not followed: a signature is for one host."""
    trust = ssl.create_default_context(cafile=str(ca)) if ca is not None else True
    return {"verify": trust, "trust_env": False, "timeout": TIMEOUT, "follow_redirects": False}


def pause_before_next(method: str, tried: int, status: int | None) -> float | None:
    """Seconds until the next try, None when there is none: GET and HEAD are tried 3 times when nothing or a 503 came,
    nothing else is repeated. `status` is None when no answer came; `tried` counts from 1."""
    again = method in {"GET", "HEAD"} and tried < TRIES and status in {None, 503}
    return 0.2 * 2**tried if again else None


class Connection:
    """Signed requests to one endpoint. Thread-safe as httpx2.Client is."""

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
        self._signer = Signer(endpoint, credentials, region=region, service=service, clock=clock)
        self._pause = pause
        self._http = httpx2.Client(**client_options(ca))

    @property
    def endpoint(self) -> str:
        return self._signer.endpoint

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
        """Sign and send; the answer is read whole. Tried again as `pause_before_next` says.

        `path` is already percent-encoded. A callable `content` makes the stream anew for each try.
        Raises Unavailable when no answer came.
        """
        tried = 0
        while True:
            tried += 1
            url, signed = self._signer.prepare(method, path, query, dict(headers or {}), payload_sha256)
            try:
                response = self._http.request(
                    method, url, headers=signed, content=content() if callable(content) else content
                )
            except httpx2.TransportError as error:
                pause = pause_before_next(method, tried, None)
                if pause is None:
                    raise self._signer.no_answer(error) from error
            else:
                pause = pause_before_next(method, tried, response.status_code)
                if pause is None:
                    return response
            self._pause(pause)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncConnection:
    """The same for asyncio, with bodies in memory."""

    def __init__(self, signer: Signer, *, ca: Path | None = None) -> None:
        self._signer = signer
        self._http = httpx2.AsyncClient(**client_options(ca))

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        payload_sha256: str,
    ) -> httpx2.Response:
        """As `Connection.send`."""
        tried = 0
        while True:
            tried += 1
            url, signed = self._signer.prepare(method, path, query, dict(headers or {}), payload_sha256)
            try:
                response = await self._http.request(method, url, headers=signed, content=content)
            except httpx2.TransportError as error:
                pause = pause_before_next(method, tried, None)
                if pause is None:
                    raise self._signer.no_answer(error) from error
            else:
                pause = pause_before_next(method, tried, response.status_code)
                if pause is None:
                    return response
            await asyncio.sleep(pause)

    async def close(self) -> None:
        await self._http.aclose()
