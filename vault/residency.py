"""Where a zone really is: every store and key provider is asked, each answer is an observation with its strength.

The zone is open only while every one of them answers a location the zone's directory maps to the zone's own
jurisdiction. No answer, an unknown location, another jurisdiction, or nothing asked at all: closed, with the reason.
A store is also asked how its bytes may leave that location: a copy elsewhere or a public door closes the zone as well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Copy(Protocol):
    """A destination that a store replicates to, and where that one says it is ("" where nobody says)."""

    @property
    def target(self) -> str: ...
    @property
    def observed(self) -> str: ...


class Ways(Protocol):
    """What `Store.exposure()` answers."""

    @property
    def replication(self) -> str: ...
    @property
    def replicas(self) -> Sequence[Copy]: ...
    @property
    def public(self) -> str: ...
    @property
    def versions(self) -> str: ...
    @property
    def unasked(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Located:
    """One thing to be asked. `what`: store | key-provider. `ways`: how bytes may leave it, for what holds bytes."""

    what: str
    place: Place
    ways: Callable[[], Ways] | None = None


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
    seen = []
    for each in places:
        seen.append(_look(each, jurisdiction, known))
        if each.ways is not None:
            seen += _ways_out(each, each.ways, seen[-1], jurisdiction, known)
    return seen


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


def _ways_out(
    asked: Located, ways: Callable[[], Ways], place: Observation, jurisdiction: str, locations: Mapping[str, str]
) -> list[Observation]:
    """Observations `<what>-replica`, `<what>-public`, `<what>-versions`, as strong as the one of the place itself."""
    what = asked.what

    def seen(part: str, observed: str, matches: bool, reason: str = "", target: str = place.target) -> Observation:
        return Observation(f"{what}-{part}", target, observed, place.strength, matches, reason)

    try:
        found = ways()
    except VaultError as error:
        reason = error.reason if error.reason.startswith(f"{what}.") else f"{what}.{error.reason}"
        return [seen("replica", "unknown", False, reason)]
    answers = []
    if found.replication == "unknown":
        answers.append(seen("replica", "unknown", False, f"{what}.replication-unknown"))
    elif found.replication != "yes":
        answers.append(seen("replica", _told("no", found, "replication"), True))
    for copy in found.replicas:
        lies_in = locations.get(copy.observed)
        reason = f"{what}.replica-unknown" if lies_in is None else f"{what}.replica-elsewhere"
        matches = lies_in == jurisdiction
        answers.append(seen("replica", copy.observed, matches, "" if matches else reason, copy.target))
    if found.replication == "yes" and not found.replicas:
        answers.append(seen("replica", "", False, f"{what}.replica-unknown"))
    public = found.public != "no"
    told = _told(found.public, found, *(name for name in found.unasked if name not in {"replication", "versioning"}))
    answers.append(seen("public", told, not public, f"{what}.public" if public else ""))
    # Old versions of deleted bodies are sealed, and their keys are what shredding destroys: told, not refused.
    answers.append(seen("versions", found.versions, True))
    return answers


def _told(answer: str, found: Ways, *questions: str) -> str:
    missing = [name for name in questions if name in found.unasked]
    return f"{answer}; not answered: {' '.join(missing)}" if missing else answer


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
