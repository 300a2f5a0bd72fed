"""Attacks on `unwrap`: each is refused by name, opens nothing, and leaves a refusal record."""

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld, FakeDataset, FakeSession, FakeView
from tests.fakes.ledger_promise import PromisingLedger, canonical
from vault.broker.sessions import SealedSession, SessionSeal
from vault.broker.types import GeneratedKey, Grant
from vault.errors import Refused, Unavailable
from vault.keys.hierarchy import KeyScope


class Stage:
    """A version with a raw key, an attested session, and a broker whose caches are cold."""

    def __init__(self, directory: Path, **world: object) -> None:
        self.world = BrokerWorld(directory, **world)  # type: ignore[arg-type]
        self.version = secrets.token_hex(16)
        self.key: GeneratedKey = self.world.generate(self.version)
        self.session = self.world.attested_session()
        self.world.restarted()  # nothing warm: an opened wrap would be seen as a provider call

    def unwrap(self, grant: Grant, scope: KeyScope | None = None, subject: str | None = None) -> bytes:
        world = self.world
        return world.broker.unwrap(scope or world.scope(), subject or self.version, self.key.wrapped, grant)

    def grant(self, **changes: object) -> Grant:
        return self.world.grant(self.version, self.session.session_id, **changes)

    @contextmanager
    def refused(self, reason: str) -> Iterator[None]:
        """The call is refused as `reason`, no provider opened anything, and one record says so."""
        opened, recorded = self.world.opened(), len(self.world.refusals)
        with pytest.raises(Refused) as caught:
            yield
        assert caught.value.reason == reason
        assert self.world.opened() == opened
        (record,) = self.world.refusals[recorded:]
        assert record["type"] == "broker-refusal"
        assert record["reason"] == reason
        assert record["method"] == "unwrap"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_fresh_attested_session_with_promised_decision_gets_the_key(stage: Stage) -> None:
    assert stage.unwrap(stage.grant()) == stage.key.object_key
    assert stage.world.refusals == []


def test_head_opens_the_manifest_too(stage: Stage) -> None:
    assert stage.unwrap(stage.grant(action="head")) == stage.key.object_key


# --- 1: the entry


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry + b" ",
        lambda entry: entry.replace(b'"allow":true', b'"allow":false,"allow":true'),
        lambda entry: entry.replace(b'"v":1', b'"v":1.0'),
        lambda entry: entry.replace(b'"v":1', b'"v":2'),
        lambda entry: entry.replace(b'"v":1', b'"v":true'),
        lambda entry: entry.replace(b'"type":"intent"', b'"type":"commit"'),
        lambda entry: entry.replace(b'"view":"raw"', b'"view":"raw","zusatz":1'),
        lambda entry: entry.replace(b'"allow":true', b'"allow":1'),
        lambda entry: entry.replace(b'"dataset":"claims"', b'"dataset":null'),
        lambda entry: b"[]",
        lambda entry: b"[" * 60_000,
        lambda entry: b"\xff" + entry,
        lambda entry: entry + b" " * 70_000,
    ],
)
def test_entry_that_is_not_one_canonical_intent_is_refused(stage: Stage, spoil: Callable[[bytes], bytes]) -> None:
    entry = spoil(canonical(stage.world.intent(stage.version, stage.session.session_id)))
    grant = Grant(entry, stage.world.ledger.promise(entry), stage.session.session_id)
    with stage.refused("broker.entry"):
        stage.unwrap(grant)


@pytest.mark.parametrize("value", ["", None, 7, "ABCDEF" * 6])
def test_entry_with_a_version_that_is_no_id_is_refused(stage: Stage, value: object) -> None:
    with stage.refused("broker.entry"):
        stage.unwrap(stage.grant(version=value))


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"decision": {"id": "0" * 32, "allow": True, "revision": "r1", "codes": [], "more": 1}, "id": "0" * 32},
        {"decision": {"id": "0" * 32, "allow": True, "revision": "r1"}, "id": "0" * 32},
        {"decision": []},
        {"residency": ["x" * 65_536]},
    ],
)
def test_canonical_entry_of_another_shape_or_size_is_refused(stage: Stage, change: dict[str, object]) -> None:
    with stage.refused("broker.entry"):
        stage.unwrap(stage.grant(**change))


