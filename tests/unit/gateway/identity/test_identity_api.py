import asyncio
import time
from typing import Any

import pytest

from gateway.errors import BadRequest, GatewayError
from gateway.identity.api import MAX_BODY, SERVICE, ApiCall, authenticate_api
from gateway.identity.errors import Unauthenticated
from gateway.identity.sigv4 import Verifier
from tests.fakes.s3_client import WireRequest, signed
from tests.fakes.s3_server import REGION, OneKey


def run(request: WireRequest) -> ApiCall:
    messages = [
        {"type": "http.request", "body": request.body[:10], "more_body": True},
        {"type": "http.request", "body": request.body[10:], "more_body": False},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    verifier = Verifier(OneKey(), region=REGION, service=SERVICE, clock=time.time)
    return asyncio.run(authenticate_api(verifier, request.scope(), receive))


def test_signed_document_is_authentic() -> None:
    request = signed("POST", "/v1/datasets?x=a%20b", body=b'{"name":"claims"}', service=SERVICE)
    assert run(request).body == b'{"name":"claims"}'
    assert run(signed("GET", "/v1/zones", service=SERVICE)).principal.name == "analyst"


def test_changed_document_is_refused() -> None:
    request = signed("POST", "/v1/datasets", body=b'{"name":"claims"}', service=SERVICE)
    request.body = b'{"name":"other!"}'
    with pytest.raises(Unauthenticated) as caught:
        run(request)
    assert caught.value.code == "XAmzContentSHA256Mismatch"


@pytest.mark.parametrize(
    "request_",
    [
        signed("GET", "/v1/zones"),  # signed for s3
        signed("POST", "/v1/x", body=b"{}", service=SERVICE, payload="UNSIGNED-PAYLOAD"),
        signed("GET", "/v1/zones", service=SERVICE, presign=60),
        signed("POST", "/v1/x", body=b"{}", service=SERVICE, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ],
    ids=["s3", "unsigned", "presigned", "streaming"],
)
def test_other_forms_are_refused(request_: WireRequest) -> None:
    with pytest.raises(GatewayError):
        run(request_)


def test_long_document_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        run(signed("POST", "/v1/x", body=b"x" * (MAX_BODY + 1), service=SERVICE))
    assert caught.value.status == 413
