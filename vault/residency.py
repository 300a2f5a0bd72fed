"""Where a zone really is: every store and key provider is asked, each answer is an observation with its strength.

The zone is open only while every one of them answers a location the zone's directory maps to the zone's own
jurisdiction. No answer, an unknown location, another jurisdiction, or nothing asked at all: closed, with the reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from vault.errors import VaultError

STRENGTHS = ("none", "self-reported", "network", "registered", "attested")
"""Weakest first. What a chain of evidence is worth is what its weakest link is worth."""


class Whereabouts(Protocol):
    """What `Store.location()` and `KeyProvider.location()` answer."""

    @property
    def observed(self) -> str: ...
    @property
    def strength(self) -> str: ...
    @property
    def target(self) -> str: ...


class Place(Protocol):
    """Anything that says where it is, asked anew each time."""

    def location(self) -> Whereabouts: ...


@dataclass(frozen=True, slots=True)
class Located:
    """One thing to be asked. `what`: store | key-provider."""

    what: str
    place: Place


@dataclass(frozen=True, slots=True)
class Observation:
    """`observed`: the place's own word, "" where it gave none. `reason`: why it does not match, "" where it does."""

    what: str
    target: str
    observed: str
    strength: str
    matches: bool
    reason: str = ""

    def as_document(self) -> dict[str, Any]:
        """For the zone's row and, less `target`, for ledger entries."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` open | closed; `strength` the weakest observation's; `reason` empty when open."""

    state: str
    reason: str
    strength: str


def observe(
    places: Iterable[Located], jurisdiction: str, locations: Mapping[str, str] | None = None
) -> list[Observation]:
    """Ask each place once. `locations`: observed word → jurisdiction, from the signed directory; a word that is not
    in it is unknown. Without one, only a place that names the jurisdiction itself matches."""
    known = {jurisdiction: jurisdiction} if locations is None else locations
    return [_look(each, jurisdiction, known) for each in places]


def _look(asked: Located, jurisdiction: str, locations: Mapping[str, str]) -> Observation:
    what = asked.what
    try:
        found = asked.place.location()
    except VaultError as error:
        # Not answering where it is has the same weight as answering that it is elsewhere.
        reason = error.reason if error.reason.startswith(f"{what}.") else f"{what}.{error.reason}"
        return Observation(what, "", "", "none", False, reason)
    strength = found.strength if found.strength in STRENGTHS else "none"
    lies_in = locations.get(found.observed)
    if strength == "none" or lies_in is None:
        return Observation(what, found.target, found.observed, strength, False, f"{what}.unknown-location")
    if lies_in != jurisdiction:
        return Observation(what, found.target, found.observed, strength, False, f"{what}.elsewhere")
    return Observation(what, found.target, found.observed, strength, True)


def verdict(observations: Iterable[Observation]) -> Verdict:
    """Open only when both a store and a key provider were asked and all match."""
    seen = list(observations)
    strength = min((each.strength for each in seen), key=STRENGTHS.index, default="none")
    for what in ("store", "key-provider"):
        if not any(each.what == what for each in seen):
            return Verdict("closed", f"{what}.not-asked", "none")
    for each in seen:
        if not each.matches:
            return Verdict("closed", each.reason or f"{each.what}.unmatched", strength)
    return Verdict("open", "", strength)
