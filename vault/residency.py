"""Where data really is: what each store and key provider answers, how much that is worth, and the verdict.

A declaration is not an observation: the configured jurisdiction is only what the answers are held against.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vault.errors import VaultError

STRENGTHS = ("none", "self-reported", "network", "registered", "attested")

# Regions of the clouds by jurisdiction. A name that is neither here nor a jurisdiction itself matches nothing.
REGIONS: Mapping[str, str] = {
    "eu-central-1": "de", "eu-west-3": "fr", "eu-west-1": "ie", "eu-north-1": "se", "eu-south-1": "it",
    "eu-south-2": "es", "eu-central-2": "ch", "eu-west-2": "gb", "us-east-1": "us", "us-east-2": "us",
    "us-west-1": "us", "us-west-2": "us", "ca-central-1": "ca", "ap-northeast-1": "jp",
}  # fmt: skip


class Answer(Protocol):
    """What a store or key provider says of itself."""

    @property
    def observed(self) -> str: ...
    @property
    def strength(self) -> str: ...
    @property
    def target(self) -> str: ...


class Place(Protocol):
    def location(self) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Located:
    """Something that can be asked: `what` is store | key-provider."""

    what: str
    place: Place


@dataclass(frozen=True, slots=True)
class Observation:
    what: str
    target: str
    observed: str
    strength: str
    matches: bool
    reason: str = ""

    def as_document(self) -> dict[str, Any]:
        return {
            "what": self.what, "target": self.target, "observed": self.observed, "strength": self.strength,
            "matches": self.matches,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` open | closed; `strength` is the weakest of all answers: a chain holds no more than that."""

    state: str
    reason: str
    strength: str


def jurisdiction_of(observed: str, regions: Mapping[str, str] = REGIONS) -> str:
    """The jurisdiction an answer stands for; "" when it stands for none."""
    name = observed.strip().lower()
    return regions.get(name, name)


def observe(places: Sequence[Located], jurisdiction: str, regions: Mapping[str, str] = REGIONS) -> list[Observation]:
    """Ask each place. One that does not answer is an observation too: of nothing, which matches nothing."""
    found = []
    for located in places:
        try:
            answer = located.place.location()
        except VaultError as error:
            found.append(Observation(located.what, "", "", "none", False, f"{located.what} did not say where it is"
                                     f" ({error.reason})"))  # fmt: skip
            continue
        matches = answer.strength in STRENGTHS[1:] and jurisdiction_of(answer.observed, regions) == jurisdiction
        reason = "" if matches else f"{located.what} says it is in {answer.observed or 'nowhere'}, not {jurisdiction}"
        found.append(
            Observation(located.what, answer.target, answer.observed, answer.strength, matches, reason)
        )
    return found


def verdict(observations: Sequence[Observation]) -> Verdict:
    """Open only when there is something to ask and all of it is where it must be."""
    if not observations:
        return Verdict("closed", "nothing could be observed", "none")
    wrong = [o.reason for o in observations if not o.matches]
    weakest = min((o.strength for o in observations), key=STRENGTHS.index)
    if wrong:
        return Verdict("closed", "; ".join(wrong), weakest)
    return Verdict("open", "", weakest)
