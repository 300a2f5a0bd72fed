import itertools
from dataclasses import dataclass

import pytest

from tests.fakes.store import FailOn, MemoryStore
from vault.residency import STRENGTHS, Located, Observation, Place, Verdict, observe, verdict
from vault.store.store import Location

LOCATIONS = {"de": "de", "eu-central-1": "de", "eu-west-3": "fr"}


@dataclass
class At:
    observed: str
    strength: str = "self-reported"

    def location(self) -> Location:
        return Location(self.observed, self.strength, "target")


def look(store: Place, provider: Place) -> Verdict:
    return verdict(observe([Located("store", store), Located("key-provider", provider)], "de", LOCATIONS))


def test_without_a_directory_only_the_jurisdictions_own_name_matches() -> None:
    places = [Located("store", At("de")), Located("key-provider", At("de"))]
    assert verdict(observe(places, "de")).state == "open"
    assert verdict(observe(places, "fr")).state == "closed"
    places[0] = Located("store", At("eu-central-1"))
    assert verdict(observe(places, "de")).reason == "store.unknown-location"


def test_all_at_home_is_open_with_the_weakest_strength() -> None:
    assert look(At("eu-central-1", "network"), At("de")) == Verdict("open", "", "self-reported")


@pytest.mark.parametrize(
    ("store", "provider", "reason"),
    [
        (At("eu-west-3"), At("de"), "store.elsewhere"),
        (At("de"), At("eu-west-3"), "key-provider.elsewhere"),
        (At("us-east-1"), At("de"), "store.unknown-location"),
        (At(""), At("de"), "store.unknown-location"),
        (At("DE"), At("de"), "store.unknown-location"),
        (At("de", "none"), At("de"), "store.unknown-location"),
        (At("de", "sworn"), At("de"), "store.unknown-location"),
    ],
)
def test_anything_else_is_closed_and_says_why(store: Place, provider: Place, reason: str) -> None:
    found = look(store, provider)
    assert (found.state, found.reason) == ("closed", reason)


def test_a_store_that_does_not_answer_is_closed() -> None:
    store = MemoryStore()
    store.before = FailOn("location", reason="store.unreachable")
    assert look(store, At("de")).reason == "store.unreachable"
    assert look(store, At("de")).state == "open"


def test_a_store_that_moved_is_noticed_at_the_next_look() -> None:
    store = MemoryStore("de")
    assert look(store, At("de")).state == "open"
    store.observed = "us-east-1"
    assert look(store, At("de")).state == "closed"


@pytest.mark.parametrize("asked", [[], ["store"], ["key-provider"]])
def test_what_nobody_asked_is_not_open(asked: list[str]) -> None:
    assert verdict(observe([Located(what, At("de")) for what in asked], "de", LOCATIONS)).state == "closed"


def test_the_strength_is_the_weakest() -> None:
    for one, two in itertools.product(STRENGTHS, STRENGTHS):
        seen = [Observation("store", "", "de", one, True), Observation("key-provider", "", "de", two, True)]
        assert verdict(seen).strength == min(one, two, key=STRENGTHS.index)
