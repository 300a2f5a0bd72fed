"""The asyncio twin: the loop is never held, the same things happen, and everything ends."""

import asyncio
import io
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import demesne
import demesne.aio
from demesne.evidence.sample import SampleAttester
from tests.fakes.api import FakeGateway, wait_until
from tests.unit.sdk.sdk_world import gateway_with_claims, options_for


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEMESNE_"))]:
        monkeypatch.delenv(name)
    with gateway_with_claims() as running:
        yield running


def opening(gateway: FakeGateway, **options: Any) -> demesne.aio.session:
    return demesne.aio.session(gateway.api_endpoint, **options_for(**options))


def test_a_whole_session_with_every_client(gateway: FakeGateway) -> None:
    async def job() -> str:
        async with opening(gateway, run="r") as session:
            assert os.environ["AWS_ENDPOINT_URL"] == gateway.s3_endpoint
            async with session.client() as s3:
                found = await s3.head_object(Bucket="claims", Key="part-0.parquet")
            assert found["ContentLength"] == len(gateway.objects["claims", "part-0.parquet"].body)
            async with session.run("named", outputs=["s3://models/x"]):
                pass
            await session.reattest()
            assert gateway.sessions[session.session_id].attested == 2
            await asyncio.to_thread(session.boto3().head_object, Bucket="claims", Key="part-0.parquet")
            return session.session_id

    session_id = asyncio.run(job())
    assert gateway.sessions[session_id].revoked
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert len(set(gateway.identities)) == 1
    assert [said["status"] for _, said in gateway.statements] == ["started", "completed"]


class Slow(SampleAttester):
    def evidence(self, report_data: bytes) -> dict[str, Any]:
        time.sleep(0.3)
        return super().evidence(report_data)


def test_the_loop_turns_while_hardware_and_network_take_their_time(gateway: FakeGateway) -> None:
    gateway.hook_before = lambda _m, _p: time.sleep(0.1)

    async def job() -> float:
        longest, last, done = 0.0, time.monotonic(), False

        async def heart() -> None:
            nonlocal longest, last
            while not done:
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()

        beating = asyncio.create_task(heart())
        async with opening(gateway, attester=Slow()):
            pass
        done = True
        await beating
        return longest

    assert asyncio.run(job()) < 0.25


def test_a_loop_that_is_busy_lets_no_attestation_lapse(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1

    async def job() -> None:
        async with opening(gateway) as session:
            found = gateway.sessions[session.session_id]
            wait_until(lambda: found.attested >= 3)  # holds the loop all the time

    asyncio.run(job())


def test_two_at_once_and_refusals_are_typed(gateway: FakeGateway) -> None:
    async def job() -> None:
        first, second = await asyncio.gather(opening(gateway).open(), opening(gateway).open())
        assert first.session_id != second.session_id
        with pytest.raises(demesne.Refused) as refused:
            await opening(gateway, purpose="forbidden").open()
        assert (refused.value.rule, refused.value.remedy) == ("access.purpose", "ask the steward")
        await first.close()
        with pytest.raises(demesne.SessionClosed):
            first.env()
        assert second.env()
        await second.close()
        with pytest.raises(demesne.SessionClosed):
            opening(gateway).env()  # never opened

    threads = threading.active_count()
    asyncio.run(job())
    wait_until(lambda: threading.active_count() <= threads + 1)


def test_a_gateway_that_is_away_is_unavailable() -> None:
    away = demesne.aio.session("http://127.0.0.1:1", s3_endpoint="http://127.0.0.1:1", **options_for())
    with pytest.raises(demesne.Unavailable, match=r"endpoint\.unreachable"):
        asyncio.run(away.open())


def test_scope_and_place_are_asked_when_nobody_says_them(gateway: FakeGateway) -> None:
    async def job() -> list[str]:
        session = await opening(gateway, scope=None, notice=io.StringIO()).open()
        scope = gateway.sessions[session.session_id].scope
        await session.close()
        return scope

    assert asyncio.run(job()) == ["claims"]
