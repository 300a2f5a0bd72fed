"""Multipart: parts in any order, completion once, nothing left of what was not used."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.key_holder import grant
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, VaultWorld, random_bytes
from vault.catalog.rows import PartRow, UploadRow
from vault.catalog.versions import Precondition
from vault.errors import Conflict, Malformed, NotFound, Refused

COMMIT: dict[str, Any] = {"written_by": WRITER, "run_id": RUN, "record": RECORD}


@pytest.fixture
def world(tmp_path: Path) -> VaultWorld:
    return VaultWorld(tmp_path, min_part=1000)


def begin(world: VaultWorld, key: str = "k", **metadata: str) -> UploadRow:
    return world.vault.begin_upload(
        world.dataset, key, "raw", "text/csv", metadata, principal_id=WRITER, run_id=RUN
    )


def add(world: VaultWorld, upload: UploadRow, number: int, data: bytes) -> PartRow:
    part = world.vault.begin_part(upload, number)
    part.write(data)
    return part.finish()


def listed(*parts: PartRow) -> list[tuple[int, str]]:
    return [(part.part_number, part.md5.hex()) for part in parts]


def test_parts_sent_in_any_order_read_as_one(world: VaultWorld) -> None:
    upload = begin(world, color="blue")
    pieces = [random_bytes(size) for size in (40_000, 1000, 16_384, 5)]
    sent = [(2, 7), (0, 1), (3, 9_999), (1, 2)]
    parts = {number: add(world, upload, number, pieces[place]) for place, number in sent}
    chosen = [parts[number] for number in (1, 2, 7, 9_999)]
    row = world.vault.complete_upload(upload, listed(*chosen), FACTS, **COMMIT)
    whole = b"".join(pieces)
    joined = hashlib.md5(b"".join(part.md5 for part in chosen)).hexdigest()
    assert (row.size, row.etag) == (len(whole), f"{joined}-4")
    reader = world.vault.open(row, "k", grant())
    assert b"".join(reader.stream()) == whole
    for start, stop in [(39_999, 41_001), (0, 1), (len(whole) - 6, len(whole)), (41_000, 41_000), (40_500, 57_000)]:
        assert b"".join(reader.stream(start, stop)) == whole[start:stop]
    assert reader.user_metadata == {"color": "blue"}
    reader.close()
    assert world.memory.opened == world.memory.closed
    assert {body.state for body in world.bodies()} == {"live"}


def test_a_repeated_complete_finds_its_answer(world: VaultWorld) -> None:
    upload = begin(world)
    part = add(world, upload, 1, b"x" * 10)
    row = world.vault.complete_upload(upload, listed(part), FACTS, **COMMIT)
    again = world.catalog.get_upload(world.dataset.dataset_id, upload.upload_id)
    assert again.completed == {"etag": row.etag, "version_id": row.version_id, "size": 10}
    with pytest.raises((NotFound, Malformed)):
        world.vault.complete_upload(upload, listed(part), FACTS, **COMMIT)
    assert world.catalog.latest(world.dataset.dataset_id, "k") == row


def test_two_completes_at_once_commit_once(world: VaultWorld) -> None:
    upload = begin(world)
    part = add(world, upload, 1, b"x" * 10)
    one = world.vault.finish_upload(upload, listed(part), FACTS)
    two = world.vault.finish_upload(upload, listed(part), FACTS)
    row = world.vault.commit_upload(one, **COMMIT)
    with pytest.raises(NotFound, match="upload"):
        world.vault.commit_upload(two, **COMMIT)
    assert world.catalog.latest(world.dataset.dataset_id, "k") == row
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 1
    assert b"".join(world.vault.open(row, "k", grant()).stream()) == b"x" * 10


def test_a_part_sent_again_between_list_and_commit_is_noticed(world: VaultWorld) -> None:
    upload = begin(world)
    part = add(world, upload, 1, b"x" * 10)
    done = world.vault.finish_upload(upload, listed(part), FACTS)
    add(world, upload, 1, b"y" * 10)
    with pytest.raises(Conflict, match=r"part\.changed"):
        world.vault.commit_upload(done, **COMMIT)
    assert world.catalog.latest(world.dataset.dataset_id, "k") is None
    assert world.catalog.get_upload(world.dataset.dataset_id, upload.upload_id).state == "open"


def test_what_was_replaced_and_what_was_not_listed_is_swept(world: VaultWorld) -> None:
    upload = begin(world)
    add(world, upload, 1, b"replaced" * 200)
    kept = add(world, upload, 1, b"kept" * 300)
    add(world, upload, 2, b"not listed")
    row = world.vault.complete_upload(upload, listed(kept), FACTS, **COMMIT)
    world.clock.advance(3_600_001)
    assert world.vault.sweep() == 2
    assert set(world.memory.objects) == {body.store_key for body in world.bodies("live")}
    assert b"".join(world.vault.open(row, "k", grant()).stream()) == b"kept" * 300


def test_an_aborted_upload_leaves_nothing(world: VaultWorld) -> None:
    upload = begin(world)
    add(world, upload, 1, b"x" * 2000)
    late = world.vault.begin_part(upload, 2)
    late.write(b"y")
    world.vault.abort_upload(upload)
    with pytest.raises(NotFound):
        late.finish()
    with pytest.raises(NotFound):
        world.catalog.get_upload(world.dataset.dataset_id, upload.upload_id)
    with pytest.raises(NotFound):
        world.vault.abort_upload(upload)
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert not world.memory.objects
    assert not world.memory.unfinished


def test_open_parts_outlive_the_sweep_of_unfinished_writes(world: VaultWorld) -> None:
    upload = begin(world)
    part = add(world, upload, 1, b"x" * 2000)
    world.clock.advance(3 * 86_400_000)
    world.vault.sweep()
    world.clock.advance(3_600_001)
    world.vault.sweep()
    row = world.vault.complete_upload(upload, listed(part), FACTS, **COMMIT)
    assert b"".join(world.vault.open(row, "k", grant()).stream()) == b"x" * 2000


def test_an_upload_nobody_ended_is_aborted_after_a_week(world: VaultWorld) -> None:
    upload = begin(world)
    add(world, upload, 1, b"x" * 2000)
    world.clock.advance(604_800_001)
    world.vault.sweep()
    with pytest.raises(NotFound):
        world.catalog.get_upload(world.dataset.dataset_id, upload.upload_id)
    world.clock.advance(3_600_001)
    world.vault.sweep()
    assert not world.memory.objects


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [([], "empty"), ([2, 1], "order"), ([1, 1], "order"), ([1, 3], "unknown"), ([3], "unknown"), ([1, 2, 4], "small")],
)
def test_lists_a_complete_may_not_bring(world: VaultWorld, numbers: list[int], reason: str) -> None:
    upload = begin(world)
    sizes = {1: 1000, 2: 999, 4: 9}
    parts = {number: add(world, upload, number, b"%d" % number * size) for number, size in sizes.items()}
    before = set(world.memory.objects)
    with pytest.raises(Malformed, match=f"parts.{reason}"):
        world.vault.complete_upload(
            upload, [(n, parts[n].md5.hex() if n in parts else "0" * 32) for n in numbers], FACTS, **COMMIT
        )
    assert set(world.memory.objects) == before
    assert world.catalog.latest(world.dataset.dataset_id, "k") is None


def test_a_refused_completion_keeps_the_parts(world: VaultWorld) -> None:
    world.put("k", b"there")
    upload = begin(world)
    part = add(world, upload, 1, b"x" * 10)
    with pytest.raises(Conflict, match="precondition"):
        world.vault.complete_upload(
            upload, listed(part), FACTS, expect=Precondition(if_none_match="*"), **COMMIT
        )
    row = world.vault.complete_upload(upload, listed(part), FACTS, **COMMIT)
    assert b"".join(world.vault.open(row, "k", grant()).stream()) == b"x" * 10


def test_the_edges_tell_the_format(world: VaultWorld) -> None:
    upload = begin(world)
    parts = [add(world, upload, 1, b"PAR1" + b"x" * 2000), add(world, upload, 2, b"y" * 500 + b"PAR1")]
    done = world.vault.finish_upload(upload, listed(*parts), FACTS)
    assert world.vault.upload_edges(done, 4) == (b"PAR1", b"PAR1")
    assert world.vault.upload_edges(done, 10_000)[1] == b"y" * 500 + b"PAR1"


def test_part_numbers_and_a_key_that_no_longer_opens(world: VaultWorld) -> None:
    upload = begin(world)
    for number in (0, 10_001, -1):
        with pytest.raises(Malformed, match=r"part\.number"):
            world.vault.begin_part(upload, number)
    world.broker.refuse = "upload.closed"
    with pytest.raises(Refused):
        world.vault.begin_part(upload, 1)
    assert not world.bodies()


def test_bodies_of_two_parts_swapped_do_not_open(world: VaultWorld) -> None:
    upload = begin(world)
    parts = [add(world, upload, 1, b"1" * 1000), add(world, upload, 2, b"2" * 1000)]
    row = world.vault.complete_upload(upload, listed(*parts), FACTS, **COMMIT)
    objects = world.memory.objects
    one, two = parts[0].store_key, parts[1].store_key
    objects[one], objects[two] = objects[two], objects[one]
    with pytest.raises(Malformed, match="commitment"):
        world.vault.open(row, "k", grant()).stream()
