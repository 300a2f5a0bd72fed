"""Reads that are answered: which rendering, what it says of itself, what is noted and charged; and listings."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest, GatewayError
from gateway.identity.principal import Principal
from gateway.plans import IDENTITY_PLAN
from gateway.s3.ports import Listing
from tests.fakes.gateway_world import CSV, MASKED, GatewayWorld, random_bytes


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.build(made.put("a.csv", CSV))
    made.put("o.csv", CSV, dataset="open-data")
    yield made
    made.close()


def listed(world: GatewayWorld, who: Principal, dataset: str = "claims", **page: Any) -> Listing:
    options: dict[str, Any] = {"prefix": "", "delimiter": "", "after": "", "limit": 1000} | page
    call = world.front.list_objects(who, world.dataset_ref(dataset), request_id="r", **options)
    return world.run(call)


def test_one_uri_two_renderings(world: GatewayWorld) -> None:
    masked, raw = world.read(world.analyst, "a.csv"), world.read(world.attested(), "a.csv")
    assert (masked.body, raw.body) == (MASKED, CSV)
    assert raw.facts["view"] == "raw"
    (plan,) = world.catalog.plans(world.dataset.dataset_id)
    assert masked.facts["view"] == plan.plan_id
    assert (masked.facts["size"], raw.facts["size"]) == (len(MASKED), len(CSV))
    assert masked.facts["etag"] != raw.facts["etag"]


def test_a_masked_answer_carries_none_of_the_objects_metadata(world: GatewayWorld) -> None:
    assert world.read(world.attested(), "a.csv").facts["user_metadata"] == {"made": "here"}
    for action in ("read", "head"):
        assert world.read(world.analyst, "a.csv", action=action).facts["user_metadata"] == {}


def test_who_wrote_it_sees_size_and_etag_and_no_byte(world: GatewayWorld) -> None:
    head = world.read(world.steward, "a.csv", action="head")
    # What it said itself about what it wrote: the manifest was opened, and no key of a body ever left the broker.
    said = {"made": "here"}
    assert (head.facts["view"], head.facts["size"], head.facts["user_metadata"]) == ("writer", len(CSV), said)
    assert world.raw_opened() == 0  # nothing was opened for it
    refused = world.read(world.steward, "a.csv").refusal
    assert (refused.status, refused.rule) == (403, "access.steward-reads")


def test_a_writers_reading_streams_nothing_even_if_asked(world: GatewayWorld) -> None:
    async def stream() -> None:
        async with world.front.open_read(
            world.steward, world.ref("a.csv"), action="head", require_view=None, request_id="r"
        ) as opened:
            async for _ in opened.stream(0, opened.size):
                raise AssertionError

    error = world.refused(stream())
    assert isinstance(error, BadRequest)
    assert world.entries("outcome")[-1]["bytes"] == 0


def test_open_data_is_the_same_for_everybody_and_is_sealed_in_the_view_class(world: GatewayWorld) -> None:
    keys = world.raw_opened()
    for who in (world.analyst, world.steward, world.attested(scope=("open-data",))):
        answer = world.read(who, "o.csv", dataset="open-data")
        assert (answer.body, answer.facts["view"]) == (CSV, "open")
        assert answer.facts["user_metadata"] == {"made": "here"}
    assert world.version("o.csv", "open-data").key_class == "view"
    assert world.raw_opened() == keys


@pytest.mark.parametrize("view", ["masked", "RAW", "", "open"])
def test_only_raw_can_be_demanded(world: GatewayWorld, view: str) -> None:
    at = len(world.ledger.entries)
    error = world.read(world.analyst, "a.csv", require_view=view).refusal
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert world.ledger.entries[at:] == []


def test_what_a_run_reads_is_noted_before_the_first_byte(world: GatewayWorld) -> None:
    who = world.attested(run="train")
    assert who.session is not None
    run_id, noted = who.session.run_id, []
    answer = world.read(who, "a.csv", after_slab=lambda _: noted.extend(world.inputs(run_id)))
    assert answer.error is None
    (row,) = noted
    assert (row.version_id, row.view, row.label, row.placement) == (
        world.version("a.csv").version_id, "raw", "personal", ("de",),
    )  # fmt: skip
    assert row.record == answer.facts["decision_id"]


def test_masked_reads_are_personal_open_ones_are_not_and_heads_are_none(world: GatewayWorld) -> None:
    run = world.run(world.guard.admit(world.analyst, "list-datasets", request_id="r")).facts.run.run_id
    world.read(world.analyst, "a.csv", action="head")
    assert world.inputs(run) == []
    world.read(world.analyst, "a.csv")
    world.read(world.analyst, "o.csv", dataset="open-data")
    assert {(io.view == "open", io.label) for io in world.inputs(run)} == {(False, "personal"), (True, "none")}


def test_a_read_that_cannot_be_noted_does_not_happen(world: GatewayWorld) -> None:
    """Labels flow by run: an input nobody wrote down would let what is made of it be called open."""
    who = world.attested()
    connection = sqlite3.connect(world.path, isolation_level=None)
    connection.execute("create trigger no_io before insert on run_io begin select raise(abort, 'disk'); end")
    connection.close()
    answer = world.read(who, "a.csv")
    assert answer.body == b""
    assert answer.refusal.status in {409, 503}
    assert world.raw_opened() == 0
    assert world.entries("outcome")[-1]["status"] == "refused"


def test_an_outcome_says_what_was_sent(world: GatewayWorld) -> None:
    data = random_bytes(3 << 20)
    world.put("big.csv", data)
    who = world.attested()
    whole = world.read(who, "big.csv")
    outcome = world.outcome(whole.facts["decision_id"])
    assert (outcome["status"], outcome["bytes"], outcome["ranges"], outcome["reason"]) == (
        "complete", len(data), [[0, len(data)]], None,
    )  # fmt: skip
    part = world.read(who, "big.csv", span=(100, 2_000_000))
    assert part.body == data[100:2_000_000]
    assert world.outcome(part.facts["decision_id"])["ranges"] == [[100, 2_000_000]]
    nothing = world.read(who, "big.csv", span=(5, 5))
    assert world.outcome(nothing.facts["decision_id"])["bytes"] == 0
    head = world.read(who, "big.csv", action="head")
    assert world.outcome(head.facts["decision_id"])["bytes"] == 0


def test_an_empty_object(world: GatewayWorld) -> None:
    world.put("empty.bin", b"", dataset="open-data")
    answer = world.read(world.analyst, "empty.bin", dataset="open-data")
    assert (answer.error, answer.body, answer.facts["size"]) == (None, b"", 0)


def test_a_reader_is_closed_however_it_ends(world: GatewayWorld) -> None:
    world.read(world.attested(), "a.csv")
    world.read(world.analyst, "a.csv")
    world.read(world.analyst, "a.csv", span=(0, 10**9))
    assert world.store.opened == world.store.closed


def test_metrics_name_no_plan(world: GatewayWorld) -> None:
    world.read(world.analyst, "a.csv")
    world.read(world.attested(), "a.csv")
    shown = world.metrics.render().decode()
    assert f'demesne_bytes_sent_total{{view="masked"}} {len(MASKED)}.0' in shown
    assert f'demesne_bytes_sent_total{{view="raw"}} {len(CSV)}.0' in shown
    assert 'demesne_reads_total{status="complete",view="masked"} 1.0' in shown


# --- listings


def test_a_listing_shows_each_caller_its_own_view(world: GatewayWorld) -> None:
    (masked,), (raw,), (own,) = (listed(world, who).objects for who in (world.analyst, world.attested(), world.steward))
    assert {masked.key, raw.key, own.key} == {"a.csv"}
    assert (masked.size, raw.size, own.size) == (len(MASKED), len(CSV), len(CSV))
    assert masked.etag == world.read(world.analyst, "a.csv").facts["etag"]
    assert masked.etag != raw.etag


def test_a_writer_lists_what_it_wrote(world: GatewayWorld) -> None:
    world.put("mine.csv", CSV, by=world.attested())
    assert [item.key for item in listed(world, world.steward).objects] == ["a.csv"]


def test_a_listing_waits_for_views_and_leaves_out_what_has_none(world: GatewayWorld) -> None:
    world.put("later.csv", CSV)
    error = world.refused(
        world.front.list_objects(
            world.analyst, world.dataset_ref(), prefix="", delimiter="", after="", limit=10, request_id="r"
        )
    )
    assert (error.status, error.code, error.rule, error.retry_after) == (503, "SlowDown", "view.building", 1)
    (view,) = [v for v in world.catalog.views(world.dataset.dataset_id) if v.state != "ready"]
    world.catalog.view_failed(view.view_id, "csv.malformed")
    world.put("picture.png", b"\x89PNG....")
    assert [item.key for item in listed(world, world.analyst).objects] == ["a.csv"]


def test_personal_keys_are_not_listed_to_masked_readers(world: GatewayWorld) -> None:
    world.contract("claims", keys_personal=True)
    error = world.refused(
        world.front.list_objects(
            world.analyst, world.dataset_ref(), prefix="", delimiter="", after="", limit=10, request_id="r"
        )
    )
    assert (error.status, error.rule) == (403, "access.keys-personal")
    assert [item.key for item in listed(world, world.attested()).objects] == ["a.csv"]


def test_pages_and_prefixes(world: GatewayWorld) -> None:
    for name in ("d/1", "d/2", "e/1", "z"):
        world.put(name, b"x", dataset="open-data")
    page = listed(world, world.analyst, "open-data", delimiter="/", limit=2)
    assert page.common_prefixes == ("d/", "e/")
    assert page.truncated
    rest = listed(world, world.analyst, "open-data", delimiter="/", after=page.last, limit=10)
    assert [item.key for item in rest.objects] == ["o.csv", "z"]
    assert not rest.truncated


def test_each_page_is_a_decision_of_its_own(world: GatewayWorld) -> None:
    page = listed(world, world.analyst)
    entry = world.intent(page.decision_id)
    assert (entry["action"], entry["view"], entry["object"]) == ("list", page.view, None)
    assert world.outcome(page.decision_id)["status"] == "complete"
    assert page.promise


# --- declassified objects


def test_a_declassified_object_is_read_from_its_identity_view_and_never_with_a_raw_key(world: GatewayWorld) -> None:
    world.run(world.registry.declassify(
        world.steward, dataset="claims", key="a.csv", name="release 1", reason="published", request_id="r"
    ))  # fmt: skip
    waiting = world.read(world.analyst, "a.csv").refusal
    assert (waiting.status, waiting.rule) == (503, "view.building")
    world.build(world.version("a.csv"))
    keys = world.raw_opened()
    for who in (world.analyst, world.steward, world.attested()):
        answer = world.read(who, "a.csv")
        assert (answer.body, answer.facts["view"]) == (CSV, IDENTITY_PLAN)
    assert world.raw_opened() == keys
    (item,) = listed(world, world.analyst).objects
    assert item.size == len(CSV)


def test_an_attested_job_is_refused_rather_than_masked(world: GatewayWorld) -> None:
    who = world.attested(scope=("payroll",))
    answer = world.read(who, "a.csv")
    error: GatewayError = answer.refusal
    assert (error.status, answer.body) == (403, b"")
    assert error.rule is not None
    assert error.rule.startswith("attestation.")
