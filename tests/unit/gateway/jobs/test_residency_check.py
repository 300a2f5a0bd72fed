"""The residency round: places are asked, the answer is recorded when it changes, drift closes the zone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs.residency import ResidencyCheck
from tests.fakes.gateway_world import CSV, MASKED, GatewayWorld
from tests.fakes.ledger import ledger_down
from vault.errors import Unavailable
from vault.keys.provider import ProviderLocation
from vault.residency import Located
from vault.store.exposure import Exposure, Replica


class Provider:
    def __init__(self) -> None:
        self.observed = "de"

    def location(self) -> ProviderLocation:
        return ProviderLocation(self.observed, "self-reported", "local")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.build(made.put("a.csv", CSV))
    yield made
    made.close()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def check(world: GatewayWorld, provider: Provider) -> ResidencyCheck:
    def append(entry: dict[str, Any]) -> None:
        world._record_refusal(entry)

    places: list[Any] = [Located("store", world.store, world.store.exposure), Located("key-provider", provider)]
    return ResidencyCheck(
        world.catalog, "de", "de", {"eu-central-1": "de", "us-east-1": "us"}, places, append, world.guard.recorder,
        world.clock,
    )  # fmt: skip


def test_what_every_place_says_is_recorded_and_observed(world: GatewayWorld, check: ResidencyCheck) -> None:
    check()
    (entry,) = world.entries("residency")
    assert (entry["state"], entry["reason"], entry["strength"]) == ("open", "", "self-reported")
    assert entry["observed"] == [
        "store=de (self-reported)", "store-replica=no (self-reported)", "store-public=no (self-reported)",
        "store-versions=off (self-reported)", "key-provider=de (self-reported)",
    ]  # fmt: skip
    row = world.catalog.zone_state("de")
    assert (row.state, row.record, row.observed_at) == ("open", entry["id"], world.clock())


def test_a_round_that_finds_the_same_writes_no_entry_and_keeps_its_record(
    world: GatewayWorld, check: ResidencyCheck
) -> None:
    """A row must name the entry that authorised it, not one that was never written."""
    check()
    world.clock.advance(60_000)
    check()
    (entry,) = world.entries("residency")
    row = world.catalog.zone_state("de")
    assert (row.record, row.observed_at) == (entry["id"], world.clock())


@pytest.mark.parametrize("which", ["store", "provider"])
@pytest.mark.parametrize(
    ("observed", "reason"), [("us-east-1", "elsewhere"), ("mars", "unknown-location"), ("", "unknown-location")]
)
def test_drift_closes_the_zone_and_coming_back_opens_it(
    world: GatewayWorld, check: ResidencyCheck, provider: Provider, which: str, observed: str, reason: str
) -> None:
    check()
    place: Any = world.store if which == "store" else provider
    place.observed = observed
    check()
    world.clock.advance(5_000)
    refused = world.read(world.analyst, "a.csv")
    assert (refused.refusal.status, refused.refusal.rule, refused.body) == (503, "residency.zone-closed", b"")
    what = "store" if which == "store" else "key-provider"
    assert world.entries("residency")[-1]["reason"] == f"{what}.{reason}"
    place.observed = "de"
    check()
    world.clock.advance(5_000)
    assert world.read(world.analyst, "a.csv").body == MASKED
    assert [entry["state"] for entry in world.entries("residency")] == ["open", "closed", "open"]


WAYS_OUT = {
    "a copy abroad": (Exposure("yes", "no", "off", (Replica("arn:copies", "us-east-1"),)), "store.replica-elsewhere"),
    "a copy nobody can place": (Exposure("yes", "no", "off", (Replica("arn:copies", ""),)), "store.replica-unknown"),
    "one copy at home, one abroad": (
        Exposure("yes", "no", "off", (Replica("a", "de"), Replica("b", "us-east-1"))), "store.replica-elsewhere"
    ),
    "rules without a destination": (Exposure("yes", "no", "off"), "store.replica-unknown"),
    "rules that may not be seen": (Exposure("unknown", "no", "off"), "store.replication-unknown"),
    "a public door": (Exposure("no", "yes", "off"), "store.public"),
    "a door nobody could look at": (Exposure("no", "unknown", "off"), "store.public"),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_way_out_of_the_zone_closes_it_and_its_end_opens_it(
    name: str, world: GatewayWorld, check: ResidencyCheck
) -> None:
    check()
    way, reason = WAYS_OUT[name]
    shut = world.store.exposed
    world.store.exposed = way
    check()
    world.clock.advance(5_000)
    refused = world.read(world.analyst, "a.csv")
    assert (refused.refusal.status, refused.refusal.rule, refused.body) == (503, "residency.zone-closed", b"")
    assert world.entries("residency")[-1]["reason"] == reason
    world.store.exposed = shut
    check()
    world.clock.advance(5_000)
    assert world.read(world.analyst, "a.csv").body == MASKED
    assert [entry["state"] for entry in world.entries("residency")] == ["open", "closed", "open"]


@pytest.mark.parametrize("kept", ["kept", "suspended", "unknown", "not-offered"])
def test_versions_that_stay_and_copies_at_home_are_told_and_close_nothing(
    kept: Any, world: GatewayWorld, check: ResidencyCheck
) -> None:
    world.store.exposed = Exposure("yes", "no", kept, (Replica("arn:copies", "eu-central-1"),))
    check()
    assert world.catalog.zone_state("de").state == "open"
    told = world.entries("residency")[-1]["observed"]
    assert f"store-versions={kept} (self-reported)" in told
    assert "store-replica=eu-central-1 (self-reported)" in told


def test_decisions_state_the_places_and_not_every_answer(world: GatewayWorld, check: ResidencyCheck) -> None:
    check()
    world.clock.advance(5_000)
    world.read(world.analyst, "a.csv")
    assert [each["what"] for each in world.entries("intent")[-1]["residency"]] == ["store", "key-provider"]


def test_another_name_of_the_same_place_is_the_same_place(world: GatewayWorld, check: ResidencyCheck) -> None:
    world.store.observed = "eu-central-1"
    check()
    assert world.catalog.zone_state("de").state == "open"


def test_a_place_that_does_not_answer_closes_the_zone(world: GatewayWorld, check: ResidencyCheck) -> None:
    def silent(call: str, key: str) -> None:
        raise Unavailable("store.unreachable")

    world.store.before = silent
    check()
    row = world.catalog.zone_state("de")
    assert (row.state, row.reason) == ("closed", "store.unreachable")


def test_a_verdict_that_cannot_be_recorded_is_not_in_force(world: GatewayWorld, check: ResidencyCheck) -> None:
    check()
    world.store.observed = "us-east-1"
    world.ledger.fault = ledger_down
    before = world.picture()
    with pytest.raises(Unavailable):
        check()
    assert world.picture() == before
    world.ledger.fault = lambda when, entry: None
    check()  # the next round says it again
    assert world.catalog.zone_state("de").state == "closed"
    assert world.entries("residency")[-1]["state"] == "closed"
