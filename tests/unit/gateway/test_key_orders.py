"""The life of keys over real parts: rotation, disabling, destruction, shredding; who may, and what must not change."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs.keeper import SIGNED
from gateway.s3.ports import CompletedPart
from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.fakes.key_custody import KeyCustody, certificate
from tests.fakes.ledger import ledger_down
from vault.broker.service import Broker
from vault.errors import NotFound, Refused
from vault.keys.hierarchy import KeyScope
from vault.keys.provider import Destruction
from vault.keys.signing import verify_signature

DAY_MS = 86_400_000
KEYS = ("a.csv", "b.csv", "c.csv")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def custody(world: GatewayWorld) -> KeyCustody:
    for key in KEYS:
        world.build(world.put(key, CSV))
    return KeyCustody(world)


def epochs(custody: KeyCustody, key_class: str = "raw") -> list[dict[str, Any]]:
    return [each for each in custody.epochs() if each["key_class"] == key_class]


def both_open(world: GatewayWorld, key: str) -> bool:
    """Raw in an attested session and masked for the analyst, with nothing remembered."""
    world.vault.forget_keys()
    world.broker._ring.forget()
    raw, masked = world.read(world.attested(), key), world.read(world.analyst, key)
    return raw.error is None and raw.body == CSV and masked.error is None and b"REDACTED" in masked.body


def unused_epoch(custody: KeyCustody) -> str:
    """An old raw epoch on which nothing hangs."""
    custody.order("rotate", key_class="raw")
    custody.order("rewrap", key_class="raw")
    custody.carry_out()
    found: str = epochs(custody)[0]["epoch_id"]
    return found


def test_after_a_rotation_new_objects_are_under_the_new_epoch_and_old_ones_open(
    world: GatewayWorld, custody: KeyCustody
) -> None:
    made = custody.order("rotate", key_class="raw")
    world.put("new.csv", CSV)
    shown = {each["epoch"]: (each["state"], each["groups"], each["objects"]) for each in epochs(custody)}
    assert made["state"] == "done"
    assert shown == {1: ("retired", 1, 3), 2: ("active", 1, 1)}
    assert all(both_open(world, key) for key in KEYS)


def test_another_broker_follows_a_rotation_within_a_minute(world: GatewayWorld, custody: KeyCustody) -> None:
    other = Broker(world.broker._parts)
    scope = {"tenant": "main", "zone": "de", "dataset_id": world.dataset.dataset_id, "key_class": "raw"}
    other.generate(KeyScope(**scope), "a" * 32)
    new = custody.order("rotate", key_class="raw")["result"]["epoch_id"]
    world.clock.advance(30_000)
    group = world.catalog.find_group(other.generate(KeyScope(**scope), "b" * 32).wrapped.group_id)
    assert group is not None
    assert group.epoch_id == new


def test_a_rewrap_moves_groups_and_no_object_is_written_again(world: GatewayWorld, custody: KeyCustody) -> None:
    bodies = {name: data for name, data in world.store.objects.items() if name[0] in "bm"}
    old = unused_epoch(custody)
    shown = {each["epoch_id"]: each["groups"] for each in epochs(custody)}
    assert shown[old] == 0
    assert {name: data for name, data in world.store.objects.items() if name[0] in "bm"} == bodies
    assert all(both_open(world, key) for key in KEYS)


def test_a_disabled_epoch_opens_nothing_within_a_minute_and_everything_once_enabled(
    world: GatewayWorld, custody: KeyCustody
) -> None:
    (epoch,) = epochs(custody)
    session = world.attested()
    assert world.read(session, "a.csv").body == CSV  # warm in broker and worker
    custody.order("disable", key_class="raw", epochs=[epoch["epoch_id"]])
    world.clock.advance(60_001)
    refused = world.read(world.attested(), "a.csv").refusal
    assert (refused.status, refused.rule) == (403, "key.disabled")
    assert world.read(session, "a.csv").refusal.rule == "key.disabled"
    assert world.read(world.analyst, "a.csv").error is None  # the other class is another world
    with pytest.raises(Refused, match=r"key\.disabled"):
        world.broker.generate(world.vault._scope(world.dataset.dataset_id, "raw"), "c" * 32)
    custody.order("enable", key_class="raw", epochs=[epoch["epoch_id"]])
    assert epochs(custody)[0]["state"] == "active"
    assert both_open(world, "a.csv")


def test_enabling_by_sql_opens_nothing(world: GatewayWorld, custody: KeyCustody) -> None:
    (epoch,) = epochs(custody)
    custody.order("disable", key_class="raw", epochs=[epoch["epoch_id"]])
    world.sql("update epoch_key set state = 'active' where epoch_id = ?", epoch["epoch_id"])
    world.vault.forget_keys()
    assert world.read(world.attested(), "a.csv").refusal.rule == "key.disabled"


def test_an_epoch_in_use_is_not_destroyed(world: GatewayWorld, custody: KeyCustody) -> None:
    custody.order("rotate", key_class="raw")
    old = epochs(custody)[0]["epoch_id"]
    refused = custody.refused(lambda: custody.order("destroy", key_class="raw", epochs=[old]))
    assert (refused.status, refused.code, refused.rule) == (409, "KeyInUse", "key.in-use")
    assert world.catalog.key_requests_in(["pending-approval"]) == []


def test_the_active_epoch_is_not_destroyed(custody: KeyCustody) -> None:
    (epoch,) = epochs(custody)
    refused = custody.refused(lambda: custody.order("destroy", key_class="raw", epochs=[epoch["epoch_id"]]))
    assert refused.rule == "key.active"


def test_what_came_into_use_after_the_approval_is_not_destroyed(world: GatewayWorld, custody: KeyCustody) -> None:
    old = unused_epoch(custody)
    order = custody.order("destroy", key_class="raw", epochs=[old])
    custody.approve(order)
    (group,) = world.catalog.groups(epochs(custody)[1]["epoch_id"])
    world.sql("update key_group set epoch_id = ? where group_id = ?", old, group.group_id)
    custody.carry_out()
    assert custody.show(order)["progress"] == {"waits_for": "key.in-use"}
    assert world.provider_raw.status(old).state == "active"


def test_two_persons_destroy_an_unused_epoch(world: GatewayWorld, custody: KeyCustody) -> None:
    old = unused_epoch(custody)
    order = custody.order("destroy", key_class="raw", epochs=[old])
    assert order["state"] == "pending-approval"
    custody.carry_out()
    assert world.provider_raw.status(old).state == "active"  # one person is not enough
    custody.approve(order)
    custody.carry_out()
    shown = custody.show(order)
    assert shown["state"] == "done"
    assert shown["result"]["epochs"] == {old: {"state": "destroyed", "until": None}}
    assert world.provider_raw.status(old).state == "destroyed"
    assert both_open(world, "a.csv")


def test_a_destruction_waits_its_days_and_can_be_cancelled(tmp_path: Path) -> None:
    world = waiting_world(tmp_path, 7)
    custody = KeyCustody(world)
    old = unused_epoch(custody)
    orders = [custody.order("destroy", key_class="raw", epochs=[old])]
    custody.approve(orders[0])
    custody.carry_out()
    assert custody.show(orders[0])["state"] == "waiting"
    assert epochs(custody)[0]["state"] == "pending-destruction"
    assert epochs(custody)[0]["destroy_at"] is not None
    custody.cancel(orders[0])
    assert epochs(custody)[0]["state"] == "retired"
    assert world.provider_raw.status(old).state == "active"
    world.clock.advance(8 * DAY_MS)
    custody.carry_out()
    assert world.provider_raw.status(old).state == "active"

    orders.append(custody.order("destroy", key_class="raw", epochs=[old]))
    custody.approve(orders[1])
    custody.carry_out()
    world.clock.advance(6 * DAY_MS)
    custody.carry_out()
    assert custody.show(orders[1])["state"] == "waiting"
    world.clock.advance(DAY_MS + 1)
    custody.carry_out()
    assert custody.show(orders[1])["state"] == "done"
    assert world.provider_raw.status(old).state == "destroyed"
    world.close()


def waiting_world(directory: Path, days: int) -> GatewayWorld:
    """As `GatewayWorld`, with days between approval and destruction."""
    world = GatewayWorld(directory)
    world.broker = Broker(replace(world.broker._parts, destroy_days=days))
    world.vault._broker = world.broker
    for key in KEYS:
        world.put(key, CSV)
    return world


def test_what_was_shredded_is_gone_and_everything_else_opens(world: GatewayWorld, custody: KeyCustody) -> None:
    erased = world.version("b.csv")
    before = len(world.store.objects)
    shown = custody.shred("b.csv")
    assert (shown["state"], shown["step"]) == ("done", "destroyed")
    assert both_open(world, "a.csv")
    assert both_open(world, "c.csv")
    assert world.read(world.attested(), "b.csv").refusal.status == 404
    assert world.catalog.version(world.dataset.dataset_id, erased.version_id) is None
    assert {each["state"] for each in custody.epochs()} == {"active", "destroyed"}
    # Body and manifest of the version and of its view left the store; records of keys came.
    assert sum(1 for name in world.store.objects if name[0] in "bm") == 8
    assert before > 8


def test_the_certificate_says_what_is_gone_and_carries_the_zones_signature(
    world: GatewayWorld, custody: KeyCustody
) -> None:
    erased = world.version("b.csv").version_id
    old = sorted(each["epoch_id"] for each in custody.epochs())
    shown = custody.shred("b.csv")
    document = certificate(shown)
    said, ledger = document["erasure"], document["ledger"]
    assert said["versions"] == [erased]
    assert (said["state"], said["views"], said["pending_until"]) == ("destroyed", 1, None)
    assert sorted(each["epoch_id"] for each in said["keys"]["epochs"]) == old
    assert {each["state"] for each in said["keys"]["epochs"]} == {"destroyed"}
    assert any("backups" in line for line in said["outside"])
    entry = world.ledger.entries[ledger["index"]]
    assert (entry["type"], entry["id"]) == ("erasure", ledger["entry"])
    signed = SIGNED + shown["certificate"].encode()
    verify_signature(world.signer.public_key, bytes.fromhex(shown["signature"]), signed)
    with pytest.raises(Refused):
        verify_signature(world.signer.public_key, bytes.fromhex(shown["signature"]), signed + b" ")
    assert json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == shown["certificate"]


class Slow:
    """A provider that, as AWS KMS, destroys nothing before seven days: refused to everybody until then."""

    def __init__(self, provider: Any, world: GatewayWorld) -> None:
        self._provider = provider
        self._world = world
        self.until: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def destroy(self, epoch_id: str) -> Destruction:
        until = self.until.setdefault(epoch_id, self._world.clock() + 7 * DAY_MS)
        if self._world.clock() >= until:
            raise NotFound("key.unknown", epoch_id)  # deleted, and forgotten
        self._provider.schedule_destruction(epoch_id, 7, self._world.clock())
        return Destruction("pending", until)


def test_where_the_provider_waits_the_certificate_says_pending_and_until_when(
    world: GatewayWorld, custody: KeyCustody
) -> None:
    for provider in (world.provider_raw, world.provider_view):
        provider._provider = Slow(provider._provider, world)
    before = world.clock()
    shown = custody.shred("b.csv")
    said = certificate(shown)["erasure"]
    assert (shown["state"], said["state"]) == ("waiting", "pending")
    assert said["pending_until"] == shown["execute_at"]
    assert {each["state"] for each in said["keys"]["epochs"]} == {"pending"}
    assert world.clock() - before < DAY_MS
    assert both_open(world, "a.csv")
    assert {each["state"] for each in custody.epochs()} == {"active", "pending-destruction"}
    assert custody.refused(lambda: custody.cancel(shown)).rule == "key.request-state"
    world.clock.advance(7 * DAY_MS + 1)
    world.open_zone()
    custody.carry_out()
    shown = custody.show(shown)
    assert (shown["state"], certificate(shown)["erasure"]["state"]) == ("done", "destroyed")
    assert {each["state"] for each in custody.epochs()} == {"active", "destroyed"}
    assert both_open(world, "a.csv")


def test_what_was_deleted_before_is_shredded_by_its_version(world: GatewayWorld, custody: KeyCustody) -> None:
    version = world.version("b.csv")
    world.vault.delete(world.dataset_row(), "b.csv", by="x" * 32, run_id="r" * 32, record="0" * 32)
    order = custody.order("shred", versions=[version.version_id])
    custody.approve(order)
    custody.carry_out()
    assert custody.show(order)["state"] == "done"
    assert both_open(world, "a.csv")
    assert {each["state"] for each in epochs(custody)} == {"active", "destroyed"}


def copied(world: GatewayWorld, key: str, to: str) -> str:
    """Inside the dataset: another version over the same bodies. Answers its id."""
    world.run(world.front.copy_object(
        world.attested(), world.ref(key), world.ref(to), content_type=None, user_metadata=None, tags=None,
        check_source=None, condition=None, checksum_algorithm="", request_id="req",
    ))  # fmt: skip
    return world.version(to).version_id


@pytest.mark.parametrize("named", ["b.csv", "copy.csv"])
def test_a_copy_has_to_be_named_too_whichever_was_first(
    world: GatewayWorld, custody: KeyCustody, named: str
) -> None:
    """Both open with one object key: to erase the one would say that content is gone which is not."""
    copied(world, "b.csv", "copy.csv")
    other = world.version("copy.csv" if named == "b.csv" else "b.csv")
    refused = custody.refused(lambda: custody.order("shred", keys=[named]))
    assert (refused.status, refused.rule) == (400, "key.shared-content")
    assert other.version_id in refused.message
    assert world.catalog.key_requests_in(["pending-approval", "approved"]) == []
    custody.carry_out()
    assert both_open(world, "b.csv")
    assert world.read(world.attested(), "copy.csv").body == CSV
    assert custody.shred("b.csv", "copy.csv")["state"] == "done"
    for key in ("b.csv", "copy.csv"):
        assert world.read(world.attested(), key).refusal.status == 404
    assert both_open(world, "a.csv")


def test_a_copy_made_after_the_order_holds_it_up_until_it_is_gone(world: GatewayWorld, custody: KeyCustody) -> None:
    order = custody.order("shred", keys=["b.csv"])
    copied(world, "b.csv", "copy.csv")
    custody.approve(order)
    custody.carry_out()
    shown = custody.show(order)
    assert (shown["state"], shown["progress"]) == ("approved", {"waits_for": "key.shared-content"})
    assert {each["state"] for each in custody.epochs()} == {"active"}
    assert both_open(world, "b.csv")  # nothing was withdrawn for an erasure that could not be whole
    assert world.read(world.attested(), "copy.csv").body == CSV
    world.vault.delete(world.dataset_row(), "copy.csv", by="x" * 32, run_id="r" * 32, record="0" * 32)
    world.clock.advance(31_000)
    custody.carry_out()
    assert custody.show(order)["state"] == "done"
    assert world.read(world.attested(), "b.csv").refusal.status == 404
    assert both_open(world, "a.csv")


def test_a_second_shredding_moves_survivors_again(world: GatewayWorld, custody: KeyCustody) -> None:
    custody.shred("a.csv")
    custody.shred("b.csv")
    assert both_open(world, "c.csv")
    states = [each["state"] for each in epochs(custody)]
    assert states == ["destroyed", "destroyed", "active"]


def test_an_open_upload_survives_a_shredding_in_its_group(world: GatewayWorld, custody: KeyCustody) -> None:
    ref = world.ref("parts.csv")
    upload_id = world.run(world.front.create_upload(world.steward, ref, "text/csv", {}, "req"))
    custody.shred("a.csv")
    world.vault.forget_keys()

    async def part() -> Any:
        async with world.front.open_part(world.steward, ref, upload_id, 1, "req") as opened:
            await opened.write(CSV)
            return await opened.commit()

    etag = world.run(part()).etag
    world.run(world.front.complete_upload(world.steward, ref, upload_id, [CompletedPart(1, etag)], None, "req"))
    world.vault.forget_keys()
    assert world.read(world.attested(), "parts.csv").body == CSV


def test_a_write_sealed_before_and_committed_after_leaves_nothing(world: GatewayWorld, custody: KeyCustody) -> None:
    """Its key went with the group: acknowledged, it could never be read."""
    custody.approve(custody.order("shred", keys=["a.csv"]))
    failed = custody.refused(lambda: world.written(world.steward, "late.csv", CSV, between=custody.carry_out))
    assert (failed.status, failed.code) == (503, "SlowDown")
    assert world.find("late.csv") is None
    world.put("late.csv", CSV)  # a client tries again
    world.vault.forget_keys()
    assert world.read(world.attested(), "late.csv").body == CSV


# --- who may: reliability §7 T


def shredding(custody: KeyCustody) -> dict[str, Any]:
    return custody.order("shred", keys=["b.csv"])


def nothing_happened(world: GatewayWorld, custody: KeyCustody, order: dict[str, Any] | None = None) -> None:
    custody.carry_out()
    assert {each["state"] for each in custody.epochs()} == {"active"}
    assert both_open(world, "b.csv")
    if order is not None:
        assert custody.show(order)["state"] in {"pending-approval", "expired"}


def test_one_person_is_not_two(world: GatewayWorld, custody: KeyCustody) -> None:
    order = shredding(custody)
    refused = custody.refused(lambda: custody.approve(order, by=custody.first))
    assert (refused.status, refused.rule) == (403, "key.same-person")
    nothing_happened(world, custody, order)


@pytest.mark.parametrize("who", ["steward", "analyst", "trainer"])
def test_only_custodians_approve(world: GatewayWorld, custody: KeyCustody, who: str) -> None:
    order = shredding(custody)
    refused = custody.refused(lambda: custody.approve(order, by=getattr(world, who)))
    assert (refused.status, refused.rule) == (403, "access.none")
    nothing_happened(world, custody, order)


@pytest.mark.parametrize("who", ["analyst", "trainer"])
@pytest.mark.parametrize("action", ["rotate", "rewrap", "shred"])
def test_only_stewards_and_custodians_order(world: GatewayWorld, custody: KeyCustody, who: str, action: str) -> None:
    what: dict[str, Any] = {"keys": ["b.csv"]} if action == "shred" else {"key_class": "raw"}
    refused = custody.refused(lambda: custody.order(action, by=getattr(world, who), **what))
    assert (refused.status, refused.rule) == (403, "access.none")
    nothing_happened(world, custody)


def test_an_approval_is_of_exactly_what_was_asked(world: GatewayWorld, custody: KeyCustody) -> None:
    order, other = shredding(custody), custody.order("shred", keys=["c.csv"])
    refused = custody.refused(lambda: custody.approve(order, sha256=other["request_sha256"]))
    assert refused.rule == "key.request-altered"
    nothing_happened(world, custody, order)


def test_an_order_expires(world: GatewayWorld, custody: KeyCustody) -> None:
    order = shredding(custody)
    world.clock.advance(DAY_MS)
    world.open_zone()
    refused = custody.refused(lambda: custody.approve(order))
    assert refused.rule == "key.request-expired"
    assert custody.show(order)["state"] == "expired"
    nothing_happened(world, custody, order)


def test_a_cancelled_order_is_not_approved(world: GatewayWorld, custody: KeyCustody) -> None:
    order = shredding(custody)
    custody.cancel(order)
    assert custody.refused(lambda: custody.approve(order)).rule == "key.request-state"
    nothing_happened(world, custody)


def test_an_approved_shredding_is_cancelled_before_it_begins_and_not_after(
    world: GatewayWorld, custody: KeyCustody
) -> None:
    order = shredding(custody)
    custody.approve(order)
    custody.cancel(order)
    nothing_happened(world, custody)
    done = custody.shred("b.csv")
    assert custody.refused(lambda: custody.cancel(done)).rule == "key.request-state"


def test_an_approval_counts_once(world: GatewayWorld, custody: KeyCustody) -> None:
    order = shredding(custody)
    custody.approve(order)
    assert custody.refused(lambda: custody.approve(order)).rule == "key.request-state"


def test_every_effect_is_on_record_before_and_after_it(world: GatewayWorld, custody: KeyCustody) -> None:
    since = len(world.ledger.entries)
    custody.shred("b.csv")
    about_keys = {"key-request", "key-approval", "key-effect", "erasure"}
    kinds = [entry["type"] for entry in world.ledger.entries[since:] if entry["type"] in about_keys]
    assert kinds[:2] == ["key-request", "key-approval"]
    assert kinds[-1] == "erasure"
    destroyed = [e["phase"] for e in world.entries("key-effect", since) if e["effect"] == "destroy"]
    assert destroyed == ["before", "after"]


def test_without_a_ledger_nothing_is_done_with_keys(world: GatewayWorld, custody: KeyCustody) -> None:
    order = shredding(custody)
    custody.approve(order)
    world.ledger.fault = ledger_down
    called = len(world.provider_calls)
    custody.carry_out()
    assert world.provider_calls[called:] == []
    world.ledger.fault = lambda when, entry: None
    assert {each["state"] for each in custody.epochs()} == {"active"}
    world.clock.advance(31_000)
    custody.carry_out()
    assert custody.show(order)["state"] == "done"


@pytest.mark.parametrize(("what", "says"), [
    ({"keys": ["nowhere.csv"]}, "nothing here is named"), ({"versions": ["f" * 32]}, "None of these versions"),
    ({}, "nothing here is named"),
])  # fmt: skip
def test_a_shredding_of_nothing_is_refused(custody: KeyCustody, what: dict[str, Any], says: str) -> None:
    assert says in custody.refused(lambda: custody.order("shred", **what)).message
