"""The two other ways to a key: an open upload to its own, a leased job to its version's."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld, FakeJob, FakeUpload
from vault.errors import Refused

UPLOAD = "up-1"


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@pytest.fixture
def version(world: BrokerWorld) -> str:
    return secrets.token_hex(16)


def upload(world: BrokerWorld, version: str) -> bytes:
    """An open upload; answers its wrapped key."""
    wrapped = world.generate(version, upload_id=UPLOAD).upload_wrapped
    assert wrapped is not None
    dataset_id = world.dataset.dataset_id
    world.catalog.uploads[dataset_id, UPLOAD] = FakeUpload(UPLOAD, dataset_id, version)
    world.restarted()
    return wrapped


def test_open_upload_gets_its_key_between_parts(world: BrokerWorld, version: str) -> None:
    generated = world.generate(version, upload_id=UPLOAD)
    dataset_id = world.dataset.dataset_id
    world.catalog.uploads[dataset_id, UPLOAD] = FakeUpload(UPLOAD, dataset_id, version)
    assert generated.upload_wrapped is not None
    key = world.broker.unwrap_upload(world.scope(), version, UPLOAD, generated.upload_wrapped)
    assert key == generated.object_key


@pytest.mark.parametrize("state", ["completed", "aborted", ""])
def test_finished_upload_opens_nothing(world: BrokerWorld, version: str, state: str) -> None:
    wrapped = upload(world, version)
    place = (world.dataset.dataset_id, UPLOAD)
    world.catalog.uploads[place] = replace(world.catalog.uploads[place], state=state)
    with pytest.raises(Refused, match=r"broker\.upload"):
        world.broker.unwrap_upload(world.scope(), version, UPLOAD, wrapped)
    assert world.opened() == 0
    assert [record["reason"] for record in world.refusals] == ["broker.upload"]


def test_aborted_upload_opens_nothing_though_its_row_says_open_again(world: BrokerWorld, version: str) -> None:
    """Who kept the wrap and writes rows: the broker has a mark of its own, also after it started anew."""
    wrapped = upload(world, version)
    other = world.generate("0" * 32, upload_id="up-2").upload_wrapped
    assert other is not None
    dataset_id = world.dataset.dataset_id
    world.catalog.uploads[dataset_id, "up-2"] = FakeUpload("up-2", dataset_id, "0" * 32)
    opened = world.opened()
    world.broker.end_upload(world.scope(), version, UPLOAD)
    for _ in range(2):
        with pytest.raises(Refused, match=r"broker\.upload"):
            world.broker.unwrap_upload(world.scope(), version, UPLOAD, wrapped)
        world.restarted()
    assert world.opened() == opened
    assert world.broker.unwrap_upload(world.scope(), "0" * 32, "up-2", other)
    with pytest.raises(Refused, match=r"broker\.place"):
        world.broker.end_upload(world.scope(zone="fr"), "0" * 32, "up-2")


def test_upload_opens_no_other_version_and_no_manifest_wrap(world: BrokerWorld, version: str) -> None:
    wrapped = upload(world, version)
    with pytest.raises(Refused, match=r"broker\.upload"):
        world.broker.unwrap_upload(world.scope(), "0" * 32, UPLOAD, wrapped)
    committed = world.generate(version).wrapped  # as it stands in a manifest
    disguised = bytes.fromhex(committed.group_id) + committed.wrapped
    with pytest.raises(Refused, match=r"wrap\.context"):
        world.broker.unwrap_upload(world.scope(), version, UPLOAD, disguised)


def test_upload_wrap_of_another_upload_does_not_open(world: BrokerWorld, version: str) -> None:
    wrapped = upload(world, version)
    dataset_id = world.dataset.dataset_id
    world.catalog.uploads[dataset_id, "up-2"] = FakeUpload("up-2", dataset_id, version)
    with pytest.raises(Refused, match=r"wrap\.context"):
        world.broker.unwrap_upload(world.scope(), version, "up-2", wrapped)


def test_unknown_upload_or_other_zone_opens_nothing(world: BrokerWorld, version: str) -> None:
    wrapped = upload(world, version)
    with pytest.raises(Refused, match=r"broker\.upload"):
        world.broker.unwrap_upload(world.scope(), version, "up-2", wrapped)
    with pytest.raises(Refused, match=r"broker\.place"):
        world.broker.unwrap_upload(world.scope(zone="fr"), version, UPLOAD, wrapped)
    assert world.opened() == 0


def job(world: BrokerWorld, version: str) -> FakeJob:
    row = FakeJob("job-1", {"dataset_id": world.dataset.dataset_id, "version_id": version})
    world.catalog.jobs[row.job_id] = row
    return row


def test_leased_job_opens_the_version_it_names(world: BrokerWorld, version: str) -> None:
    generated = world.generate(version)
    job(world, version)
    key = world.broker.builder_unwrap(world.scope(), version, generated.wrapped, "job-1", 1)
    assert key == generated.object_key


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "queued"}, "broker.job"),
        ({"state": "done"}, "broker.job"),
        ({"lease_until": 0}, "broker.job"),
        ({"fence": 2}, "broker.fence"),
        ({"kind": "sweep"}, "broker.job"),
        ({"subject": {"dataset_id": "0" * 32, "version_id": "0" * 32}}, "broker.job"),
        ({"subject": {}}, "broker.job"),
    ],
)
def test_other_jobs_open_nothing(world: BrokerWorld, version: str, change: dict[str, object], reason: str) -> None:
    generated = world.generate(version)
    world.restarted()
    world.catalog.jobs["job-1"] = replace(job(world, version), **change)  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        world.broker.builder_unwrap(world.scope(), version, generated.wrapped, "job-1", 1)
    assert caught.value.reason == reason
    assert world.opened() == 0
    assert [record["reason"] for record in world.refusals] == [reason]


def test_leased_job_opens_nothing_of_another_tenant_or_zone(world: BrokerWorld, version: str) -> None:
    generated = world.generate(version)
    world.restarted()
    job(world, version)
    for change in ({"tenant": "other"}, {"zone": "fr"}):
        with pytest.raises(Refused, match=r"broker\.place"):
            world.broker.builder_unwrap(world.scope(**change), version, generated.wrapped, "job-1", 1)
    assert world.opened() == 0


def test_unknown_job_opens_nothing(world: BrokerWorld, version: str) -> None:
    generated = world.generate(version)
    with pytest.raises(Refused, match=r"broker\.job"):
        world.broker.builder_unwrap(world.scope(), version, generated.wrapped, "job-2", 1)


def test_pseudonym_keys_join_inside_a_purpose_class_and_nowhere_else(world: BrokerWorld, version: str) -> None:
    job(world, version)
    analytics = world.broker.pseudonym_key("main", "analytics", "job-1", 1)
    assert world.broker.pseudonym_key("main", "analytics", "job-1", 1) == analytics
    assert world.broker.pseudonym_key("main", "training", "job-1", 1) != analytics
    world.restarted()
    assert world.broker.pseudonym_key("main", "analytics", "job-1", 1) == analytics


def test_pseudonym_key_needs_a_leased_view_job_of_this_tenant(world: BrokerWorld, version: str) -> None:
    row = job(world, version)
    with pytest.raises(Refused, match=r"broker\.place"):
        world.broker.pseudonym_key("other", "analytics", "job-1", 1)
    with pytest.raises(Refused, match=r"broker\.fence"):
        world.broker.pseudonym_key("main", "analytics", "job-1", 2)
    world.catalog.jobs["job-1"] = replace(row, kind="describe")
    with pytest.raises(Refused, match=r"broker\.job"):
        world.broker.pseudonym_key("main", "analytics", "job-1", 1)
    assert [record["reason"] for record in world.refusals] == ["broker.place", "broker.fence", "broker.job"]


def test_generate_makes_one_epoch_per_class_and_reserves_in_blocks(world: BrokerWorld) -> None:
    for _ in range(65):
        world.generate(secrets.token_hex(16))
    world.generate(secrets.token_hex(16), "view")
    assert sorted((e.key_class, e.state) for e in world.catalog.epochs_by_id.values()) == [
        ("raw", "active"), ("view", "active"),
    ]  # fmt: skip
    assert sorted(group.objects for group in world.catalog.groups.values()) == [64, 128]


def test_generate_for_another_zone_makes_nothing(world: BrokerWorld) -> None:
    with pytest.raises(Refused, match=r"broker\.place"):
        world.broker.generate(world.scope(zone="fr"), secrets.token_hex(16))
    assert world.catalog.writes == []
    assert world.calls == []
