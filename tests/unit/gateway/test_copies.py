"""Copies through the guard: decided twice, recorded twice, never weaker, and of the caller's own view."""

import base64
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import PreconditionFailed
from gateway.identity.principal import Principal
from gateway.s3.ports import CompletedPart, Copied, SourceFacts, WriteCondition
from tests.fakes.gateway_world import CSV, MASKED, GatewayWorld
from vault.errors import Unavailable

CANARY = b"DE02120300000000202051"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    world = GatewayWorld(tmp_path)
    world.contract("open-data")  # so that a job may use it for its purpose too
    world.catalog.create_dataset("other", "de", "personal", True, "0" * 32)
    world.contract("other")
    yield world
    world.close()


def masked_writer(world: GatewayWorld) -> Principal:
    """Somebody who is shown masks and may write: no shipped role is both, a compliance team could make one."""
    who = world.person("masked-writer", "analytics", "analyst")

    def says(document: Any) -> Any:
        asked = document
        if document["request"]["action"] in {"write", "complete"} and document["principal"]["name"] == who.name:
            steward = document["principal"] | {"roles": ["steward"], "purposes": ["stewardship"]}
            asked = document | {"principal": steward, "purpose": "stewardship"}
        return world.engine.answer("demesne/main/decision", asked)

    world.engine.says = says
    return who


def copying(world: GatewayWorld, who: Principal, key: str, to: str, **given: Any) -> Any:
    source = world.ref(key, given.pop("dataset", "claims"), given.pop("version_id", None))
    target = world.ref(to, given.pop("into", "claims"))
    asked = {
        "content_type": None, "user_metadata": None, "tags": None, "check_source": None, "condition": None,
        "checksum_algorithm": "",
    } | given  # fmt: skip
    return world.front.copy_object(who, source, target, **asked, request_id="req")


def copy(world: GatewayWorld, who: Principal, key: str, to: str, **given: Any) -> Copied:
    copied: Copied = world.run(copying(world, who, key, to, **given))
    return copied


def sealed_bodies(world: GatewayWorld) -> set[str]:
    return {name for name in world.store.objects if name.startswith("b/")}


def test_a_job_copies_over_the_same_bodies(world: GatewayWorld) -> None:
    source, job = world.put("a.csv", CSV), world.attested()
    before = sealed_bodies(world)
    made = copy(world, job, "a.csv", "b.csv")
    assert sealed_bodies(world) == before
    assert made.etag == source.etag
    row = world.version("b.csv")
    assert (row.label, row.key_class, row.placement) == ("personal", "raw", source.placement)
    # Under a name that a run gave it which reads raw rows: no plan is trusted to show it.
    assert (row.written_by, row.format) == (job.principal_id, "opaque")
    read = world.read(job, "b.csv")
    assert (read.body, read.facts["user_metadata"]) == (CSV, {"made": "here"})
    intents = world.entries("intent")
    wanted = {("read", source.version_id), ("complete", None)}
    assert wanted <= {(entry["action"], entry["version"]) for entry in intents}
    source_read = next(e for e in intents if e["action"] == "read" and e["version"] == source.version_id)
    outcome = world.outcome(source_read["id"])
    assert (outcome["status"], outcome["bytes"], outcome["ranges"]) == ("complete", len(CSV), [[0, len(CSV)]])
    commit = world.entries("commit")[-1]
    assert (commit["version"], commit["intent"]) == (row.version_id, made.decision_id)
    assert source.version_id in {io.version_id for io in world.inputs(job.session.run_id)}  # type: ignore[union-attr]


def listed(world: GatewayWorld, who: Principal) -> str:
    """Everything that a listing of all keys, and of all versions, tells this caller."""
    given: dict[str, Any] = {"prefix": "", "delimiter": "", "limit": 1000, "request_id": "req"}
    keys = world.run(world.front.list_objects(who, world.dataset_ref(), after="", **given))
    versions = world.run(world.front.list_versions(who, world.dataset_ref(), after_key="", after_version="", **given))
    return f"{keys} {versions}"


