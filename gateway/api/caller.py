"""Who calls the API: a SigV4 signature over the whole request, checked before anything is routed.

Plain ASGI around the FastAPI application: only the listed open paths pass without it, and a new route is closed
until somebody opens it here.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any, Protocol

from gateway.errors import GatewayError, Unavailable
from gateway.identity.api import authenticate_api
from gateway.identity.sigv4 import Verifier
from gateway.limits import Shares

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class AppApart(Protocol):
    """ASGI that answers for who calls it by itself."""

    def takes(self, path: str) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class AuthenticatedApi:
    """Lets a verified request through with `scope["principal"]` and `scope["request_id"]`; answers the rest."""

    def __init__(
        self, app: Any, verifier: Verifier, refused: Callable[[str], None], shares: Shares | None = None,
        apart: "AppApart | None" = None,
    ) -> None:  # fmt: skip
        """`apart`: an application whose callers prove themselves in another way, on paths of its own."""
        self._apart = apart
        self._shares = shares
        self._app = app
        self._verifier = verifier
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if self._apart is not None and self._apart.takes(scope["path"]):
            await self._apart(scope, receive, send)
            return
        scope["request_id"] = secrets.token_hex(8)
        try:
            verified = await authenticate_api(self._verifier, scope, receive)
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
            return {"type": "http.request", "body": verified.body, "more_body": False}

        if known := scope.get("extensions", {}).get("demesne.known"):
            known()
        try:
            async with self._shares.under_way(verified.principal) if self._shares else nullcontext():
                await self._app(scope, replay, send)
        except Unavailable as busy:  # the application answers its own
            await send_problem(send, busy)


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
