"""Where a session's credentials count, and that they end with the trust they rest on. Time is moved by hand."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError, SessionEnded, Unavailable
from gateway.identity.principal import Principal
from gateway.identity.request_head import peer_address
from gateway.known_sessions import REVOCATION_CACHE_MS, SESSION_CACHE_MS
from gateway.limits import RefusalLimit
from tests.fakes.gateway_world import CSV, FRESHNESS_MS, GatewayWorld
from vault.attest.identities import value_digest

MIB = 1 << 20
BIG = b"abcdefg\n" * (8 * MIB // 8)
HERE, THERE = "10.0.0.7", "10.0.0.8"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.put("a.csv", CSV)
    yield made
    made.close()


@pytest.fixture
def big(world: GatewayWorld) -> GatewayWorld:
    world.put("big.csv", BIG)
    return world


def session_id(who: Principal) -> str:
    assert who.session is not None
    return who.session.session_id


# --- the address


@pytest.mark.parametrize(
    ("peer", "spelled"),
    [
        ("127.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"), ("::ffff:127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"), ("::ffff:10.0.0.7", "10.0.0.7"), ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"), ("", ""), ("no address", "no address"),
    ],
)  # fmt: skip
def test_one_peer_has_one_spelling(peer: str, spelled: str) -> None:
    assert peer_address(peer) == spelled


def test_credentials_count_where_the_machine_attested(world: GatewayWorld) -> None:
    who = world.attested(source=HERE)
    assert world.read(who, "a.csv").body == CSV
    for source in (THERE, "", "127.0.0.1"):
        at = len(world.ledger.entries)
        thief = replace(who, source=source)
        error = world.read(thief, "a.csv").refusal
        assert (error.status, error.code, error.rule) == (403, "AccessDenied", "session.other-source")
        [entry] = world.entries("intent", at)
        assert (entry["decision"]["allow"], entry["decision"]["codes"]) == (False, ["session.other-source"])
        assert entry["session"] == session_id(who)
    assert world.read(who, "a.csv").body == CSV


def test_nothing_at_all_is_done_from_elsewhere_but_asking_to_attest(world: GatewayWorld) -> None:
    """Not raw reads only: who stole credentials would write as the run, or list what there is."""
    who = world.attested(source=HERE)
    thief = replace(who, source=THERE)
    calls: list[Any] = [
        world.front.list_objects(
            thief, world.dataset_ref(), prefix="", delimiter="", after="", limit=10, request_id="r"),
        world.front.delete(thief, world.ref("a.csv"), condition=None, request_id="r"),
        world.guard.admit(thief, "list-datasets", request_id="r", interface="api"),
        world.guard.admit(thief, "lineage", request_id="r", interface="api"),
    ]  # fmt: skip
    for call in calls:
        with world.unchanged():
            assert world.refused(call).rule == "session.other-source"
    with pytest.raises(GatewayError) as refused:
        world.written(thief, "b.csv", CSV)
    assert refused.value.rule == "session.other-source"
    world.run(world.sessions.challenge(thief, "claims-risk-model", ["claims"], "r"))


def test_with_a_key_the_address_counts_for_nothing(world: GatewayWorld) -> None:
    who = world.attested(source=HERE, bind_key=True)
    assert who.client_key
    assert world.read(replace(who, source=THERE), "a.csv").body == CSV
    for key in ("", "x" * 43):
        error = world.read(replace(who, client_key=key), "a.csv").refusal
        assert (error.status, error.rule) == (403, "session.other-key")


def test_editing_the_row_gets_nobody_in(world: GatewayWorld) -> None:
    """With the database and stolen credentials: the broker's seal covers where they count."""
    who = world.attested(source=HERE)
    world.sql("update session set bound_source = ?", THERE)
    opened = world.raw_opened()
    error = world.read(replace(who, source=THERE), "a.csv").refusal
    assert error.rule == "integrity.session.seal"
    assert world.raw_opened() == opened


def test_a_thief_cannot_use_up_the_refusals_of_the_machine(world: GatewayWorld) -> None:
    world.guard._refusals = RefusalLimit(5)
    who = world.attested(source=HERE)
    thief = replace(who, source=THERE)
    rules = [world.read(thief, "a.csv").refusal.rule for _ in range(8)]
    assert rules == ["session.other-source"] * 5 + ["limit.refusals"] * 3
    assert world.read(who, "a.csv").body == CSV
    assert world.guard._refusals.take() == {who.principal_id: 3}


def test_a_theft_is_seen_in_the_metrics(world: GatewayWorld) -> None:
    who = world.attested(source=HERE)
    world.read(replace(who, source=THERE), "a.csv")
    assert b'demesne_session_elsewhere_total{rule="session.other-source"} 1.0' in world.metrics.render()


# --- revocation as a worker sees it


def revoke(world: GatewayWorld, what: Any, value: str, by: Principal | None = None) -> dict[str, Any]:
    return world.run(world.revocations.revoke(by or world.steward, what, value, "a test", "r"))


