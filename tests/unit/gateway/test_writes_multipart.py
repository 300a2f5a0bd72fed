"""Multipart uploads through the guard: whose they are, when they are decided, what a Complete may and may not do."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.principal import Principal
from gateway.s3.ports import CompletedPart, WriteCondition, WriteDigests, Written
from tests.fakes.doctrine import allowing
from tests.fakes.gateway_world import CSV, GatewayWorld, random_bytes
from tests.fakes.ledger import ledger_down
from vault.uploads import MIN_PART

PART = random_bytes(MIN_PART)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def begin(world: GatewayWorld, who: Principal, key: str = "a.csv", dataset: str = "claims") -> str:
    return world.run(world.front.create_upload(who, world.ref(key, dataset), "text/csv", {"made": "here"}, "r"))


def part(
    world: GatewayWorld, who: Principal, upload: str, number: int, data: bytes, key: str = "a.csv",
    dataset: str = "claims", check: Any = None,
) -> str:  # fmt: skip
    async def send() -> str:
        async with world.front.open_part(who, world.ref(key, dataset), upload, number, "r") as opened:
            await opened.write(data)
            return (await opened.commit(check)).etag

    return world.run(send())


def complete(
    world: GatewayWorld, who: Principal, upload: str, parts: list[tuple[int, str]], key: str = "a.csv",
    dataset: str = "claims", condition: WriteCondition | None = None,
) -> Any:  # fmt: skip
    named = [CompletedPart(number, etag) for number, etag in parts]
    return world.front.complete_upload(who, world.ref(key, dataset), upload, named, condition, "r")


def test_parts_become_one_object(world: GatewayWorld) -> None:
    who = world.steward
    upload = begin(world, who)
    etags = [(1, part(world, who, upload, 1, PART)), (2, part(world, who, upload, 2, CSV))]
    assert world.find("a.csv") is None
    assert etags[1][1] == hashlib.md5(CSV).hexdigest()
    written: Written = world.run(complete(world, who, upload, etags))
    assert written.size == len(PART) + len(CSV)
    assert written.etag.endswith("-2")
    answer = world.read(world.attested(), "a.csv")
    assert answer.body == PART + CSV
    assert answer.facts["user_metadata"] == {"made": "here"}
    (commit,) = world.entries("commit")
    assert commit["intent"] == written.decision_id
    assert world.intent(written.decision_id)["action"] == "complete"


def test_a_repeated_complete_answers_the_same_and_commits_once(world: GatewayWorld) -> None:
    upload = begin(world, world.steward)
    parts = [(1, part(world, world.steward, upload, 1, CSV))]
    first = world.run(complete(world, world.steward, upload, parts))
    again = world.run(complete(world, world.steward, upload, parts))
    assert (again.etag, again.size) == (first.etag, first.size)
    assert len(world.entries("commit")) == 1


@pytest.mark.parametrize("what", ["part", "abort", "list"])
def test_a_completed_upload_is_no_upload_any_more(world: GatewayWorld, what: str) -> None:
    upload = begin(world, world.steward)
    world.run(complete(world, world.steward, upload, [(1, part(world, world.steward, upload, 1, CSV))]))
    ref = world.ref("a.csv")

    async def one_part() -> None:
        async with world.front.open_part(world.steward, ref, upload, 2, "r"):
            raise AssertionError

    calls: dict[str, Any] = {
        "part": one_part,
        "abort": lambda: world.front.abort_upload(world.steward, ref, upload, "r"),
        "list": lambda: world.front.list_parts(world.steward, ref, upload, after=0, limit=10),
    }
    error = world.refused(calls[what]())
    assert (error.status, error.code) == (404, "NoSuchUpload")
    assert world.read(world.attested(), "a.csv").body == CSV


def test_another_callers_upload_another_key_and_no_upload_answer_alike(world: GatewayWorld) -> None:
    other = world.person("second", "stewardship", "steward", kind="service")
    upload = begin(world, world.steward)
    etag = part(world, world.steward, upload, 1, CSV)
    for who, key, name in ((other, "a.csv", upload), (world.steward, "b.csv", upload), (other, "a.csv", "f" * 32)):
        error = world.refused(complete(world, who, name, [(1, etag)], key=key))
        assert (error.status, error.code, error.message) == (
            404, "NoSuchUpload", "No upload of that id is yours at this key",
        )  # fmt: skip
    assert world.find("a.csv") is None
    assert world.run(complete(world, world.steward, upload, [(1, etag)])).size == len(CSV)


def test_an_upload_is_completed_in_the_run_that_began_it(world: GatewayWorld) -> None:
    """Else what one run read and sent would be committed with the label of another that read nothing."""
    first, second = world.attested(run="reads"), world.attested(run="reads-nothing")
    upload = begin(world, first)
    etag = part(world, first, upload, 1, CSV)
    assert world.refused(complete(world, second, upload, [(1, etag)])).code == "NoSuchUpload"
    assert world.find("a.csv") is None
    assert world.run(complete(world, world.attested(run="reads"), upload, [(1, etag)])).size == len(CSV)


@pytest.mark.parametrize(
    ("listed", "code"),
    [
        ([(1, "0" * 32)], "InvalidPart"),
        ([(3, "")], "InvalidPart"),
        ([(2, "b"), (1, "a")], "InvalidPartOrder"),
        ([(1, "a"), (1, "a")], "InvalidPartOrder"),
        ([], "InvalidRequest"),
        ([(1, "a"), (2, "b")], "EntityTooSmall"),
    ],
)
def test_a_list_of_parts_that_cannot_be_is_the_callers_mistake(
    world: GatewayWorld, listed: list[tuple[int, str]], code: str
) -> None:
    upload = begin(world, world.steward)
    etags = {"a": part(world, world.steward, upload, 1, b"small"), "b": part(world, world.steward, upload, 2, CSV)}
    named = [(number, etags.get(etag, etag)) for number, etag in listed]
    error = world.refused(complete(world, world.steward, upload, named))
    assert (error.status, error.code) == (400, code)
    assert world.find("a.csv") is None
    assert world.entries("commit") == []
    assert world.run(complete(world, world.steward, upload, [(2, etags["b"])])).size == len(CSV)


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers_out_of_range(world: GatewayWorld, number: int) -> None:
    upload = begin(world, world.steward)

    async def send() -> None:
        async with world.front.open_part(world.steward, world.ref("a.csv"), upload, number, "r"):
            raise AssertionError

    assert world.refused(send()).code == "InvalidArgument"


def test_a_part_whose_digest_does_not_match_is_not_one(world: GatewayWorld) -> None:
    upload = begin(world, world.steward)

    class Mismatch(Exception):
        pass

    def check(digests: WriteDigests) -> None:
        raise Mismatch

    with pytest.raises(Mismatch):
        part(world, world.steward, upload, 1, CSV, check=check)
    listing = world.run(world.front.list_parts(world.steward, world.ref("a.csv"), upload, after=0, limit=10))
    assert listing.parts == ()
    assert not world.store.unfinished


def test_a_run_that_read_personal_data_since_the_upload_began_is_409(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    who = world.attested(scope=("claims", "open-data"), run="export")
    world.engine.says = lambda document: allowing(
        "raw" if document["request"]["action"] == "read" else "none", label=document["run"]["label"]
    )
    upload = begin(world, who, "out.csv", "open-data")
    etag = part(world, who, upload, 1, CSV, "out.csv", "open-data")
    assert world.read(who, "a.csv").body == CSV
    error = world.refused(complete(world, who, upload, [(1, etag)], "out.csv", "open-data"))
    assert (error.status, error.code, error.rule) == (409, "OperationAborted", "flow.label")
    assert world.find("out.csv", "open-data") is None
    assert len(world.entries("commit")) == 1


def test_a_complete_without_a_ledger_can_be_repeated(world: GatewayWorld) -> None:
    upload = begin(world, world.steward)
    etag = part(world, world.steward, upload, 1, CSV)
    world.ledger.fault = ledger_down
    with world.unchanged():
        assert world.refused(complete(world, world.steward, upload, [(1, etag)])).status == 503
    world.ledger.fault = lambda when, entry: None
    assert world.run(complete(world, world.steward, upload, [(1, etag)])).size == len(CSV)


def test_a_condition_that_fails_leaves_the_upload_open(world: GatewayWorld) -> None:
    world.put("a.csv", b"old")
    upload = begin(world, world.steward)
    etag = part(world, world.steward, upload, 1, CSV)
    absent = WriteCondition(if_none_match=True)
    error = world.refused(complete(world, world.steward, upload, [(1, etag)], condition=absent))
    assert error.status == 412
    assert world.version("a.csv").size == 3
    assert world.run(complete(world, world.steward, upload, [(1, etag)])).size == len(CSV)


def test_an_aborted_upload_leaves_nothing(world: GatewayWorld) -> None:
    upload = begin(world, world.steward)
    etag = part(world, world.steward, upload, 1, CSV)
    world.run(world.front.abort_upload(world.steward, world.ref("a.csv"), upload, "r"))
    assert world.refused(complete(world, world.steward, upload, [(1, etag)])).code == "NoSuchUpload"
    world.clock.advance(2 * 3_600_000)
    world.vault.sweep()
    assert world.store.objects == {}
    assert world.entries("commit") == []


def test_listings_show_the_callers_own_uploads_and_parts(world: GatewayWorld) -> None:
    other = world.person("second", "stewardship", "steward", kind="service")
    mine = sorted(begin(world, world.steward, key) for key in ("a.csv", "b.csv"))
    begin(world, other, "a.csv")
    listing = world.run(world.front.list_uploads(
        world.steward, world.dataset_ref(), prefix="", after_key="", after_upload="", limit=1
    ))  # fmt: skip
    assert ([u.key for u in listing.uploads], listing.truncated) == (["a.csv"], True)
    rest = world.run(world.front.list_uploads(
        world.steward, world.dataset_ref(), prefix="", after_key="a.csv", after_upload=listing.uploads[0].upload_id,
        limit=10,
    ))  # fmt: skip
    assert ([u.key for u in rest.uploads], rest.truncated) == (["b.csv"], False)
    assert sorted([listing.uploads[0].upload_id, rest.uploads[0].upload_id]) == mine
    upload = listing.uploads[0].upload_id
    for number in (3, 1):
        part(world, world.steward, upload, number, b"%d" % number)
    first = world.run(world.front.list_parts(world.steward, world.ref("a.csv"), upload, after=0, limit=1))
    assert ([p.number for p in first.parts], first.truncated) == ([1], True)


def test_the_stored_metadata_of_an_open_upload_is_sealed(world: GatewayWorld) -> None:
    begin(world, world.steward)
    ((sealed,),) = world.rows("select sealed_metadata from upload")
    assert b"made" not in sealed
    assert b"here" not in sealed
