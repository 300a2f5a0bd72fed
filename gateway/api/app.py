"""The API of one zone (port 9001). Routers are built, not found: everything a route needs is handed in here."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from gateway.api.bodies import Declassification, NewContract, NewDataset
from gateway.api.caller import problem
from gateway.api.dependencies import Caller, Limit, RequestId
from gateway.api.kbs import add_ticket_routes
from gateway.api.keys import add_key_routes
from gateway.api.records import AUDITING, Records
from gateway.api.runs import add_run_routes
from gateway.api.sessions import add_session_routes, refused_attempt
from gateway.api.tpm_keys import add_tpm_routes
from gateway.decide.authoring import explain
from gateway.directory import Directory
from gateway.errors import BadRequest, GatewayError, Unavailable
from gateway.guard import Guard
from gateway.identity.principal import Principal
from gateway.kbs.tickets import Tickets
from gateway.keys import KeyOrders
from gateway.registry import Registry
from gateway.revocations import Revocations
from gateway.sessions import Sessions
from gateway.statements import Statements
from gateway.tpm_keys import TpmKeys
from lineage.errors import LineageError
from vault.errors import Refused


@dataclass(frozen=True)
class ApiParts:
    """What the API answers from."""

    guard: Guard
    registry: Registry
    sessions: Sessions
    records: Records
    directory: Directory
    readiness: Callable[[], tuple[bool, dict[str, Any]]]
    metrics: Callable[[], bytes]
    keys: KeyOrders
    tickets: Tickets
    revocations: Revocations
    statements: Statements
    tpm_keys: TpmKeys


def create_api(parts: ApiParts) -> FastAPI:
    """The application without its authenticator; `AuthenticatedApi` goes around it."""
    app = FastAPI(title="Demesne", version="1", docs_url=None, redoc_url=None)
    _errors(app, parts)
    _operations(app, parts)
    _datasets(app, parts)
    add_session_routes(app, parts.sessions, parts.revocations)
    _records(app, parts)
    add_key_routes(app, parts.keys)
    add_ticket_routes(app, parts.tickets)
    add_run_routes(app, parts.statements)
    add_tpm_routes(app, parts.tpm_keys)
    return app


def _errors(app: FastAPI, parts: ApiParts) -> None:
    @app.exception_handler(GatewayError)
    async def refused(request: Request, error: GatewayError) -> Response:  # noqa: ARG001
        headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else {}
        return JSONResponse(problem(error), error.status, headers, media_type="application/problem+json")

    @app.exception_handler(Refused)
    async def bad_name(request: Request, error: Refused) -> Response:
        return await refused(request, BadRequest("InvalidArgument", f"{error.reason}: {error.detail}"))

    @app.exception_handler(LineageError)
    async def unreadable(request: Request, error: LineageError) -> Response:
        return await refused(request, Unavailable(
            "ServiceUnavailable", "Ledger or lineage cannot be read yet", rule=error.reason, remedy="try again",
            retry_after=1,
        ))  # fmt: skip

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        wrong = BadRequest("InvalidArgument", f"{field}: {first['msg']}")
        return await refused(request, await refused_attempt(parts.sessions, request, wrong))

    @app.exception_handler(HTTPException)
    async def unparsed(request: Request, error: HTTPException) -> Response:
        """A body that is no JSON a parser takes: nested too deep, for one. Unknown paths are FastAPI's to answer."""
        if error.status_code != 400:
            return await http_exception_handler(request, error)
        wrong = BadRequest("InvalidArgument", f"body: {error.detail}", status=error.status_code)
        return await refused(request, await refused_attempt(parts.sessions, request, wrong))