@pytest.mark.parametrize("missing", ["run", "input_sha256", "residency", "object", "interface"])
def test_entry_without_a_field_is_refused(stage: Stage, missing: str) -> None:
    document = stage.world.intent(stage.version, stage.session.session_id)
    del document[missing]
    entry = canonical(document)
    with stage.refused("broker.entry"):
        stage.unwrap(Grant(entry, stage.world.ledger.promise(entry), stage.session.session_id))


def test_entry_whose_decision_is_another_is_refused(stage: Stage) -> None:
    with stage.refused("broker.entry"):
        stage.unwrap(stage.grant(id=secrets.token_hex(16)))


# --- 2, 3: the promise


def test_promise_of_another_ledger_is_refused(stage: Stage) -> None:
    grant = stage.grant()
    forged = PromisingLedger(stage.world.clock).promise(grant.entry)
    with stage.refused("broker.promise"):
        stage.unwrap(replace(grant, promise=forged))


def test_promise_with_one_flipped_signature_bit_is_refused(stage: Stage) -> None:
    grant = stage.grant()
    head, signature = grant.promise.rsplit(".", 1)
    raw = bytearray(base64.urlsafe_b64decode(signature))
    raw[5] ^= 1
    with stage.refused("broker.promise"):
        stage.unwrap(replace(grant, promise=f"{head}.{base64.urlsafe_b64encode(raw).decode()}"))


def test_promise_with_its_time_rewritten_is_refused(stage: Stage) -> None:
    grant = stage.grant()
    stage.world.clock.advance(60_000)
    index, _, leaf, signature = grant.promise.split(".")
    with stage.refused("broker.promise"):
        stage.unwrap(replace(grant, promise=f"{index}.{stage.world.clock()}.{leaf}.{signature}"))


@pytest.mark.parametrize("promise", ["", "1", "a.b.c.d", "1.2.3.!", "é.1.2.3"])
def test_promise_that_is_none_is_refused(stage: Stage, promise: str) -> None:
    with stage.refused("broker.promise"):
        stage.unwrap(replace(stage.grant(), promise=promise))


def test_promise_of_a_denied_entry_does_not_cover_an_allowed_one(stage: Stage) -> None:
    denied = stage.grant(decision={"id": "0" * 32, "allow": False, "revision": "r1", "codes": ["x"]}, id="0" * 32)
    with stage.refused("broker.promise"):
        stage.unwrap(replace(stage.grant(), promise=denied.promise))


def test_replayed_promise_works_for_thirty_seconds_and_no_longer(stage: Stage) -> None:
    grant = stage.grant()
    stage.world.clock.advance(30_000)
    assert stage.unwrap(grant) == stage.key.object_key
    stage.world.clock.advance(1)
    with stage.refused("broker.promise-age"):
        stage.unwrap(grant)


def test_promise_from_the_future_is_refused(stage: Stage) -> None:
    grant = stage.grant()
    ahead = stage.world.ledger.promise(grant.entry, at_ms=stage.world.clock() + 2_001)
    with stage.refused("broker.promise-age"):
        stage.unwrap(replace(grant, promise=ahead))


# --- 4: what the intent allows


def test_denied_decision_opens_nothing(stage: Stage) -> None:
    entry_id = secrets.token_hex(16)
    denied = {"id": entry_id, "allow": False, "revision": "r1", "codes": ["purpose.not-allowed"]}
    with stage.refused("broker.denied"):
        stage.unwrap(stage.grant(id=entry_id, decision=denied))


@pytest.mark.parametrize("action", ["write", "list", "complete", "delete", "lineage"])
def test_decision_for_another_action_opens_nothing(stage: Stage, action: str) -> None:
    with stage.refused("broker.action"):
        stage.unwrap(stage.grant(action=action))


def test_entry_of_another_dataset_opens_nothing(stage: Stage) -> None:
    with stage.refused("broker.entry-scope"):
        stage.unwrap(stage.grant(dataset_id=secrets.token_hex(16)))


