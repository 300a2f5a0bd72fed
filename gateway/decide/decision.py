"""What the doctrine answers: `Allow` or `Deny`, never a bool, each with what the guard needs to act on it.

`gateway.decide.answer` makes these from a rule engine's output; docs/spec/decision.md says what they mean.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

import rfc8785

View = Literal["raw", "masked", "open", "writer", "none"]
Label = Literal["personal", "none"]

# Refusals that a later retry may turn into an answer: the guard says 503 instead of 403.
RETRY_CODES: Final = frozenset({"residency.zone-closed", "doctrine.timeout", "doctrine.unavailable"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not: the rule's folder under policies/, a stable code, a sentence for people, and what to do."""

    rule: str
    code: str
    message: str
    remedy: str

    def as_document(self) -> dict[str, str]:
        """The reason as a JSON object of four strings."""
        return {"rule": self.rule, "code": self.code, "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes, and how: which view, under which plan, with which label on what is written."""

    decision_id: str
    revision: str
    view: View
    purpose_class: str
    plan_id: str | None
    plan_effect: dict[str, Any] | None
    label: Label
    placement: tuple[str, ...] | None
    obligations: tuple[str, ...]
    allow_by: tuple[str, ...]

    @property
    def view_name(self) -> str:
        """The view as the ledger's intent names it: a masked view by its plan id, all others by name."""
        return self.plan_id if self.view == "masked" and self.plan_id else self.view


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and every reason for it, the most useful first. `retry`: the same request may succeed later (503)."""

    decision_id: str
    revision: str
    reasons: tuple[Reason, ...]
    retry: bool = False

    @property
    def reason(self) -> Reason:
        """The first reason; a Deny always has one."""
        return self.reasons[0]

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of all reasons, in order, without repeats."""
        return tuple(dict.fromkeys(reason.code for reason in self.reasons))


Decision = Allow | Deny


@dataclass(frozen=True, slots=True)
class DeclaredPlan:
    """A plan a dataset must have built: its effect `{"columns", "purpose_class"}` and its id, the hash of that."""

    plan_id: str
    purpose_class: str
    effect: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submodule:
    """One part of an attested environment: its tier, the AR4SI claims behind it, and the reference value that held."""

    tier: str
    vector: Mapping[str, str]
    reference: str | None


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What verified claims are worth (AR4SI tiers): affirming | warning | contraindicated, the worst of `submods`."""

    tier: str
    revision: str
    submods: Mapping[str, Submodule] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()

    def as_record(self) -> list[str]:
        """The submodules as a session's record names them, "cpu0 affirming claims-trainer 4.2": tier and reference
        value (none: left out), nothing of the machine itself. Records are flat."""
        parts = sorted(self.submods.items())
        return [" ".join((name, one.tier, *([one.reference] if one.reference else ()))) for name, one in parts]


def plan_id_of(effect: Mapping[str, Any]) -> str:
    """The id of a plan: 32 hex of SHA-256 over the canonical JSON (RFC 8785) of its effect."""
    return _plan_id(json.dumps(dict(effect), sort_keys=True, separators=(",", ":")))


@lru_cache(maxsize=1024)
def _plan_id(effect: str) -> str:
    """The general canonical encoder takes 0.3 ms for a plan, and every masked read names one of a few."""
    return hashlib.sha256(rfc8785.dumps(json.loads(effect))).hexdigest()[:32]


def deny(decision_id: str, revision: str, code: str, message: str, remedy: str) -> Deny:
    """A refusal of the gateway's own, when no doctrine could give one."""
    return Deny(decision_id, revision, (Reason("gateway/decide", code, message, remedy),), retry=code in RETRY_CODES)
