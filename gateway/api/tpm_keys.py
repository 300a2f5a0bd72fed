"""Routes of enrolled TPM keys (docs/spec/attestation.md §7)."""

from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import Field

from gateway.api.bodies import Body
from gateway.api.dependencies import Caller, RequestId
from gateway.tpm_keys import TpmKeys

_BASE64 = r"^[A-Za-z0-9+/]*={0,2}$"
_NAME = r"^[a-z][a-z0-9-]{0,62}$"


class NewEnrolment(Body):
    """Certificates in DER, leaf first; keys as TPMT_PUBLIC; all in base64."""

    purpose: str = Field(pattern=_NAME)
    endorsement_certificates: list[Annotated[str, Field(max_length=12_000, pattern=_BASE64)]] = Field(
        min_length=1, max_length=8
    )
    endorsement_key: str = Field(max_length=2048, pattern=_BASE64)
    attestation_key: str = Field(max_length=2048, pattern=_BASE64)


class ActivatedSecret(Body):
    """What the TPM gave back, base64."""

    secret: str = Field(max_length=64, pattern=_BASE64)


class PcrPolicy(Body):
    """PCR → admitted values, 64 hex digits each."""

    pcrs: dict[str, list[str]] = Field(max_length=24)
    reason: str = Field(min_length=1, max_length=500)


def add_tpm_routes(app: FastAPI, keys: TpmKeys) -> None:
    @app.post("/v1/tpm/enrolments", status_code=201)
    async def begin(principal: Caller, rid: RequestId, body: NewEnrolment) -> dict[str, Any]:
        return await keys.begin(principal, body.purpose, body.model_dump(exclude={"purpose"}), rid)

    @app.put("/v1/tpm/enrolments/{enrolment_id}", status_code=201)
    async def finish(principal: Caller, enrolment_id: str, body: ActivatedSecret) -> dict[str, Any]:
        return await keys.finish(principal, enrolment_id, body.secret)

    @app.get("/v1/tpm/keys")
    async def enrolled(principal: Caller, rid: RequestId) -> list[dict[str, Any]]:
        return await keys.list(principal, rid)

    @app.put("/v1/tpm/keys/{key_name}/policy")
    async def approve(principal: Caller, rid: RequestId, key_name: str, body: PcrPolicy) -> dict[str, Any]:
        return await keys.approve(principal, key_name, body.pcrs, body.reason, rid)

    @app.delete("/v1/tpm/keys/{key_name}")
    async def retire(
        principal: Caller, rid: RequestId, key_name: str, reason: Annotated[str, Query(min_length=1, max_length=500)]
    ) -> dict[str, Any]:
        return await keys.retire(principal, key_name, reason, rid)
