"""Brokers and providers that hang, die, restart or lose a race: closed, bounded in time, nothing lost."""

import secrets
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld, FakeEpoch
from vault.broker.client import BrokerClient
from vault.broker.methods import Role
from vault.broker.server import BrokerServer
from vault.errors import Refused, Unavailable
from vault.keys.deadline import DeadlineProvider
from vault.keys.hierarchy import KeyRing
from vault.keys.provider import EpochState, KeyClass


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


def test_broker_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"broker\.connection"):
        BrokerClient(tmp_path / "broker.sock").hello()


def test_client_survives_a_restart_of_the_broker(world: BrokerWorld, tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    client = BrokerClient(path)
    with BrokerServer(world.broker, {path: Role.FRONT}):
        before = client.hello()
        nonce = client.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
    with pytest.raises(Unavailable):
        client.hello()
    with BrokerServer(world.restarted(), {path: Role.FRONT}):
        assert client.hello() == before  # through a pooled connection that has died
        attested = client.attest(nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id)
    assert {tier: len(seal) for tier, seal in attested.seals.items()} == {"affirming": 32, "warning": 32}
    client.close()


def test_socket_left_by_a_killed_broker_is_taken_over(world: BrokerWorld, tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))  # bound, never unlinked: what SIGKILL leaves
    with BrokerServer(world.broker, {path: Role.FRONT}):
        with BrokerClient(path) as client:
            assert client.hello() == world.broker.hello()


def test_hung_broker_costs_the_client_its_budget_and_no_more(world: BrokerWorld, tmp_path: Path) -> None:
    path, release = tmp_path / "broker.sock", threading.Event()

    def hang(name: str) -> None:
        release.wait(10)

    with BrokerServer(world.broker, {path: Role.FRONT}), BrokerClient(path, answer_seconds=0.2) as client:
        world.catalog.before = hang
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"broker\.timeout"):
            client.generate(world.scope(), secrets.token_hex(16))
        assert time.monotonic() - began < 2
        world.catalog.before = lambda _: None
        release.set()
        assert client.hello() == world.broker.hello()  # not the late answer to the first request


def test_hung_provider_is_unavailable_in_its_budget_and_busy_when_all_threads_hang(world: BrokerWorld) -> None:
    release, waited = threading.Event(), list[bool]()
    world.provider_raw.before = lambda _: waited.append(release.wait(10))
    provider = DeadlineProvider(world.provider_raw, budget_seconds=0.05, calls_at_once=2)
    version = secrets.token_hex(16)
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"provider\.timeout"):
                provider.unwrap("e", b"", b"")
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"provider\.busy"):
            provider.unwrap("e", b"", b"")
        assert time.monotonic() - began < 0.05
        with pytest.raises(Unavailable):
            world.restarted(provider_raw=provider).generate(world.scope(), version)
        assert world.catalog.groups == {}
    finally:
        release.set()


def test_hung_provider_does_not_stop_keys_whose_group_is_warm(world: BrokerWorld) -> None:
    release, waited = threading.Event(), list[bool]()
    provider = DeadlineProvider(world.provider_raw, budget_seconds=0.05)
    broker = world.restarted(provider_raw=provider)
    version = secrets.token_hex(16)
    key = broker.generate(world.scope(), version)
    session = world.attested_session()
    world.provider_raw.before = lambda _: waited.append(release.wait(10))
    try:
        grant = world.grant(version, session.session_id)
        assert broker.unwrap(world.scope(), version, key.wrapped, grant) == key.object_key
        world.clock.advance(60_000)  # and within a minute it does stop them
        with pytest.raises(Unavailable, match=r"provider\.timeout"):
            broker.unwrap(world.scope(), version, key.wrapped, world.grant(version, session.session_id))
    finally:
        release.set()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["create_epoch", "wrap"])
def test_provider_that_fails_while_a_group_is_made_leaves_nothing_half_made(
    world: BrokerWorld, when: str, operation: str
) -> None:
    def fail(name: str) -> None:
        if name == operation:
            raise Unavailable("provider.failed")

    setattr(world.provider_raw, when, fail)
    with pytest.raises(Unavailable):
        world.generate(secrets.token_hex(16))
    assert world.catalog.groups == {}
    setattr(world.provider_raw, when, lambda _: None)
    version = secrets.token_hex(16)
    key = world.generate(version)  # the next attempt recovers by the ordinary road
    session = world.attested_session()
    grant = world.grant(version, session.session_id)
    assert world.restarted().unwrap(world.scope(), version, key.wrapped, grant) == key.object_key


@pytest.mark.parametrize("call", ["add_epoch", "reserve_group", "add_group"])
def test_catalog_that_fails_while_a_group_is_made_releases_no_key(world: BrokerWorld, call: str) -> None:
    def fail(name: str) -> None:
        if name == call:
            raise Unavailable("catalog.timeout")

    world.catalog.before = fail
    with pytest.raises(Unavailable):
        world.generate(secrets.token_hex(16))
    world.catalog.before = lambda _: None
    world.generate(secrets.token_hex(16))
    assert len([e for e in world.catalog.epochs_by_id.values() if e.state == "active"]) == 1


def test_two_brokers_that_make_the_first_epoch_at_once_end_with_one(world: BrokerWorld) -> None:
    raced: list[str] = []

    def other_broker_first(name: str) -> None:
        if name == "add_epoch" and not raced:
            raced.append("winner")
            world.provider_raw.create_epoch("winner", KeyClass.RAW)
            dataset_id = world.dataset.dataset_id
            world.catalog.epochs_by_id["winner"] = FakeEpoch("winner", dataset_id, "raw", 1)

    world.catalog.before = other_broker_first
    world.generate(secrets.token_hex(16))
    assert list(world.catalog.epochs_by_id) == ["winner"]
    assert {group.epoch_id for group in world.catalog.groups.values()} == {"winner"}
    assert ("raw", "destroy") in world.calls  # ours, which nothing was wrapped under


def test_destroyed_epoch_ends_every_key_under_it_within_a_minute(world: BrokerWorld) -> None:
    version = secrets.token_hex(16)
    key = world.generate(version)
    session = world.attested_session()
    (epoch,) = world.catalog.epochs_by_id.values()
    world.provider_raw.destroy(epoch.epoch_id)
    assert world.provider_raw.status(epoch.epoch_id).state is EpochState.DESTROYED
    world.clock.advance(60_000)
    with pytest.raises(Refused, match=r"key\.destroyed"):
        world.broker.unwrap(world.scope(), version, key.wrapped, world.grant(version, session.session_id))


def test_full_group_makes_way_for_a_new_one(world: BrokerWorld) -> None:
    world.generate(secrets.token_hex(16))
    (group,) = world.catalog.groups.values()
    world.catalog.groups[group.group_id] = replace(group, objects=10_000 - 63)
    ring = KeyRing({KeyClass.RAW: world.provider_raw}, world.catalog, world.clock)
    _, wrapped = ring.new_object_key(world.scope(), secrets.token_hex(16))
    assert wrapped.group_id != group.group_id
    assert all(row.objects <= 10_000 for row in world.catalog.groups.values())
