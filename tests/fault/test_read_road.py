"""Every way the read road can be broken, and what each must leave: an answer that says why, not one byte that was not
verified, the ledger's word for it, and a catalog and a store that nobody touched.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.decide.engine import UNDEFINED, EngineFailed, EngineTimeout, EngineUnavailable
from gateway.errors import GatewayError
from gateway.identity.principal import Principal
from lineage.errors import Unavailable as LedgerUnavailable
from tests.fakes.doctrine import allowing, refusing
from tests.fakes.gateway_world import CSV, FRESHNESS_MS, GRACE_MS, MASKED, GatewayWorld, random_bytes
from tests.fakes.ledger import LedgerKey, answer_lost, ledger_down
from tests.fakes.store import FailOn
from vault.catalog.rows import VersionRow
from vault.errors import Refused, Unavailable

MIB = 1 << 20
BIG = random_bytes(6 * MIB)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.build(made.put("a.csv", CSV))
    yield made
    made.close()


def caller(world: GatewayWorld, kind: str) -> Principal:
    return world.attested() if kind == "attested" else world.analyst


CALLERS = ("analyst", "attested")


def refused(
    world: GatewayWorld, who: Principal, key: str = "a.csv", /, *, status: int, code: str, rule: str | None,
    decided: bool | None, opened: int = 0, **request: Any,
) -> GatewayError:  # fmt: skip
    """The whole row of the table for a read that must not happen. `decided`: what the intent on record says, None
    where there must be none; `opened`: how many raw wraps the key provider opened on the way."""
    at, keys, noted = len(world.ledger.entries), world.raw_opened(), world.all_inputs()
    with world.unchanged(*(["run_io"] if decided else [])):
        answer = world.read(who, key, **request)
    error = answer.refusal
    assert (error.status, error.code, error.rule) == (status, code, rule), error.sentence
    assert answer.body == b""
    assert answer.facts == {}
    assert error.remedy
    intents = world.entries("intent", at)
    if decided is None:
        assert intents == []
        assert world.entries("outcome", at) == []
    else:
        (intent,) = intents
        assert intent["decision"]["allow"] is decided
        assert error.decision_id in {intent["id"], None}
        assert world.entries("outcome", at) == [] or world.outcome(intent["id"])["bytes"] == 0
    if decided is False:
        assert error.decision_id == intents[0]["id"]
        assert intents[0]["view"] == "none"
    if not decided:
        assert world.all_inputs() == noted
    assert world.raw_opened() - keys == opened
    return error


# --- the ledger


@pytest.mark.parametrize("kind", CALLERS)
def test_no_ledger_no_data(world: GatewayWorld, kind: str) -> None:
    who = caller(world, kind)
    world.ledger.fault = ledger_down
    error = refused(world, who, status=503, code="ServiceUnavailable", rule="ledger.unavailable", decided=None)
    assert error.retry_after == 1
    assert b"demesne_refused_unrecorded_total 1.0" in world.metrics.render()
    world.ledger.fault = lambda when, entry: None
    assert world.read(who, "a.csv").error is None


@pytest.mark.parametrize("kind", CALLERS)
def test_a_ledger_whose_answer_is_lost_has_recorded_a_read_that_did_not_happen(world: GatewayWorld, kind: str) -> None:
    who = caller(world, kind)
    world.ledger.fault = answer_lost
    refused(world, who, status=503, code="ServiceUnavailable", rule="ledger.unavailable", decided=True)
    intent = world.entries("intent")[-1]
    assert intent["decision"]["allow"]
    assert [o for o in world.entries("outcome") if o["intent"] == intent["id"]] == []  # counts as read whole


@pytest.mark.parametrize("kind", CALLERS)
def test_a_refusal_that_cannot_be_recorded_is_not_told_as_one(world: GatewayWorld, kind: str) -> None:
    who = caller(world, kind)
    world.engine.says = lambda _: refusing()
    world.ledger.fault = ledger_down
    refused(world, who, status=503, code="ServiceUnavailable", rule="ledger.unavailable", decided=None)


@pytest.mark.parametrize("kind", CALLERS)
def test_a_lost_outcome_leaves_an_intent_that_counts_as_read_whole(world: GatewayWorld, kind: str) -> None:
    who = caller(world, kind)

    def only_outcomes(when: str, entry: Any) -> None:
        if entry["type"] == "outcome":
            raise LedgerUnavailable("ledger.backlog")

    world.ledger.fault = only_outcomes
    answer = world.read(who, "a.csv")
    assert answer.error is None
    assert answer.body == (CSV if kind == "attested" else MASKED)
    intent = world.intent(answer.facts["decision_id"])
    assert intent["decision"]["allow"]
    assert [o for o in world.entries("outcome") if o["intent"] == intent["id"]] == []


def test_the_intent_is_durable_before_the_first_store_read_and_the_first_key(world: GatewayWorld) -> None:
    who, seen = world.attested(), []

    def watch(when: str, entry: Any) -> None:
        seen.append((when, entry["type"], len(world.store.reads), world.raw_opened()))

    reads, keys = len(world.store.reads), world.raw_opened()
    world.ledger.fault = watch
    assert world.read(who, "a.csv").body == CSV
    assert seen[:2] == [("before", "intent", reads, keys), ("after", "intent", reads, keys)]
    assert [kind for _, kind, _, _ in seen] == ["intent"] * 2 + ["outcome"] * 2


# --- the doctrine


@pytest.mark.parametrize("kind", CALLERS)
@pytest.mark.parametrize(
    ("says", "status", "code", "rule"),
    [
        (lambda _: refusing("access.none"), 403, "AccessDenied", "access.none"),
        (lambda _: refusing("residency.zone-closed"), 503, "ServiceUnavailable", "residency.zone-closed"),
        (lambda _: UNDEFINED, 403, "AccessDenied", "doctrine.undefined"),
        (lambda _: {"allow": True}, 403, "AccessDenied", "doctrine.malformed"),
        (lambda _: allowing("raw") | {"surprise": 1}, 403, "AccessDenied", "doctrine.malformed"),
        (lambda _: allowing("writer"), 403, "AccessDenied", "doctrine.malformed"),
        (lambda _: None, 403, "AccessDenied", "doctrine.malformed"),
    ],
    ids=["deny", "retry", "undefined", "half", "unknown-field", "writer-read", "null"],
)
def test_anything_but_a_well_formed_allow_is_a_refusal(
    world: GatewayWorld, kind: str, says: Callable[[Any], Any], status: int, code: str, rule: str
) -> None:
    who = caller(world, kind)
    world.engine.says = says
    refused(world, who, status=status, code=code, rule=rule, decided=False)
    assert world.entries("intent")[-1]["decision"]["codes"] == [rule]


@pytest.mark.parametrize(
    ("failure", "status", "code", "rule"),
    [
        (EngineTimeout("late"), 503, "ServiceUnavailable", "doctrine.timeout"),
        (EngineUnavailable("gone"), 503, "ServiceUnavailable", "doctrine.unavailable"),
        (EngineFailed("panic"), 503, "ServiceUnavailable", "doctrine.unavailable"),
    ],
    ids=["timeout", "gone", "panic"],
)
def test_an_engine_that_fails_refuses(world: GatewayWorld, failure: Any, status: int, code: str, rule: str) -> None:
    who = world.attested()
    world.engine.before = failure
    error = refused(world, who, status=status, code=code, rule=rule, decided=False)
    assert error.retry_after == 1


def test_a_doctrine_that_permits_raw_to_everybody_still_opens_no_raw_key_without_a_session(world: GatewayWorld) -> None:
    world.engine.says = lambda _: allowing("raw")
    refused(world, world.analyst, status=403, code="AccessDenied", rule="integrity.session.none", decided=True)
    assert world.entries("broker-refusal")[-1]["reason"] == "session.none"


def test_a_doctrine_that_calls_personal_data_open_opens_nothing(world: GatewayWorld) -> None:
    """The raw object is sealed in the raw class; there is no identity view of it, and none is made up."""
    world.engine.says = lambda _: allowing("open", label="none")
    for who in (world.analyst, world.attested()):
        refused(world, who, status=403, code="AccessDenied", rule="view.none", decided=True)


def test_a_plan_the_dataset_has_not_declared_shows_nothing(world: GatewayWorld) -> None:
    keep: dict[str, Any] = {
        "columns": [{"name": name, "action": "keep", "params": {}} for name in ("name", "iban", "amount")]
    }
    world.engine.says = lambda _: allowing("masked", plan=keep)
    refused(world, world.analyst, status=403, code="AccessDenied", rule="masking.undeclared-plan", decided=True)


# --- rows that somebody edited with SQL


EDITED_BEFORE_THE_DECISION = {
    "dataset.label": "update dataset set label = 'none' where name = 'claims'",
    "dataset.synthetic": "update dataset set synthetic = 0 where name = 'claims'",
    "dataset.zone": "update dataset set zone = 'fr' where name = 'claims'",
    "dataset.contract": "update dataset set contract_version = 0 where name = 'claims'",
    "version.label": "update object_version set label = 'none'",
    "version.key_class": "update object_version set key_class = 'view'",
    "version.written_by": "update object_version set written_by = 'somebody'",
    "version.placement": "update object_version set placement = '[\"fr\"]'",
    "version.manifest": "update object_version set manifest_id = '00000000000000000000000000000000'",
    "version.not-json": "update object_version set placement = '['",
    "version.not-bytes": "update object_version set row_mac = x'00'",
    "contract": "update contract_version set document = replace(document, 'pii.name', 'none')",
    "zone": "update zone set strength = 'attested'",
}


@pytest.mark.parametrize("kind", CALLERS)
@pytest.mark.parametrize("statement", EDITED_BEFORE_THE_DECISION.values(), ids=EDITED_BEFORE_THE_DECISION)
def test_an_edited_row_is_refused_and_is_an_event(world: GatewayWorld, kind: str, statement: str) -> None:
    who = caller(world, kind)
    world.clock.advance(6_000)  # past what a worker remembers of zone and session
    world.sql(statement)
    refused(world, who, status=403, code="AccessDenied", rule="integrity.catalog.row-edited", decided=None)
    event = world.entries("integrity")[-1]
    assert (event["what"], event["reason"], event["dataset"]) == (
        "catalog-row", "integrity.catalog.row-edited", "claims",
    )  # fmt: skip


def test_an_edited_row_without_a_ledger_is_still_refused(world: GatewayWorld) -> None:
    world.sql("update dataset set label = 'none' where name = 'claims'")
    world.ledger.fault = ledger_down
    refused(world, world.analyst, status=503, code="ServiceUnavailable", rule="ledger.unavailable", decided=None)


SESSION_EDITS = {
    "purpose": "update session set purpose = 'analytics'",
    "scope": 'update session set scope = \'["claims","payroll"]\'',
    "claims": "update session set claims = replace(claims, '\"hardware\":false', '\"hardware\":true')",
    "attested_at": "update session set attested_at = attested_at + 1",
    "key": "update session set key_thumbprint = 'another'",
    "kind": "update session set principal_id = principal_id || '0'",
}


@pytest.mark.parametrize("statement", SESSION_EDITS.values(), ids=SESSION_EDITS)
def test_an_edited_session_opens_nothing(world: GatewayWorld, statement: str) -> None:
    """Session rows are written by workers; what decides over raw data in them carries the broker's seal."""
    who = world.attested()
    world.sql(statement)
    refused(world, who, status=403, code="AccessDenied", rule="integrity.session.seal", decided=True)
    assert world.entries("broker-refusal")[-1]["reason"] == "session.seal"


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("analyst", "update view set size = 1"),
        ("analyst", "update view set manifest_id = '00000000000000000000000000000000'"),
        ("analyst", "update plan set effect = '{}'"),
        ("analyst", "update manifest_generation set sha256 = x'00'"),
        ("attested", "update manifest_generation set sha256 = x'00'"),
        ("attested", "update manifest_generation set store_key = 'm/00/00'"),
    ],
)
def test_a_row_edited_behind_the_decision_is_refused_and_names_the_intent(
    world: GatewayWorld, kind: str, statement: str
) -> None:
    who = caller(world, kind)
    world.sql(statement)
    refused(world, who, status=403, code="AccessDenied", rule="integrity.catalog.row-edited", decided=True)
    intent, event = world.entries("intent")[-1], world.entries("integrity")[-1]
    assert (event["intent"], event["reason"]) == (intent["id"], "integrity.catalog.row-edited")
    outcome = world.outcome(intent["id"])
    assert (outcome["status"], outcome["bytes"], outcome["reason"]) == ("refused", 0, "integrity.catalog.row-edited")


