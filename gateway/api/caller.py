"""Who calls the API: a SigV4 signature over the whole request, checked before anything is routed.

Plain ASGI around the FastAPI application: only the listed open paths pass without it, and a new route is closed
until somebody opens it here.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.errors import BadRequest, GatewayError
from gateway.identity.request_head import RequestHead
from gateway.identity.sigv4 import PayloadKind, Verifier

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
MAX_BODY = 1 << 20
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class AuthenticatedApi:
    """Lets a verified request through with `scope["principal"]` and `scope["request_id"]`; answers the rest."""

    def __init__(self, app: Any, verifier: Verifier, refused: Callable[[str], None]) -> None:
        self._app = app
        self._verifier = verifier
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        scope["request_id"] = secrets.token_hex(8)
        try:
            head = RequestHead.from_scope(scope)
            verified = await self._verifier.authenticate(head)
            body = await _body(receive)
            _check_payload(verified.payload.kind, verified.payload.sha256, body)
        except GatewayError as error:
            self._refused(error.code)
            await send_problem(send, error)
            return
        scope["principal"] = verified.principal
        sent = False

        async def replay() -> Any:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


def problem(error: GatewayError) -> dict[str, Any]:
    """RFC 9457, with the rule, the decision and what to do."""
    return {
        "type": "about:blank",
        "title": error.code,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "rule": error.rule,
        "decision_id": error.decision_id,
        "remedy": error.remedy,
    }


async def send_problem(send: Send, error: GatewayError) -> None:
    body = json.dumps(problem(error)).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BadRequest("RequestTimeout", "the client went away")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise BadRequest("EntityTooLarge", f"a request to the API is at most {MAX_BODY} bytes", status=413)
        if not message.get("more_body"):
            return bytes(body)


def _check_payload(kind: PayloadKind, sha256: str | None, body: bytes) -> None:
    """The signed hash covers the body; an unsigned one is refused even over TLS, for these are orders, not data."""
    if kind is not PayloadKind.SHA256 or sha256 is None:
        raise BadRequest("InvalidRequest", "sign the body: x-amz-content-sha256 must be its SHA-256")
    if not hmac.compare_digest(hashlib.sha256(body).hexdigest(), sha256):
        raise BadRequest("XAmzContentSHA256Mismatch", "the body is not the one that was signed")
