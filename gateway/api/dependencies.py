"""What routes ask of a request: who calls, and the request's id."""

from typing import Annotated

from fastapi import Depends, Query, Request

from gateway.identity.principal import Principal


def caller(request: Request) -> Principal:
    """The principal that `AuthenticatedApi` verified. There is no other way to get one here."""
    principal: Principal = request.scope["principal"]
    return principal


def request_id(request: Request) -> str:
    return str(request.scope["request_id"])


Caller = Annotated[Principal, Depends(caller)]
RequestId = Annotated[str, Depends(request_id)]
Limit = Annotated[int, Query(ge=1)]
