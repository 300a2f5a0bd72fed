"""A live engine for tests that are not about Rego: a Python function in the place of the rules.

`FunctionEngine` is a real `Engine`: `Doctrine` reads its answers as strictly as those of regorus or OPA.
`open_doctrine()` gives a loaded Doctrine that permits everything, `closed_doctrine()` one that refuses.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.decide.answer import VECTOR
from gateway.decide.bundle import Bundle
from gateway.decide.doctrine import APPRAISAL, DECISION, PLANS, Doctrine
from gateway.decide.engine import BundleRefused, EngineError, Undefined

POLICIES = Path(__file__).resolve().parents[2] / "policies"


class FunctionEngine:
    """`Engine` whose rules are functions by path. `before` may raise an EngineError in place of the answer;
    `refuse_next_load` makes the next bundle one that does not compile."""

    name = "function"
    any_builtin = True

    def __init__(self, rules: Mapping[str, Callable[[Any], Any | Undefined]]) -> None:
        self.rules = dict(rules)
        self.loaded: list[Bundle] = []
        self.asked: list[tuple[str, Any]] = []
        self.before: EngineError | None = None
        self.refuse_next_load: str | None = None
        self.closed = False

    async def load(self, bundle: Bundle) -> str:
        if self.refuse_next_load is not None:
            reason, self.refuse_next_load = self.refuse_next_load, None
            raise BundleRefused(reason)
        self.loaded.append(bundle)
        return bundle.revision

    async def serving(self) -> str:
        return self.loaded[-1].revision if self.loaded else ""

    async def evaluate(self, path: str, document: Any) -> Any | Undefined:
        self.asked.append((path, document))
        if self.before is not None:
            raise self.before
        return self.rules[path](document)

    async def close(self) -> None:
        self.closed = True


def allowing(view: str = "none", *, plan: Any = None, label: str = "personal", **fields: Any) -> dict[str, Any]:
    """A well-formed decision that permits."""
    return {
        "allow": True, "view": view, "purpose_class": "analytics", "plan": plan, "label": label, "placement": None,
        "obligations": [], "reasons": [], "allow_by": ["test"],
    } | fields


def refusing(code: str = "access.none", message: str = "No", remedy: str = "ask") -> dict[str, Any]:
    """A well-formed decision that refuses."""
    reason = {"rule": "test", "code": code, "message": message, "remedy": remedy}
    return allowing() | {"allow": False, "view": "none", "reasons": [reason], "allow_by": []}


def appraising(tier: str, **fields: Any) -> dict[str, Any]:
    """A well-formed appraisal of one machine."""
    vector = dict.fromkeys(VECTOR, "none") | {"hardware": tier, "executables": tier}
    reference = "known good" if tier == "affirming" else None
    submod = {"tier": tier, "vector": vector, "reference": reference}
    reasons = [] if tier == "affirming" else refusing("attestation.test")["reasons"]
    return {"tier": tier, "submods": {"cpu0": submod}, "reasons": reasons} | fields


def appraisal_schema() -> dict[str, Any]:
    """JSON Schema of an appraisal's answer (policies/schemas)."""
    schema: dict[str, Any] = json.loads((POLICIES / "schemas" / "appraisal.schema.json").read_text())
    return schema


def _permit_everything(document: Any) -> Any:
    action = document["request"]["action"]
    open_view = "open" if action in ("read", "head", "list") else "none"
    return allowing(open_view, label="none")


async def doctrine_of(decide: Callable[[Any], Any], bundle_dir: Path = POLICIES) -> tuple[Doctrine, FunctionEngine]:
    """A loaded Doctrine whose decisions `decide` makes, and its engine for hooks and what it was asked."""
    engine = FunctionEngine({
        DECISION: decide, PLANS: lambda _: [],
        APPRAISAL: lambda _: appraising("warning"),
    })  # fmt: skip
    doctrine = Doctrine(engine, bundle_dir, lambda: time.time_ns() // 1_000_000)
    if not await doctrine.reload():
        raise AssertionError(doctrine.status)
    return doctrine, engine


async def open_doctrine() -> Doctrine:
    """Permits every request: reads as open data, writes as nothing personal."""
    return (await doctrine_of(_permit_everything))[0]


async def closed_doctrine() -> Doctrine:
    """Refuses every request with access.none."""
    return (await doctrine_of(lambda _: refusing()))[0]
