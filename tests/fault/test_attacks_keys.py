"""The administration of keys attacked: by a front worker that was taken over, and by somebody with SQL.

A front worker can have entries promised, so what stops it is said by name: it speaks for two persons only on record.
Each refusal is checked by what must not have happened: no epoch key is gone, everything opens.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.s3.ports import CompletedPart
from lineage.ledger.entry import encode_entry
from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.fakes.key_custody import KeyCustody
from vault.broker.methods import Role, call
from vault.broker.orders import order_sha256
from vault.broker.protocol import encode_bytes
from vault.broker.types import Promised
from vault.errors import Malformed, Refused, VaultError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    for key in ("a.csv", "b.csv"):
        made.put(key, CSV)
    yield made
    made.close()


@pytest.fixture
def custody(world: GatewayWorld) -> KeyCustody:
    return KeyCustody(world)


def nothing_is_gone(world: GatewayWorld, custody: KeyCustody) -> None:
    custody.carry_out()
    assert ("raw", "destroy") not in world.provider_calls
    assert {each["state"] for each in custody.epochs()} == {"active"}
    world.vault.forget_keys()
    world.broker._ring.forget()
    assert world.read(world.attested(), "b.csv").body == CSV


class Forger:
    """A front worker's own hands: it builds entries and has them promised, as it likes."""

    def __init__(self, world: GatewayWorld, custody: KeyCustody) -> None:
        self.world = world
        self.custody = custody
        self.version = world.version("b.csv").version_id
        self.requester = world.guard.recorder.principal(custody.first.principal_id)
        self.approver = world.guard.recorder.principal(custody.second.principal_id)

    def decision(self, action: str = "keys", **changes: Any) -> dict[str, Any]:
        """A genuine admission's entry, changed as asked."""
        entry_id = f"{len(self.world.ledger.entries):032x}"
        world = self.world
        entry = {
            "v": 1, "type": "intent", "id": entry_id, "at": "2026-11-22T00:00:00.000Z", "zone": "de", "tenant": "main",
            "decision": {"id": entry_id, "allow": True, "revision": "b" * 64, "codes": []}, "action": action,
            "interface": "api", "dataset_id": world.dataset.dataset_id, "dataset": "claims", "object": None,
            "version": None, "view": "none", "principal": self.requester, "purpose": "custody", "session": None,
            "run": None, "input_sha256": "3" * 64, "residency": [],
        }  # fmt: skip
        return entry | changes

    def order(self, **changes: Any) -> dict[str, Any]:
        document = {
            "v": 1, "action": "shred", "tenant": "main", "zone": "de", "dataset_id": self.world.dataset.dataset_id,
            "dataset": "claims", "key_class": None, "epochs": [], "versions": [self.version], "reason": "forged",
            "nonce": "7" * 32, "expires_at": self.world.clock() + 3_600_000,
        }  # fmt: skip
        return document | changes

    def request(self, order: dict[str, Any], intent: str, /, **changes: Any) -> dict[str, Any]:
        entry = {
            "v": 1, "type": "key-request", "id": "e" * 32, "at": "2026-11-22T00:00:00.000Z", "zone": "de",
            "tenant": "main", "principal": self.requester, "intent": intent, "request_sha256": order_sha256(order),
            "versions": len(order["versions"]),
            **{name: order[name] for name in
               ("action", "dataset_id", "dataset", "key_class", "epochs", "expires_at", "reason")},
        }  # fmt: skip
        return entry | changes

    def promised(self, entry: dict[str, Any]) -> Promised:
        return Promised(encode_entry(entry), self.world.run(self.world.ledger.append(entry)).encode())

    def ask(self, order: dict[str, Any], decision: Promised, entry: Promised) -> Any:
        return self.world.broker.key_order(order, decision, entry)

    def genuine(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        decision, order = self.decision(), self.order()
        return order, decision, self.request(order, decision["id"])


Change = Callable[[Forger], Any]


def test_what_the_forger_builds_would_pass_if_it_were_true(world: GatewayWorld, custody: KeyCustody) -> None:
    forger = Forger(world, custody)
    order, decision, entry = forger.genuine()
    assert forger.ask(order, forger.promised(decision), forger.promised(entry)).state == "pending-approval"
    nothing_is_gone(world, custody)


@pytest.mark.parametrize(("change", "reason"), [
    ({"decision": {"decision": {"id": None, "allow": False, "revision": "b" * 64, "codes": ["x"]}}}, "broker.denied"),
    ({"decision": {"action": "administer"}}, "broker.action"),
    ({"decision": {"action": "approve-keys"}}, "broker.action"),
    ({"decision": {"dataset_id": "0" * 32}}, "broker.entry-scope"),
    ({"decision": {"tenant": "other"}}, "broker.entry-scope"),
    ({"decision": {"zone": "fr"}}, "broker.entry-scope"),
    ({"order": {"tenant": "other"}}, "broker.place"),
    ({"order": {"zone": "fr"}}, "broker.place"),
    ({"order": {"versions": ["f" * 32]}, "keep_entry": True}, "key.order"),
    ({"order": {"action": "rotate", "key_class": "raw", "versions": []}, "keep_entry": True}, "key.order"),
    ({"order": {"expires_at": 1}}, "key.request-expired"),
    ({"order": {"expires_at": 1 << 52}}, "key.request-expired"),
    ({"order": {"versions": ["../x"]}}, "key.order"),
    ({"order": {"surprise": 1}}, "key.order"),
    ({"entry": {"principal": "9" * 64}}, "key.entry-decision"),
    ({"entry": {"intent": "9" * 32}}, "key.entry-decision"),
    ({"entry": {"request_sha256": "9" * 64}}, "key.order"),
    ({"entry": {"tenant": "other"}}, "broker.entry-scope"),
    ({"entry": {"type": "key-approval"}}, "broker.entry"),
    ({"entry": {"surprise": "1"}}, "broker.entry"),
])  # fmt: skip
def test_an_order_is_refused(world: GatewayWorld, custody: KeyCustody, change: dict[str, Any], reason: str) -> None:
    forger = Forger(world, custody)
    changed = dict(change.get("decision", {}))
    decision = forger.decision(**changed)
    if "decision" in changed:
        decision["decision"] = changed["decision"] | {"id": decision["id"]}
    genuine = forger.order()
    order = genuine | change.get("order", {})
    named = genuine if change.get("keep_entry") else order
    entry = forger.request(named, decision["id"], **change.get("entry", {}))
    promises = forger.promised(decision), forger.promised(entry)
    with pytest.raises((Refused, Malformed), match=reason.replace(".", r"\.")):
        forger.ask(order, *promises)
    assert world.catalog.key_requests(world.dataset.dataset_id) == []
    nothing_is_gone(world, custody)


@pytest.mark.parametrize("which", [0, 1])
def test_unpromised_entries_order_nothing(world: GatewayWorld, custody: KeyCustody, which: int) -> None:
    forger = Forger(world, custody)
    order, decision, entry = forger.genuine()
    promised = [forger.promised(decision), forger.promised(entry)]
    promised[which] = Promised(promised[which].entry, promised[1 - which].promise)
    with pytest.raises(Refused, match=r"broker\.promise"):
        forger.ask(order, *promised)
    nothing_is_gone(world, custody)


def test_a_promise_is_good_for_thirty_seconds(world: GatewayWorld, custody: KeyCustody) -> None:
    forger = Forger(world, custody)
    order, decision, entry = forger.genuine()
    promised = forger.promised(decision), forger.promised(entry)
    world.clock.advance(30_001)
    with pytest.raises(Refused, match=r"broker\.promise-age"):
        forger.ask(order, *promised)


def test_an_order_sent_twice_is_one(world: GatewayWorld, custody: KeyCustody) -> None:
    forger = Forger(world, custody)
    decision = forger.decision()
    order = forger.order(action="rotate", key_class="raw", versions=[])
    promised = forger.promised(decision), forger.promised(forger.request(order, decision["id"]))
    first, second = forger.ask(order, *promised), forger.ask(order, *promised)
    assert first == second
    assert [each["epoch"] for each in custody.epochs()] == [1, 2]


def test_an_approval_for_one_order_is_none_for_another(world: GatewayWorld, custody: KeyCustody) -> None:
    forger = Forger(world, custody)
    orders = [custody.order("shred", keys=[key]) for key in ("a.csv", "b.csv")]
    decision = forger.decision("approve-keys", principal=forger.approver)
    entry = {
        "v": 1, "type": "key-approval", "id": "c" * 32, "at": "2026-11-22T00:00:00.000Z", "zone": "de",
        "tenant": "main", "request": orders[0]["request_id"], "request_sha256": orders[0]["request_sha256"],
        "action": "shred", "dataset_id": world.dataset.dataset_id, "principal": forger.approver,
        "intent": decision["id"],
    }  # fmt: skip
    promised = forger.promised(decision), forger.promised(entry)
    for sha256 in (orders[0]["request_sha256"], orders[1]["request_sha256"]):
        with pytest.raises(Refused, match=r"key\.request-altered"):
            world.broker.key_approve(orders[1]["request_id"], sha256, *promised)
    unfit = forger.decision("keys", principal=forger.approver)
    promised = forger.promised(unfit), forger.promised(entry | {"intent": unfit["id"]})
    with pytest.raises(Refused, match=r"broker\.action"):
        world.broker.key_approve(orders[0]["request_id"], orders[0]["request_sha256"], *promised)
    nothing_is_gone(world, custody)


# --- sockets


@pytest.mark.parametrize("role", [Role.FRONT, Role.BUILDER])
def test_only_the_keeper_carries_out(world: GatewayWorld, custody: KeyCustody, role: Role) -> None:
    order = custody.order("shred", keys=["b.csv"])
    with pytest.raises(Refused, match=r"broker\.method"):
        call(world.broker, role, "key_step", {"request_id": order["request_id"], "recorded": True})


@pytest.mark.parametrize("method", ["unwrap", "generate", "attest", "key_order", "key_approve", "builder_unwrap"])
def test_the_keeper_opens_and_orders_nothing(world: GatewayWorld, method: str) -> None:
    with pytest.raises(Refused, match=r"broker\.method"):
        call(world.broker, Role.KEEPER, method, {})


@pytest.mark.parametrize("method", ["key_order", "key_approve", "key_cancel"])
def test_builders_give_no_orders(world: GatewayWorld, method: str) -> None:
    with pytest.raises(Refused, match=r"broker\.method"):
        call(world.broker, Role.BUILDER, method, {})


def test_the_keeper_carries_out_nothing_unapproved(world: GatewayWorld, custody: KeyCustody) -> None:
    order = custody.order("shred", keys=["b.csv"])
    state = world.broker.key_step(order["request_id"], recorded=True)
    assert (state.state, state.step) == ("pending-approval", "")
    nothing_is_gone(world, custody)


# --- SQL


@pytest.mark.parametrize("edit", [
    "state = 'approved', approved_by = '{other}'", "state = 'approved'", "state = 'running', step = 'erased'",
    "state = 'approved', approved_by = '{other}', approval = '{id}'", "requested_by = '{other}'",
    "expires_at = 9000000000000", "document = replace(document, 'b.csv', 'b.csv') || ' '",
])  # fmt: skip
def test_a_request_edited_by_sql_is_nobodys_order(world: GatewayWorld, custody: KeyCustody, edit: str) -> None:
    order = custody.order("shred", keys=["b.csv"])
    world.sql(
        f"update key_request set {edit.format(other='9' * 64, id='8' * 32)} where request_id = ?", order["request_id"]
    )
    if "document" not in edit:  # spaces around JSON change nothing of what it says, and it is sealed as what it says
        with pytest.raises(Refused, match=r"key\.request-seal"):
            world.broker.key_step(order["request_id"], recorded=True)
    nothing_is_gone(world, custody)


def test_the_versions_of_an_approved_order_cannot_be_exchanged(world: GatewayWorld, custody: KeyCustody) -> None:
    order = custody.order("shred", keys=["a.csv"])
    custody.approve(order)
    a, b = (world.version(key).version_id for key in ("a.csv", "b.csv"))
    world.sql(f"update key_request set document = replace(document, '{a}', '{b}') where request_id = ?",
              order["request_id"])  # fmt: skip
    with pytest.raises(Refused, match=r"key\.request-seal"):
        world.broker.key_step(order["request_id"], recorded=True)
    assert ("raw", "destroy") not in world.provider_calls


def test_an_approved_row_put_back_after_it_was_cancelled_is_worth_nothing(
    world: GatewayWorld, custody: KeyCustody
) -> None:
    order = custody.order("shred", keys=["b.csv"])
    custody.approve(order)
    with sqlite3.connect(world.path) as connection:
        (kept,) = connection.execute("select * from key_request").fetchall()
    custody.cancel(order)
    with sqlite3.connect(world.path) as connection:
        connection.execute("delete from key_request")
        connection.execute(f"insert into key_request values ({', '.join('?' * len(kept))})", kept)
    connection.close()
    with pytest.raises(Refused, match=r"key\.request-ended"):
        world.broker.key_step(order["request_id"], recorded=True)
    nothing_is_gone(world, custody)


def test_a_request_made_by_sql_alone_is_none(world: GatewayWorld, custody: KeyCustody) -> None:
    order = custody.order("shred", keys=["b.csv"])
    with sqlite3.connect(world.path) as connection:
        connection.execute("insert into key_request select tenant, ?, dataset_id, action, document, request_sha256, "
                           "'approved', requested_by, ?, ?, created_at, expires_at, 0, step, plan, result, progress, "
                           "updated_at, broker_seal from key_request", ("d" * 32, "9" * 64, "8" * 32))  # fmt: skip
    connection.close()
    with pytest.raises(Refused, match=r"key\.request-seal"):
        world.broker.key_step("d" * 32, recorded=True)
    custody.cancel(order)
    nothing_is_gone(world, custody)


def test_an_order_to_destroy_is_not_hurried_by_sql(world: GatewayWorld, custody: KeyCustody) -> None:
    order = custody.order("shred", keys=["b.csv"])
    world.sql("update key_request set execute_at = 0, state = 'waiting' where request_id = ?", order["request_id"])
    with pytest.raises(Refused, match=r"key\.request-seal"):
        world.broker.key_step(order["request_id"], recorded=True)


# --- sessions and uploads


def test_a_revoked_session_is_not_revived_by_sql(world: GatewayWorld) -> None:
    session = world.attested()
    assert session.session is not None
    assert world.read(session, "a.csv").error is None
    world.run(world.sessions.revoke(world.trainer, session.session.session_id))
    world.sql("update session set revoked_at = null where session_id = ?", session.session.session_id)
    world.facts = world.guard.facts = world.new_facts()
    world.vault.forget_keys()
    refused = world.read(session, "a.csv")
    assert refused.body == b""
    assert refused.refusal.rule == "session.revoked"


def test_a_completed_upload_reopened_with_its_kept_wrap_opens_nothing(world: GatewayWorld) -> None:
    front, ref = world.front, world.ref("parts.csv")
    upload_id = world.run(front.create_upload(world.steward, ref, "text/csv", {}, "req"))
    row = world.catalog.find_upload(world.dataset.dataset_id, upload_id)
    assert row is not None

    async def part() -> Any:
        async with front.open_part(world.steward, ref, upload_id, 1, "req") as opened:
            await opened.write(CSV)
            return await opened.commit()

    etag = world.run(part()).etag
    world.run(front.complete_upload(world.steward, ref, upload_id, [CompletedPart(1, etag)], None, "req"))
    world.sql("update upload set state = 'open' where upload_id = ?", upload_id)
    scope = {"tenant": "main", "zone": "de", "dataset_id": row.dataset_id, "key_class": "raw"}
    opened = world.raw_opened()
    with pytest.raises(VaultError, match=r"broker\.upload"):
        call(world.broker, Role.FRONT, "unwrap_upload", {
            "scope": scope, "subject": row.version_id, "upload_id": upload_id,
            "upload_wrapped": encode_bytes(row.upload_wrapped),
        })  # fmt: skip
    assert world.raw_opened() == opened
