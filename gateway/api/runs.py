"""Routes about runs: what jobs say of them (docs/spec/lineage.md §6)."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import Field

from gateway.api.bodies import Body
from gateway.api.dependencies import Caller, RequestId
from gateway.statements import Statements

_PLAIN = r"^[^\x00-\x1f\x7f]+$"  # words end up in terminals and logs
Name = Annotated[str, Field(pattern=_PLAIN, max_length=200)]
Uri = Annotated[str, Field(pattern=_PLAIN, max_length=1200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Statement(Body):
    """A job's own words: none of it is checked against anything."""

    status: Literal["started", "completed", "failed"]
    name: Name | None = None
    parents: list[Name] = Field(default_factory=list, max_length=64)
    outputs: list[Uri] = Field(default_factory=list, max_length=64)
    models: dict[Uri, Sha256] = Field(default_factory=dict, max_length=64)


def add_run_routes(app: FastAPI, statements: Statements) -> None:
    @app.post("/v1/runs/{run_id}/statements", status_code=201)
    async def state(principal: Caller, rid: RequestId, run_id: str, body: Statement) -> dict[str, Any]:
        return await statements.state(principal, run_id, body.model_dump(exclude_defaults=True), rid)
