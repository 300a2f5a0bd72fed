"""The head of one HTTP request, exactly as it came over the wire: what a signature is computed over."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.identity.errors import Unauthenticated

MAX_HEADERS = 100
MAX_HEADER_BYTES = 8192
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

QueryList = list[tuple[str, str]]


def percent_decode(raw: bytes) -> str:
    """Decode once. Raises Unauthenticated "InvalidURI" for a broken escape or bytes that are not strict UTF-8.

    Overlong forms and surrogates are refused by the strict decoder: no second spelling of a name gets through.
    """
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise Unauthenticated("InvalidURI", "the URI holds a percent sign that is not an escape")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Unauthenticated("InvalidURI", "the URI is not UTF-8") from None


def parse_query(raw: bytes) -> QueryList:
    """Name and value of every parameter, in order. '+' is a space, as every S3 client and server reads it."""
    if not raw:
        return []
    pairs: QueryList = []
    for piece in raw.split(b"&"):
        if piece:
            name, _, value = piece.replace(b"+", b"%20").partition(b"=")
            pairs.append((percent_decode(name), percent_decode(value)))
    return pairs


@dataclass(frozen=True, slots=True)
class RequestHead:
    """`headers` has lower-case names; a header sent twice keeps both values, in order."""

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Mapping[bytes, tuple[bytes, ...]]
    query: QueryList = field(default_factory=list)
    secure: bool = False  # TLS, or a peer on loopback
    source: str = ""
    client_key: str = ""  # thumbprint of the key that the connection proved to hold

    @classmethod
    def parse(
        cls,
        method: str,
        raw_path: bytes,
        raw_query: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        secure: bool = False,
        source: str = "",
        client_key: str = "",
    ) -> "RequestHead":
        """Raises Unauthenticated: too many or too long headers, a URI that does not decode."""
        collected: dict[bytes, tuple[bytes, ...]] = {}
        count = 0
        for name, value in headers:
            count += 1
            if len(value) > MAX_HEADER_BYTES:
                raise Unauthenticated("InvalidRequest", f"a header is longer than {MAX_HEADER_BYTES} bytes")
            earlier = collected.get(name)
            collected[name] = (value,) if earlier is None else (*earlier, value)
        if count > MAX_HEADERS:
            raise Unauthenticated("InvalidRequest", f"more than {MAX_HEADERS} headers")
        return cls(method, raw_path, raw_query, collected, parse_query(raw_query), secure, source, client_key)

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any]) -> "RequestHead":
        """From an ASGI HTTP scope; needs `raw_path`, which uvicorn always gives."""
        client = scope.get("client")
        source = peer_address(client[0]) if client else ""
        return cls.parse(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            scope["headers"],
            secure=scope.get("scheme") == "https" or _is_loopback(source),
            source=source,
            client_key=scope.get("extensions", {}).get("demesne.client_key", ""),
        )

    def header(self, name: bytes) -> str | None:
        """The one value of a header, or None. Raises Unauthenticated when it was sent twice: which one counts?"""
        values = self.headers.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise Unauthenticated("InvalidRequest", f"header {name.decode('latin-1')} was sent more than once")
        return values[0].decode("latin-1").strip()

    def parameter(self, name: str) -> str | None:
        """The one value of a query parameter, or None. Raises Unauthenticated when it was sent twice."""
        found: str | None = None
        for candidate, value in self.query:
            if candidate == name:
                if found is not None:
                    raise Unauthenticated("InvalidArgument", f"query parameter {name} was sent more than once")
                found = value
        return found


@lru_cache(maxsize=4096)
def peer_address(peer: str) -> str:
    """One spelling for one peer: an IPv4 address that came over an IPv6 socket is itself, and so is this host's own
    loopback, whose clients take either. A zone index is no part of it."""
    text = peer.partition("%")[0]
    if text == "127.0.0.1":
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address == ipaddress.IPv6Address("::1"):
            return "127.0.0.1"
    return str(address)


def _is_loopback(source: str) -> bool:
    if source == "127.0.0.1":
        return True
    try:
        return ipaddress.ip_address(source).is_loopback
    except ValueError:
        return source == ""  # a Unix socket: the kernel says who may connect
