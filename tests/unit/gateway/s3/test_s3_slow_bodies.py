"""Bodies that come slowly or not at all."""

import asyncio
from typing import Any

import pytest

from gateway.s3 import body as body_module
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import WireRequest, signed


async def upload(app: S3App, request: WireRequest, pause: float, piece: int) -> bytes:
    sent = 0
    answer = bytearray()

    async def receive() -> Any:
        nonlocal sent
        if sent:
            await asyncio.sleep(pause)
        part = request.body[sent : sent + piece]
        sent += len(part)
        return {"type": "http.request", "body": part, "more_body": sent < len(request.body)}

    async def send(message: Any) -> None:
        answer.extend(bytes(message.get("body", b"")))

    await app(request.scope(), receive, send)
    return bytes(answer)


def test_silence_ends_the_upload(app: S3App, guard: FakeGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr("gateway.s3.call.DRAIN_SECONDS", 0.05)
    answer = asyncio.run(upload(app, signed("PUT", "/claims/k", body=b"x" * 100), 60, 10))
    assert b"<Code>RequestTimeout</Code>" in answer
    assert guard.outcomes == [("write", "k", "aborted", 0)]


def test_a_trickle_ends_the_upload(app: S3App, guard: FakeGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr("gateway.s3.call.DRAIN_SECONDS", 0.05)
    answer = asyncio.run(upload(app, signed("PUT", "/claims/k", body=b"x" * 1000), 0.02, 1))
    assert b"<Code>RequestTimeout</Code>" in answer
    assert guard.body("claims", "k") is None


def test_one_byte_pieces_are_fine_when_they_come(app: S3App, guard: FakeGuard) -> None:
    asyncio.run(upload(app, signed("PUT", "/claims/k", body=b"x" * 1000), 0, 1))
    assert guard.body("claims", "k") == b"x" * 1000