@pytest.mark.parametrize("what", ["subject", "measurement"])
def test_what_was_revoked_here_counts_here_at_once(world: GatewayWorld, what: str) -> None:
    who = world.attested()
    at = len(world.ledger.entries)
    told = revoke(world, what, "trainer" if what == "subject" else "sample")
    assert told["sessions"] == [session_id(who)]
    assert world.read(who, "a.csv").refusal.code == "ReattestationRequired"
    [entry] = world.entries("revocation", at)
    assert (entry["what"], entry["session"], entry["reason"]) == (what, None, "a test")
    assert entry["value"] == value_digest(who.principal_id if what == "subject" else "sample")
    assert entry["intent"] == world.entries("intent", at)[0]["id"]
    [listed] = world.run(world.revocations.revoked(world.steward, "r"))
    assert (listed["what"], listed["value"], listed["by"]) == (what, entry["value"], world.steward.principal_id)


@pytest.mark.parametrize("what", ["subject", "measurement"])
def test_other_workers_know_within_five_seconds(world: GatewayWorld, what: str) -> None:
    who, other = world.attested(), world.new_facts()
    assert other.gather(who, None).fresh
    revoke(world, what, "trainer" if what == "subject" else "sample")
    assert other.gather(who, None).fresh  # it has not heard yet
    world.clock.advance(REVOCATION_CACHE_MS)
    assert REVOCATION_CACHE_MS <= 5000
    assert not other.gather(who, None).fresh


def test_no_grace_for_what_was_revoked(world: GatewayWorld) -> None:
    """A lapsed session hears 503 for a minute, so that its agent may attest. A revoked one has nothing to wait for."""
    who = world.attested()
    world.clock.advance(FRESHNESS_MS + 1)
    revoke(world, "subject", who.principal_id)
    assert world.read(who, "a.csv").refusal.status == 403


def test_who_may_revoke(world: GatewayWorld) -> None:
    custodian = world.person("custodian", "custody", "custodian")
    revoke(world, "platform", "c1" * 64, custodian)
    for who in (world.analyst, world.trainer, world.attested()):
        with world.unchanged():
            refused = world.refused(world.revocations.revoke(who, "subject", "trainer", "no", "r"))
            assert refused.status == 403
            assert world.refused(world.revocations.revoked(who, "r")).status == 403
    assert world.refused(world.revocations.revoke(world.steward, "subject", "nobody", "no", "r")).status == 404


def test_revoking_twice_is_once(world: GatewayWorld) -> None:
    assert revoke(world, "measurement", "sample")["at"] == revoke(world, "measurement", "sample")["at"]


def test_sessions_are_shown_to_their_owner_and_to_who_may_end_them(world: GatewayWorld) -> None:
    who, other = world.attested(source=HERE), world.attested()
    call = world.revocations
    own = world.run(call.sessions(world.trainer, "r", everybody=False))
    assert {entry["session_id"] for entry in own} == {session_id(who), session_id(other)}
    assert {entry["state"] for entry in own} == {"fresh"}
    everybody = world.run(call.sessions(world.steward, "r", everybody=True))
    assert [entry["session_id"] for entry in everybody] == [entry["session_id"] for entry in own]
    assert [entry["session_id"] for entry in world.run(call.sessions(who, "r", everybody=True))] == [session_id(who)]
    shown = world.run(call.session(world.steward, session_id(who), "r"))
    assert {"what": "measurement", "value": "sample"} in shown["revocable"]
    assert shown["bound_source"] == HERE
    for stranger in (world.analyst, other):
        assert world.refused(call.session(stranger, session_id(who), "r")).status == 404
    assert world.refused(call.sessions(world.analyst, "r", everybody=True)).status == 403
    world.run(world.sessions.revoke(world.steward, session_id(other)))
    world.clock.advance(FRESHNESS_MS + 1)
    states = {e["session_id"]: e["state"] for e in world.run(call.sessions(world.trainer, "r", everybody=False))}
    assert states == {session_id(who): "lapsed", session_id(other): "revoked"}


# --- streams that are open


class Client:
    """What a slow client's connection is to a stream: it asks for nothing, and can be cut."""

    def __init__(self) -> None:
        self.cut = 0

    def __call__(self) -> None:
        self.cut += 1


def stalled(world: GatewayWorld, who: Principal, end: Any) -> tuple[Client, GatewayError]:
    """One slab was taken, then none; `end` happens, and the worker looks once. What the stream says afterwards."""
    client = Client()

    async def get() -> GatewayError:
        async with world.front.open_read(
            who, world.ref("big.csv"), action="read", require_view=None, request_id="r"
        ) as opened:
            stream = opened.stream(0, opened.size)
            stream.on_end(client)
            await anext(stream)
            await world.front.streams.look()
            assert (client.cut, len(world.front.streams)) == (0, 1)
            end()
            await world.front.streams.look()
            with pytest.raises(GatewayError) as refused:
                await anext(stream)
            with pytest.raises(GatewayError):
                stream.burst(len)
        raise refused.value

    with pytest.raises(SessionEnded) as ended:
        world.run(get())
    assert len(world.front.streams) == 0
    return client, ended.value


