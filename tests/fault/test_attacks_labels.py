"""A hostile training job tries to hand what it read to people who see masks, and to touch what is not its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.identity.principal import Principal
from gateway.s3.ports import CompletedPart, Listing
from tests.fakes.gateway_world import CSV, GENESIS, GatewayWorld

CANARY = "ada.lovelace@example.com"
# The contract labels `amount` as holding nothing personal: whoever writes it chooses what analysts see there.
LAUNDERED = f"name,iban,amount\nx,y,{CANARY}\n".encode()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.build(made.put("a.csv", CSV))
    yield made
    made.close()


def listed(world: GatewayWorld, who: Principal, *, delimiter: str = "", limit: int = 1000, after: str = "") -> Listing:
    return world.run(world.front.list_objects(
        who, world.dataset_ref(), prefix="", delimiter=delimiter, after=after, limit=limit, request_id="req"
    ))  # fmt: skip


def test_raw_values_under_an_unlabelled_columns_name_reach_nobody(world: GatewayWorld) -> None:
    """The laundering: read raw, write the e-mails as `amount`, have the masked view carry them out."""
    job = world.attested(run="nightly")
    assert world.read(job, "a.csv").body == CSV
    written = world.put("out.csv", LAUNDERED, by=job)
    assert [view for view in world.catalog.views(written.dataset_id) if view.version_id == written.version_id] == []
    assert world.read(world.analyst, "out.csv").refusal.rule == "label.inherited"
    world.contract("claims", owner="somebody else")  # a backfill must not build it either
    assert [view for view in world.catalog.views(written.dataset_id) if view.version_id == written.version_id] == []
    assert world.read(world.analyst, "out.csv").refusal.rule == "label.inherited"
    assert [item.key for item in listed(world, world.analyst).objects] == ["a.csv"]


def test_a_run_that_read_while_it_wrote_is_caught_at_the_commit(world: GatewayWorld) -> None:
    job = world.attested(run="nightly")
    assert job.session is not None
    run, read = job.session.run_id, world.version("a.csv")

    def reads_raw() -> None:  # what the read road notes before the first byte leaves
        world.catalog.add_io(run, "in", read.dataset_id, read.version_id, "raw", "personal", read.placement, GENESIS)

    world.written(job, "out.csv", LAUNDERED, between=reads_raw)
    assert world.version("out.csv").format == "opaque"
    assert world.read(world.analyst, "out.csv").refusal.rule == "label.inherited"


def test_what_a_clean_run_wrote_is_masked_as_before(world: GatewayWorld) -> None:
    job = world.attested(run="synthesis")
    written = world.put("made.csv", CSV, by=job)
    assert written.format == "csv"
    world.build(written)
    assert world.read(world.analyst, "made.csv").error is None


@pytest.mark.parametrize("version_id", [None, "null"])
def test_a_run_deletes_nothing_that_another_wrote_by_any_name_of_the_version(
    world: GatewayWorld, version_id: str | None
) -> None:
    job = world.attested()
    with world.unchanged():
        refusal = world.refused(world.front.delete(job, world.ref("a.csv", version_id=version_id), "req"))
    assert refusal.rule == "access.not-author"


def test_a_run_writes_over_nothing_that_another_wrote(world: GatewayWorld) -> None:
    job = world.attested()
    with pytest.raises(GatewayError) as refused:
        world.written(job, "a.csv", LAUNDERED)
    assert refused.value.rule == "access.not-author"
    assert world.read(world.attested(), "a.csv").body == CSV


def test_a_steward_writes_over_and_deletes(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(world.front.delete(world.steward, world.ref("a.csv", version_id="null"), "req"))
    assert world.find("a.csv") is None


class TestNamesOfWhatOneMayNotSee:
    """Keys are data: a job could write values into them, and people's names stand in them anyway."""

    @pytest.fixture(autouse=True)
    def hidden(self, world: GatewayWorld) -> None:
        job = world.attested(run="nightly")
        assert world.read(job, "a.csv").body == CSV
        for key in (f"{CANARY}/model.bin", f"a.cs{CANARY}", f"z/{CANARY}"):
            world.put(key, b"\x00\x01", by=job)

    def test_no_common_prefix_is_made_of_them(self, world: GatewayWorld) -> None:
        page = listed(world, world.analyst, delimiter="/")
        assert [item.key for item in page.objects] == ["a.csv"]
        assert page.common_prefixes == ()
        assert not page.truncated

    @pytest.mark.parametrize("delimiter", ["", "/"])
    def test_no_page_ends_with_one(self, world: GatewayWorld, delimiter: str) -> None:
        page = listed(world, world.analyst, delimiter=delimiter, limit=1)
        assert [item.key for item in page.objects] == ["a.csv"]
        assert (page.truncated, page.last) == (False, None)

    def test_a_prefix_that_also_holds_a_visible_key_is_told_once(self, world: GatewayWorld) -> None:
        world.build(world.put("z/b.csv", CSV))
        page = listed(world, world.analyst, delimiter="/", limit=2)
        assert page.common_prefixes == ("z/",)
        assert not page.truncated

    def test_a_writer_is_told_its_own_and_no_others(self, world: GatewayWorld) -> None:
        page = listed(world, world.steward, delimiter="/")
        assert [item.key for item in page.objects] == ["a.csv"]
        assert page.common_prefixes == ()

    def test_pages_of_one_add_up_to_all_visible_keys(self, world: GatewayWorld) -> None:
        for key in ("b.csv", "n/c.csv", "z/d.csv"):
            world.build(world.put(key, CSV))
        found: list[str] = []
        after = ""
        while True:
            page = listed(world, world.analyst, delimiter="/", limit=1, after=after)
            found += [item.key for item in page.objects] + list(page.common_prefixes)
            if not page.truncated:
                break
            after = page.last or ""
        assert found == ["a.csv", "b.csv", "n/", "z/"]


def test_parts_of_a_run_that_read_raw_are_not_completed_by_one_that_did_not(world: GatewayWorld) -> None:
    """The label of the whole would be that of the run that only said `complete`."""
    dirty, clean = world.attested(run="nightly"), world.attested(run="spotless")
    assert world.read(dirty, "a.csv").body == CSV
    ref = world.ref("parts.csv")
    front = world.front
    upload_id = world.run(front.create_upload(dirty, ref, "text/csv", {}, "req"))

    async def part(who: Principal) -> str:
        async with front.open_part(who, ref, upload_id, 1, "req") as opened:
            await opened.write(LAUNDERED)
            return (await opened.commit()).etag

    etag = world.run(part(dirty))
    for call in (
        front.complete_upload(clean, ref, upload_id, [CompletedPart(1, etag)], None, "req"),
        front.abort_upload(clean, ref, upload_id, "req"),
        front.list_parts(clean, ref, upload_id, after=0, limit=10),
        part(clean),
    ):
        assert world.refused(call).code == "NoSuchUpload"
    assert world.find("parts.csv") is None
    world.run(front.complete_upload(dirty, ref, upload_id, [CompletedPart(1, etag)], None, "req"))
    assert world.read(world.analyst, "parts.csv").refusal.rule == "label.inherited"
