"""The builder against the real catalog, store, broker and sandbox. After each refusal: no view, no bytes, a reason."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.enforce.columns import FOOTER
from gateway.enforce.plan import plan_id
from gateway.jobs.builder import BUILDER_VERSION
from tests.fakes.builder_world import RECORD, BuilderWorld
from tests.fakes.canary import CanaryScanner
from tests.fakes.sealed_bodies import columns
from vault.catalog.mapping import VERSION
from vault.catalog.versions import NewView
from vault.errors import Unavailable

EMAILS = [f"canary{i:05}@example.org" for i in range(2000)]
NAMES = [f"Canaria Muster{i:05}" for i in range(2000)]
SCANNER = CanaryScanner(EMAILS + NAMES)
EFFECT = columns(email="pseudonymize", name="mask-to-default", amount="keep")
IDENTITY: dict[str, Any] = {"identity": True}


def parquet(emails: list[str] = EMAILS) -> bytes:
    sink = io.BytesIO()
    count = len(emails)
    pq.write_table(
        pa.table({"email": emails, "name": NAMES[:count], "amount": range(count), "note": emails}), sink
    )
    return sink.getvalue()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BuilderWorld]:
    made = BuilderWorld(tmp_path)
    yield made
    made.close()


def _stored(world: BuilderWorld) -> int:
    """Bodies and manifests the store holds. A group's record may come with any build: it names nothing."""
    return sum(len(list(world.store.list(f"{kind}/"))) for kind in "bm")


def test_a_parquet_view_is_built_sealed_and_found(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    assert world.builder.run_once()
    assert not world.builder.run_once()
    view = world.view(version, EFFECT)
    assert (view.state, view.progress, view.builder, view.reason) == ("ready", 100, BUILDER_VERSION, "")
    data = world.view_bytes(version, EFFECT)
    table = pq.read_table(pa.BufferReader(data))
    assert table.column_names == ["email", "name", "amount"]
    assert table["amount"].to_pylist() == list(range(2000))
    assert set(table["name"].to_pylist()) == {"XXXX"}
    assert len(set(table["email"].to_pylist())) == 2000
    assert SCANNER.scan([data, world.directory]) == []
    assert world.entries[-1]["type"] == "view"
    assert world.entries[-1]["state"] == "ready"
    assert view.record == world.entries[-1]["id"]
    extents = world.catalog.columns(view.view_id)
    assert extents is not None
    assert [name for name, _ in extents] == [FOOTER, "email", "name", "amount"]
    described = world.catalog.columns(version.version_id)
    assert described is not None
    assert [name for name, _ in described] == [FOOTER, "email", "name", "amount", "note"]


def test_a_csv_view_joins_the_parquet_view_of_its_class_only(world: BuilderWorld) -> None:
    rows = "\n".join(["email,name,amount", *(f"{e},{n},1" for e, n in zip(EMAILS, NAMES, strict=True))])
    other = columns(email=("pseudonymize", {"domain": "marketing"}), amount="keep")
    first = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    second = world.put("b.csv", rows.encode(), {"analytics": EFFECT, "marketing": other})
    while world.builder.run_once():
        pass
    emails = pq.read_table(pa.BufferReader(world.view_bytes(first, EFFECT)))["email"].to_pylist()
    text = world.view_bytes(second, EFFECT).decode()
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == emails
    marketing = world.view_bytes(second, other).decode()
    assert not set(marketing.split()) & set(emails)
    assert SCANNER.scan([text, marketing, world.directory]) == []


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        ("model.pkl", b"\x80\x04 not columns", "format.opaque"),
        ("a.parquet", b"PAR1" + b"\x15\x00" * 50 + b"PAR1", "parquet.malformed"),
        ("a.csv", b"email,amount\na@b.org,1\nb@b.org,1,oops\n", "csv.columns"),
        ("a.csv", b"alice@example.org,7\nbob@example.org,8\n", "columns.none"),
        ("a.csv", b"email,email\n1,2\n", "columns.duplicate"),
    ],
)
def test_what_cannot_be_masked_fails_by_name_and_leaves_nothing(
    world: BuilderWorld, key: str, data: bytes, reason: str
) -> None:
    version = world.put(key, data, {"analytics": EFFECT})
    before = _stored(world)
    world.builder.run_once()
    view = world.view(version, EFFECT)
    assert (view.state, view.reason, view.size, view.manifest_id) == ("failed", reason, 0, "")
    assert _stored(world) == before
    assert world.entries[-1]["reason"] == reason
    assert not world.builder.run_once(), "a failure of the data is not tried again"


