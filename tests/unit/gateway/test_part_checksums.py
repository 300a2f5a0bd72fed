"""Checksums of what came in parts: combined without reading anything again, and compared with what the caller says."""

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.identity.checksums import new_checksum, spell_checksum
from gateway.identity.principal import Principal
from gateway.part_checksums import combined_crc, type_over_parts
from gateway.s3.ports import Checksums, CompletedPart, WrittenPart
from tests.fakes.gateway_world import CSV, GatewayWorld

PART = os.urandom(5 << 20)
CRCS = ["crc32", "crc32c", "crc64nvme"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    world = GatewayWorld(tmp_path)
    yield world
    world.close()


def checksum(name: str, data: bytes) -> str:
    running = new_checksum(name)
    running.update(data)
    return spell_checksum(running.digest())


def begin(world: GatewayWorld, algorithm: str = "", kind: str = "", who: Principal | None = None) -> str:
    call = world.front.create_upload(
        who or world.steward, world.ref("a.csv"), "text/csv", {}, "r", None, algorithm, kind
    )
    return world.run(call)


async def _part(world: GatewayWorld, upload: str, number: int, data: bytes, names: tuple[str, ...]) -> WrittenPart:
    async with world.front.open_part(world.steward, world.ref("a.csv"), upload, number, "r") as opened:
        await opened.write(data)
        return await opened.commit(None, Checksums({name: checksum(name, data) for name in names}, "FULL_OBJECT"))


def part(world: GatewayWorld, upload: str, number: int, data: bytes, *names: str) -> CompletedPart:
    done = world.run(_part(world, upload, number, data, names))
    return CompletedPart(number, done.etag, done.checksums)


def complete(world: GatewayWorld, upload: str, parts: list[CompletedPart], **given: Any) -> Any:
    return world.front.complete_upload(world.steward, world.ref("a.csv"), upload, parts, None, "r", **given)


@pytest.mark.parametrize("name", CRCS)
@pytest.mark.parametrize("lengths", [(0,), (1,), (0, 0, 5), (7, 0, 1), (1000, 65_537, 3), (1, 1, 1, 1, 1)])
def test_crcs_of_parts_are_the_crc_of_the_whole(name: str, lengths: tuple[int, ...]) -> None:
    pieces = [os.urandom(length) for length in lengths]

    def crc(data: bytes) -> int:
        return int.from_bytes(base64.b64decode(checksum(name, data)), "big")

    assert combined_crc(name, [(crc(piece), len(piece)) for piece in pieces]) == crc(b"".join(pieces))


def test_which_types_there_are() -> None:
    assert type_over_parts("", "") == ""
    assert type_over_parts("crc64nvme", "") == "FULL_OBJECT"
    assert type_over_parts("sha256", "") == type_over_parts("crc32", "") == "COMPOSITE"
    for algorithm, kind in (
        ("sha256", "FULL_OBJECT"), ("sha1", "FULL_OBJECT"), ("crc64nvme", "COMPOSITE"), ("crc32", "HALF"),
        ("", "COMPOSITE"),
    ):  # fmt: skip
        with pytest.raises(BadRequest) as refused:
            type_over_parts(algorithm, kind)
        assert refused.value.code == "InvalidRequest"


@pytest.mark.parametrize("name", CRCS)
def test_the_whole_objects_crc(world: GatewayWorld, name: str) -> None:
    upload = begin(world, name, "FULL_OBJECT")
    parts = [part(world, upload, 1, PART, name), part(world, upload, 3, CSV, name)]
    value = checksum(name, PART + CSV)
    error = world.refused(complete(world, upload, parts, checksums=Checksums({name: checksum(name, b"")})))
    assert error.code == "BadDigest"
    assert world.find("a.csv") is None
    written = world.run(complete(world, upload, parts, checksums=Checksums({name: value}, "FULL_OBJECT")))
    assert (dict(written.checksums.values), written.checksums.type) == ({name: value}, "FULL_OBJECT")
    again = world.run(complete(world, upload, parts))
    assert again.checksums == written.checksums


@pytest.mark.parametrize("name", ["sha256", "sha1", "crc32", "crc32c"])
def test_composite_checksums_and_parts(world: GatewayWorld, name: str) -> None:
    upload = begin(world, name, "COMPOSITE")
    second, first = part(world, upload, 7, CSV, name), part(world, upload, 2, PART, name)
    listing = world.run(world.front.list_parts(world.steward, world.ref("a.csv"), upload, after=0, limit=9))
    assert (listing.checksum_algorithm, listing.checksum_type) == (name, "COMPOSITE")
    assert [(p.number, dict(p.checksums)) for p in listing.parts] == [
        (2, {name: checksum(name, PART)}), (7, {name: checksum(name, CSV)})
    ]  # fmt: skip
    written = world.run(complete(world, upload, [first, second]))
    digests = b"".join(base64.b64decode(checksum(name, data)) for data in (PART, CSV))
    value = f"{checksum(name, digests)}-2"
    assert (dict(written.checksums.values), written.checksums.type) == ({name: value}, "COMPOSITE")

    async def head(who: Principal) -> tuple[Any, Any]:
        async with world.front.open_read(
            who, world.ref("a.csv"), action="head", require_view=None, request_id="r"
        ) as opened:
            return opened.checksums, [(p.number, p.size, dict(p.checksums)) for p in opened.parts]

    for who in (world.attested(), world.steward):
        kept, parts = world.run(head(who))
        assert kept == written.checksums
        assert parts == [(2, len(PART), {name: checksum(name, PART)}), (7, len(CSV), {name: checksum(name, CSV)})]


def test_a_part_without_its_checksum_is_refused(world: GatewayWorld) -> None:
    upload = begin(world, "sha256")
    error = world.refused(_part(world, upload, 1, CSV, ("crc32",)))
    assert (error.code, error.rule) == ("InvalidRequest", "checksum.missing")
    listing = world.run(world.front.list_parts(world.steward, world.ref("a.csv"), upload, after=0, limit=9))
    assert listing.parts == ()


def test_a_part_named_with_another_checksum(world: GatewayWorld) -> None:
    upload = begin(world, "sha256")
    one = part(world, upload, 1, CSV, "sha256")
    wrong = CompletedPart(1, one.etag, {"sha256": checksum("sha256", b"")})
    assert world.refused(complete(world, upload, [wrong])).code == "InvalidPart"
    assert world.find("a.csv") is None
    assert world.run(complete(world, upload, [one])).size == len(CSV)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"checksums": Checksums({"sha1": "x"})}, "BadDigest"),
        ({"checksums": Checksums({"sha256": "x"})}, "BadDigest"),
        ({"checksums": Checksums({"sha256": "x"}, "FULL_OBJECT")}, "InvalidRequest"),
        ({"size": len(CSV) + 1}, "InvalidRequest"),
        ({"size": 0}, "InvalidRequest"),
    ],
)
def test_what_the_caller_says_of_the_whole(world: GatewayWorld, given: dict[str, Any], code: str) -> None:
    upload = begin(world, "sha256")
    parts = [part(world, upload, 1, CSV, "sha256")]
    assert world.refused(complete(world, upload, parts, **given)).code == code
    assert world.find("a.csv") is None
    assert world.run(complete(world, upload, parts, size=len(CSV))).size == len(CSV)


