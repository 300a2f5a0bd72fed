"""The strict reading of the doctrine's output.

The doctrine is written by people who edit tables; the guard acts on what it says. Between the two stands
`read_decision`: a closed schema (docs/spec/decision.md, policies/schemas/decision.schema.json). An unknown
field, a wrong type, an unknown view or action, or no value at all becomes a `Deny`: the failure of a decision
is a decision.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

from gateway.decide.decision import (
    RETRY_CODES,
    Allow,
    Appraisal,
    Decision,
    DeclaredPlan,
    Deny,
    Label,
    Reason,
    Submodule,
    View,
    deny,
    plan_id_of,
)

LABELS: Final = ("personal", "none")
MASK_ACTIONS: Final = ("null", "mask-to-default", "pseudonymize", "generalize", "keep", "drop")
# What the guard promises to do besides answering; an obligation it does not know must not be ignored,
# so one outside this set makes the whole answer malformed.
OBLIGATIONS: Final = ("recheck-session",)
MAX_COLUMNS: Final = 10_000
MAX_SUBMODULES: Final = 64
TIERS = (AFFIRMING, WARNING, CONTRAINDICATED) = ("affirming", "warning", "contraindicated")
"""Best first. Of a whole, "none" is no tier: evidence about nothing opens nothing."""
VECTOR: Final = (
    "instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque", "storage-opaque",
    "sourced-data",
)
"""The trustworthiness claims of AR4SI (draft-ietf-rats-ar4si)."""

# The order in which reasons are told. The first one names the error a client sees, so what the caller can
# act on soonest comes first; the engines themselves promise no order.
_FIRST: Final = (
    "doctrine.", "input.", "access.tenant", "access.unknown-dataset", "residency.zone-closed", "residency.placement",
    "residency.other-zone", "ReattestationRequired", "residency.principal", "purpose.unknown", "purpose.not-granted",
    "purpose.not-in-contract", "purpose.", "access.none", "attestation.required",
    # Of an appraisal first what contraindicates, then what is only doubted.
    "attestation.purpose", "attestation.no-rule", "attestation.submodule-missing", "attestation.sample-posture",
    "attestation.sample-scope", "attestation.not-bound", "attestation.debug", "attestation.synthetic-only",
    "attestation.no-hardware", "attestation.tpm-enrolment", "attestation.unproven", "attestation.tcb",
    "attestation.", "label.", "flow.", "residency.", "masking.", "access.",
)


class MalformedAnswer(Exception):
    """The doctrine's output is not what its schema allows. Caught in this package; becomes a Deny."""


def read_decision(value: object, decision_id: str, revision: str, action: str) -> Decision:
    """Read the doctrine's `decision` document for `action`. Anything unexpected is `Deny("doctrine.malformed")`."""
    try:
        return _decision(value, decision_id, revision, action)
    except MalformedAnswer as error:
        return deny(
            decision_id, revision, "doctrine.malformed", f"The doctrine gave an answer that is not a decision: {error}",
            "tell the compliance team; `demesne policy check` finds the rule",
        )


def read_plans(value: object) -> list[DeclaredPlan]:
    """Read the `plans` document. Raises MalformedAnswer: a dataset is never left with half its plans."""
    plans = []
    for item in _list(value, "plans"):
        fields = _closed(item, "plans[]", ("purpose_class", "columns"))
        purpose_class = _text(fields["purpose_class"], "purpose_class")
        effect = _effect({"columns": fields["columns"]}, purpose_class)
        plans.append(DeclaredPlan(plan_id_of(effect), purpose_class, effect))
    if len(plans) > 16:
        raise MalformedAnswer("more than 16 plans")
    return plans


def read_appraisal(value: object, revision: str) -> Appraisal:
    """Read the `appraisal` document. Raises MalformedAnswer: also for a whole better than its parts, a part better than
    its vector, and a tier below affirming that nobody gives a reason for."""
    fields = _closed(value, "appraisal", ("tier", "submods", "reasons"))
    submods = {
        _text(name, "submods"): _submodule(item, f"submods.{name}")
        for name, item in _object(fields["submods"], "submods").items()
    }
    if len(submods) > MAX_SUBMODULES:
        raise MalformedAnswer("submods: too many")
    tier = _tier(fields["tier"], "appraisal.tier", (one.tier for one in submods.values()))
    reasons = _reasons(fields["reasons"])
    if (tier == AFFIRMING) == bool(reasons) or (tier != CONTRAINDICATED and not submods):
        raise MalformedAnswer("appraisal.tier: not what submods and reasons say")
    return Appraisal(tier, revision, submods, reasons)


def _submodule(value: object, where: str) -> Submodule:
    fields = _closed(value, where, ("tier", "vector", "reference"))
    vector = _closed(fields["vector"], f"{where}.vector", VECTOR)
    for name, word in vector.items():
        if word not in ("none", *TIERS):
            raise MalformedAnswer(f"{where}.vector.{name} is not an AR4SI tier")
    tier = _tier(fields["tier"], f"{where}.tier", (word for word in vector.values() if word != "none"))
    reference = None if fields["reference"] is None else _text(fields["reference"], f"{where}.reference")
    if tier == AFFIRMING and (reference is None or vector["executables"] != AFFIRMING):
        raise MalformedAnswer(f"{where}: affirming without knowing what runs")
    return Submodule(tier, vector, reference)


