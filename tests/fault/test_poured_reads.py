"""The read road past the event loop: the same refusals, charges and cuts, when threads do the sending."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.identity.principal import Principal
from gateway.s3.ports import Pourable
from tests.fakes.gateway_world import GatewayWorld, random_bytes

MIB = 1 << 20
BIG = random_bytes(6 * MIB + 5)
Push = Callable[[memoryview], int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    made = GatewayWorld(Path(tmp_path_factory.mktemp("poured")))
    made.put("big.bin", BIG)
    yield made
    made.close()


def pour(world: GatewayWorld, who: Principal, push: Push, span: tuple[int, int] = (0, len(BIG))) -> None:
    """As an outlet does it: the first slab over the loop and handed back, the rest in bursts."""

    async def read() -> None:
        ref = world.ref("big.bin")
        async with world.front.open_read(
            who, ref, action="read", require_view=None, request_id="req"
        ) as opened:
            pieces = opened.stream(*span)
            assert isinstance(pieces, Pourable)
            pieces.hand_back(await anext(pieces))
            while pieces.burst(push) != "done":
                pass

    world.run(read())


SPANS = [(0, len(BIG)), (0, 3 * MIB), (5, 2 * MIB + 7), (MIB, len(BIG)), (len(BIG) - 1, len(BIG))]


@pytest.mark.parametrize("span", SPANS)
def test_every_byte_in_order_and_on_record(world: GatewayWorld, span: tuple[int, int]) -> None:
    got = bytearray()

    def push(view: memoryview) -> int:
        got.extend(view)
        return len(view)

    pour(world, world.attested(), push, span)
    assert bytes(got) == BIG[slice(*span)]
    outcome = world.entries("outcome")[-1]
    assert (outcome["status"], outcome["bytes"], outcome["ranges"]) == ("complete", len(got), [list(span)])


def test_a_client_that_takes_little_gets_every_byte_once(world: GatewayWorld) -> None:
    got, turn = bytearray(), [0]

    def push(view: memoryview) -> int:
        turn[0] += 1
        taken = (0, 1, 70_000, len(view))[turn[0] % 4]
        got.extend(view[:taken])
        return min(taken, len(view))

    pour(world, world.attested(), push)
    assert bytes(got) == BIG


def test_a_client_that_leaves_is_charged_for_the_slab_in_hand(world: GatewayWorld) -> None:
    taken = [0]

    def push(view: memoryview) -> int:
        if taken[0]:
            raise ConnectionResetError
        taken[0] = len(view)
        return len(view)

    with pytest.raises(ConnectionResetError):
        pour(world, world.attested(), push)
    outcome = world.entries("outcome")[-1]
    assert outcome["status"] == "aborted"
    assert outcome["bytes"] > taken[0]
    assert outcome["ranges"] == [[0, outcome["bytes"]]]


def test_the_session_is_looked_at_again_every_few_mib(world: GatewayWorld) -> None:
    who, got = world.attested(), bytearray()
    assert who.session is not None

    def push(view: memoryview) -> int:
        got.extend(view)
        if len(got) >= 2 * MIB:
            world.sql("update session set revoked_at = 1")
            world.clock.advance(5_000)
        return len(view)

    with pytest.raises(GatewayError) as refused:
        pour(world, who, push)
    assert (refused.value.status, refused.value.rule) == (403, "ReattestationRequired")
    assert bytes(got) == BIG[: len(got)]
    assert 2 * MIB <= len(got) <= 5 * MIB
    assert world.entries("outcome")[-1]["bytes"] == len(got)


@pytest.mark.parametrize("at", [0, 3 * MIB, len(BIG) - 2])
def test_no_byte_behind_a_changed_one(tmp_path: Path, at: int) -> None:
    world = GatewayWorld(tmp_path)
    try:
        world.put("big.bin", BIG)
        (name,) = [name for name, data in world.store.objects.items() if len(data) > len(BIG)]
        stored = bytearray(world.store.objects[name])
        stored[56 + at // 16384 * 16400 + at % 16384] ^= 1
        world.store.objects[name] = bytes(stored)
        got = bytearray()

        def push(view: memoryview) -> int:
            got.extend(view)
            return len(view)

        with pytest.raises(GatewayError) as refused:
            pour(world, world.attested(), push)
        assert refused.value.status == 500 or refused.value.status == 503
        assert bytes(got) == BIG[: len(got)]
        assert len(got) <= at
        assert world.entries("outcome")[-1]["reason"].startswith("integrity.")
    finally:
        world.close()
