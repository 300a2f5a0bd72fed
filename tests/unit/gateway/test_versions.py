"""Versions through the guard: markers, null versions, pages, and what a caller of a view is not told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.principal import Principal
from gateway.s3.ports import DeleteCondition, Deleted, VersionListing
from tests.fakes.gateway_world import CSV, MASKED, GatewayWorld
from vault.catalog.rows import VersionRow
from vault.writing import Facts


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    world = GatewayWorld(tmp_path)
    yield world
    world.close()


def switch(world: GatewayWorld, state: str, dataset: str = "claims") -> None:
    world.run(world.front.set_versioning(world.steward, world.dataset_ref(dataset), state, "req"))


def delete(
    world: GatewayWorld, key: str = "a.csv", version_id: str | None = None, *, by: Principal | None = None,
    dataset: str = "claims", condition: DeleteCondition | None = None,
) -> Deleted:  # fmt: skip
    ref = world.ref(key, dataset, version_id)
    return world.run(world.front.delete(by or world.steward, ref, "req", condition))


def versions(world: GatewayWorld, who: Principal | None = None, **given: Any) -> VersionListing:
    asked: dict[str, Any] = {"prefix": "", "delimiter": "", "after_key": "", "after_version": "", "limit": 1000} | given
    return world.run(
        world.front.list_versions(
            who or world.steward, world.dataset_ref(asked.pop("dataset", "claims")), **asked, request_id="req"
        )
    )


def names(listing: VersionListing) -> list[tuple[str, str, bool, bool]]:
    return [(v.key, v.version_id, v.is_latest, v.delete_marker) for v in listing.versions]


def test_switching_is_decided_recorded_and_stays(world: GatewayWorld) -> None:
    ref = world.dataset_ref()
    assert world.run(world.front.get_versioning(world.steward, ref)) == "off"
    switch(world, "enabled")
    (event,) = [entry for entry in world.entries("dataset") if entry.get("change") == "versioning"]
    assert event["versioning"] == "enabled"
    assert world.intent(event["intent"])["action"] == "administer"
    assert world.run(world.front.get_versioning(world.steward, ref)) == "enabled"
    switch(world, "suspended")
    assert world.dataset_row().versioning == "suspended"
    error = world.refused(world.front.set_versioning(world.steward, ref, "off", "req"))
    assert error.code == "MalformedXML"
    with world.unchanged():
        error = world.refused(world.front.set_versioning(world.analyst, ref, "enabled", "req"))
    assert error.status == 403


def test_a_key_without_versions_shows_none(world: GatewayWorld) -> None:
    written = world.written(world.steward, "a.csv", CSV)
    assert written.version_id is None
    assert delete(world).version_id is None


def test_versions_are_read_by_their_ids_and_markers_are_not(world: GatewayWorld) -> None:
    switch(world, "enabled")
    first = world.written(world.steward, "a.csv", CSV)
    second = world.written(world.steward, "a.csv", CSV + b"x,y,1\n")
    assert first.version_id
    assert first.version_id != second.version_id
    marker = delete(world)
    assert marker.delete_marker
    who = world.attested()
    assert world.read(who, "a.csv", version_id=first.version_id).body == CSV
    assert world.read(who, "a.csv", version_id=second.version_id).body == CSV + b"x,y,1\n"
    hidden = world.read(who, "a.csv").refusal
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": marker.version_id}
    assert (hidden.status, hidden.code, hidden.headers) == (404, "NoSuchKey", headers)
    named = world.read(who, "a.csv", version_id=marker.version_id).refusal
    assert (named.status, named.code, named.headers) == (405, "MethodNotAllowed", headers)
    absent = world.read(who, "a.csv", version_id="f" * 32).refusal
    assert (absent.status, absent.code, absent.headers) == (404, "NoSuchVersion", {})
    assert world.read(who, "b.csv", version_id=first.version_id).refusal.code == "NoSuchVersion"
    for error in (hidden, named, absent):
        assert world.outcome(error.decision_id)["status"] == "refused"


def test_removing_the_marker_reveals_and_removing_the_version_too(world: GatewayWorld) -> None:
    switch(world, "enabled")
    first = world.written(world.steward, "a.csv", CSV)
    second = world.written(world.steward, "a.csv", CSV * 2)
    marker = delete(world)
    gone = delete(world, version_id=marker.version_id)
    assert (gone.delete_marker, gone.version_id) == (True, marker.version_id)
    assert world.read(world.attested(), "a.csv").body == CSV * 2
    gone = delete(world, version_id=second.version_id)
    assert (gone.delete_marker, gone.version_id) == (False, second.version_id)
    assert world.read(world.attested(), "a.csv").body == CSV
    assert delete(world, version_id=second.version_id) is not None  # nothing there: nothing happens
    assert names(versions(world)) == [("a.csv", first.version_id, True, False)]


def test_null_versions_under_suspension(world: GatewayWorld) -> None:
    null = world.put("a.csv", CSV)
    switch(world, "enabled")
    kept = world.written(world.steward, "a.csv", CSV * 2)
    switch(world, "suspended")
    written = world.written(world.steward, "a.csv", CSV * 3)
    assert written.version_id == "null"
    assert world.catalog.version(null.dataset_id, null.version_id) is None
    assert world.read(world.attested(), "a.csv", version_id="null").body == CSV * 3
    marker = delete(world)
    assert (marker.delete_marker, marker.version_id) == (True, "null")
    assert world.read(world.attested(), "a.csv", version_id="null").refusal.status == 405
    assert names(versions(world)) == [
        ("a.csv", "null", True, True), ("a.csv", kept.version_id, False, False)
    ]  # fmt: skip
    assert delete(world, version_id="null").version_id == "null"
    assert world.read(world.attested(), "a.csv").body == CSV * 2


def test_who_did_not_set_a_marker_does_not_take_it_away(world: GatewayWorld) -> None:
    """A job may delete what it wrote; by removing the steward's marker it would bring back what that hid."""
    switch(world, "enabled")
    world.written(world.steward, "a.csv", CSV)
    marker, job = delete(world), world.attested()
    with world.unchanged():
        error = world.refused(world.front.delete(job, world.ref("a.csv", version_id=marker.version_id), "req"))
    assert error.rule == "access.not-author"


