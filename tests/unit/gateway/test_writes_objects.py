"""PUT and DELETE: decided twice, sealed, one commit, on record; a refusal anywhere leaves nothing visible."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest, Denied, GatewayError
from gateway.identity.principal import Principal
from gateway.plans import IDENTITY_PLAN
from gateway.s3.ports import DeleteCondition, WriteCondition, WriteDigests, Written
from lineage.errors import Unavailable as LedgerUnavailable
from tests.fakes.doctrine import allowing, refusing
from tests.fakes.gateway_world import CSV, GatewayWorld, random_bytes
from tests.fakes.ledger import answer_lost, ledger_down
from tests.fakes.store import FailOn
from vault.errors import Unavailable

ABSENT = WriteCondition(if_none_match=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def refused(world: GatewayWorld, who: Principal, key: str, data: bytes = CSV, /, **how: Any) -> GatewayError:
    try:
        world.written(who, key, data, **how)
    except GatewayError as error:
        return error
    raise AssertionError("written")


VISIBLE = ("object_version", "snapshot", "dataset", "view", "job", "manifest_generation", "run_io")


def visible(world: GatewayWorld) -> dict[str, Any]:
    """What readers, listings, builders and labels go by."""
    picture = world.picture()
    return {table: picture[table] for table in VISIBLE}


def leftovers(world: GatewayWorld) -> None:
    """Nothing half written lies in the store, and what is whole there is named by nothing but the sweeper."""
    assert not world.store.unfinished
    held = {row[0] for row in world.rows("select store_key from body where state = 'live'")}
    waiting = {row[0] for row in world.rows("select store_key from body where state <> 'live'")}
    assert set(world.store.objects) <= held | waiting
    world.clock.advance(2 * 86_400_000)
    world.vault.sweep()
    assert set(world.store.objects) == held


def test_a_write_is_decided_sealed_committed_and_recorded(world: GatewayWorld) -> None:
    at = len(world.ledger.entries)
    written = world.written(world.steward, "a.csv", CSV)
    version = world.version("a.csv")
    assert (written.etag, written.size, written.version_id) == (hashlib.md5(CSV).hexdigest(), len(CSV), None)
    assert (version.label, version.key_class, version.placement, version.format) == ("personal", "raw", ("de",), "csv")
    assert (version.written_by, version.contract_version) == (world.steward.principal_id, 1)
    start, end, commit = world.ledger.entries[at:]
    assert [start["action"], end["action"], commit["type"]] == ["write", "complete", "commit"]
    assert commit["intent"] == end["id"] == version.record == written.decision_id
    assert (commit["version"], commit["sequence"], commit["bytes"], commit["label"]) == (
        version.version_id, 1, len(CSV), "personal",
    )  # fmt: skip
    (out,) = [io for io in world.catalog.io(version.run_id) if io.direction == "out"]
    assert (out.version_id, out.label) == (version.version_id, "personal")


def test_nothing_stored_is_what_was_sent(world: GatewayWorld) -> None:
    for dataset in ("claims", "open-data"):
        world.put("ada.csv", CSV, dataset=dataset)
    for key, data in world.store.objects.items():
        for secret in (b"Lovelace", b"DE02", b"ada.csv", b"text/csv", b"made"):
            assert secret not in data, key


@pytest.mark.parametrize(
    ("key", "data", "views", "jobs"),
    [
        ("a.csv", CSV, 1, ["view"]),
        ("a.bin", b"\x00\x01", 0, []),
    ],
)
def test_a_view_is_queued_for_each_declared_plan_in_the_commit_itself(
    world: GatewayWorld, key: str, data: bytes, views: int, jobs: list[str]
) -> None:
    version = world.put(key, data, by=world.steward)
    queued = [v for v in world.catalog.views(version.dataset_id) if v.version_id == version.version_id]
    assert [v.state for v in queued] == ["queued"] * views
    assert [row[0] for row in world.rows("select kind from job")] == jobs


def test_open_data_is_described_and_not_masked(world: GatewayWorld) -> None:
    version = world.put("o.csv", CSV, dataset="open-data")
    assert (version.label, version.key_class) == ("none", "view")
    assert world.catalog.views(version.dataset_id) == []
    assert [row[0] for row in world.rows("select kind from job")] == ["describe"]


# --- refused at the start


@pytest.mark.parametrize("fault", [ledger_down, answer_lost])
def test_no_ledger_no_write(world: GatewayWorld, fault: Any) -> None:
    world.ledger.fault = fault
    with world.unchanged():
        error = refused(world, world.steward, "a.csv")
    assert (error.status, error.rule) == (503, "ledger.unavailable")
    assert world.store.objects == {}


def test_refused_at_the_start_nothing_is_begun(world: GatewayWorld) -> None:
    with world.unchanged():
        error = refused(world, world.analyst, "a.csv")
    assert (error.status, error.rule) == (403, "access.none")
    assert world.intent(error.decision_id)["action"] == "write"
    assert world.provider_calls.count(("raw", "wrap")) == 0


def test_another_zones_dataset_takes_no_write_here(world: GatewayWorld) -> None:
    world.catalog.create_dataset("far-away", "fr", "personal", True, "0" * 32)
    with world.unchanged():
        error = refused(world, world.steward, "a.csv", dataset="far-away")
    assert (error.status, error.rule) == (403, "residency.other-zone")
    assert "https://s3.fr.example" in str(error.remedy)
    with world.unchanged():
        assert refused(world, world.steward, "a.csv", dataset="nowhere").code == "NoSuchBucket"


# --- refused at completion


def test_a_doctrine_that_changed_its_mind_in_mid_upload(world: GatewayWorld) -> None:
    before = visible(world)

    def change() -> None:
        world.engine.says = lambda _: refusing("purpose.not-granted")

    error = refused(world, world.steward, "a.csv", between=change)
    assert (error.status, error.rule) == (403, "purpose.not-granted")
    assert [e["decision"]["allow"] for e in world.entries("intent")[-2:]] == [True, False]
    assert world.entries("commit") == []
    assert visible(world) == before
    leftovers(world)


def test_a_run_that_read_personal_data_in_mid_upload_is_409(world: GatewayWorld) -> None:
    """What was sealed so that everybody may open it must still be of nobody when it is committed."""
    world.put("a.csv", CSV)
    who = world.attested(scope=("claims", "open-data"), run="export")
    world.engine.says = lambda document: allowing(
        "raw" if document["request"]["action"] == "read" else "none", label=document["run"]["label"]
    )
    before = visible(world)
    at = len(world.entries("commit"))
    run_id = who.session.run_id if who.session else ""

    def read_meanwhile() -> None:
        version = world.version("a.csv")
        world.catalog.add_io(run_id, "in", version.dataset_id, version.version_id, "raw", "personal", ("de",), "0" * 32)

    error = refused(world, who, "out.csv", dataset="open-data", between=read_meanwhile)
    assert (error.status, error.code, error.rule) == (409, "OperationAborted", "flow.label")
    assert world.find("out.csv", "open-data") is None
    assert world.entries("commit")[at:] == []
    after = visible(world)
    assert {name: rows for name, rows in after.items() if name != "run_io"} == {
        name: rows for name, rows in before.items() if name != "run_io"
    }
    leftovers(world)


def test_the_shipped_doctrine_refuses_personal_output_in_an_open_dataset(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.contract("open-data")
    who = world.attested(scope=("claims", "open-data"), run="export")
    assert world.written(who, "before.csv", CSV, dataset="open-data").size == len(CSV)
    assert world.read(who, "a.csv").body == CSV
    error = refused(world, who, "after.csv", dataset="open-data")
    assert (error.status, error.rule) == (403, "flow.label")
    assert world.find("after.csv", "open-data") is None


def test_a_placement_elsewhere_is_not_written_here(world: GatewayWorld) -> None:
    before = visible(world)
    world.engine.says = lambda _: allowing(label="personal", placement=["fr"])
    error = refused(world, world.steward, "a.csv")
    assert (error.status, error.rule) == (500, "placement.mismatch")
    assert visible(world) == before
    leftovers(world)


def test_digests_that_do_not_match_leave_nothing(world: GatewayWorld) -> None:
    before = visible(world)
    seen: list[WriteDigests] = []

    def check(digests: WriteDigests) -> None:
        seen.append(digests)
        raise BadRequest("BadDigest", "not what was sent")

    at = len(world.ledger.entries)
    assert refused(world, world.steward, "a.csv", check=check).code == "BadDigest"
    assert seen == [WriteDigests(len(CSV), hashlib.md5(CSV).digest())]
    assert [e["action"] for e in world.ledger.entries[at:]] == ["write"]  # completion was never asked for
    assert visible(world) == before
    leftovers(world)


def test_the_ledger_goes_away_before_completion(world: GatewayWorld) -> None:
    before = visible(world)

    def go() -> None:
        world.ledger.fault = ledger_down

    error = refused(world, world.steward, "a.csv", between=go)
    assert (error.status, error.rule) == (503, "ledger.unavailable")
    assert visible(world) == before
    leftovers(world)


def test_a_commit_whose_record_is_lost_is_visible_unacknowledged_and_named_by_its_intent(world: GatewayWorld) -> None:
    """The one window the write road has. The intent of the completion was durable before; the reconciler adds the
    rest (gateway/jobs/reconcile.py)."""

    def no_commits(when: str, entry: Any) -> None:
        if entry["type"] == "commit":
            raise LedgerUnavailable("ledger.timeout")

    world.ledger.fault = no_commits
    error = refused(world, world.steward, "a.csv")
    assert (error.status, error.rule) == (503, "ledger.unavailable")
    version = world.version("a.csv")
    intent = world.intent(version.record)
    assert (intent["action"], intent["decision"]["allow"]) == ("complete", True)
    assert world.entries("commit") == []


@pytest.mark.parametrize(
    ("call", "when"),
    [("open_write", "before"), ("write", "before"), ("write", "after"), ("commit", "before"), ("commit", "after")],
)
@pytest.mark.parametrize("reason", ["store.full", "store.io"])
def test_a_store_that_fails_in_a_write(world: GatewayWorld, call: str, when: str, reason: str) -> None:
    before = visible(world)
    setattr(world.store, when, FailOn(call, reason=reason))
    error = refused(world, world.steward, "a.csv", random_bytes(2 << 20))
    assert (error.status, error.code, error.rule) == (503, "ServiceUnavailable", reason)
    assert visible(world) == before
    assert world.entries("commit") == []
    world.store.before = world.store.after = lambda call, key: None
    leftovers(world)


def test_a_manifest_that_cannot_be_stored_leaves_nothing(world: GatewayWorld) -> None:
    before = visible(world)

    def no_manifests(call: str, key: str) -> None:
        if key.startswith("m/"):
            raise Unavailable("store.full")

    world.store.before = no_manifests
    assert refused(world, world.steward, "a.csv").rule == "store.full"
    assert visible(world) == before
    world.store.before = lambda call, key: None
    leftovers(world)


def test_a_key_provider_that_gives_no_key(world: GatewayWorld) -> None:
    def fail(operation: str) -> None:
        raise Unavailable("provider.down")

    world.provider_raw.before = fail
    with world.unchanged("epoch_key", "key_group"):
        error = refused(world, world.steward, "a.csv")
    assert (error.status, error.rule) == (503, "provider.down")
    assert world.store.objects == {}


def test_leaving_without_a_commit_leaves_nothing(world: GatewayWorld) -> None:
    before = visible(world)

    async def leave() -> None:
        async with world.front.open_write(
            world.steward, world.ref("a.csv"), content_type="", user_metadata={}, condition=None, request_id="r"
        ) as opened:
            await opened.write(random_bytes(2 << 20))

    world.run(leave())
    assert visible(world) == before
    leftovers(world)


def test_a_client_that_breaks_off_leaves_nothing(world: GatewayWorld) -> None:
    before = visible(world)

    def gone() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        world.written(world.steward, "a.csv", CSV, between=gone)
    assert visible(world) == before
    leftovers(world)


def test_an_edited_plan_stops_the_write_before_it_is_visible(world: GatewayWorld) -> None:
    before = visible(world)
    world.sql("update plan set effect = '{}'")
    error = refused(world, world.steward, "a.csv")
    assert isinstance(error, Denied)
    assert error.rule == "integrity.catalog.row-edited"
    assert visible(world) == before
    leftovers(world)


# --- preconditions


def test_if_none_match_is_decided_in_the_commit(world: GatewayWorld) -> None:
    """Two that began when there was nothing: the later commit loses, and what it brought is gone."""

    def other() -> None:
        async def put() -> None:
            async with world.front.open_write(
                world.steward, world.ref("a.csv"), content_type="", user_metadata={}, condition=ABSENT, request_id="r"
            ) as opened:
                await opened.write(b"first")
                await opened.commit()

        pending.append(put())

    pending: list[Any] = []

    async def race() -> Written:
        async with world.front.open_write(
            world.steward, world.ref("a.csv"), content_type="", user_metadata={}, condition=ABSENT, request_id="r"
        ) as opened:
            await opened.write(b"second")
            other()
            await pending[0]
            return await opened.commit()

    error = world.refused(race())
    assert (error.status, error.code) == (412, "PreconditionFailed")
    assert world.version("a.csv").etag == hashlib.md5(b"first").hexdigest()
    assert len(world.entries("commit")) == 1
    leftovers(world)


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        (lambda etag: ABSENT, 412, "PreconditionFailed"),
        (lambda etag: WriteCondition(if_match="0" * 32), 412, "PreconditionFailed"),
    ],
)
def test_conditions_that_do_not_hold(
    world: GatewayWorld, condition: Callable[[str], WriteCondition], status: int, code: str
) -> None:
    first = world.put("a.csv", CSV)
    before = visible(world)
    error = refused(world, world.steward, "a.csv", b"other", condition=condition(first.etag))
    assert (error.status, error.code) == (status, code)
    assert visible(world) == before
    leftovers(world)


def test_if_match_on_what_is_not_there_is_404(world: GatewayWorld) -> None:
    error = refused(world, world.steward, "a.csv", condition=WriteCondition(if_match="0" * 32))
    assert (error.status, error.code) == (404, "NoSuchKey")
    assert world.find("a.csv") is None


def test_conditions_that_hold(world: GatewayWorld) -> None:
    world.written(world.steward, "a.csv", CSV, condition=ABSENT)
    etag = world.version("a.csv").etag
    world.written(world.steward, "a.csv", b"2", condition=WriteCondition(if_match=etag))
    assert world.version("a.csv").size == 1


NAMING = [
    WriteCondition(if_match=hashlib.md5(CSV).hexdigest()), WriteCondition(if_match="0" * 32),
    WriteCondition(if_none_match_etag=hashlib.md5(CSV).hexdigest()), WriteCondition(if_none_match_etag="0" * 32),
]  # fmt: skip


@pytest.mark.parametrize("condition", NAMING)
def test_a_condition_on_what_somebody_else_wrote_tells_nothing(world: GatewayWorld, condition: WriteCondition) -> None:
    """A steward may replace what it may not read. Were a guess of the ETag answered, it would confirm content."""
    world.put("a.csv", CSV)
    other = world.person("eve", "stewardship", "steward")
    before = visible(world)
    error = refused(world, other, "a.csv", b"other", condition=condition)
    assert (error.status, error.rule) == (403, "access.not-author")
    assert visible(world) == before
    leftovers(world)


@pytest.mark.parametrize(
    "condition",
    [
        DeleteCondition(hashlib.md5(CSV).hexdigest()), DeleteCondition("0" * 32),
        DeleteCondition(if_match_size=len(CSV)), DeleteCondition(if_match_size=1),
        DeleteCondition(if_match_last_modified=1000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version_id", [None, "null"])
def test_nor_does_a_conditional_delete(world: GatewayWorld, condition: DeleteCondition, version_id: str | None) -> None:
    world.put("a.csv", CSV)
    other = world.person("eve", "stewardship", "steward")
    before = visible(world)
    error = world.refused(world.front.delete(other, world.ref("a.csv", version_id=version_id), "r", condition))
    assert (error.status, error.rule) == (403, "access.not-author")
    assert visible(world) == before


def test_conditions_that_name_nothing_of_the_object_are_anybodys(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    other = world.person("eve", "stewardship", "steward")
    assert refused(world, other, "a.csv", condition=ABSENT).status == 412
    world.written(other, "a.csv", b"2", condition=WriteCondition(if_match="*"))
    assert world.version("a.csv").size == 1


def test_open_data_is_compared_for_everybody_who_may_write_it(world: GatewayWorld) -> None:
    etag = world.put("a.csv", CSV, dataset="open-data").etag
    other = world.person("eve", "stewardship", "steward")
    wrong = WriteCondition(if_match="0" * 32)
    assert refused(world, other, "a.csv", b"2", dataset="open-data", condition=wrong).status == 412
    world.written(other, "a.csv", b"2", dataset="open-data", condition=WriteCondition(if_match=etag))


# --- labels flow by run


def test_open_reads_make_no_output_personal(world: GatewayWorld) -> None:
    world.put("o.csv", CSV, dataset="open-data")
    world.contract("open-data")
    who = world.attested(scope=("open-data",), run="report")
    assert world.read(who, "o.csv", dataset="open-data").body == CSV
    world.written(who, "out.csv", CSV, dataset="open-data")
    assert world.version("out.csv", "open-data").label == "none"


def test_a_raw_read_makes_what_the_run_writes_personal(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    who = world.attested(run="train")
    assert world.read(who, "a.csv").body == CSV
    world.written(who, "model.bin", b"weights")
    made = world.version("model.bin")
    assert (made.label, made.key_class, made.placement) == ("personal", "raw", ("de",))
    assert who.session is not None
    assert made.run_id == who.session.run_id


def test_a_named_run_remembers_across_sessions_and_unnamed_ones_within_the_window(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.contract("open-data")
    both = ("claims", "open-data")
    assert world.read(world.attested(run="train"), "a.csv").body == CSV
    for run, rule in (("train", "flow.label"), ("", None), ("other", None)):
        who = world.attested(scope=both, run=run)
        if rule is None:
            world.written(who, f"{run or 'unnamed'}.csv", CSV, dataset="open-data")
            continue
        assert refused(world, who, "late.csv", dataset="open-data").rule == rule
    assert world.read(world.attested(scope=both), "a.csv").body == CSV
    assert refused(world, world.attested(scope=both), "u.csv", dataset="open-data").rule == "flow.label"
    world.clock.advance(31 * 86_400_000)
    world.open_zone()
    world.written(world.attested(scope=both), "u.csv", CSV, dataset="open-data")
    assert refused(world, world.attested(scope=both, run="train"), "v.csv", dataset="open-data").rule == "flow.label"


def test_masked_reads_label_what_their_reader_writes(world: GatewayWorld) -> None:
    """Masked rows are still of people: only a named declassification ends a label."""
    both = world.person("both", "analytics", "analyst")
    world.build(world.put("a.csv", CSV))
    assert world.read(both, "a.csv").error is None
    (noted,) = world.rows("select label from run_io where direction = 'in'")
    assert noted == ("personal",)


# --- deletes


def test_a_delete_hides_the_object_and_orphans_its_bodies(world: GatewayWorld) -> None:
    version = world.put("a.csv", CSV)
    world.build(version)
    gone = world.run(world.front.delete(world.steward, world.ref("a.csv"), "r"))
    assert (gone.delete_marker, gone.version_id) == (False, None)
    assert world.intent(gone.decision_id)["action"] == "delete"
    assert world.find("a.csv") is None
    assert world.read(world.attested(), "a.csv").refusal.code == "NoSuchKey"
    world.clock.advance(2 * 3_600_000)
    world.vault.sweep()
    assert world.store.objects == {}


def test_a_refused_delete_deletes_nothing(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    for who in (world.analyst, world.attested()):  # made before the comparison begins
        with world.unchanged():
            error = world.refused(world.front.delete(who, world.ref("a.csv"), "r"))
        assert error.status == 403


@pytest.mark.parametrize("version_id", [None, "null", "own"])
def test_no_spelling_of_a_version_deletes_what_somebody_else_wrote(world: GatewayWorld, version_id: str | None) -> None:
    """`null` names the unversioned object: decided as if nothing were there, it would be deleted all the same."""
    version = world.put("a.csv", CSV)
    named, who = version.version_id if version_id == "own" else version_id, world.attested()
    with world.unchanged():
        error = world.refused(world.front.delete(who, world.ref("a.csv", version_id=named), "r"))
    assert (error.status, error.rule) == (403, "access.not-author")
    assert world.intent(error.decision_id)["version"] == version.version_id


def test_a_delete_without_a_ledger_deletes_nothing(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.ledger.fault = ledger_down
    with world.unchanged():
        assert world.refused(world.front.delete(world.steward, world.ref("a.csv"), "r")).status == 503


def test_deleting_what_is_not_there(world: GatewayWorld) -> None:
    before = visible(world)
    gone = world.run(world.front.delete(world.steward, world.ref("a.csv"), "r"))
    assert not gone.delete_marker
    assert visible(world) == before


def test_no_write_declares_an_identity_view(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(world.registry.declassify(
        world.steward, dataset="claims", key="a.csv", name="n", reason="r", request_id="r"
    ))  # fmt: skip
    later = world.put("b.csv", CSV)
    plans = {v.plan_id for v in world.catalog.views(later.dataset_id) if v.version_id == later.version_id}
    assert IDENTITY_PLAN not in plans