@pytest.mark.parametrize("change", [{"tenant": "other"}, {"zone": "fr"}])
def test_entry_of_another_tenant_or_zone_opens_nothing(stage: Stage, change: dict[str, str]) -> None:
    with stage.refused("broker.entry-scope"):
        stage.unwrap(stage.grant(**change))


@pytest.mark.parametrize("change", [{"tenant": "other"}, {"zone": "fr"}])
def test_scope_of_another_tenant_or_zone_opens_nothing(stage: Stage, change: dict[str, str]) -> None:
    with stage.refused("broker.place"):
        stage.unwrap(stage.grant(**change), scope=stage.world.scope(**change))


def test_entry_of_another_version_opens_nothing(stage: Stage) -> None:
    with stage.refused("broker.entry-version"):
        stage.unwrap(stage.grant(version=secrets.token_hex(16)))


def test_entry_of_an_allowed_version_does_not_open_the_key_of_another(stage: Stage) -> None:
    other = secrets.token_hex(16)
    with pytest.raises(Refused) as caught:
        stage.unwrap(stage.world.grant(other, stage.session.session_id), subject=other)
    # Everything about the grant is in order, so the group is opened; the wrap of another version is not.
    assert caught.value.reason == "wrap.context"
    assert stage.world.refusals[-1]["reason"] == "wrap.context"


@pytest.mark.parametrize("view", ["open", "writer", "none", "ab" * 16])
def test_promised_view_decision_opens_no_raw_key(stage: Stage, view: str) -> None:
    with stage.refused("broker.view"):
        stage.unwrap(stage.grant(view=view))


def test_raw_decision_opens_no_view_key(stage: Stage) -> None:
    with stage.refused("broker.view"):
        stage.unwrap(stage.grant(), scope=stage.world.scope("view"))


def test_raw_wrap_passed_off_as_a_view_key_is_refused(stage: Stage) -> None:
    with stage.refused("key.class"):
        stage.unwrap(stage.grant(view="open"), scope=stage.world.scope("view"))


def test_raw_wrap_relabelled_as_view_is_refused_by_the_group_row(stage: Stage) -> None:
    stage.key = replace(stage.key, wrapped=replace(stage.key.wrapped, key_class="view"))
    with stage.refused("key.group"):
        stage.unwrap(stage.grant(view="open"), scope=stage.world.scope("view"))


def test_group_row_relabelled_by_sql_is_refused_by_the_provider(stage: Stage) -> None:
    catalog = stage.world.catalog
    group = catalog.groups[stage.key.wrapped.group_id]
    catalog.groups[group.group_id] = replace(group, key_class="view")
    stage.key = replace(stage.key, wrapped=replace(stage.key.wrapped, key_class="view"))
    with pytest.raises(Refused) as caught:
        stage.unwrap(stage.grant(view="open"), scope=stage.world.scope("view"))
    assert caught.value.reason == "key.class"
    assert ("view", "unwrap") in stage.world.calls  # it was asked, under its own credential, and refused
    assert ("raw", "unwrap") not in stage.world.calls[-1:]
    assert stage.world.refusals[-1]["reason"] == "key.class"


# --- 5: the session


def test_no_session_opens_no_raw_key(stage: Stage) -> None:
    with stage.refused("session.none"):
        stage.unwrap(stage.world.grant(stage.version, None))


def test_unknown_session_opens_nothing(stage: Stage) -> None:
    with stage.refused("session.none"):
        stage.unwrap(stage.world.grant(stage.version, secrets.token_hex(16)))


def test_entry_of_another_session_than_the_grant_opens_nothing(stage: Stage) -> None:
    with stage.refused("broker.entry-session"):
        stage.unwrap(replace(stage.grant(), session_id=secrets.token_hex(16)))


def test_session_is_fresh_for_fifteen_minutes_and_stale_after(stage: Stage) -> None:
    stage.world.clock.advance(900_000)
    assert stage.unwrap(stage.grant()) == stage.key.object_key
    stage.world.clock.advance(1)
    with stage.refused("session.stale"):
        stage.unwrap(stage.grant())


