"""A plan's effect, parsed strictly (docs/spec/views.md §1). Unknown anything refuses: a plan that an older
builder half understands would otherwise be built half masked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

import rfc8785

from gateway.enforce.errors import PlanRefused

MAX_COLUMNS = 10_000
MAX_PREFIX = 8
MAX_BIN = 2**53 - 1
PERIODS = frozenset({"year", "decade", "month"})
# Iceberg's read-restriction name of the same action.
ALIASES = {"replace-with-null": "null"}
ACTIONS = frozenset({"keep", "drop", "null", "mask-to-default", "pseudonymize", "generalize"})


@dataclass(frozen=True, slots=True)
class Generalize:
    """Exactly one of the three is set."""

    to: str | None = None
    prefix: int | None = None
    bin: int | None = None


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What happens to one column: an action of `ACTIONS` and its parsed parameters."""

    action: str
    domain: str = ""
    generalize: Generalize | None = None

    @property
    def decodes(self) -> bool:
        """Whether the values are needed at all; what is not decoded cannot leak."""
        return self.action in {"keep", "pseudonymize", "generalize"}


@dataclass(frozen=True, slots=True)
class Effect:
    """A parsed effect. `identity` means bytes unchanged; otherwise `rules` by column name, absent = drop."""

    plan_id: str
    identity: bool
    rules: Mapping[str, ColumnRule] = field(default_factory=dict)
    purpose_class: str | None = None

    @property
    def pseudonymizes(self) -> bool:
        return any(rule.action == "pseudonymize" for rule in self.rules.values())

    def rule(self, name: str) -> ColumnRule:
        return self.rules.get(name, _DROP)


_DROP = ColumnRule("drop")


def plan_id(effect: Mapping[str, Any]) -> str:
    """First 32 hex digits of SHA-256 over the canonical form: the plan's identity is what it does."""
    return sha256(canonical(effect)).hexdigest()[:32]


def canonical(effect: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes. Raises PlanRefused for what JSON cannot say."""
    try:
        return rfc8785.dumps(cast("Any", effect))
    except (rfc8785.CanonicalizationError, TypeError, ValueError, RecursionError) as error:
        raise PlanRefused("plan.malformed") from error


def parse_effect(document: object, *, purpose_class: str | None = None) -> Effect:
    """Parse an effect for a job of `purpose_class`. Raises PlanRefused with the reason of §1."""
    if not isinstance(document, dict):
        raise PlanRefused("plan.malformed")
    identity = "identity" in document
    _closed(document, {"identity", "purpose_class"} if identity else {"columns", "purpose_class"})
    bound = document.get("purpose_class")
    if bound is not None and not (isinstance(bound, str) and bound):
        raise PlanRefused("plan.malformed")
    if purpose_class is not None and bound is not None and bound != purpose_class:
        raise PlanRefused("plan.purpose-class")
    if identity:
        if document["identity"] is not True:
            raise PlanRefused("plan.malformed")
        return Effect(plan_id(document), identity=True, purpose_class=bound)
    return Effect(plan_id(document), identity=False, rules=_rules(document.get("columns")), purpose_class=bound)


def _rules(columns: object) -> dict[str, ColumnRule]:
    if not isinstance(columns, list):
        raise PlanRefused("plan.malformed")
    if not columns:
        raise PlanRefused("plan.empty")
    if len(columns) > MAX_COLUMNS:
        raise PlanRefused("plan.malformed")
    rules: dict[str, ColumnRule] = {}
    for column in columns:
        if not isinstance(column, dict):
            raise PlanRefused("plan.malformed")
        _closed(column, {"name", "action", "params"})
        name, action, params = column.get("name"), column.get("action"), column.get("params", {})
        if not isinstance(name, str) or not isinstance(params, dict):
            raise PlanRefused("plan.malformed")
        if name in rules:
            raise PlanRefused("plan.duplicate")
        rules[name] = _rule(action, params)
    return rules


def _rule(action: object, params: dict[str, object]) -> ColumnRule:
    if not isinstance(action, str):
        raise PlanRefused("plan.action")
    action = ALIASES.get(action, action)
    if action not in ACTIONS:
        raise PlanRefused("plan.action")
    if action == "generalize":
        return ColumnRule(action, generalize=_generalize(params))
    if action == "pseudonymize":
        if not params.keys() <= {"domain"}:
            raise PlanRefused("plan.params")
        domain = params.get("domain", "")
        if not isinstance(domain, str) or "\x00" in domain:
            raise PlanRefused("plan.params")
        return ColumnRule(action, domain=domain)
    if params:
        raise PlanRefused("plan.params")
    return ColumnRule(action)


def _generalize(params: dict[str, object]) -> Generalize:
    if len(params) != 1:
        raise PlanRefused("plan.params")
    (name, value), = params.items()
    if name == "to" and isinstance(value, str) and value in PERIODS:
        return Generalize(to=value)
    # bool is an int in Python; {"prefix": true} must not mean 1.
    if isinstance(value, int) and not isinstance(value, bool):
        if name == "prefix" and 1 <= value <= MAX_PREFIX:
            return Generalize(prefix=value)
        if name == "bin" and 2 <= value <= MAX_BIN:
            return Generalize(bin=value)
    raise PlanRefused("plan.params")


def _closed(document: dict[Any, Any], allowed: set[str]) -> None:
    if not document.keys() <= allowed:
        raise PlanRefused("plan.field")