@pytest.mark.parametrize(
    "condition",
    [
        DeleteCondition(if_match="0" * 32), DeleteCondition(if_match_size=1), DeleteCondition(if_match_last_modified=1),
    ],
)
def test_a_conditional_delete(world: GatewayWorld, condition: DeleteCondition) -> None:
    row = world.put("a.csv", CSV)
    with world.unchanged():
        error = world.refused(world.front.delete(world.steward, world.ref("a.csv"), "req", condition))
    assert (error.status, error.code) == (412, "PreconditionFailed")
    # As S3 tells it: what is not there is not deleted, and that is no failure.
    delete(world, "nothing.csv", condition=condition)
    delete(world, condition=DeleteCondition(if_match=row.etag, if_match_size=len(CSV)))
    assert world.find("a.csv") is None


def test_a_conditional_delete_of_nothing_leaves_no_marker(world: GatewayWorld) -> None:
    switch(world, "enabled", "open-data")
    gone = delete(world, "nothing.csv", dataset="open-data", condition=DeleteCondition(if_match="*"))
    assert not gone.delete_marker
    assert versions(world, dataset="open-data").versions == ()
    assert delete(world, "nothing.csv", dataset="open-data").delete_marker


def test_pages_of_versions(world: GatewayWorld) -> None:
    switch(world, "enabled", "open-data")
    made: list[tuple[str, str]] = []
    for key in ("a/1", "a/2", "b", "ä", "😀"):
        ids = [
            str(world.written(world.steward, key, b"%d" % n, dataset="open-data").version_id) for n in range(3)
        ]
        made += [(key, version_id) for version_id in reversed(ids)]
    for limit in range(1, 17):
        found: list[tuple[str, str]] = []
        after: dict[str, Any] = {}
        while True:
            page = versions(world, dataset="open-data", limit=limit, **after)
            assert len(page.versions) <= limit
            found += [(v.key, v.version_id) for v in page.versions]
            if not page.truncated:
                break
            after = {"after_key": page.last_key, "after_version": page.last_version}
        assert found == made
    rolled = versions(world, dataset="open-data", delimiter="/", limit=2)
    assert (rolled.common_prefixes, names(rolled)[0][0], rolled.truncated) == (("a/",), "b", True)
    rest = versions(
        world, dataset="open-data", delimiter="/", after_key=rolled.last_key, after_version=rolled.last_version or ""
    )
    assert [(v.key, v.version_id) for v in rest.versions] == made[7:]
    within = versions(world, dataset="open-data", prefix="a/", delimiter="/")
    assert [(v.key, v.version_id) for v in within.versions] == made[:6]
    after_key = versions(world, dataset="open-data", after_key="b")
    assert [(v.key, v.version_id) for v in after_key.versions] == made[9:]
    assert versions(world, dataset="open-data", limit=0).versions == ()
    error = world.refused(
        world.front.list_versions(
            world.steward, world.dataset_ref("open-data"), prefix="", delimiter="", after_key="b",
            after_version="f" * 32, limit=9, request_id="req",
        )
    )  # fmt: skip
    assert error.code == "InvalidArgument"


def test_listing_costs_living_rows_only(world: GatewayWorld) -> None:
    """A key that was overwritten often is listed as fast as another: the index has its living rows alone."""
    plan = world.rows(
        "explain query plan select * from object_version where tenant = 'main' and dataset_id = 'd' "
        "and state = 'live' and key > 'a' order by key, sequence desc limit 10"
    )
    assert any("object_version_key" in row[3] for row in plan)
    assert "WHERE state = 'live'" in world.rows("select sql from sqlite_master where name = 'object_version_key'")[0][0]