@pytest.mark.parametrize("read_first", [True, False])
def test_raw_rows_do_not_leave_in_the_name_of_a_copy(world: GatewayWorld, read_first: bool) -> None:
    """A key is as good a place for a raw row as a body: the copy is listed to nobody who is shown masks, as the same
    job's PUT is not, and no plan that is declared later builds a view of it."""
    world.contract("claims", keys_personal=False)
    world.build(world.put("a.csv", CSV))
    job = world.attested()
    if read_first:
        assert world.read(job, "a.csv").body == CSV
    leak = f"leak/{CANARY.decode()}.csv"
    copy(world, job, "a.csv", leak)
    world.put("put/by-the-job.csv", CSV, by=job)
    row = world.version(leak)
    assert row.format == "opaque"
    assert [view for view in world.catalog.views(row.dataset_id) if view.version_id == row.version_id] == []
    world.contract("claims", keys_personal=False)  # a contract is written again: the views that lack are queued
    assert [view for view in world.catalog.views(row.dataset_id) if view.version_id == row.version_id] == []
    shown = listed(world, world.analyst)
    assert "a.csv" in shown
    assert CANARY.decode() not in shown
    assert "by-the-job" not in shown
    assert world.read(world.analyst, leak).refusal is not None
    assert world.read(world.attested(), leak).body == CSV


def test_a_copy_that_names_nothing_anew_keeps_its_rendering(world: GatewayWorld) -> None:
    """Onto its own key, as metadata are changed in S3: bytes and names that masked callers know already."""
    job = world.attested()
    world.put("a.csv", CSV, by=job)
    assert world.read(job, "a.csv").body == CSV
    said = CANARY.decode()
    copy(
        world, job, "a.csv", "a.csv", user_metadata={"of": said}, tags={"of": said}, content_type=f"text/csv; of={said}"
    )
    row = world.version("a.csv")
    assert row.format == "csv"
    world.build(row)
    read = world.read(world.analyst, "a.csv")
    assert (read.body, read.facts["user_metadata"]) == (MASKED, {})
    assert said not in str(read.facts) + listed(world, world.analyst)


