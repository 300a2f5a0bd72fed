"""Ways in which a store's bytes leave the place it says it is at: replication, the public, versions that stay.

Everything here is the store's own word, but for the anonymous read, which is really tried. What a store does not
offer to answer is said as that: it is neither "no" nor "yes".
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Answered = Literal["yes", "no", "unknown"]
Versions = Literal["off", "kept", "suspended", "not-offered", "unknown"]


@dataclass(frozen=True, slots=True)
class Replica:
    """A destination of a replication rule. `observed`: where that one says it is, "" where nobody says."""

    target: str
    observed: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """`replication` no: no rule; yes: `replicas` has each destination; unknown: the store would not say, which is not
    the same as `unasked`: questions this kind of store has no answer to."""

    replication: Answered
    public: Answered
    versions: Versions
    replicas: tuple[Replica, ...] = ()
    unasked: tuple[str, ...] = field(default=())


def policy_is_public(text: str) -> bool:
    """Whether a bucket policy allows anything to everybody. One that does not parse counts as public."""
    try:
        statements = json.loads(text)["Statement"]
        found = statements if isinstance(statements, list) else [statements]
        return any(each["Effect"] == "Allow" and _everybody(each) for each in found)
    except (ValueError, KeyError, TypeError):
        return True


def _everybody(statement: dict[str, Any]) -> bool:
    if "NotPrincipal" in statement:
        return True
    principal = statement["Principal"]
    named = principal.get("AWS", []) if isinstance(principal, dict) else principal
    return "*" in (named if isinstance(named, list) else [named])
