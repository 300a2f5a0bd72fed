"""One S3 request on its way: what was verified about it, and the means to answer it. One of these per request."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import BadRequest
from gateway.identity.principal import Principal
from gateway.identity.request_head import RequestHead
from gateway.identity.sigv4 import VerifiedRequest
from gateway.s3.ports import Burst, Guard, Outlet
from vault.ref import DatasetRef, ObjectRef

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DRAIN_BYTES = 32 << 20  # of a refused body, from a known principal: most clients hear an answer only after sending
DRAIN_BYTES_STRANGER = 1 << 20
DRAIN_SECONDS = 5.0
SEND_SECONDS = 600.0  # for one piece of about 1 MiB: slower than the minimum rate of 1 KiB/s
_VERSION_ID = re.compile(r"[0-9a-f]{32}|null").fullmatch


class ClientGone(Exception):
    """The client closed its side; there is nobody to answer."""


class StreamAborted(Exception):
    """A failure after the first byte. It must leave the ASGI app, so that the server closes without a clean end."""


@dataclass(frozen=True, slots=True)
class Face:
    """What every action needs and no request changes."""

    guard: Guard
    zone: str
    region: str
    ignores_acls: bool = False


@dataclass(slots=True)
class Call:
    """`bucket` and `key` are decoded once, here; "" where the request names none."""

    face: Face
    head: RequestHead
    verified: VerifiedRequest
    bucket: str
    key: str
    answer: "Answer"
    _parameters: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._parameters = dict(self.head.query)

    @property
    def principal(self) -> Principal:
        return self.verified.principal

    @property
    def request_id(self) -> str:
        return self.answer.request_id

    @property
    def dataset_ref(self) -> DatasetRef:
        return DatasetRef(self.principal.tenant, self.face.zone, self.bucket)

    @property
    def object_ref(self) -> ObjectRef:
        version_id = self.parameter("versionId")
        if version_id is not None:
            check_version_id(version_id)
        return ObjectRef(self.principal.tenant, self.face.zone, self.bucket, self.key, version_id)

    def parameter(self, name: str) -> str | None:
        """The value of a query parameter. Raises Unauthenticated "InvalidArgument" when it was sent twice."""
        return self.head.parameter(name) if name in self._parameters else None

    def header(self, name: bytes) -> str | None:
        return self.head.header(name)

    def amz_names(self) -> list[str]:
        """Every x-amz-* header, and every parameter a presigned URL carries in place of one; lower-case."""
        names = [name.decode("latin-1") for name in self.head.headers if name.startswith(b"x-amz-")]
        if self.verified.presigned:
            names += [name.lower() for name in self._parameters if name.lower().startswith("x-amz-")]
        return names

    def amz(self, name: str) -> str | None:
        """The value of an x-amz-* header, or of the parameter a presigned URL carries in its place."""
        value = self.header(name.encode("ascii"))
        if value is None and self.verified.presigned:
            for parameter in self._parameters:
                if parameter.lower() == name:
                    return self.parameter(parameter)
        return value


class Answer:
    """The response side of one request, and what is left of its body. Knows whether anything was sent."""

    def __init__(
        self, receive: Receive, send: Send, request_id: str, *, expects_continue: bool, outlet: Outlet | None = None,
        cut: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """`cut`: the server's way to end the connection at once (scope extension "demesne.cut")."""
        self._receive = receive
        self._send = send
        self.request_id = request_id
        self.started = False
        self.body_read = False  # the request body was read to its end
        self._touched = False
        self._expects_continue = expects_continue
        self._close = False
        self._outlet = outlet
        self._cut = cut

    async def receive(self) -> bytes | None:
        """The next bytes of the request body, None after the last. Raises ClientGone."""
        if self.body_read:
            return None
        self._touched = True
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        if not message.get("more_body", False):
            self.body_read = True
        body: bytes = message.get("body", b"")
        return body

    async def settle(self, limit: int) -> None:
        """Before a refusal: read up to `limit` bytes of an unread body, so that the answer is heard; else close.

        Keeping the connection with a body unread would let the body be taken for the next request.
        """
        if self.body_read:
            return
        if not (self._expects_continue and not self._touched):
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    total = 0
                    while not self.body_read and total < limit:
                        total += len(await self.receive() or b"")
            except TimeoutError:
                pass
        self._close = not self.body_read

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        headers.append((b"x-amz-request-id", self.request_id.encode("ascii")))
        if self._close or (self._expects_continue and not self._touched):
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: Any, *, more: bool) -> None:
        """Hand one piece to the server. Raises ClientGone when the client takes nothing for SEND_SECONDS."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            raise ClientGone from None

    async def pour(self, burst: Burst) -> None:
        """The whole body, past the server's loop (`can_pour`). Raises what `burst` raises, and ClientGone."""
        assert self._outlet is not None
        try:
            await self._outlet.pour(burst, SEND_SECONDS)
        except ConnectionError:
            raise ClientGone from None
        await self.body(b"", more=False)

    @property
    def can_pour(self) -> bool:
        return self._outlet is not None

    def cut(self) -> None:
        """Take the connection from the client now, with what waits in it. Without the server's help the client gets
        that much, and an end that no Content-Length agrees with."""
        if self._cut is not None:
            self._cut()

    async def reply(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """A whole small answer. Its length is always stated, so that a cut connection is seen as one."""
        if status != 204:
            headers.append((b"content-length", b"%d" % len(body)))
        await self.start(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def reply_xml(self, body: bytes, headers: Headers | None = None, status: int = 200) -> None:
        await self.reply(status, [*(headers or []), (b"content-type", b"application/xml")], body)

    async def watch_client(self) -> None:
        """Returns when the client has gone. For use beside a long stream."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return


def check_version_id(version_id: str) -> None:
    """Raises BadRequest "InvalidArgument" for what cannot be one, so that no other spelling reaches the catalog."""
    if not _VERSION_ID(version_id):
        raise BadRequest("InvalidArgument", "invalid version id specified")


def decision_headers(decision_id: str, view: str = "", promise: str = "") -> Headers:
    """How an answer names the decision behind it."""
    named = ((b"x-demesne-decision", decision_id), (b"x-demesne-view", view), (b"x-demesne-promise", promise))
    return [(name, value.encode("latin-1")) for name, value in named if value]