def test_what_a_copy_says_differently(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    copy(
        world, world.attested(), "a.csv", "b.csv", content_type="text/plain", user_metadata={"n": "1"}, tags={"t": "v"},
        checksum_algorithm="crc32",
    )  # fmt: skip
    read = world.read(world.attested(), "b.csv")
    assert (read.body, read.facts["content_type"], read.facts["user_metadata"]) == (CSV, "text/plain", {"n": "1"})
    value = base64.b64encode(zlib.crc32(CSV).to_bytes(4, "big")).decode()
    assert dict(world.version("b.csv").checksums) == {"crc32": value, "type": "FULL_OBJECT"}
    tags = world.run(world.front.get_tags(world.attested(), world.ref("b.csv"), "req"))
    assert tags.tags == {"t": "v"}


@pytest.mark.parametrize("into", ["claims", "open-data"])
def test_who_may_not_read_does_not_copy(world: GatewayWorld, into: str) -> None:
    world.put("a.csv", CSV)
    for who in (world.steward, world.analyst):
        with world.unchanged("run_io", "run"):
            error = world.refused(copying(world, who, "a.csv", "b.csv", into=into))
        assert error.status in {403, 503}
    assert CANARY not in b"".join(world.store.objects.values())


def test_who_may_not_write_there_does_not_copy(world: GatewayWorld) -> None:
    world.put("mine.csv", CSV)
    world.put("theirs.csv", CSV * 2)
    job = world.attested()
    error = world.refused(copying(world, job, "mine.csv", "theirs.csv"))
    assert error.rule == "access.not-author"
    assert world.version("theirs.csv").size == len(CSV * 2)


def test_a_masked_caller_copies_its_own_view(world: GatewayWorld) -> None:
    """Who writes and is shown masks has the masks written, under the label of what the run read; never a raw byte."""
    source = world.put("a.csv", CSV)
    world.build(source)
    who = masked_writer(world)
    made = copy(world, who, "a.csv", "b.csv")
    row = world.version("b.csv")
    assert (row.label, row.size, made.etag) == ("personal", len(MASKED), hashlib.md5(MASKED).hexdigest())
    assert world.read(world.attested(), "b.csv").body == MASKED
    assert world.read(world.attested(), "b.csv").facts["user_metadata"] == {}
    assert made.checksums.values == {}
    assert made.etag != source.etag


def test_nothing_personal_is_copied_into_an_open_dataset(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    job = world.attested(scope=("claims", "open-data"))
    with world.unchanged("run_io"):
        error = world.refused(copying(world, job, "a.csv", "leak.csv", into="open-data"))
    assert error.rule == "flow.label"
    assert world.find("leak.csv", "open-data") is None


def test_a_copy_into_another_dataset_is_sealed_for_it(world: GatewayWorld) -> None:
    source, job = world.put("a.csv", CSV), world.attested(scope=("claims", "other"))
    before = sealed_bodies(world)
    made = copy(world, job, "a.csv", "b.csv", into="other", checksum_algorithm="sha256")
    row = world.version("b.csv", "other")
    assert len(sealed_bodies(world) - before) == 1
    assert (row.label, row.key_class, row.placement, row.etag) == ("personal", "raw", source.placement, source.etag)
    digest = base64.b64encode(hashlib.sha256(CSV).digest()).decode()
    assert dict(made.checksums.values) == {"sha256": digest}
    assert world.read(job, "b.csv", dataset="other").body == CSV
    # Its run read raw rows: no plan is trusted to mask what it wrote.
    assert row.format == "opaque"
    source_read = next(e for e in world.entries("intent") if e["action"] == "read" and e["dataset"] == "claims")
    assert world.outcome(source_read["id"])["bytes"] == len(CSV)


def test_open_data_is_copied_by_its_steward(world: GatewayWorld) -> None:
    source = world.put("a.csv", CSV, dataset="open-data")
    before = sealed_bodies(world)
    copy(world, world.steward, "a.csv", "b.csv", dataset="open-data", into="open-data")
    assert sealed_bodies(world) == before
    row = world.version("b.csv", "open-data")
    assert (row.label, row.key_class, row.etag) == ("none", "view", source.etag)
    world.run(world.front.delete(world.steward, world.ref("a.csv", "open-data"), "req"))
    assert world.read(world.steward, "b.csv", dataset="open-data").body == CSV
    copy(world, world.steward, "b.csv", "c.csv", dataset="open-data", into="claims")
    assert world.version("c.csv").key_class == "raw"
    assert world.read(world.attested(), "c.csv").body == CSV


def test_a_run_that_read_personal_data_copies_open_data_as_personal(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.put("o.csv", b"harmless", dataset="open-data")
    job = world.attested(scope=("claims", "open-data"))
    assert world.read(job, "a.csv").body == CSV
    error = world.refused(copying(world, job, "o.csv", "p.csv", dataset="open-data", into="open-data"))
    assert error.rule == "flow.label"
    copy(world, job, "o.csv", "p.csv", dataset="open-data", into="claims")
    row = world.version("p.csv")
    assert (row.label, row.key_class) == ("personal", "raw")


def test_the_sources_conditions_are_held_against_the_callers_view(world: GatewayWorld) -> None:
    source = world.put("a.csv", CSV)
    seen: list[SourceFacts] = []

    def refuse(facts: SourceFacts) -> None:
        seen.append(facts)
        raise PreconditionFailed("PreconditionFailed", "no")

    with world.unchanged("run_io", "run", "session", "challenge"):
        error = world.refused(copying(world, world.attested(), "a.csv", "b.csv", check_source=refuse))
    assert error.status == 412
    assert seen == [SourceFacts(source.etag, source.created_at)]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [(WriteCondition(if_none_match=True), False), (WriteCondition(if_match="0" * 32), False), (None, True)],
)
@pytest.mark.parametrize("into", ["claims", "other"])
def test_the_targets_condition_is_part_of_the_commit(
    world: GatewayWorld, condition: WriteCondition | None, holds: bool, into: str
) -> None:
    job = world.attested(scope=("claims", "other"))
    world.put("a.csv", CSV * 2, by=job)
    old = world.put("b.csv", b"old", by=job, dataset=into)
    call = copying(world, job, "a.csv", "b.csv", condition=condition, into=into)
    if holds:
        assert world.run(call).etag == hashlib.md5(CSV * 2).hexdigest()
    else:
        assert world.refused(call).status == 412
        assert world.version("b.csv", into) == old


def test_copying_a_version_and_onto_itself(world: GatewayWorld) -> None:
    world.run(world.front.set_versioning(world.steward, world.dataset_ref(), "enabled", "req"))
    job = world.attested()
    first = world.put("a.csv", CSV, by=job)
    world.put("a.csv", CSV * 2, by=job)
    made = copy(world, job, "a.csv", "a.csv", version_id=first.version_id)
    assert made.source_version_id == first.version_id
    assert made.version_id not in {None, first.version_id}
    assert world.read(job, "a.csv").body == CSV
    for version_id in ("f" * 32, "null"):
        assert world.refused(copying(world, job, "a.csv", "b.csv", version_id=version_id)).code == "NoSuchVersion"
    world.run(world.front.delete(job, world.ref("a.csv"), "req"))
    error = world.refused(copying(world, job, "a.csv", "b.csv"))
    assert (error.code, error.headers["x-amz-delete-marker"]) == ("NoSuchKey", "true")


def test_another_zones_data_is_not_copied(world: GatewayWorld) -> None:
    world.catalog.create_dataset("ventes", "fr", "personal", True, "0" * 32)
    world.put("a.csv", CSV, dataset="open-data")
    for given in ({"dataset": "ventes", "into": "open-data"}, {"dataset": "open-data", "into": "ventes"}):
        error = world.refused(copying(world, world.steward, "a.csv", "b.csv", **given))
        assert error.rule == "residency.other-zone"
        assert "s3.fr.example" in (error.remedy or "")
    assert world.find("b.csv", "open-data") is None


def test_no_ledger_no_copy(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    job = world.attested()

    def broken(*_: Any) -> None:
        raise OSError("no space")

    world.ledger.fault = broken
    with world.unchanged():
        error = world.refused(copying(world, job, "a.csv", "b.csv"))
    assert error.status == 503


def test_a_store_that_fails_while_copying_leaves_the_source(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    job = world.attested()

    def broken(call: str, key: str) -> None:
        if call == "commit" and key.startswith("m/"):
            raise Unavailable("store.full", key)

    world.store.before = broken
    assert world.refused(copying(world, job, "a.csv", "b.csv")).status == 503
    world.store.before = lambda *_: None
    assert world.find("b.csv") is None
    assert world.read(job, "a.csv").body == CSV


# --- parts


def begin(world: GatewayWorld, who: Principal, key: str = "big.csv", **given: Any) -> str:
    return world.run(world.front.create_upload(who, world.ref(key), "text/csv", {}, "req", **given))


def part(world: GatewayWorld, who: Principal, upload: str, number: int, span: tuple[int, int] | None) -> Any:
    return world.front.copy_part(
        who, world.ref("a.csv"), span, world.ref("big.csv"), upload, number, check_source=None, request_id="req"
    )


def test_a_part_is_copied_from_the_callers_view(world: GatewayWorld) -> None:
    data = CSV * 80_000
    world.put("a.csv", data)
    job = world.attested()
    upload = begin(world, job, checksum_algorithm="crc32", checksum_type="FULL_OBJECT")
    first = world.run(part(world, job, upload, 1, (0, 6_000_000)))
    second = world.run(part(world, job, upload, 2, (6_000_000, len(data))))
    assert first.etag == hashlib.md5(data[:6_000_000]).hexdigest()
    crc = base64.b64encode(zlib.crc32(data[:6_000_000]).to_bytes(4, "big")).decode()
    assert first.checksums.values == {"crc32": crc}
    listed = [CompletedPart(1, first.etag), CompletedPart(2, second.etag)]
    written = world.run(world.front.complete_upload(job, world.ref("big.csv"), upload, listed, None, "req"))
    whole = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    assert (dict(written.checksums.values), written.checksums.type) == ({"crc32": whole}, "FULL_OBJECT")
    assert world.read(job, "big.csv").body == data


@pytest.mark.parametrize("span", [(0, len(CSV) + 1), (len(CSV), len(CSV)), (5, 4), (-1, 4), (len(CSV), len(CSV) + 5)])
def test_a_span_outside_the_source(world: GatewayWorld, span: tuple[int, int]) -> None:
    world.put("a.csv", CSV)
    job = world.attested()
    upload = begin(world, job)
    error = world.refused(part(world, job, upload, 1, span))
    assert (error.status, error.code) == (416, "InvalidRange")
    assert world.run(world.front.list_parts(job, world.ref("big.csv"), upload, after=0, limit=9)).parts == ()


def test_a_masked_caller_copies_parts_of_its_view(world: GatewayWorld) -> None:
    source = world.put("a.csv", CSV)
    world.build(source)
    who = masked_writer(world)
    upload = begin(world, who)
    copied = world.run(part(world, who, upload, 1, None))
    assert copied.etag == hashlib.md5(MASKED).hexdigest()
    assert len(CSV) > len(MASKED)
    assert world.refused(part(world, who, upload, 2, (0, len(CSV)))).status == 416


def test_who_may_not_read_copies_no_part(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    upload = begin(world, world.steward)
    error = world.refused(part(world, world.steward, upload, 1, None))
    assert error.rule == "access.steward-reads"
    listing = world.run(world.front.list_parts(world.steward, world.ref("big.csv"), upload, after=0, limit=9))
    assert listing.parts == ()
