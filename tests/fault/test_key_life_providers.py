"""Orders about keys whose epochs lie in Transit, on a token, in KMS: as with local files, each in its own time.

The order's way is the real one (two persons, broker, keeper, catalog, store), in one process.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from gateway.processes.providers import open_providers
from tests.fakes.clock import Clock
from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.fakes.key_custody import KeyCustody, certificate
from tests.fakes.key_providers import SLOW, kms_settings, missing, provided
from tests.fakes.kms_server import KmsServer, kms_server
from vault.broker.service import Broker
from vault.errors import Refused
from vault.keys.hierarchy import group_context
from vault.keys.provider import EpochState, KeyClass, KeyProvider

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]
DAY_MS = 86_400_000
KEYS = ("a.csv", "b.csv", "c.csv")
Connect = Callable[[KeyClass], KeyProvider]


class Elsewhere(GatewayWorld):
    """Epoch keys in a provider that has a clock of its own: this world's starts at today's time."""

    def __init__(self, directory: Path, connect: Connect) -> None:
        self._connect = connect
        super().__init__(directory)
        for key in KEYS:
            self.build(self.put(key, CSV))

    def _clock(self) -> Clock:
        return Clock(time.time_ns() // 1_000_000)

    def _provider(self, keys: Path) -> Connect:
        return self._connect

    def opens(self, key: str) -> bool:
        """Raw and masked, with nothing remembered."""
        self.vault.forget_keys()
        self.broker._ring.forget()
        raw, masked = self.read(self.attested(), key), self.read(self.analyst, key)
        return raw.error is None and raw.body == CSV and masked.error is None and b"REDACTED" in masked.body

    def waits(self, days: int) -> None:
        """So many days between approval and destruction."""
        self.broker = Broker(replace(self.broker._parts, destroy_days=days))
        self.vault._broker = self.broker

    def later(self, ms: int) -> None:
        self.clock.advance(ms)
        self.open_zone()


@pytest.fixture(scope="module", params=["transit", "pkcs11"])
def connect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connect]:
    if why := missing(request.param):
        pytest.skip(why)
    with provided(request.param, tmp_path_factory.mktemp(request.param)) as kind:
        yield lambda key_class: kind.raw if key_class is KeyClass.RAW else kind.view


@pytest.fixture
def world(connect: Connect, tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path, connect)
    yield made
    made.close()


@pytest.fixture(scope="module")
def kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmsServer]:
    with kms_server(tmp_path_factory.mktemp("kms")) as running:
        yield running


@pytest.fixture
def kms_world(kms: KmsServer, tmp_path: Path) -> Iterator[Elsewhere]:
    providers = open_providers(kms_settings(kms), seconds=SLOW)
    with ExitStack() as stack:
        made = Elsewhere(tmp_path, lambda key_class: providers[key_class])
        stack.callback(made.close)
        yield made


def provider_of(world: Elsewhere, key_class: str) -> KeyProvider:
    return world.provider_raw if key_class == KeyClass.RAW else world.provider_view


def test_a_shredding_leaves_survivors_open_and_the_erased_to_nobody(world: Elsewhere, tmp_path: Path) -> None:
    custody, catalog = KeyCustody(world), world.catalog
    erased = {world.version("b.csv").version_id}
    erased |= set(catalog.views_of_versions(world.dataset.dataset_id, sorted(erased)))
    old = catalog.epochs(world.dataset.dataset_id)
    held = [group for epoch in old for group in catalog.groups(epoch.epoch_id)
            if {row.subject for row in catalog.wraps_of(group.group_id)} & erased]  # fmt: skip
    catalog.close()
    backup, objects = shutil.copy(world.path, tmp_path / "backup.sqlite3"), dict(world.store.objects)

    shown = custody.shred("b.csv")

    assert (shown["state"], certificate(shown)["erasure"]["state"]) == ("done", "destroyed")
    assert all(world.opens(key) for key in ("a.csv", "c.csv"))
    assert world.read(world.attested(), "b.csv").refusal.status == 404
    assert {group.key_class for group in held} == {"raw", "view"}
    for group in held:  # past every check of ours: the provider, asked for what a backup holds
        provider = provider_of(world, group.key_class)
        context = group_context(world.vault._scope(group.dataset_id, group.key_class), group.group_id, group.epoch_id)
        with pytest.raises(Refused, match=r"key\.destroyed"):
            provider.unwrap(group.epoch_id, group.wrapped, context)
    assert {provider_of(world, each.key_class).status(each.epoch_id).state for each in old} == {EpochState.DESTROYED}

    world.catalog.close()
    shutil.copy(backup, world.path)
    world.store.objects.update(objects)
    world.broker._ring.forget()
    world.vault.forget_keys()
    world.facts = world.new_facts()
    for caller in (world.attested(), world.analyst):
        found = world.read(caller, "b.csv")
        assert (found.body, found.refusal.rule) == (b"", "key.destroyed")


def scheduled(world: Elsewhere) -> tuple[KeyCustody, dict[str, object], str]:
    """An old epoch on which nothing hangs, to be destroyed in seven days."""
    world.waits(7)
    custody = KeyCustody(world)
    custody.order("rotate", key_class="raw")
    custody.order("rewrap", key_class="raw")
    custody.carry_out()
    old = next(each["epoch_id"] for each in custody.epochs() if each["key_class"] == "raw")
    order = custody.order("destroy", key_class="raw", epochs=[old])
    custody.approve(order)
    custody.carry_out()
    assert custody.show(order)["state"] == "waiting"
    assert world.provider_raw.status(old).state is EpochState.PENDING
    return custody, order, old


def test_the_duty_destroys_when_the_date_has_come_where_the_provider_does_not(world: Elsewhere) -> None:
    custody, order, old = scheduled(world)
    world.later(6 * DAY_MS)
    custody.carry_out()
    assert world.provider_raw.status(old).state is EpochState.PENDING
    assert ("raw", "destroy") not in world.provider_calls
    world.later(DAY_MS + 1000)
    custody.new_keeper()()  # a jobs process that has just started finds it in the row
    assert world.provider_calls.count(("raw", "destroy")) == 1
    assert world.provider_raw.status(old).state is EpochState.DESTROYED
    assert custody.show(order)["result"]["epochs"] == {old: {"state": "destroyed", "until": None}}
    assert world.opens("a.csv")


def deleted(kms: KmsServer, key_class: str, epoch: str) -> None:
    """What KMS does when the date comes: neither key nor alias is there. moto never does; its server has a door."""
    requests.post(f"{kms.url}/for-tests/delete/demesne-{key_class}-de_{epoch}", timeout=5).raise_for_status()


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "started anew"])
def test_kms_that_knows_no_such_key_after_our_date_is_read_as_destroyed(
    kms: KmsServer, kms_world: Elsewhere, warm: bool
) -> None:
    world = kms_world
    custody, order, old = scheduled(world)
    world.later(7 * DAY_MS + 60_000)
    custody.carry_out()  # KMS is late: it still says pending
    assert custody.show(order)["state"] == "waiting"
    assert next(each for each in custody.epochs() if each["epoch_id"] == old)["state"] == "pending-destruction"
    deleted(kms, "raw", old)
    if not warm:
        world.provider_raw._provider = open_providers(kms_settings(kms), seconds=SLOW)[KeyClass.RAW]
    world.later(60_000)
    custody.carry_out()
    assert custody.show(order)["state"] == "done"
    assert custody.show(order)["result"]["epochs"] == {old: {"state": "destroyed", "until": None}}
    assert next(each for each in custody.epochs() if each["epoch_id"] == old)["state"] == "destroyed"
    assert world.opens("a.csv")


def test_kms_that_knows_no_such_key_before_our_date_is_not_believed(kms: KmsServer, kms_world: Elsewhere) -> None:
    """A credential for another account, or an alias that somebody moved, says the same: the key may still be there."""
    world = kms_world
    custody, order, old = scheduled(world)
    deleted(kms, "raw", old)
    world.provider_raw._provider = open_providers(kms_settings(kms), seconds=SLOW)[KeyClass.RAW]
    world.later(DAY_MS)
    with pytest.raises(Refused, match=r"key\.unknown"):
        world.broker._execution._destroy_one(world.vault._scope(world.dataset.dataset_id, "raw"), old)
    assert custody.show(order)["state"] == "waiting"
    assert next(each for each in custody.epochs() if each["epoch_id"] == old)["state"] == "pending-destruction"


def test_a_shredding_with_kms_is_pending_until_its_date_and_then_destroyed(
    kms: KmsServer, kms_world: Elsewhere
) -> None:
    world = kms_world
    custody = KeyCustody(world)
    shown = custody.shred("b.csv")
    said = certificate(shown)["erasure"]
    assert (shown["state"], said["state"], said["pending_until"]) == ("waiting", "pending", shown["execute_at"])
    assert all(world.opens(key) for key in ("a.csv", "c.csv"))
    old = [each for each in custody.epochs() if each["state"] == "pending-destruction"]
    assert {each["key_class"] for each in old} == {"raw", "view"}
    for each in old:
        assert provider_of(world, each["key_class"]).status(each["epoch_id"]).state is EpochState.PENDING
        deleted(kms, each["key_class"], each["epoch_id"])
    world.later(7 * DAY_MS + 60_000)
    custody.carry_out()
    shown = custody.show(shown)
    assert (shown["state"], certificate(shown)["erasure"]["state"]) == ("done", "destroyed")
    assert {each["state"] for each in custody.epochs()} == {"active", "destroyed"}
    assert all(world.opens(key) for key in ("a.csv", "c.csv"))