def test_freshness_written_by_sql_is_not_believed(stage: Stage) -> None:
    stage.world.clock.advance(900_001)
    stage.world.edit_session(stage.session, attested_at=stage.world.clock())
    with stage.refused("session.seal"):
        stage.unwrap(stage.grant())


@pytest.mark.parametrize(
    "change",
    [
        {"principal_id": "0" * 32},
        {"purpose": "marketing"},
        {"scope": ("claims", "secrets")},
        {"kind": "identity"},
        {"claims": {"kind": "tdx", "hardware": True, "synthetic_only": False}},
        {"key_thumbprint": "A" * 43},
        {"tier": "affirming"},
        {"tier": "none"},
        {"expires_at": 2**52},
        {"session_id": "0" * 32},
        {"attestation_seal": b""},
        {"attestation_seal": bytes(32)},
    ],
)
def test_session_row_edited_by_sql_opens_nothing(stage: Stage, change: dict[str, object]) -> None:
    stage.world.edit_session(stage.session, **change)
    with stage.refused("session.seal"):
        stage.unwrap(stage.grant())


def test_session_sealed_with_a_secret_that_front_workers_hold_opens_nothing(stage: Stage) -> None:
    row = stage.session
    hello = stage.world.broker.hello()
    for known in (hello.catalog_mac_key, hello.token_key, hello.record_hash_key, hello.decision_key):
        forged = SessionSeal(known, tenant="main", zone="de").seal(
            SealedSession(
                row.session_id, row.principal_id, row.purpose, row.scope, row.kind, row.claims, row.key_thumbprint,
                row.attested_at + 1, row.expires_at, row.tier,
            )
        )  # fmt: skip
        stage.world.edit_session(row, attested_at=row.attested_at + 1, attestation_seal=forged)
        with stage.refused("session.seal"):
            stage.unwrap(stage.grant())


def sealed_by_the_broker(stage: Stage, **changes: object) -> FakeSession:
    """A row that this very broker would have sealed, had it attested what `changes` say."""
    row = replace(stage.session, **changes)  # type: ignore[arg-type]
    seal = SessionSeal(stage.world.parts.secrets.derived("session-seal"), tenant="main", zone="de").seal(
        SealedSession(
            row.session_id, row.principal_id, row.purpose, row.scope, row.kind, row.claims, row.key_thumbprint,
            row.attested_at, row.expires_at, row.tier,
        )
    )  # fmt: skip
    return replace(row, attestation_seal=seal)


def test_identity_session_opens_nothing_however_sealed(stage: Stage) -> None:
    stage.world.catalog.sessions[stage.session.session_id] = sealed_by_the_broker(stage, kind="identity")
    with stage.refused("session.kind"):
        stage.unwrap(stage.grant())


def test_another_session_answered_in_this_ones_place_opens_nothing(stage: Stage) -> None:
    sessions = stage.world.catalog.sessions
    sessions[stage.session.session_id] = stage.world.attested_session()
    with stage.refused("session.seal"):
        stage.unwrap(stage.grant())


def test_session_sealed_for_another_zone_opens_nothing(stage: Stage) -> None:
    row = stage.session
    seal = SessionSeal(stage.world.parts.secrets.derived("session-seal"), tenant="main", zone="fr").seal(
        SealedSession(
            row.session_id, row.principal_id, row.purpose, row.scope, row.kind, row.claims, row.key_thumbprint,
            row.attested_at, row.expires_at, row.tier,
        )
    )  # fmt: skip
    stage.world.edit_session(row, attestation_seal=seal)
    with stage.refused("session.seal"):
        stage.unwrap(stage.grant())


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"hardware": True},
        {"synthetic_only": False},
        {"hardware": True, "synthetic_only": None},
        {"hardware": 1, "synthetic_only": False},
        {"hardware": "true", "synthetic_only": False},
    ],
)
def test_claims_that_do_not_say_hardware_open_synthetic_data_only(tmp_path: Path, claims: dict[str, object]) -> None:
    stage = Stage(tmp_path, synthetic=False)
    stage.world.catalog.sessions[stage.session.session_id] = sealed_by_the_broker(stage, claims=claims)
    with stage.refused("attest.synthetic-only"):
        stage.unwrap(stage.grant())


