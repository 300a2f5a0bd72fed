"""Trustee's routes, on their own paths and outside the signed API: its clients carry a ticket in the URL, or nothing.

    POST <base>/kbs/v0/auth          POST <base>/kbs/v0/attest          GET <base>/kbs/v0/resource/<repo>/<type>/<tag>

`<base>` is https://gateway:9001/v1/kbs/<ticket>, or https://gateway:9001 without one. Errors are RFC 7807 documents
with status 401 or 404, which is all that the protocol knows; besides them 405, 408, 413, and 503 with Retry-After.
"""

import asyncio
import json
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any

from fastapi import FastAPI
from pydantic import Field

from gateway.api.bodies import Body, ScopeName
from gateway.api.caller import Receive, Scope, Send
from gateway.api.dependencies import Caller, RequestId
from gateway.errors import BadRequest, Denied, GatewayError, NotFound
from gateway.identity.errors import Unauthenticated
from gateway.identity.request_head import RequestHead
from gateway.kbs.messages import parse_attestation, parse_request
from gateway.kbs.service import HANDSHAKE_MS, KeyBrokerService
from gateway.kbs.tickets import DEFAULT_SECONDS, MAX_SECONDS, Tickets

COOKIE = "kbs-session-id"
_PATH = re.compile(r"(?:/v1/kbs/(?P<ticket>[A-Za-z0-9_-]{43}))?/kbs/v0/(?P<rest>.*)", re.DOTALL)
_RESOURCE = re.compile(r"resource/([^/]{1,128})/([^/]{1,128})/([^/]{1,128})")
_COOKIE = re.compile(r"[0-9a-f]{32}")
_MAX_REQUEST, _MAX_EVIDENCE, _MAX_TOKEN = 16 * 1024, 1 << 20, 64 * 1024
_BODY_SECONDS = 15.0
Answer = tuple[dict[str, Any], list[tuple[bytes, bytes]]]


class NewTicket(Body):
    """What a client of the key-broker protocol may attest for, and for how long (seconds)."""

    purpose: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    scope: list[ScopeName] = Field(max_length=64)
    ttl: int = Field(DEFAULT_SECONDS, ge=60, le=MAX_SECONDS)


def add_ticket_routes(app: FastAPI, tickets: Tickets) -> None:
    @app.post("/v1/kbs/tickets", status_code=201)
    async def grant(principal: Caller, rid: RequestId, body: NewTicket) -> dict[str, Any]:
        return await tickets.grant(principal, body.purpose, body.scope, body.ttl, rid)

    @app.delete("/v1/kbs/tickets/{ticket_id}", status_code=204)
    async def revoke(principal: Caller, rid: RequestId, ticket_id: str) -> None:
        await tickets.revoke(principal, ticket_id, rid)