@pytest.mark.parametrize("why", ["session", "session elsewhere", "subject", "measurement", "lapse", "end", "moved"])
def test_a_stream_whose_client_stands_still_is_ended(big: GatewayWorld, why: str) -> None:
    who = big.attested(source=HERE)

    def end() -> None:
        if why == "session":
            big.catalog.revoke_session(session_id(who))
            big.facts.forget_session(session_id(who))
        elif why == "session elsewhere":
            big.catalog.revoke_session(session_id(who))
            big.clock.advance(SESSION_CACHE_MS)
        elif why == "end":  # attested again a moment ago: the hour is over all the same
            big.clock.advance(3_600_000)
            big.sql("update session set attested_at = ?", big.clock())
        elif why == "lapse":
            big.clock.advance(FRESHNESS_MS + 1)
        elif why == "moved":
            big.sql("update session set bound_source = ?, attested_at = attested_at + 1", THERE)
            big.clock.advance(SESSION_CACHE_MS)
        else:
            value = value_digest(who.principal_id if why == "subject" else "sample")
            big.catalog.add_revocation(why, value, reason="", by_principal="")
            big.clock.advance(REVOCATION_CACHE_MS)

    client, ended = stalled(big, who, end)
    assert client.cut == 1
    assert ended.rule == ("session.other-source" if why == "moved" else "ReattestationRequired")
    outcome = big.entries("outcome")[-1]
    assert (outcome["status"], outcome["reason"]) == ("aborted", ended.rule)


def test_streams_of_others_go_on(big: GatewayWorld) -> None:
    mine, other = big.attested(), big.attested(big.person("second", "claims-risk-model", "trainer", kind="workload"))

    async def both() -> list[int]:
        clients = Client(), Client()

        async def one(who: Principal, client: Client) -> None:
            async with big.front.open_read(
                who, big.ref("big.csv"), action="read", require_view=None, request_id="r"
            ) as opened:
                stream = opened.stream(0, opened.size)
                stream.on_end(client)
                await anext(stream)
                await looked.wait()
                if not client.cut:
                    assert sum([len(slab) async for slab in stream]) > 0

        looked = asyncio.Event()
        tasks = [asyncio.create_task(one(who, client)) for who, client in zip((mine, other), clients, strict=True)]
        while len(big.front.streams) < 2:
            await asyncio.sleep(0.01)
        big.catalog.revoke_session(session_id(mine))
        big.facts.forget_session(session_id(mine))
        await big.front.streams.look()
        looked.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [SessionEnded, type(None)]
        return [client.cut for client in clients]

    assert big.run(both()) == [1, 0]


def test_a_session_attested_again_at_another_worker_goes_on(big: GatewayWorld) -> None:
    """This worker's row is seconds old: it reads again before it ends anything."""
    who = big.attested()
    row = big.catalog.session(session_id(who))
    client = Client()

    async def get() -> int:
        async with big.front.open_read(
            who, big.ref("big.csv"), action="read", require_view=None, request_id="r"
        ) as opened:
            stream = opened.stream(0, opened.size)
            stream.on_end(client)
            await anext(stream)
            big.clock.advance(FRESHNESS_MS - 1000)
            big.facts.session(session_id(who))
            big.catalog.refresh_session(
                row.session_id, attested_at=big.clock(), claims=row.claims, tier=row.tier,
                attestation_seal=row.attestation_seal,
            )  # fmt: skip
            big.clock.advance(1001)
            await big.front.streams.look()
            return sum([len(slab) async for slab in stream])

    assert big.run(get()) > 0
    assert client.cut == 0


def test_static_keys_have_nothing_that_could_lapse(big: GatewayWorld) -> None:
    big.build(big.version("big.csv"))

    async def get() -> int:
        async with big.front.open_read(
            big.analyst, big.ref("big.csv"), action="read", require_view=None, request_id="r"
        ) as opened:
            await anext(opened.stream(0, opened.size))
            return len(big.front.streams)

    assert big.run(get()) == 0


def test_a_catalog_that_takes_too_long_ends_streams(big: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    who, asked = big.attested(), threading.Event()
    monkeypatch.setattr("gateway.open_streams.ANSWER_SECONDS", 0.2)

    def end() -> None:
        big.clock.advance(SESSION_CACHE_MS)
        monkeypatch.setattr(big.catalog, "find_session", lambda _: asked.wait(5) and None)

    client, ended = stalled(big, who, end)
    asked.set()
    assert (client.cut, ended.rule) == (1, "ReattestationRequired")


def test_a_catalog_that_does_not_answer_ends_streams(big: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    who = big.attested()

    def end() -> None:
        from vault.errors import Unavailable as Away

        def away(*_: object, **__: object) -> None:
            raise Away("catalog")

        big.clock.advance(SESSION_CACHE_MS)
        monkeypatch.setattr(big.catalog, "find_session", away)

    client, ended = stalled(big, who, end)
    assert (client.cut, ended.rule) == (1, "ReattestationRequired")
    assert not isinstance(ended, Unavailable)