def test_hardware_claims_open_what_is_not_synthetic_in_production(tmp_path: Path) -> None:
    stage = Stage(tmp_path, synthetic=False)
    stage.world.restarted(policy=replace(stage.world.parts.policy, posture="production"))
    claims = {"kind": "tdx", "hardware": True, "synthetic_only": False}
    stage.world.catalog.sessions[stage.session.session_id] = sealed_by_the_broker(stage, claims=claims)
    assert stage.unwrap(stage.grant()) == stage.key.object_key


def test_revoked_session_opens_nothing(stage: Stage) -> None:
    stage.world.edit_session(stage.session, revoked_at=stage.world.clock())
    with stage.refused("session.revoked"):
        stage.unwrap(stage.grant())


def test_expired_session_opens_nothing(stage: Stage) -> None:
    stage.world.catalog.sessions[stage.session.session_id] = sealed_by_the_broker(
        stage, expires_at=stage.world.clock()
    )
    with stage.refused("session.expired"):
        stage.unwrap(stage.grant())


def test_session_attested_again_and_again_ends_with_its_hour(stage: Stage) -> None:
    """However it is refreshed, and whatever the row is made to say."""
    world, ends = stage.world, stage.session.expires_at
    row = stage.session
    for _ in range(4):
        world.clock.advance(840_000)
        row = world.store(world.attest(row.session_id))
        assert row.expires_at == ends
        assert stage.unwrap(stage.grant()) == stage.key.object_key
    world.clock.advance(ends - world.clock())
    with stage.refused("session.expired"):
        stage.unwrap(stage.grant())
    world.edit_session(row, expires_at=ends + 3_600_000)
    with stage.refused("session.seal"):
        stage.unwrap(stage.grant())
    with pytest.raises(Refused, match=r"session\.seal"):
        world.attest(row.session_id)


@pytest.mark.parametrize("tier", ["contraindicated", "none", "", "AFFIRMING"])
def test_session_whose_appraisal_admits_nothing_opens_nothing(stage: Stage, tier: str) -> None:
    stage.world.catalog.sessions[stage.session.session_id] = sealed_by_the_broker(stage, tier=tier)
    with stage.refused("session.tier"):
        stage.unwrap(stage.grant())


def test_entry_of_another_principal_opens_nothing(stage: Stage) -> None:
    with stage.refused("session.principal"):
        stage.unwrap(stage.grant(principal="ab" * 32))


def test_entry_for_another_purpose_opens_nothing(stage: Stage) -> None:
    with stage.refused("session.purpose"):
        stage.unwrap(stage.grant(purpose="marketing"))


def test_dataset_outside_the_attested_scope_opens_nothing(stage: Stage) -> None:
    stage.session = stage.world.attested_session(("models",))
    with stage.refused("session.scope"):
        stage.unwrap(stage.grant())


def test_dataset_named_as_one_in_scope_opens_nothing(stage: Stage) -> None:
    stage.session = stage.world.attested_session(("models",))
    with stage.refused("broker.entry-dataset"):
        stage.unwrap(stage.grant(dataset="models"))


@pytest.mark.parametrize("state", ["deleted", "", "frozen"])
def test_dataset_that_is_not_active_opens_nothing(stage: Stage, state: str) -> None:
    dataset = stage.world.dataset
    stage.world.catalog.datasets[dataset.dataset_id] = replace(dataset, state=state)
    with stage.refused("broker.dataset"):
        stage.unwrap(stage.grant())


# --- 6: what sample claims open


def test_sample_claims_open_no_dataset_that_is_not_synthetic(tmp_path: Path) -> None:
    stage = Stage(tmp_path, synthetic=False)
    with stage.refused("attest.synthetic-only"):
        stage.unwrap(stage.grant())


