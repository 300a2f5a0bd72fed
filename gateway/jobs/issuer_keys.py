"""Fetches the keys of token issuers: the only process that asks an issuer anything, and never where a token points.

A URL comes from the zone's own file, or from the discovery document at the issuer's own host. Connections are resolved,
checked and opened in one step (`vault.endpoint`), over TLS, without proxy or redirect, and end after DEADLINE_SECONDS
however slowly the other side speaks. A failed fetch changes nothing: the old keys serve on, for a day.
"""

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from authlib.oidc.discovery import OpenIDProviderMetadata
from urllib3 import HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError

from gateway.identity.issuer_keys import row_name, use_of
from gateway.identity.issuers import Issuer, Issuers, KeySource
from gateway.identity.jwk import BadKeySet, PublicKey, public_keys
from gateway.record import Entry, Recorder
from vault.attest.documents import json_object
from vault.catalog.attestation_rows import JwksRow
from vault.catalog.catalog import Catalog
from vault.catalog.issuer_key_sets import NEVER
from vault.endpoint.address import parse_endpoint
from vault.endpoint.dialer import Dialer, system_open
from vault.endpoint.pools import dialled_pools
from vault.errors import Refused, Unavailable, VaultError

REFRESH_MS: Final = 900_000
"""How old a set may become before it is fetched without being wanted: a key that was withdrawn is out by then."""
DEADLINE_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 3.0
MAX_DOCUMENT: Final = 256 << 10
_PIECE = 16 << 10
log = structlog.get_logger("jobs")


class KeyFetcher:
    """One round looks at every issuer whose keys are fetched. `append` writes the ledger entry of a changed set."""

    def __init__(
        self, issuers: Callable[[], Issuers], catalog: Catalog, append: Callable[[Entry], None], recorder: Recorder,
        clock: Callable[[], int], *, deadline: float = DEADLINE_SECONDS,
    ) -> None:  # fmt: skip
        self._issuers = issuers
        self._catalog = catalog
        self._append = append
        self._recorder = recorder
        self._clock = clock
        self._deadline = deadline

    def __call__(self) -> None:
        for issuer in self._issuers().all():
            if issuer.source is not None and self._due(self._catalog.issuer_keys(row_name(issuer))):
                self._refresh(issuer)

    def _due(self, row: JwksRow | None) -> bool:
        if row is None or row.wanted_at > row.tried_at:
            return True
        return not 0 <= self._clock() - row.fetched_at < REFRESH_MS

    def _refresh(self, issuer: Issuer) -> None:
        name = row_name(issuer)
        if not self._catalog.may_fetch_issuer_keys(name):
            return
        try:
            document, keys = fetch_keys(issuer, self._deadline)
        except VaultError as error:
            log.warning("issuer keys not fetched; the old ones serve", issuer=issuer.name, reason=error.reason)
            return
        before = self._catalog.issuer_keys(name)
        if before is not None and before.document == document and before.fetched_at != NEVER:
            record = before.record
        else:
            entry = self._recorder.event(
                "issuer-keys", self._clock(), issuer=issuer.name, sha256=hashlib.sha256(document.encode()).hexdigest(),
                keys=len(keys),
            )  # fmt: skip
            self._append(entry)
            record = entry["id"]
        self._catalog.keep_issuer_keys(name, document, record)


def fetch_keys(issuer: Issuer, deadline: float = DEADLINE_SECONDS) -> tuple[str, tuple[PublicKey, ...]]:
    """The set in one spelling, and its usable keys. Raises Unavailable("issuer.…"), whatever was wrong with it."""
    source = issuer.source
    assert source is not None
    url = source.url
    if source.discovery:
        url = _discovered(issuer, _get(url, source, deadline))
    document = _get(url, source, deadline)
    try:
        keys = public_keys(document, use=use_of(issuer))
    except BadKeySet as error:
        raise Unavailable("issuer.keys", str(error)) from error
    if not keys:
        raise Unavailable("issuer.keys", "no usable signature key in the set")
    return json.dumps(document, sort_keys=True, separators=(",", ":")), keys


def _discovered(issuer: Issuer, document: dict[str, Any]) -> str:
    """jwks_uri of OpenID Connect discovery: of exactly this issuer, and at its own host and port."""
    metadata = OpenIDProviderMetadata(document)
    try:
        metadata.validate_issuer()
        metadata.validate_jwks_uri()
        url = str(metadata["jwks_uri"])
        same_host = _endpoint(url) == _endpoint(issuer.iss)
    except (ValueError, TypeError, AttributeError, Refused) as error:
        raise Unavailable("issuer.discovery", "no metadata of an OpenID provider") from error
    if metadata["issuer"] != issuer.iss or not same_host:
        raise Unavailable("issuer.discovery", "the metadata is of another issuer, or names keys at another host")
    return url


def _endpoint(url: str) -> Any:
    return parse_endpoint(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}")


def _get(url: str, source: KeySource, deadline: float) -> dict[str, Any]:
    endpoint = _endpoint(url)
    cut = _Cut(deadline)
    dialer = Dialer("issuer", [endpoint], networks=source.networks, pins=source.pins, open_socket=cut.open)
    try:
        context = ssl.create_default_context(cafile=source.ca or None)
        pool_class = dialled_pools(dialer)["https"]
        pool: HTTPSConnectionPool = pool_class(
            endpoint.host, endpoint.port, ssl_context=context, retries=False, maxsize=1,
            timeout=Timeout(connect=CONNECT_SECONDS, read=deadline),
        )  # fmt: skip
        with cut:
            document = _read(pool, url)
    except (HTTPError, OSError, ValueError) as error:
        raise cut.why() or Unavailable("issuer.unreachable", type(error).__name__) from error
    except VaultError as error:
        raise cut.why() or error from error.__cause__
    # The library takes a connection that ends for the end of what was said on it.
    if late := cut.why():
        raise late
    return document


def _read(pool: HTTPSConnectionPool, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "demesne"}
    answer = pool.request("GET", target, headers=headers, redirect=False, preload_content=False)
    try:
        if answer.status != 200:
            raise Unavailable("issuer.status", f"answered {answer.status}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise Unavailable("issuer.encoding", "a compressed answer was not asked for")
        body = bytearray()
        while piece := answer.read1(_PIECE, decode_content=False):
            body += piece
            if len(body) > MAX_DOCUMENT:
                raise Unavailable("issuer.size", f"more than {MAX_DOCUMENT} bytes")
    finally:
        answer.close()
        pool.close()
    try:
        return json_object(bytes(body), "document")
    except Refused as error:
        raise Unavailable("issuer.content", "no JSON object of single members") from error


class _Cut:
    """Ends every connection of one fetch when its time is up: a timeout of the socket counts silence, and a byte a
    second is not silence, in the handshake as little as in the body."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()  # a descriptor that was closed meanwhile is somebody else's
        self._happened = False

    def open(self, address: str, port: int, timeout: float | None) -> socket.socket:
        connection = system_open(address, port, timeout)
        self._sockets.append(connection.dup())  # the library wraps and detaches the other
        return connection

    def why(self) -> Unavailable | None:
        """What to say of a fetch that was cut; None of one that was not."""
        return Unavailable("issuer.slow", f"no whole answer in {self._seconds:.0f} s") if self._happened else None

    def _end(self) -> None:
        self._happened = True
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "_Cut":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()