def test_a_flipped_byte_in_the_store_fails_the_build(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    body = max((p for p in (world.directory / "store").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    stored = bytearray(body.read_bytes())
    stored[len(stored) // 2] ^= 1
    body.write_bytes(stored)
    before = _stored(world)
    world.builder.run_once()
    assert world.view(version, EFFECT).reason == "sealed.unverified"
    assert _stored(world) == before


def test_personal_bytes_never_pass_unmasked_even_by_a_declared_plan(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {"declassified": IDENTITY})
    before = _stored(world)
    world.builder.run_once()
    assert (world.view(version, IDENTITY).state, world.view(version, IDENTITY).reason) == ("failed", "plan.identity")
    assert _stored(world) == before


def test_a_declassified_object_is_resealed_unchanged(world: BuilderWorld) -> None:
    model = bytes(range(256)) * 9000
    version = world.put("model.pkl", model, {})
    world.catalog.declare_plan(version.dataset_id, plan_id(IDENTITY), "declassified", IDENTITY, 0, RECORD)
    with world.catalog._database.write() as connection:  # what a relabelling commits, without its manifest
        world.catalog._replace(connection, VERSION, replace(version, label="none"))
        world.catalog._queue(connection, version, (), [NewView(plan_id(IDENTITY), BUILDER_VERSION)])
    world.builder.run_once()
    assert world.view(version, IDENTITY).state == "ready"
    assert world.view_bytes(version, IDENTITY) == model


def test_one_pseudonymizing_plan_for_two_classes_is_refused(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT, "marketing": EFFECT})
    world.builder.run_once()
    assert world.view(version, EFFECT).reason == "plan.purpose-class"


def test_a_plan_retired_before_the_build_is_not_built(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    world.catalog.retire_plan(version.dataset_id, plan_id(EFFECT), "analytics", RECORD)
    world.builder.run_once()
    assert world.view(version, EFFECT).reason == "plan.retired"


def test_a_lost_lease_commits_nothing(world: BuilderWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another builder took the job while this one worked: its view wins, this one leaves no bytes."""
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    job = world.catalog.lease(("view",), "slow", 1000)
    assert job is not None
    world.clock.advance(2000)
    assert world.builder.run_once()
    ready = world.view(version, EFFECT)
    assert ready.state == "ready"
    monkeypatch.setattr(world.catalog, "lease", lambda *_: job)
    assert world.builder.run_once()
    assert world.view(version, EFFECT) == ready


def test_a_broker_that_is_away_is_tried_again_and_then_given_up(
    world: BuilderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})

    def away(*_: object) -> bytes:
        raise Unavailable("broker.unreachable")

    monkeypatch.setattr(world.broker, "pseudonym_key", away)
    for attempt in range(5):
        assert world.view(version, EFFECT).state == "queued", attempt
        assert world.builder.run_once()
        world.clock.advance(120_000)
    assert (world.view(version, EFFECT).state, world.view(version, EFFECT).reason) == ("failed", "broker.unreachable")
    assert not world.builder.run_once()


def test_a_job_that_kills_its_builders_is_given_up(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    for _ in range(5):
        assert world.catalog.lease(("view",), "dies", 1000) is not None
        world.clock.advance(2000)
    world.builder.run_once()
    assert world.view(version, EFFECT).reason == "builder.attempts"


def test_no_record_no_view(world: BuilderWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})

    def away(_: object) -> None:
        raise Unavailable("ledger.unreachable")

    monkeypatch.setattr(world.builder, "_append", away)
    world.builder.run_once()
    assert world.view(version, EFFECT).state != "ready"
    assert world.view(version, EFFECT).manifest_id == ""


def test_an_effect_edited_in_the_catalog_is_refused(world: BuilderWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even by somebody who could seal rows: the plan's id is the hash of what it does."""
    version = world.put("a.parquet", parquet(), {"analytics": EFFECT})
    rows = world.catalog.plans(version.dataset_id)
    edited = [replace(rows[0], effect=columns(email="keep"))]
    monkeypatch.setattr(world.catalog, "plans", lambda _: edited)
    world.builder.run_once()
    assert world.view(version, EFFECT).reason == "plan.malformed"


def test_describe_gives_the_columns_of_an_object_without_views(world: BuilderWorld) -> None:
    version = world.put("a.parquet", parquet(), {})
    subject = {"dataset_id": version.dataset_id, "version_id": version.version_id}
    world.catalog.enqueue("describe", subject)
    assert world.builder.run_once()
    described = world.catalog.columns(version.version_id)
    assert described is not None
    assert [name for name, _ in described][1:] == ["email", "name", "amount", "note"]


def test_a_view_has_a_content_type_of_its_own(world: BuilderWorld) -> None:
    """What the writer sent is a header full of anything, and describes the object, not its view."""
    data = b"email,name,amount\n" + b"".join(f"{e},n,1\n".encode() for e in EMAILS[:3])
    version = world.put("a.csv", data, {"analytics": EFFECT}, content_type=f"text/csv; name={EMAILS[0]}")
    assert world.builder.run_once()
    assert world.view(version, EFFECT).content_type == "text/csv"