def _operations(app: FastAPI, parts: ApiParts) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> Response:
        # It asks the catalog, and a catalog that is away takes seconds to say nothing: not on the loop.
        ready, document = await parts.guard.blocking(parts.readiness)
        return JSONResponse(document, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(parts.metrics(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/zones")
    async def zones(principal: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - authenticated is enough
        here = await parts.guard.blocking(parts.guard.facts.zone)
        return [
            asdict(zone) | ({"state": here.state, "strength": here.strength, "reason": here.reason,
                             "observed": list(here.observed)} if zone.name == here.name else {})
            for zone in parts.directory.zones
        ]  # fmt: skip

    @app.get("/v1/doctrine")
    async def doctrine(principal: Caller) -> dict[str, Any]:  # noqa: ARG001
        return parts.guard.doctrine.status.as_document()

    @app.post("/v1/doctrine/explain")
    async def explained(principal: Caller, rid: RequestId, body: dict[str, Any]) -> dict[str, Any]:
        """What the serving doctrine says to a written-down request. Decides nothing and opens nothing."""
        await parts.guard.admit(principal, "administer", request_id=rid, interface="api")
        return await explain(parts.guard.doctrine, body)


def _datasets(app: FastAPI, parts: ApiParts) -> None:
    @app.get("/v1/datasets")
    async def datasets(principal: Caller, rid: RequestId) -> list[dict[str, Any]]:
        return await parts.registry.all(principal, rid)

    @app.post("/v1/datasets", status_code=201)
    async def create(principal: Caller, rid: RequestId, body: NewDataset) -> dict[str, Any]:
        return await parts.registry.register(
            principal, body.name, zone=body.zone or parts.guard.zone, label=body.label, synthetic=body.synthetic,
            request_id=rid,
        )  # fmt: skip

    @app.get("/v1/datasets/{name}")
    async def show(principal: Caller, rid: RequestId, name: str) -> dict[str, Any]:
        return await parts.registry.describe(principal, name, rid)

    @app.put("/v1/datasets/{name}/contract")
    async def contract(principal: Caller, rid: RequestId, name: str, body: NewContract) -> dict[str, Any]:
        return await parts.registry.set_contract(principal, name, body.document, rid)

    @app.get("/v1/views")
    async def views(principal: Caller, rid: RequestId, dataset: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await parts.registry.describe(principal, dataset, rid))["views"]
        return found

    @app.post("/v1/principals", status_code=201)
    async def principal_(principal: Caller, rid: RequestId, body: dict[str, Any]) -> dict[str, Any]:
        return await parts.registry.create_principal(principal, body, rid)

    @app.post("/v1/declassifications", status_code=201)
    async def declassify(principal: Caller, rid: RequestId, body: Declassification) -> dict[str, Any]:
        return await parts.registry.declassify(
            principal, dataset=body.dataset, key=body.key, name=body.name, reason=body.reason, request_id=rid
        )


def _records(app: FastAPI, parts: ApiParts) -> None:
    records, guard = parts.records, parts.guard

    async def may(principal: Principal, action: Any, rid: str) -> None:
        await guard.admit(principal, action, request_id=rid, interface="api")

    def whose(principal: Principal) -> str | None:
        """Whose entries the caller may read: None for all."""
        return None if principal.roles & AUDITING else guard.recorder.principal(principal.principal_id)

    @app.get("/v1/lineage")
    async def lineage(
        principal: Caller, rid: RequestId, dataset: str | None = None, run: str | None = None
    ) -> dict[str, Any]:
        await may(principal, "lineage", rid)
        return await guard.blocking(records.lineage, dataset, run)

    @app.get("/v1/lineage/events")
    async def events(principal: Caller, rid: RequestId, limit: Limit = 1000) -> list[dict[str, Any]]:
        await may(principal, "lineage", rid)
        return await guard.blocking(records.events, min(limit, 10_000))

    @app.get("/v1/decisions")
    async def decisions(principal: Caller, rid: RequestId, limit: Limit = 100) -> list[dict[str, Any]]:
        await may(principal, "ledger", rid)
        return await guard.blocking(records.decisions, min(limit, 1000), whose=whose(principal))

    @app.get("/v1/ledger/checkpoint")
    async def checkpoint(principal: Caller, rid: RequestId) -> Response:
        await may(principal, "ledger", rid)
        return PlainTextResponse(await guard.blocking(records.checkpoint))

    @app.get("/v1/ledger/key")
    async def key(principal: Caller) -> dict[str, str]:  # noqa: ARG001 - a public key
        return {"public_key": records.public_key.hex(), "zone": guard.zone}

    @app.get("/v1/ledger/tile/{path:path}")
    async def tile(principal: Caller, rid: RequestId, path: str) -> Response:
        await may(principal, "ledger", rid)
        found = await guard.blocking(records.tile, path, whose=whose(principal))
        return Response(found, media_type="application/octet-stream")

    @app.get("/v1/receipts/{decision_id}")
    async def receipt(principal: Caller, rid: RequestId, decision_id: str) -> Response:
        await may(principal, "ledger", rid)
        return PlainTextResponse(await guard.blocking(records.receipt, decision_id, whose=whose(principal)))