# --- what lies in the store


def stored_body(world: GatewayWorld, version: VersionRow) -> str:
    """The store key of the one body of a version."""
    query = "select store_key from body where subject = ? and body_id <> ?"
    ((key,),) = world.rows(query, version.version_id, version.manifest_id)
    return str(key)


def stored_manifest(world: GatewayWorld, version: VersionRow) -> str:
    return world.catalog.manifest(version.manifest_id, version.generation).store_key


def test_a_genuine_manifest_of_another_object_is_a_swap(world: GatewayWorld) -> None:
    one, other = world.version("a.csv"), world.put("b.csv", CSV.replace(b"Ada", b"Eve"))
    who = world.attested()
    world.store.objects[stored_manifest(world, one)] = world.store.objects[stored_manifest(world, other)]
    refused(world, who, status=500, code="InternalError", rule="integrity.manifest.hash", decided=True)
    assert world.entries("integrity")[-1]["reason"] == "integrity.manifest.hash"
    assert world.read(who, "b.csv").body.startswith(b"name,iban,amount\nEve")


def test_the_manifest_of_the_version_before_is_a_rollback(world: GatewayWorld) -> None:
    old = world.store.objects[stored_manifest(world, world.version("a.csv"))]
    new = world.put("a.csv", CSV.replace(b"Ada", b"Eve"))
    world.store.objects[stored_manifest(world, new)] = old
    refused(world, world.attested(), status=500, code="InternalError", rule="integrity.manifest.hash", decided=True)


