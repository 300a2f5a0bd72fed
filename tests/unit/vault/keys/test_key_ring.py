"""The hierarchy: each wrap opens in its own place, and opened groups are forgotten in a minute."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld
from vault.errors import Broken, NotFound, Refused, VaultError
from vault.keys.hierarchy import KeyRing, KeyScope
from vault.keys.provider import KeyClass


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@pytest.fixture
def ring(world: BrokerWorld) -> KeyRing:
    providers = {KeyClass.RAW: world.provider_raw, KeyClass.VIEW: world.provider_view}
    return KeyRing(providers, world.catalog, world.clock)


def test_key_opens_for_its_subject(world: BrokerWorld, ring: KeyRing) -> None:
    subject = secrets.token_hex(16)
    key, wrapped = ring.new_object_key(world.scope(), subject)
    assert ring.unwrap(world.scope(), subject, wrapped) == key
    ring.forget()
    assert ring.unwrap(world.scope(), subject, wrapped) == key


@pytest.mark.parametrize(
    "change", [{"tenant": "other"}, {"zone": "fr"}, {"dataset_id": "0" * 32}, {"key_class": "view"}]
)
@pytest.mark.parametrize("warm", [True, False])
def test_key_opens_in_no_other_scope_warm_or_cold(
    world: BrokerWorld, ring: KeyRing, change: dict[str, str], warm: bool
) -> None:
    subject = secrets.token_hex(16)
    _, wrapped = ring.new_object_key(world.scope(), subject)
    if not warm:
        ring.forget()
    with pytest.raises(Refused):
        ring.unwrap(world.scope(**change), subject, wrapped)


def test_key_opens_for_no_other_subject(world: BrokerWorld, ring: KeyRing) -> None:
    _, wrapped = ring.new_object_key(world.scope(), secrets.token_hex(16))
    with pytest.raises(Refused, match=r"wrap\.context"):
        ring.unwrap(world.scope(), secrets.token_hex(16), wrapped)


@pytest.mark.parametrize("subject", ["", "x", "../" * 10, "A" * 32, "0" * 31, "0" * 32 + ":", "0" * 32 + ":a b"])
def test_subject_that_is_no_id_is_refused(world: BrokerWorld, ring: KeyRing, subject: str) -> None:
    _, wrapped = ring.new_object_key(world.scope(), secrets.token_hex(16))
    with pytest.raises(Refused, match=r"key\.subject"):
        ring.unwrap(world.scope(), subject, wrapped)


def test_wrap_moved_to_another_group_does_not_open(world: BrokerWorld, ring: KeyRing) -> None:
    subject = secrets.token_hex(16)
    _, wrapped = ring.new_object_key(world.scope(), subject)
    world.catalog.groups.clear()
    ring.forget()
    _, other = ring.new_object_key(world.scope(), subject)
    with pytest.raises(Refused, match=r"wrap\.context"):
        ring.unwrap(world.scope(), subject, replace(wrapped, group_id=other.group_id))


def test_group_of_another_epoch_answered_by_the_catalog_is_not_filled(world: BrokerWorld, ring: KeyRing) -> None:
    ring.new_object_key(world.scope("view"), secrets.token_hex(16))
    (other,) = world.catalog.groups.values()
    world.catalog.reserve_group = lambda *_, **__: other  # type: ignore[method-assign]
    with pytest.raises(Broken, match=r"key\.group"):
        ring.new_object_key(world.scope(), secrets.token_hex(16))


def test_unknown_group_is_not_found(world: BrokerWorld, ring: KeyRing) -> None:
    subject = secrets.token_hex(16)
    _, wrapped = ring.new_object_key(world.scope(), subject)
    with pytest.raises(NotFound, match=r"key\.group"):
        ring.unwrap(world.scope(), subject, replace(wrapped, group_id="0" * 32))


def test_group_key_is_asked_of_the_provider_once_in_half_a_minute(world: BrokerWorld, ring: KeyRing) -> None:
    subject = secrets.token_hex(16)
    _, wrapped = ring.new_object_key(world.scope(), subject)
    ring.forget()
    for _ in range(3):
        ring.unwrap(world.scope(), subject, wrapped)
    assert world.opened() == 1
    world.clock.advance(29_999)
    ring.unwrap(world.scope(), subject, wrapped)
    assert world.opened() == 1
    world.clock.advance(1)
    ring.unwrap(world.scope(), subject, wrapped)
    assert world.opened() == 2


def test_reservations_are_used_up_before_the_catalog_is_asked_again(world: BrokerWorld, ring: KeyRing) -> None:
    for _ in range(64):
        ring.new_object_key(world.scope(), secrets.token_hex(16))
    assert world.catalog.writes.count("reserve_group") == 1
    ring.new_object_key(world.scope(), secrets.token_hex(16))
    assert world.catalog.writes.count("reserve_group") == 2


def test_after_a_rotation_new_keys_go_to_the_new_epoch_within_a_minute(world: BrokerWorld, ring: KeyRing) -> None:
    subject = secrets.token_hex(16)
    key, wrapped = ring.new_object_key(world.scope(), subject)
    (old,) = world.catalog.epochs_by_id.values()
    world.catalog.epochs_by_id[old.epoch_id] = replace(old, state="retired")
    world.provider_raw.create_epoch("e2", KeyClass.RAW)
    world.catalog.epochs_by_id["e2"] = replace(old, epoch_id="e2", epoch=2)
    world.clock.advance(30_000)
    _, later = ring.new_object_key(world.scope(), secrets.token_hex(16))
    assert world.catalog.groups[later.group_id].epoch_id != old.epoch_id
    assert ring.unwrap(world.scope(), subject, wrapped) == key


def test_ring_without_a_credential_for_a_class_refuses_it(world: BrokerWorld) -> None:
    ring = KeyRing({KeyClass.VIEW: world.provider_view}, world.catalog, world.clock)
    with pytest.raises(Refused, match=r"key\.class"):
        ring.new_object_key(world.scope(), secrets.token_hex(16))
    assert world.catalog.epochs_by_id == {}


@pytest.mark.parametrize("key_class", ["", "RAW", "both"])
def test_scope_of_an_unknown_class_is_refused(key_class: str) -> None:
    with pytest.raises(VaultError, match=r"key\.class"):
        KeyScope("main", "de", "0" * 32, key_class)
