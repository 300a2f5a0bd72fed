"""Where keys are is asked of the broker, over its sockets, each class under its own credential."""

from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld
from vault.broker.client import BrokerClient
from vault.broker.methods import Role
from vault.broker.server import BrokerServer
from vault.errors import Refused, Unavailable
from vault.keys.provider import KeyClass


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


def test_front_and_keeper_may_ask_and_builders_may_not(world: BrokerWorld, tmp_path: Path) -> None:
    paths = {tmp_path / f"{role}.sock": role for role in Role}
    with BrokerServer(world.broker, paths):
        for path, role in paths.items():
            with BrokerClient(path) as client:
                if role is Role.BUILDER:
                    with pytest.raises(Refused, match=r"broker\.method"):
                        client.key_location("raw")
                    continue
                for key_class in KeyClass:
                    where = client.key_location(key_class)
                    assert (where.observed, where.strength) == ("DE", "self-reported")
                    assert where.target.startswith("local:")


@pytest.mark.parametrize("key_class", ["", "RAW", "open", "raw\x00"])
def test_another_class_is_refused(world: BrokerWorld, key_class: str) -> None:
    with pytest.raises(Refused, match=r"key\.class"):
        world.broker.key_location(key_class)


def test_provider_that_does_not_say_is_unavailable_to_who_asks(world: BrokerWorld, tmp_path: Path) -> None:
    class Silent:
        def location(self) -> object:
            raise Unavailable("provider.sealed")

    broker = world.restarted(provider_view=Silent())
    with BrokerServer(broker, {tmp_path / "b.sock": Role.FRONT}), BrokerClient(tmp_path / "b.sock") as client:
        assert client.key_location("raw").observed == "DE"
        with pytest.raises(Unavailable, match=r"provider\.sealed"):
            client.key_location("view")