@pytest.mark.parametrize("kind", CALLERS)
@pytest.mark.parametrize("what", ["manifest", "body"])
def test_what_the_store_lost_is_an_error_and_not_an_absent_object(world: GatewayWorld, kind: str, what: str) -> None:
    """A 404 would tell a client, and its backup, that the object was deleted."""
    version, who = world.version("a.csv"), caller(world, kind)
    for key in [k for k in world.store.objects if k.startswith("m/" if what == "manifest" else "b/")]:
        del world.store.objects[key]
    answer = world.read(who, version.key)
    error = answer.refusal
    assert (error.status, error.code, error.rule) == (500, "InternalError", "integrity.store.missing")
    assert answer.body == b""
    assert world.entries("integrity")[-1]["reason"] == "integrity.store.missing"
    assert world.entries("outcome")[-1]["status"] == "refused"


@pytest.fixture
def big(world: GatewayWorld) -> GatewayWorld:
    world.put("big.csv", BIG)
    return world


def damage(world: GatewayWorld, change: Callable[[bytes], bytes]) -> None:
    key = stored_body(world, world.version("big.csv"))
    world.store.objects[key] = change(world.store.objects[key])


def flipped(at: int) -> Callable[[bytes], bytes]:
    """One bit of the byte at `at`, counted from the end where negative."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return change


@pytest.mark.parametrize(
    ("change", "most", "rule"),
    [  # `most`: bytes before the damage
        (flipped(0), 0, "integrity.commitment"),  # the salt
        (flipped(30), 0, "integrity.commitment"),
        (flipped(100), 0, "integrity.tag"),
        (flipped(3 * MIB), 3 * MIB, "integrity.tag"),
        (flipped(-20), 6 * MIB - 1, "integrity.tag"),
        (lambda data: data[:40], 0, "integrity.store.short"),
        (lambda data: data[: 3 * MIB], 0, "integrity.truncated"),
        (lambda data: data[:-1], 0, "integrity.truncated"),
        (lambda data: data + b"\0", 0, "integrity.length"),
    ],
    ids=["salt", "commitment", "first", "middle", "last", "header-cut", "cut", "cut-1", "grown"],
)
def test_only_a_verified_prefix_ever_leaves(
    big: GatewayWorld, change: Callable[[bytes], bytes], most: int, rule: str
) -> None:
    who = big.attested()
    damage(big, change)
    before = big.picture("run", "run_io")
    answer = big.read(who, "big.csv")
    error = answer.refusal
    assert (error.status, error.code, error.rule) == (500, "InternalError", rule)
    assert len(answer.body) <= most
    assert answer.body == BIG[: len(answer.body)]
    outcome = big.entries("outcome")[-1]
    assert outcome["status"] == ("aborted" if answer.body else "refused")
    assert outcome["bytes"] == len(answer.body)
    assert outcome["ranges"] == ([[0, len(answer.body)]] if answer.body else [])
    event = big.entries("integrity")[-1]
    assert (event["what"], event["intent"], event["reason"]) == ("object", outcome["intent"], error.rule)
    assert big.picture("run", "run_io") == before


def test_a_flip_behind_a_range_is_not_seen_and_one_inside_it_is(big: GatewayWorld) -> None:
    who = big.attested()
    damage(big, flipped(3 * MIB))
    assert big.read(who, "big.csv", span=(0, MIB)).body == BIG[:MIB]
    assert big.read(who, "big.csv", span=(5 * MIB, 6 * MIB)).body == BIG[5 * MIB :]
    inside = big.read(who, "big.csv", span=(3 * MIB - 100_000, 3 * MIB + 10))
    assert inside.refusal.rule == "integrity.tag"
    assert inside.body == b""


def test_a_body_of_another_object_under_this_ones_name(big: GatewayWorld) -> None:
    other = big.put("other.csv", BIG[::-1])
    swap = big.store.objects[stored_body(big, other)]
    damage(big, lambda _: swap)
    answer = big.read(big.attested(), "big.csv")
    assert (answer.refusal.status, answer.refusal.rule, answer.body) == (500, "integrity.commitment", b"")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_does_not_answer(world: GatewayWorld, when: str) -> None:
    setattr(world.store, when, FailOn("read"))
    refused(world, world.attested(), status=503, code="ServiceUnavailable", rule="store.io", decided=True)
    world.store.before = world.store.after = lambda call, key: None


def test_a_store_that_stops_answering_in_mid_stream(big: GatewayWorld) -> None:
    who = big.attested()

    def stop(slab: int) -> None:
        if slab == 3:
            big.store.before = FailOn("read")

    answer = big.read(who, "big.csv", after_slab=stop)
    assert (answer.refusal.status, answer.refusal.rule) == (503, "store.io")
    assert answer.body == BIG[: len(answer.body)]
    assert 3 * MIB <= len(answer.body) < len(BIG)
    outcome = big.entries("outcome")[-1]
    assert (outcome["status"], outcome["bytes"], outcome["reason"]) == ("aborted", len(answer.body), "store.io")
    assert big.store.closed == big.store.opened


# --- the broker and its providers


def test_a_promise_of_another_ledger_opens_no_key(world: GatewayWorld) -> None:
    who = world.attested()
    world.ledger._sign = LedgerKey().sign
    refused(world, who, status=403, code="AccessDenied", rule="integrity.broker.promise", decided=True)
    assert world.entries("broker-refusal")[-1]["reason"] == "broker.promise"
    refused(world, world.analyst, status=403, code="AccessDenied", rule="integrity.broker.promise", decided=True)


def test_an_old_promise_opens_no_key(world: GatewayWorld) -> None:
    who = world.attested()
    world.ledger._now = lambda: world.clock() - 31_000
    refused(world, who, status=403, code="AccessDenied", rule="integrity.broker.promise-age", decided=True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_key_provider_that_does_not_answer(world: GatewayWorld, when: str) -> None:
    who = world.attested()

    def fail(operation: str) -> None:
        if operation == "unwrap":
            raise Unavailable("provider.down")

    world.clock.advance(61_000)  # past what the broker remembers of group keys
    world.open_zone()
    setattr(world.provider_raw, when, fail)
    error = refused(
        world, who, status=503, code="ServiceUnavailable", rule="provider.down", decided=True,
        opened=int(when == "after"),
    )  # fmt: skip
    assert error.retry_after == 1
    assert world.read(world.analyst, "a.csv").body == MASKED  # the view class has a provider of its own
    setattr(world.provider_raw, when, lambda _: None)
    assert world.read(who, "a.csv").body == CSV


def test_a_key_provider_that_refuses(world: GatewayWorld) -> None:
    who = world.attested()

    def refuse(operation: str) -> None:
        raise Refused("key.destroyed")

    world.clock.advance(61_000)
    world.open_zone()
    world.provider_raw.before = refuse
    refused(world, who, status=403, code="KeyDestroyed", rule="key.destroyed", decided=True)
    assert world.entries("integrity") == []  # an erased object is what was wanted, and no attack


def test_an_opened_key_serves_for_a_minute_and_not_longer(world: GatewayWorld) -> None:
    who = world.attested()
    assert world.read(who, "a.csv").body == CSV

    def fail(operation: str) -> None:
        raise Unavailable("provider.down")

    world.provider_raw.before = fail
    world.clock.advance(29_000)
    assert world.read(who, "a.csv").body == CSV
    world.clock.advance(31_000)
    refused(world, who, status=503, code="ServiceUnavailable", rule="provider.down", decided=True)


def test_one_sessions_opened_key_is_not_anothers(world: GatewayWorld) -> None:
    first, second = world.attested(), world.attested()
    assert world.read(first, "a.csv").body == CSV
    assert second.session is not None
    world.facts.session(second.session.session_id)
    world.catalog.revoke_session(second.session.session_id)
    # This worker decides by what it read a moment ago; the broker looks for itself.
    refused(world, second, status=403, code="ReattestationRequired", rule="session.revoked", decided=True)
    assert world.entries("integrity") == []
    assert world.entries("broker-refusal")[-1]["reason"] == "session.revoked"


# --- sessions


def test_a_revoked_session_opens_nothing(world: GatewayWorld) -> None:
    who = world.attested()
    assert world.read(who, "a.csv").body == CSV
    assert who.session is not None
    world.run(world.sessions.revoke(who, who.session.session_id))
    error = refused(world, who, status=403, code="ReattestationRequired", rule="ReattestationRequired", decided=False)
    assert error.retry_after is None


def test_a_session_revoked_by_another_worker_ends_here_within_seconds(world: GatewayWorld) -> None:
    who = world.attested()
    assert world.read(who, "a.csv").body == CSV
    assert who.session is not None
    world.catalog.revoke_session(who.session.session_id)
    world.clock.advance(5_000)
    refused(world, who, status=403, code="ReattestationRequired", rule="ReattestationRequired", decided=False)


@pytest.mark.parametrize(
    ("late", "status", "code", "retry"),
    [
        (1, 503, "SlowDown", 1),
        (GRACE_MS, 503, "SlowDown", 1),
        (GRACE_MS + 1, 403, "ReattestationRequired", None),
    ],
)
def test_a_lapsed_attestation_is_503_within_the_grace_and_403_after(
    world: GatewayWorld, late: int, status: int, code: str, retry: int | None
) -> None:
    who = world.attested()
    world.clock.advance(FRESHNESS_MS)
    world.open_zone()
    assert world.read(who, "a.csv").body == CSV  # the last millisecond
    world.clock.advance(late)
    world.open_zone()
    error = refused(world, who, status=status, code=code, rule="ReattestationRequired", decided=False)
    assert error.retry_after == retry


def test_a_session_nobody_has_heard_of(world: GatewayWorld) -> None:
    who = world.attested()
    world.sql("delete from session")
    answer = world.read(who, "a.csv")
    assert answer.body == b""
    assert answer.refusal.status == 403
    assert world.intent(answer.refusal.decision_id)["decision"]["allow"] is False


@pytest.mark.parametrize("how", ["here", "elsewhere", "lapse", "sql"])
def test_a_long_stream_ends_when_its_session_does(big: GatewayWorld, how: str) -> None:
    who = big.attested()
    assert who.session is not None
    session_id = who.session.session_id

    def end(slab: int) -> None:
        if slab != 2:
            return
        if how == "here":
            big.catalog.revoke_session(session_id)
            big.facts.forget_session(session_id)
        elif how == "elsewhere":
            big.catalog.revoke_session(session_id)
            big.clock.advance(5_000)
        elif how == "lapse":
            big.clock.advance(FRESHNESS_MS + 1)
        else:
            big.sql("update session set revoked_at = 1")
            big.clock.advance(5_000)

    answer = big.read(who, "big.csv", after_slab=end)
    error = answer.refusal
    assert (error.status, error.rule) == (403, "ReattestationRequired")
    assert answer.body == BIG[: len(answer.body)]
    assert 2 * MIB <= len(answer.body) <= 5 * MIB
    outcome = big.outcome(answer.facts["decision_id"])
    assert (outcome["status"], outcome["bytes"]) == ("aborted", len(answer.body))
    assert outcome["ranges"] == [[0, len(answer.body)]]


def test_a_reader_who_leaves_in_mid_stream_is_charged_for_what_was_handed_over(big: GatewayWorld) -> None:
    """Otherwise whoever hangs up after the last byte of a slab has read it off the record."""

    class Gone(Exception):
        pass

    def leave(slab: int) -> None:
        if slab == 1:
            raise Gone

    who = big.attested()
    with pytest.raises(Gone):
        big.read(who, "big.csv", after_slab=leave)
    outcome = big.entries("outcome")[-1]
    assert outcome["status"] == "aborted"
    assert outcome["bytes"] >= 1
    assert outcome["ranges"] == [[0, outcome["bytes"]]]
    assert outcome["reason"] == "Gone"


# --- views


@pytest.mark.parametrize(
    ("state", "status", "code", "rule"),
    [
        ("queued", 503, "SlowDown", "view.building"),
        ("building", 503, "SlowDown", "view.building"),
        ("failed", 403, "AccessDenied", "view.parquet.malformed"),
        ("none", 403, "AccessDenied", "view.none"),
    ],
)
def test_a_view_that_is_not_ready_is_never_replaced_by_the_object(
    world: GatewayWorld, state: str, status: int, code: str, rule: str
) -> None:
    version = world.put("b.csv", CSV)
    (view,) = [v for v in world.catalog.views(version.dataset_id) if v.version_id == version.version_id]
    if state == "building":
        world.catalog.view_building(view.view_id, 40)
    elif state == "failed":
        world.catalog.view_failed(view.view_id, "parquet.malformed")
    elif state == "none":
        world.sql("delete from view where view_id = ?", view.view_id)
    for action in ("read", "head"):
        error = refused(world, world.analyst, "b.csv", status=status, code=code, rule=rule, decided=True, action=action)
        assert (error.retry_after == 1) is (status == 503)
        if state == "building":
            assert "40 %" in error.message
    assert world.all_inputs() == []


def test_a_view_in_the_place_of_another_versions(world: GatewayWorld) -> None:
    """Two genuine rows exchanged by SQL carry seals of their own names."""
    other = world.put("b.csv", CSV)
    world.build(other, b"name,iban,amount\nother\n")
    world.sql("update view set version_id = 'x' where version_id = ?", world.version("a.csv").version_id)
    world.sql(
        "update view set version_id = ? where version_id = ?", world.version("a.csv").version_id, other.version_id
    )
    refused(world, world.analyst, status=403, code="AccessDenied", rule="integrity.catalog.row-edited", decided=True)


# --- names, links and zones


def test_raw_over_a_presigned_link_is_refused_whatever_the_doctrine_says(world: GatewayWorld) -> None:
    who = replace(world.attested(), authenticator="presigned")
    refused(world, who, status=403, code="AccessDenied", rule="access.presigned-raw", decided=False)
    refused(world, who, status=403, code="AccessDenied", rule="access.presigned-raw", decided=False, action="head")
    linked = replace(world.analyst, authenticator="presigned")
    assert world.read(linked, "a.csv").body == MASKED


def test_another_zones_dataset_is_named_and_never_fetched(world: GatewayWorld) -> None:
    world.catalog.create_dataset("far-away", "fr", "personal", True, "0" * 32)
    who = world.attested(scope=("claims", "far-away"))
    error = refused(
        world, who, dataset="far-away", status=403, code="AccessDenied", rule="residency.other-zone", decided=False
    )
    assert "https://s3.fr.example" in str(error.remedy)


def test_another_zones_dataset_to_one_who_may_not_know_it_is_an_absent_one(world: GatewayWorld) -> None:
    world.catalog.create_dataset("far-away", "fr", "personal", True, "0" * 32)
    stranger = world.person("stranger", "analytics")
    answers = [world.read(stranger, "a.csv", dataset=name).refusal for name in ("far-away", "nowhere")]
    told = {(e.status, e.code, e.message, e.rule, e.remedy) for e in answers}
    assert len(told) == 1
    assert answers[0].code == "NoSuchBucket"


def test_a_pointer_to_a_zone_the_directory_does_not_know_is_an_absent_dataset(world: GatewayWorld) -> None:
    world.catalog.create_dataset("lost-zone", "xx", "personal", True, "0" * 32)
    refused(world, world.analyst, dataset="lost-zone", status=404, code="NoSuchBucket", rule=None, decided=False)


def test_an_absent_dataset_and_a_denied_one_are_both_on_record(world: GatewayWorld) -> None:
    stranger = world.person("stranger", "analytics")
    denied = refused(world, stranger, status=403, code="AccessDenied", rule="access.none", decided=False)
    absent = refused(world, stranger, dataset="nowhere", status=404, code="NoSuchBucket", rule=None, decided=False)
    assert world.intent(denied.decision_id)["dataset_id"] == world.dataset.dataset_id
    assert world.intent(absent.decision_id)["dataset_id"] is None
    assert world.intent(absent.decision_id)["dataset"] == "nowhere"


def test_absent_keys_and_other_keys_versions_answer_alike(world: GatewayWorld) -> None:
    who = world.attested()
    other = world.put("b.csv", CSV)
    asked: list[dict[str, Any]] = [
        {"key": "missing.csv"},
        {"key": "a.csv", "version_id": other.version_id},
        {"key": "a.csv", "version_id": "f" * 32},
    ]
    told = set()
    for request in asked:
        answer = world.read(who, request.pop("key"), **request)
        error = answer.refusal
        told.add((error.status, error.code, error.message, error.rule))
        assert answer.body == b""
        assert world.outcome(error.decision_id)["status"] == "refused"
    # By the code an asker learns only what was asked for: another key's version and none at all are one answer.
    message = "No object of that key is here"
    assert told == {(404, "NoSuchKey", message, None), (404, "NoSuchVersion", message, None)}


def test_an_object_deleted_between_decision_and_bytes(world: GatewayWorld) -> None:
    """The version that was decided on is served or nothing is: its row, its manifest and its bodies stay in place."""
    who = world.attested()
    world.run(world.front.delete(world.steward, world.ref("a.csv"), "req"))
    answer = world.read(who, "a.csv")
    assert (answer.refusal.status, answer.body) == (404, b"")
    assert world.read(world.analyst, "a.csv").refusal.status == 404


def test_a_closed_zone_serves_nothing(world: GatewayWorld) -> None:
    world.open_zone("closed", "store.elsewhere")
    world.clock.advance(5_000)
    for who in (world.analyst, world.attested()):
        refused(world, who, status=503, code="ServiceUnavailable", rule="residency.zone-closed", decided=False)


def test_a_zone_nobody_looked_at_for_a_while_serves_nothing(world: GatewayWorld) -> None:
    world.clock.advance(180_001)
    refused(world, world.analyst, status=503, code="ServiceUnavailable", rule="residency.zone-closed", decided=False)


def test_raw_was_demanded_and_masked_is_not_given_instead(world: GatewayWorld) -> None:
    refused(
        world, world.analyst, status=403, code="AccessDenied", rule="attestation.required", decided=False,
        require_view="raw",
    )  # fmt: skip
    assert world.read(world.attested(), "a.csv", require_view="raw").body == CSV