def test_dataset_flagged_synthetic_by_sql_is_refused_not_obeyed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, synthetic=False)
    dataset: FakeDataset = stage.world.dataset
    stage.world.catalog.datasets[dataset.dataset_id] = replace(dataset, synthetic=True)
    stage.world.catalog.edited.add(dataset.dataset_id)
    with stage.refused("catalog.row-edited"):
        stage.unwrap(stage.grant())


def test_sample_claims_open_nothing_in_a_production_posture(stage: Stage) -> None:
    # A session attested while this zone was in development; the same keys now serve in production.
    stage.world.restarted(policy=replace(stage.world.parts.policy, posture="production"))
    with stage.refused("attest.posture"):
        stage.unwrap(stage.grant())


# --- views


def test_view_key_opens_for_a_promised_decision_of_its_plan_without_a_session(stage: Stage) -> None:
    plan, view_id = secrets.token_hex(16), secrets.token_hex(16)
    world = stage.world
    key = world.generate(view_id, "view")
    world.catalog.views[view_id] = FakeView(view_id, world.dataset.dataset_id, stage.version, plan)
    grant = world.grant(stage.version, None, view=plan)
    assert world.broker.unwrap(world.scope("view"), view_id, key.wrapped, grant) == key.object_key
    assert ("raw", "unwrap") not in world.calls


@pytest.mark.parametrize("change", [{"plan_id": "0" * 32}, {"version_id": "0" * 32}, {"dataset_id": "0" * 32}])
def test_view_of_another_plan_version_or_dataset_stays_shut(stage: Stage, change: dict[str, str]) -> None:
    plan, view_id = secrets.token_hex(16), secrets.token_hex(16)
    world = stage.world
    stage.key = world.generate(view_id, "view")
    world.restarted()
    world.catalog.views[view_id] = replace(FakeView(view_id, world.dataset.dataset_id, stage.version, plan), **change)
    with stage.refused("broker.entry-version"):
        stage.unwrap(world.grant(stage.version, None, view=plan), scope=world.scope("view"), subject=view_id)


@pytest.mark.parametrize("view", ["writer", "none"])
def test_decisions_that_give_no_content_open_no_view_key(stage: Stage, view: str) -> None:
    view_id = secrets.token_hex(16)
    stage.key = stage.world.generate(view_id, "view")
    stage.world.restarted()
    with stage.refused("broker.view"):
        stage.unwrap(
            stage.world.grant(stage.version, None, view=view), scope=stage.world.scope("view"), subject=view_id
        )


def test_open_decision_opens_the_view_class_key_of_that_version_only(stage: Stage) -> None:
    world = stage.world
    key = stage.key = world.generate(stage.version, "view")
    grant = world.grant(stage.version, None, view="open")
    assert world.broker.unwrap(world.scope("view"), stage.version, key.wrapped, grant) == key.object_key
    with stage.refused("broker.entry-version"):
        stage.unwrap(world.grant("0" * 32, None, view="open"), scope=world.scope("view"))


# --- dependencies that do not answer


@pytest.mark.parametrize("call", ["find_dataset", "find_session", "find_group"])
def test_unreadable_catalog_opens_nothing(stage: Stage, call: str) -> None:
    def fail(name: str) -> None:
        if name == call:
            raise Unavailable("catalog.timeout")

    stage.world.catalog.before = fail
    with pytest.raises(Unavailable):
        stage.unwrap(stage.grant())
    assert stage.world.opened() == 0


def test_refusal_stands_when_it_cannot_be_recorded(stage: Stage) -> None:
    def fail(entry: dict[str, object]) -> None:
        raise Unavailable("ledger")

    stage.world.restarted(record=fail)
    with pytest.raises(Refused):
        stage.unwrap(stage.grant(purpose="marketing"))
    assert stage.world.opened() == 0


def test_records_hold_no_key_and_fit_the_ledgers_flat_shape(stage: Stage) -> None:
    with pytest.raises(Refused):
        stage.unwrap(stage.grant(purpose="marketing"))
    (record,) = stage.world.refusals
    for value in record.values():
        assert value is None or isinstance(value, str | int)
    assert stage.key.object_key.hex() not in repr(record)
    assert stage.world.principal_id not in repr(record)
