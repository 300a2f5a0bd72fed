"""Records: what of the catalog lies in the store, and what becomes of it when keys move."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from tests.fakes.gateway_world import ZONE, GatewayWorld
from vault.errors import Malformed, NotFound, Unavailable
from vault.keys.rewrap import MovedWrap
from vault.records import RecordSeal, StoredDataset, StoredGroup, StoredWraps, StoreRecords, record_name


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.vault.records.reconcile()
    yield made
    made.close()


def records(world: GatewayWorld) -> StoreRecords:
    return StoreRecords(world.records, world.catalog, ZONE)


def test_a_contract_is_in_the_store_when_it_is_answered(world: GatewayWorld) -> None:
    world.contract("claims", owner="somebody else")
    found = records(world).read(record_name("d", world.dataset.dataset_id))
    assert isinstance(found, StoredDataset)
    assert [row.version for row in found.contracts] == [1, 2]
    assert found.contracts[-1].document["owner"] == "somebody else"
    assert {plan.plan_id for plan in found.plans} == {
        plan.plan_id for plan in world.catalog.plans(world.dataset.dataset_id)
    }


def test_a_group_is_in_the_store_before_an_object_of_it(world: GatewayWorld) -> None:
    world.records.objects.clear()
    world.put("a.csv", b"name,iban,amount\n")
    (name,) = [name for name in world.records.objects if name.startswith("g/")]
    found = records(world).read(name)
    assert isinstance(found, StoredGroup)
    assert found.row.wrapped == world.catalog.find_group(found.row.group_id).wrapped  # type: ignore[union-attr]


def test_a_store_that_takes_no_record_takes_no_object(world: GatewayWorld) -> None:
    def full(*_: object) -> None:
        raise Unavailable("store.full")

    world.records.put_bytes = full  # type: ignore[method-assign, assignment]
    with world.unchanged("epoch_key", "key_group"), pytest.raises(GatewayError):
        world.put("a.csv", b"name,iban,amount\n")
    assert world.find("a.csv") is None


def test_reconcile_writes_what_is_missing_or_moved_and_nothing_else(world: GatewayWorld) -> None:
    version = world.put("a.csv", b"name,iban,amount\n")
    assert world.vault.records.reconcile() == 0
    wrap = world.catalog.find_wrap(version.version_id)
    assert wrap is not None
    other = "0d" * 16
    world.catalog.move_wraps([MovedWrap(version.version_id, wrap.group_id, other, b"w" * 61)])
    assert world.vault.records.reconcile() == 1
    found = records(world).read(record_name("w", other))
    assert isinstance(found, StoredWraps)
    assert [(row.subject, row.wrapped) for row in found.wraps] == [(version.version_id, b"w" * 61)]
    assert world.vault.records.reconcile() == 0


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1] + b"\0"]
)
def test_a_changed_record_is_refused(world: GatewayWorld, harm: object) -> None:
    name = record_name("d", world.dataset.dataset_id)
    world.records.objects[name] = harm(world.records.objects[name])  # type: ignore[operator]
    with pytest.raises(Malformed, match="record"):
        records(world).read(name)


def test_a_record_is_of_its_name_zone_and_tenant(world: GatewayWorld) -> None:
    name = record_name("d", world.dataset.dataset_id)
    stored = world.records.objects[name]
    key = world.catalog.derived_key()
    assert RecordSeal(key, "main", ZONE).open(name, stored)["zone"] == ZONE
    for seal, called in (
        (RecordSeal(key, "main", "fr"), name), (RecordSeal(key, "other", ZONE), name),
        (RecordSeal(key, "main", ZONE), record_name("d", "0" * 32)), (RecordSeal(b"k" * 32, "main", ZONE), name),
    ):  # fmt: skip
        with pytest.raises(Malformed, match="record"):
            seal.open(called, stored)


def test_nothing_is_kept_of_what_is_not_there(world: GatewayWorld) -> None:
    with pytest.raises(NotFound):
        world.vault.records.keep_dataset("0" * 32)