class KbsApp:
    """ASGI for these paths alone; `takes` says which they are."""

    def __init__(self, service: KeyBrokerService) -> None:
        self._service = service

    @staticmethod
    def takes(path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            document, headers = await self._answer(scope, receive)
            status, kind = 200, b"application/json"
        except GatewayError as error:
            status, document, headers = _problem(error)
            kind = b"application/problem+json"
        body = json.dumps(document).encode()
        headers += [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        found = _PATH.fullmatch(scope["path"])
        if found is None:
            raise NotFound("NotFound", "No such path", rule="kbs.path")
        with self._service.strangers():
            head = RequestHead.from_scope(scope)
            if not head.secure:  # the ticket has travelled in the clear already; it must not become a habit
                raise Denied("AccessDenied", "These paths are for TLS", rule="kbs.plain", remedy="use https")
        async with self._service.caller(found["ticket"], head.source) as caller:
            known = scope.get("extensions", {}).get("demesne.known")
            if known and caller.holder:
                known()
            request = _Request(head, receive, scope, secrets.token_hex(8))
            match (head.method, found["rest"]):
                case ("POST", "auth"):
                    return await self._auth(caller, request)
                case ("POST", "attest"):
                    return await self._attest(caller, request)
                case ("GET", rest) if (way := _RESOURCE.fullmatch(rest)) and not head.raw_query:
                    return await self._resource(caller, request, way.groups())
            async with self._service.attempt(caller):
                raise _no_such_path(head.method, found["rest"])

    async def _auth(self, caller: Any, request: "_Request") -> Answer:
        async with self._service.attempt(caller):
            tee = parse_request(await request.body(_MAX_REQUEST))
            cookie, nonce = await self._service.challenge(caller, tee, request.id)
        return {"nonce": nonce, "extra-params": ""}, [(b"set-cookie", request.cookie_header(cookie))]

    async def _attest(self, caller: Any, request: "_Request") -> Answer:
        async with self._service.attempt(caller) as attempt:
            cookie = request.cookie()
            message = parse_attestation(await request.body(_MAX_EVIDENCE))
            if cookie is None:
                raise Denied("AccessDenied", f"No cookie {COOKIE}", rule="kbs.cookie", remedy="begin with auth")
            token = await self._service.attest(caller, attempt, cookie, message, request.id)
        return {"token": token}, [(b"set-cookie", request.cookie_header(cookie))]

    async def _resource(self, caller: Any, request: "_Request", way: tuple[str, ...]) -> Answer:
        async with self._service.attempt(caller):
            token, cookie = request.bearer(), request.cookie()
            sealed = await self._service.resource(caller, way, cookie, token, request.id)
        return dict(sealed), []


class _Request:
    """One request's head and body."""

    def __init__(self, head: RequestHead, receive: Receive, scope: Scope, request_id: str) -> None:
        self._head = head
        self._receive = receive
        self._scope = scope
        self.id = request_id

    async def body(self, most: int) -> bytes:
        """BadRequest (413) beyond `most`, before it is read where its length is said; (408) when it does not come."""
        said = self._head.header(b"content-length")
        if said is not None and (not said.isascii() or not said.isdigit() or len(said) > 12 or int(said) > most):
            raise _too_long(most)
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                more = True
                while more:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        raise BadRequest("IncompleteBody", "The client closed before its body ended", rule="kbs.body")
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise _too_long(most)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise BadRequest("RequestTimeout", "The body did not arrive in time", rule="kbs.body", status=408) from None
        return bytes(body)

    def cookie(self) -> str | None:
        """The handshake's. Denied "kbs.cookie" for one that is none of ours, or two."""
        said = self._head.header(b"cookie")
        if said is None:
            return None
        try:
            found = SimpleCookie(said).get(COOKIE)
        except CookieError:
            found = None
        if found is None:
            return None
        if not _COOKIE.fullmatch(found.value) or said.count(COOKIE + "=") != 1:
            raise Denied("AccessDenied", "The cookie is none of ours", rule="kbs.cookie", remedy="begin with auth")
        return found.value

    def bearer(self) -> str | None:
        said = self._head.header(b"authorization")
        if said is None:
            return None
        scheme, _, token = said.partition(" ")
        if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN:
            raise Denied("AccessDenied", "Authorization is Bearer and a token", rule="kbs.token", remedy="attest first")
        return token

    def cookie_header(self, cookie: str) -> bytes:
        path = self._scope["path"].rpartition("/")[0]
        secure = "; Secure" if self._scope.get("scheme") == "https" else ""
        words = f"Path={path}; Max-Age={HANDSHAKE_MS // 1000}; HttpOnly; SameSite=Strict{secure}"
        return f"{COOKIE}={cookie}; {words}".encode()


def _no_such_path(method: str, rest: str) -> GatewayError:
    if rest in {"auth", "attest"} or _RESOURCE.fullmatch(rest):
        return BadRequest(
            "MethodNotAllowed", f"{method} is not for this path, or with no query", rule="kbs.path", status=405
        )
    return NotFound("NotFound", "No such path", rule="kbs.path", remedy="auth, attest and resource are here")


def _too_long(most: int) -> BadRequest:
    return BadRequest("EntityTooLarge", f"The body is longer than {most} bytes", rule="kbs.body", status=413)


def _problem(error: GatewayError) -> tuple[int, dict[str, Any], list[tuple[bytes, bytes]]]:
    """`type` and `detail` are what these clients read; the rest is ours."""
    rule = error.rule or error.code
    headers = [(b"retry-after", str(error.retry_after).encode())] if error.retry_after is not None else []
    plain = isinstance(error, BadRequest | Denied | Unauthenticated) and error.status not in {405, 408, 413}
    status = 401 if plain else error.status
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="kbs"'))
    document = {"type": f"urn:demesne:error:{rule}", "title": error.code, "status": status, "detail": error.sentence}
    return status, document, headers