def _tier(value: object, where: str, parts: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in TIERS:
        raise MalformedAnswer(f"{where} is not an AR4SI tier")
    if any(TIERS.index(part) > TIERS.index(value) for part in parts):
        raise MalformedAnswer(f"{where} is better than what it is made of")
    return value


_FIELDS: Final = (
    "allow", "view", "purpose_class", "plan", "label", "placement", "obligations", "reasons", "allow_by",
)
_REASON: Final = ("rule", "code", "message", "remedy")
_VIEWS_OF: Final[dict[str, tuple[str, ...]]] = {
    "read": ("raw", "masked", "open"),
    "head": ("raw", "masked", "open", "writer"),
    "list": ("raw", "masked", "open", "writer"),
}


def _decision(value: object, decision_id: str, revision: str, action: str) -> Decision:
    fields = _closed(value, "decision", _FIELDS)
    reasons = _reasons(fields["reasons"])
    allow_by = tuple(_text(item, "allow_by[]") for item in _list(fields["allow_by"], "allow_by"))
    if fields["allow"] is not True:
        if fields["allow"] is not False or not reasons:
            raise MalformedAnswer("a refusal needs a reason")
        return Deny(decision_id, revision, reasons, retry=all(reason.code in RETRY_CODES for reason in reasons))
    if reasons or not allow_by:
        raise MalformedAnswer("allowed, but with reasons against it or without a rule for it")
    view = fields["view"]
    if view not in _VIEWS_OF.get(action, ("none",)):
        raise MalformedAnswer(f"view {view!r} is not one that {action} can have")
    if fields["label"] not in LABELS:
        raise MalformedAnswer("label")
    # A plan without a masked view would be dropped silently, a masked view without a plan would be raw.
    if (view == "masked") != (fields["plan"] is not None):
        raise MalformedAnswer("a masked view has a plan, and nothing else has one")
    purpose_class = _text(fields["purpose_class"], "purpose_class")
    effect = _effect(fields["plan"], purpose_class) if fields["plan"] is not None else None
    obligations = tuple(_text(item, "obligations[]") for item in _list(fields["obligations"], "obligations"))
    if not set(obligations) <= set(OBLIGATIONS):
        raise MalformedAnswer("an obligation this gateway does not know")
    placement = fields["placement"]
    zones = None if placement is None else tuple(_text(zone, "placement[]") for zone in _list(placement, "placement"))
    return Allow(
        decision_id=decision_id, revision=revision, view=cast("View", view),
        purpose_class=purpose_class,
        plan_id=plan_id_of(effect) if effect is not None else None, plan_effect=effect,
        label=cast("Label", fields["label"]), placement=zones, obligations=obligations,
        allow_by=tuple(sorted(allow_by)),
    )


def _effect(value: object, purpose_class: str) -> dict[str, Any]:
    columns = _list(_closed(value, "plan", ("columns",))["columns"], "plan.columns")
    if len(columns) > MAX_COLUMNS:
        raise MalformedAnswer("plan.columns: too many")
    seen: set[str] = set()
    for column in columns:
        fields = _closed(column, "plan.columns[]", ("name", "action", "params"))
        name = _text(fields["name"], "plan.columns[].name")
        if name in seen:
            raise MalformedAnswer("plan.columns: a column twice")
        seen.add(name)
        if fields["action"] not in MASK_ACTIONS:
            raise MalformedAnswer("plan.columns[].action is not a mask action")
        for param, setting in _object(fields["params"], "plan.columns[].params").items():
            if isinstance(setting, bool) or not isinstance(setting, str | int) or not isinstance(param, str):
                raise MalformedAnswer("plan.columns[].params holds strings and whole numbers only")
    # Pseudonyms are keyed by class: two classes with equal columns must not share one view (docs/spec/views.md).
    return {"columns": columns, "purpose_class": purpose_class}


def _reasons(value: object) -> tuple[Reason, ...]:
    reasons = set()
    for item in _list(value, "reasons"):
        fields = _closed(item, "reasons[]", _REASON)
        reasons.add(Reason(*(_text(fields[name], f"reasons[].{name}") for name in _REASON)))
    return tuple(sorted(reasons, key=lambda reason: (_rank(reason.code), reason.code, reason.rule, reason.message)))


def _rank(code: str) -> int:
    return next((index for index, prefix in enumerate(_FIRST) if code.startswith(prefix)), len(_FIRST))


def _closed(value: object, where: str, names: tuple[str, ...]) -> dict[str, Any]:
    fields = _object(value, where)
    if fields.keys() != set(names):
        odd = sorted(fields.keys() ^ set(names))
        raise MalformedAnswer(f"{where}: unknown or missing {', '.join(map(str, odd))}")
    return fields


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedAnswer(f"{where} is not an object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedAnswer(f"{where} is not a list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedAnswer(f"{where} is not a text")
    return value
