"""Requests signed by botocore, the oracle, and taken apart to the bytes on the wire, so that tests can bend them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.identity.request_head import RequestHead
from gateway.s3.router import S3App
from tests.fakes.s3_server import ACCESS_KEY, REGION, SECRET

Header = tuple[bytes, bytes]


@dataclass
class WireRequest:
    method: str
    path: bytes
    query: bytes
    headers: list[Header]
    body: bytes = b""

    def head(self, *, secure: bool = True) -> RequestHead:
        return RequestHead.parse(self.method, self.path, self.query, self.headers, secure=secure)

    def scope(self, client: str = "127.0.0.1") -> dict[str, Any]:
        return {
            "type": "http",
            "method": self.method,
            "raw_path": self.path,
            "query_string": self.query,
            "headers": self.headers,
            "scheme": "http",
            "client": (client, 1),
        }

    def replace_header(self, name: bytes, value: bytes) -> None:
        self.headers = [(n, value if n == name else v) for n, v in self.headers]

    def bytes(self) -> bytes:
        target = self.path + (b"?" + self.query if self.query else b"")
        lines = [self.method.encode() + b" " + target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


class _HashedS3(S3SigV4Auth):
    """botocore signs a body over TLS as UNSIGNED-PAYLOAD; here it states what the test wants."""

    stated: str | None = None

    def payload(self, request: AWSRequest) -> Any:
        return self.stated or SigV4Auth.payload(self, request)

    def _should_sha256_sign_payload(self, request: AWSRequest) -> bool:
        return True


def signed(
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = (),
    payload: str | None = None,
    key: str = ACCESS_KEY,
    secret: str = SECRET,
    token: str | None = None,
    region: str = REGION,
    service: str = "s3",
    host: str = "127.0.0.1:9000",
    presign: int | None = None,
) -> WireRequest:
    """`path` is the target as it goes over the wire (quoted, with its query)."""
    # A link does not sign its body, and botocore would read one as a form.
    data = body if presign is None else b""
    request = AWSRequest(method, f"http://{host}{path}", data=data, headers=dict(headers))
    credentials = Credentials(key, secret, token)
    if presign is not None:
        S3SigV4QueryAuth(credentials, service, region, presign).add_auth(request)
    else:
        auth = _HashedS3(credentials, service, region) if service == "s3" else SigV4Auth(credentials, service, region)
        if payload is not None:
            request.headers["x-amz-content-sha256"] = payload
            if isinstance(auth, _HashedS3):
                auth.stated = payload
        elif service != "s3":
            request.headers["x-amz-content-sha256"] = SigV4Auth.payload(auth, request)
        auth.add_auth(request)
    target: Any = request.url
    url = urlsplit(target)
    wire = [(name.lower().encode(), str(value).encode("latin-1")) for name, value in request.headers.items()]
    wire.append((b"host", host.encode()))
    if body:
        wire.append((b"content-length", b"%d" % len(body)))
    return WireRequest(method, url.path.encode(), url.query.encode(), wire, body)


def quoted(key: str) -> str:
    return quote(key, safe="/~")


@dataclass
class Response:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    error: BaseException | None = None

    @property
    def code(self) -> str:
        text = self.body.decode()
        return text.partition("<Code>")[2].partition("</Code>")[0]


async def call(app: S3App, request: WireRequest, *, client: str = "127.0.0.1", piece: int = 65536) -> Response:
    """Run one request through the ASGI app in this process. An exception that leaves the app is kept in `error`."""
    response = Response()
    chunks = [request.body[i : i + piece] for i in range(0, len(request.body), piece)] or [b""]
    state = {"at": 0}

    async def receive() -> dict[str, Any]:
        at = state["at"]
        state["at"] += 1
        if at >= len(chunks):
            await asyncio.Event().wait()  # a client that stays
        return {"type": "http.request", "body": chunks[at], "more_body": at + 1 < len(chunks)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = {n.decode(): v.decode("latin-1") for n, v in message["headers"]}
        else:
            response.body += bytes(message["body"])
            response.ended = not message.get("more_body", False)

    try:
        await app(request.scope(client), receive, send)
    except Exception as error:
        response.error = error
    return response