def test_without_an_algorithm_what_is_said_is_checked_too(world: GatewayWorld) -> None:
    upload = begin(world)
    parts = [part(world, upload, 1, PART, "crc32"), part(world, upload, 2, CSV, "crc32")]
    wrong = Checksums({"crc32": checksum("crc32", CSV)}, "FULL_OBJECT")
    assert world.refused(complete(world, upload, parts, checksums=wrong)).code == "BadDigest"
    assert world.refused(complete(world, upload, parts, checksums=Checksums({"sha1": "x"}))).code == "InvalidRequest"
    right = Checksums({"crc32": checksum("crc32", PART + CSV)}, "FULL_OBJECT")
    assert world.run(complete(world, upload, parts, checksums=right)).checksums == right


def test_checksums_of_one_put_are_kept_and_no_view_has_them(world: GatewayWorld) -> None:
    digests = Checksums({"sha256": checksum("sha256", CSV)}, "FULL_OBJECT")

    async def put() -> None:
        async with world.front.open_write(
            world.steward, world.ref("a.csv"), content_type="text/csv", user_metadata={}, condition=None,
            request_id="r",
        ) as opened:  # fmt: skip
            await opened.write(CSV)
            assert (await opened.commit(None, digests)).checksums == digests

    world.run(put())
    world.build(world.version("a.csv"))

    async def looked(who: Principal, seen: Callable[[Any], Any]) -> Any:
        async with world.front.open_read(
            who, world.ref("a.csv"), action="head", require_view=None, request_id="r"
        ) as opened:
            return seen(opened)

    def seen(opened: Any) -> Any:
        return opened.checksums, list(opened.parts), opened.tag_count, dict(opened.user_metadata)

    assert world.run(looked(world.attested(), seen))[0] == digests
    assert world.run(looked(world.steward, seen))[0] == digests
    assert world.run(looked(world.analyst, seen)) == (Checksums(), [], 0, {})
    listed = world.run(
        world.front.list_objects(
            world.analyst, world.dataset_ref(), prefix="", delimiter="", after="", limit=9, request_id="r"
        )
    )
    assert [entry.checksums for entry in listed.objects] == [Checksums()]


