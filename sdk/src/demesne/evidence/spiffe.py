"""JWT-SVIDs from the SPIFFE Workload API (SPIFFE Workload API §6.2): one gRPC call over the agent's Unix socket.

    POST /SpiffeWorkloadAPI/FetchJWTSVID        HTTP/2, header `workload.spiffe.io: true`
    request    0 ‖ length u32 ‖ { 1: audience … , 2: SPIFFE id }          (protobuf in gRPC's frame)
    response   0 ‖ length u32 ‖ { 1: { 1: SPIFFE id, 2: token, 3: hint } … };  or `grpc-status` and `grpc-message`

A gRPC library would be a hundred times this file; HTTP/2 comes with the extra `spiffe` (h2). Without it, spiffe-helper
keeps a token in a file (`demesne.evidence.identity_tokens.TokenFile`).
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2 as httpx

from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable, missing_extra

_CALL = "http://localhost/SpiffeWorkloadAPI/FetchJWTSVID"
_MOST = 64 * 1024
_MAX_TOKEN = 16 * 1024
_SECONDS = 10.0
# Status codes of gRPC that a person can do something about.
_INVALID_ARGUMENT, _PERMISSION_DENIED, _UNIMPLEMENTED = 3, 7, 12


class WorkloadApi:
    """Tokens for `audience` of the workload that this process is, as the agent of this machine attests it.

    address: SPIFFE_ENDPOINT_SOCKET's form, unix:/path or unix:///path. identity: which of several; "" the first.
    """

    def __init__(self, audience: str, *, address: str, identity: str = "", seconds: float = _SECONDS) -> None:
        if not audience:
            raise Invalid("identity.audience", "a token is for an audience")
        self._audience = audience
        self._identity = identity
        self._path = socket_path(address)
        self._seconds = seconds

    def token(self) -> str:
        """A token that is good now: the agent renews by itself. Raises NotConfigured, Unavailable, Malformed."""
        if importlib.util.find_spec("h2") is None:
            raise missing_extra("h2", "spiffe")
        if not self._path.exists():
            raise NotConfigured(
                "identity.spiffe", f"{self._path} is not here", remedy="mount the SPIFFE agent's socket"
            )
        found = self._fetched()
        token = next((token for identity, token in found if self._identity in {"", identity}), None)
        if token is None:
            raise NotConfigured("identity.spiffe", f"the agent knows {len(found)} identities of us, and not this one")
        if not token.isascii() or token.count(".") != 2 or len(token) > _MAX_TOKEN:
            raise Malformed("identity.token", "the agent answers no token")
        return token

    def _fetched(self) -> list[tuple[str, str]]:
        headers = {"content-type": "application/grpc", "te": "trailers", "workload.spiffe.io": "true"}
        body = _member(1, self._audience.encode())
        if self._identity:
            body += _member(2, self._identity.encode())
        transport = httpx.HTTPTransport(uds=str(self._path), http1=False, http2=True)
        try:
            with httpx.Client(transport=transport, trust_env=False, timeout=self._seconds) as client:
                answer = client.post(_CALL, content=b"\0" + len(body).to_bytes(4, "big") + body, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable("identity.spiffe", f"the SPIFFE agent does not answer: {error}") from error
        status = answer.headers.get("grpc-status", "0")  # in the head when there is nothing but an error
        if answer.status_code != 200 or status != "0":
            raise _refused(status, answer.headers.get("grpc-message", ""), answer.status_code)
        return _svids(answer.content)


def socket_path(address: str) -> Path:
    """The path of a Unix socket as SPIFFE spells it (Workload Endpoint §4). Raises Invalid for TCP and others."""
    parts = urlsplit(address)
    if parts.scheme != "unix" or parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise Invalid("identity.spiffe", f"{address!r} is no Unix socket", remedy="SPIFFE_ENDPOINT_SOCKET=unix:///path")
    return Path(parts.path)


def _refused(status: str, message: str, http: int) -> DemesneError:
    code = int(status) if status.isdigit() else 2
    said = unquote(message)[:200] or f"HTTP {http}"
    if code == _PERMISSION_DENIED:
        return NotConfigured("identity.spiffe", f"no identity is registered for this workload: {said}")
    if code in {_INVALID_ARGUMENT, _UNIMPLEMENTED}:
        return Invalid("identity.spiffe", f"the SPIFFE agent takes no such request: {said}")
    return Unavailable("identity.spiffe", f"the SPIFFE agent: {said}", retry_after=1)


def _svids(body: bytes) -> list[tuple[str, str]]:
    """Identity and token of each, in the agent's order."""
    if len(body) > _MOST or len(body) < 5 or body[0] != 0 or len(body) != 5 + int.from_bytes(body[1:5], "big"):
        # No message at all is an error whose status came behind the body, where this client does not see it.
        raise Unavailable("identity.spiffe", "the SPIFFE agent answers no message", retry_after=1)
    found = []
    for number, content in _members(body[5:]):
        if number == 1:
            fields = dict(_members(content))
            found.append((_text(fields.get(1)), _text(fields.get(2))))
    if not found:
        raise Malformed("identity.spiffe", "the SPIFFE agent answers no token")
    return found


def _member(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _members(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Length-delimited members; others are of no message here (they would be skipped by their type, and are not)."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 != 2:
            raise Malformed("identity.spiffe", "the SPIFFE agent answers another message")
        length, at = _read_varint(data, at)
        if length > len(data) - at:
            raise Malformed("identity.spiffe", "the SPIFFE agent's message is cut short")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise Malformed("identity.spiffe", "the SPIFFE agent's message is cut short")


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
