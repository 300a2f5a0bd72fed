"""Routes of attested sessions and of revocation."""

import re
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request

from gateway.api.bodies import Attestation, NewChallenge, NewRevocation, NewSession
from gateway.api.dependencies import Caller, RequestId
from gateway.errors import BadRequest, GatewayError
from gateway.record import rfc3339
from gateway.revocations import Revocations
from gateway.sessions import Sessions

_ATTEMPT = re.compile(r"/v1/(?:challenges|sessions(?:/([^/]{1,64})/attest)?)")


def add_session_routes(app: FastAPI, sessions: Sessions, revocations: Revocations) -> None:
    _attesting(app, sessions)

    @app.get("/v1/sessions")
    async def living(principal: Caller, rid: RequestId, everybody: bool = False) -> list[dict[str, Any]]:
        return await revocations.sessions(principal, rid, everybody=everybody)

    @app.get("/v1/sessions/{session_id}")
    async def one(principal: Caller, rid: RequestId, session_id: str) -> dict[str, Any]:
        return await revocations.session(principal, session_id, rid)

    @app.delete("/v1/sessions/{session_id}", status_code=204)
    async def end(principal: Caller, rid: RequestId, session_id: str) -> None:
        await sessions.revoke(principal, session_id, rid)

    @app.get("/v1/revocations")
    async def revoked(principal: Caller, rid: RequestId) -> list[dict[str, Any]]:
        return await revocations.revoked(principal, rid)

    @app.post("/v1/revocations", status_code=201)
    async def revoke(principal: Caller, rid: RequestId, body: NewRevocation) -> dict[str, Any]:
        return await revocations.revoke(principal, body.what, body.value, body.reason, rid)


def devices_of(body: NewSession | Attestation) -> list[dict[str, Any]]:
    """Additional evidence exactly as it was sent: its hash is what the machine committed to."""
    return [{"kind": entry.kind, "evidence": entry.evidence} for entry in body.additional]


async def refused_attempt(sessions: Sessions, request: Request, error: BadRequest) -> GatewayError:
    """What to answer a body that is not what the route takes. An attempt to attest is on record first."""
    found = _ATTEMPT.fullmatch(request.url.path)
    principal = request.scope.get("principal")
    if found is None or principal is None or request.method != "POST":
        return error
    try:
        await sessions.attesting.refused_form("reattest" if found[1] else "session", principal, found[1], error)
    except GatewayError as refusal:
        return refusal
    return error


def _attesting(app: FastAPI, sessions: Sessions) -> None:
    @app.post("/v1/challenges", status_code=201)
    async def challenge(principal: Caller, rid: RequestId, body: NewChallenge) -> dict[str, Any]:
        return await sessions.challenge(principal, body.purpose, body.scope, rid)

    @app.post("/v1/sessions", status_code=201)
    async def opened(principal: Caller, rid: RequestId, body: NewSession) -> dict[str, Any]:
        session = await sessions.open(
            principal, nonce=body.nonce, kind=body.kind, evidence=body.evidence, key=body.key, purpose=body.purpose,
            scope=body.scope, run=body.run, request_id=rid, additional=devices_of(body), bind=body.bind,
        )  # fmt: skip
        return asdict(session) | {"expires_at": rfc3339(session.expires_at)}

    @app.post("/v1/sessions/{session_id}/attest")
    async def reattest(principal: Caller, session_id: str, body: Attestation) -> dict[str, Any]:
        return await sessions.reattest(
            principal, session_id, nonce=body.nonce, kind=body.kind, evidence=body.evidence, key=body.key,
            additional=devices_of(body),
        )  # fmt: skip