# --- the life of an upload


def test_parts_in_any_order_sent_again_and_left_out(world: GatewayWorld) -> None:
    upload = begin(world)
    late, first = part(world, upload, 10_000, CSV), part(world, upload, 1, PART[::-1])
    again = part(world, upload, 1, PART)
    part(world, upload, 5, b"left out")
    assert world.refused(complete(world, upload, [first, late])).code == "InvalidPart"
    written = world.run(complete(world, upload, [again, late]))
    md5 = hashlib.md5(hashlib.md5(PART).digest() + hashlib.md5(CSV).digest()).hexdigest()
    assert (written.etag, written.size) == (f"{md5}-2", len(PART) + len(CSV))
    assert world.read(world.attested(), "a.csv").body == PART + CSV


def test_only_the_same_complete_is_repeated(world: GatewayWorld) -> None:
    upload = begin(world)
    one = part(world, upload, 1, CSV)
    first = world.run(complete(world, upload, [one]))
    assert world.run(complete(world, upload, [one])).etag == first.etag
    assert world.refused(complete(world, upload, [CompletedPart(2, one.etag)])).code == "NoSuchUpload"
    assert len(world.entries("commit")) == 1


def test_uploads_are_listed_page_by_page(world: GatewayWorld) -> None:
    dataset = world.dataset_ref()
    row = world.catalog.dataset("claims")
    made = []
    for n in range(120):
        key = f"{'ab'[n % 2]}/{n // 4:04}"
        upload = world.vault.begin_upload(
            row, key, "raw", "", {}, principal_id=world.steward.principal_id, run_id="e" * 32
        )
        made.append((key, upload.upload_id))
    world.vault.begin_upload(row, "a/0000", "raw", "", {}, principal_id="f" * 32, run_id="e" * 32)

    def page(**given: Any) -> Any:
        asked: dict[str, Any] = {"prefix": "", "after_key": "", "after_upload": "", "limit": 100} | given
        return world.run(world.front.list_uploads(world.steward, dataset, **asked))

    first = page()
    assert first.truncated
    last = first.uploads[-1]
    rest = page(after_key=last.key, after_upload=last.upload_id)
    assert not rest.truncated
    assert [(u.key, u.upload_id) for u in (*first.uploads, *rest.uploads)] == sorted(made)
    rolled = page(delimiter="/")
    assert (rolled.uploads, rolled.common_prefixes, rolled.truncated) == ((), ("a/", "b/"), False)
    one = page(delimiter="/", limit=1)
    assert (one.common_prefixes, one.truncated) == (("a/",), True)
    assert page(delimiter="/", after_key="a/").common_prefixes == ("b/",)
    within = page(prefix="b/", delimiter="/", limit=5)
    assert [(u.key, u.upload_id) for u in within.uploads] == [m for m in sorted(made) if m[0] > "b"][:5]
    key = within.uploads[0].key
    assert all(u.key > key for u in page(prefix="b/", after_key=key).uploads)
