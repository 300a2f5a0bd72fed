"""An unwrap whose group key is warm takes well under a millisecond; the best of many runs is what is measured,
because the machine that runs this may be busy with other things."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.broker import BrokerWorld
from vault.broker.client import BrokerClient
from vault.broker.methods import Role
from vault.broker.server import BrokerServer


def best_ms(call: Callable[[], object], times: int = 300) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best * 1000


def test_warm_unwrap_is_below_a_millisecond_in_process_and_over_the_socket(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    version = secrets.token_hex(16)
    key = world.generate(version)
    grant = world.grant(version, world.attested_session().session_id)
    world.calls.clear()
    assert best_ms(lambda: world.broker.unwrap(world.scope(), version, key.wrapped, grant)) < 1
    path = tmp_path / "broker.sock"
    with BrokerServer(world.broker, {path: Role.FRONT}), BrokerClient(path) as client:
        assert best_ms(lambda: client.unwrap(world.scope(), version, key.wrapped, grant)) < 1
    assert world.calls == []  # the provider was not asked once
