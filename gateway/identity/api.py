"""Authentication of the JSON API: the same SigV4 verifier, signed for the service "demesne", over a small whole body.

    authenticate_api(verifier, scope, receive) -> ApiCall(principal, body)

The header form only (no presigned API calls), and x-amz-content-sha256 must be the hash of the body: there is no
unsigned form, so a JSON document is authentic to its last byte before anybody parses it.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import BadRequest
from gateway.identity.errors import Unauthenticated
from gateway.identity.principal import Principal
from gateway.identity.request_head import RequestHead
from gateway.identity.sigv4 import PayloadKind, Verifier

SERVICE = "demesne"
MAX_BODY = 1 << 20
BODY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A verified API request: who, and the authentic bytes of its body."""

    principal: Principal
    body: bytes


async def authenticate_api(
    verifier: Verifier, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]
) -> ApiCall:
    """Raises Unauthenticated, or BadRequest "EntityTooLarge" (413) / "RequestTimeout" (408).

    `verifier` must be made with service=SERVICE. The head is verified before a byte of the body is read.
    """
    verified = await verifier.authenticate(RequestHead.from_scope(scope))
    if verified.presigned or verified.payload.kind is not PayloadKind.SHA256:
        raise Unauthenticated("AccessDenied", "the API takes the Authorization header and a hashed body only")
    body = await _read(receive)
    stated = verified.payload.sha256 or ""
    if not hmac.compare_digest(hashlib.sha256(body).hexdigest(), stated):
        raise Unauthenticated("XAmzContentSHA256Mismatch", "x-amz-content-sha256 is not the hash of the body")
    return ApiCall(verified.principal, body)


async def _read(receive: Callable[[], Awaitable[Any]]) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Unauthenticated("IncompleteBody", "the client closed before its body ended")
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise BadRequest("EntityTooLarge", f"the body is longer than {MAX_BODY} bytes", status=413)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise BadRequest("RequestTimeout", "the body did not arrive in time", status=408) from None