def test_who_sees_a_view_is_shown_its_versions_and_no_marker(world: GatewayWorld) -> None:
    switch(world, "enabled")
    old, new = world.put("a.csv", CSV), world.put("a.csv", CSV * 2)
    world.build(old)
    world.build(new, MASKED * 2)
    secret = world.put("secret.csv", CSV)
    delete(world, "secret.csv")
    world.build(secret)
    marker = delete(world)
    seen = versions(world, world.analyst)
    assert {v.key for v in seen.versions if v.delete_marker} == set()
    shown = [v for v in seen.versions if v.key == "a.csv"]
    assert [(v.version_id, v.size) for v in shown] == [
        (new.version_id, len(MASKED * 2)), (old.version_id, len(MASKED))
    ]  # fmt: skip
    raw: set[Any] = {old.etag, new.etag}
    assert not raw & {v.etag for v in seen.versions}
    assert not {old.size, new.size} & {v.size for v in seen.versions}
    assert all(not v.checksums.values for v in seen.versions)
    for version_id in (None, marker.version_id):
        error = world.read(world.analyst, "a.csv", version_id=version_id).refusal
        assert (error.status, error.headers) == (404, {})


def test_the_steward_lists_what_it_wrote(world: GatewayWorld) -> None:
    switch(world, "enabled")
    mine = world.put("a.csv", CSV)
    theirs = world.put("b.csv", CSV, by=world.attested())
    assert [v.key for v in versions(world).versions] == [mine.key]
    both = versions(world, world.attested())
    assert [v.key for v in both.versions] == [mine.key, theirs.key]


def test_every_page_is_decided_and_recorded(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    listing = versions(world)
    assert world.intent(listing.decision_id)["action"] == "list"
    assert world.outcome(listing.decision_id)["status"] == "complete"


def test_a_read_that_was_overtaken_is_decided_again(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest of what was overwritten is gone before the writer is answered; who was reading gets the new one."""
    world.put("a.csv", CSV)
    who, opening = world.attested(), world.vault.open
    overtaken: list[VersionRow] = []

    def late(*args: Any, **given: Any) -> Any:
        if not overtaken:
            overtaken.append(world.catalog.latest(world.dataset.dataset_id, "a.csv"))  # type: ignore[arg-type]
            sealed = world.vault.begin(world.dataset_row(), "a.csv", "raw", "text/csv", {})
            sealed.write(CSV * 2)
            world.vault.commit(
                sealed.finish(Facts("personal", ("de",), 1)), written_by=world.steward.principal_id,
                run_id="e" * 32, record="0" * 32, object_format="csv",
            )  # fmt: skip
        return opening(*args, **given)

    monkeypatch.setattr(world.vault, "open", late)
    before = len(world.entries("intent"))
    answer = world.read(who, "a.csv")
    assert answer.body == CSV * 2
    intents = world.entries("intent")[before:]
    assert len(intents) == 2
    assert {entry["version"] for entry in intents} == {overtaken[0].version_id, world.version("a.csv").version_id}
    assert world.outcome(intents[0]["id"])["status"] == "refused"
    assert world.outcome(intents[1]["id"])["status"] == "complete"


@pytest.mark.parametrize(
    "key",
    [".", "..", "../x", "a/../b", "//", "a//b", "a/", "/", "/a", "a\\b", "ü" * 512, "k" * 1024, "a b+c%2Fd", "\u202e",
     "e\u0301", "é", "a\nb", "~", "\x7f", "\U0001f600/.", "*", "?versionId=x", "null"],
)  # fmt: skip
def test_a_key_is_its_characters_and_nothing_else(world: GatewayWorld, key: str) -> None:
    switch(world, "enabled", "open-data")
    world.written(world.steward, key, b"1", dataset="open-data")
    written = world.written(world.steward, key, b"22", dataset="open-data")
    other = key + "x" if len(key.encode()) < 1024 else key[:-1]
    world.written(world.steward, other, b"333", dataset="open-data")
    assert world.read(world.steward, key, dataset="open-data").body == b"22"
    newest = next(v for v in versions(world, dataset="open-data").versions if v.key == key)
    assert newest.version_id == written.version_id
    assert delete(world, key, dataset="open-data").delete_marker
    assert world.read(world.steward, key, dataset="open-data").refusal.status == 404
    assert world.read(world.steward, key, dataset="open-data", version_id=written.version_id).body == b"22"
    assert world.read(world.steward, other, dataset="open-data").body == b"333"
    ids = {entry["object"] for entry in world.entries("intent") if entry["object"]}
    assert not any(key == name for name in ids)
