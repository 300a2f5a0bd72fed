"""Routes about keys: what there is, and orders about them (docs/spec/keys.md §8)."""

from typing import Any

from fastapi import FastAPI

from gateway.api.bodies import KeyApproval, NewKeyOrder
from gateway.api.dependencies import Caller, RequestId
from gateway.keys import KeyOrders


def add_key_routes(app: FastAPI, keys: KeyOrders) -> None:
    @app.get("/v1/keys")
    async def epochs(principal: Caller, rid: RequestId, dataset: str | None = None) -> list[dict[str, Any]]:
        return await keys.epochs(principal, dataset, rid)

    @app.get("/v1/keys/requests")
    async def requests(principal: Caller, rid: RequestId, dataset: str) -> list[dict[str, Any]]:
        return await keys.requests(principal, dataset, rid)

    @app.post("/v1/keys/requests", status_code=201)
    async def order(principal: Caller, rid: RequestId, body: NewKeyOrder) -> dict[str, Any]:
        return await keys.order(
            principal, body.dataset, body.action, key_class=body.key_class, epochs=body.epochs,
            versions=body.versions, keys=body.keys, prefix=body.prefix, reason=body.reason, request_id=rid,
        )  # fmt: skip

    @app.get("/v1/keys/requests/{order_id}")
    async def request(principal: Caller, rid: RequestId, order_id: str) -> dict[str, Any]:
        return await keys.request(principal, order_id, rid)

    @app.post("/v1/keys/requests/{order_id}/approval")
    async def approve(principal: Caller, rid: RequestId, order_id: str, body: KeyApproval) -> dict[str, Any]:
        return await keys.approve(principal, order_id, body.request_sha256, rid)

    @app.post("/v1/keys/requests/{order_id}/cancellation")
    async def cancel(principal: Caller, rid: RequestId, order_id: str, body: KeyApproval) -> dict[str, Any]:
        return await keys.cancel(principal, order_id, body.request_sha256, rid)
