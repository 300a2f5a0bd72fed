"""The activation gate: a doctrine may use only built-ins on which OPA and regorus were seen to agree.

One engine knows a built-in and the other does not: then `not f(x)` is true in one of them, and a deny rule
has silently become an allow. So the names are pinned in `policies/builtins.json`, and a call of anything
else keeps the bundle from activating unless OPA itself serves.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.decide.answer import MalformedAnswer, read_plans
from gateway.decide.bundle import Bundle
from gateway.decide.decision import DeclaredPlan
from gateway.decide.engine import BundleRefused
from gateway.decide.reachable import without_strings

# Forbidden under every engine: the network, the clock and the dice are not facts of the request.
NEVER: Final = frozenset({
    "http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122", "trace", "print",
})
_CALL: Final = re.compile(r"(?<![\w.\]])([a-z_][\w]*(?:\.[a-z_][\w]*)*)\s*\(", re.IGNORECASE)
_RULE: Final = re.compile(r"^\s*(?:default\s+)?([a-z_]\w*)\s*\(", re.MULTILINE | re.IGNORECASE)
_IMPORT: Final = re.compile(r"^\s*import\s+((?:data|input)[\w.]*)(?:\s+as\s+(\w+))?", re.MULTILINE)
_KEYWORDS: Final = frozenset(
    {"if", "in", "not", "some", "every", "contains", "else", "with", "as", "default", "package"}
)


def check_builtins(bundle: Bundle) -> None:
    """Raises BundleRefused naming module and built-in when a call is neither allowed nor the doctrine's own."""
    allowed = set(bundle.builtins) - NEVER
    for name, text in bundle.modules:
        if '$"' in text or "$`" in text:
            raise BundleRefused(f"{name}: interpolated strings can hide a call from this gate")
        for called in sorted(calls(text)):
            if called not in allowed:
                raise BundleRefused(f"{name}: built-in {called} is not in builtins.json")


def calls(text: str) -> set[str]:
    """Names of the built-ins that the Rego module `text` calls: every call that is not of its own or imported rules."""
    code = without_strings(text)
    own = set(_RULE.findall(code))
    imported = {alias or path.rsplit(".", 1)[-1] for path, alias in _IMPORT.findall(code)}
    found = set()
    for called in _CALL.findall(code):
        head = called.split(".", 1)[0]
        if called in _KEYWORDS or called in own or head in ("data", "input") or head in imported:
            continue
        found.add(called)
    return found


async def probe(evaluate: Callable[[str, Any], Awaitable[Any]]) -> None:
    """Ask a freshly compiled doctrine three questions with one right answer each. Raises BundleRefused.

    A bundle can compile and still allow everything, show an unlabelled column, trust empty evidence, or call a
    function that is not there: none of these may serve.
    """
    answer = await evaluate("demesne/main/decision", {})
    if not isinstance(answer, dict) or answer.get("allow") is not False:
        raise BundleRefused("data.demesne.main.decision does not refuse an empty request")
    column = {"name": "probe", "type": "string", "label": "unknown"}
    plans = await evaluate("demesne/main/plans", {"dataset": {"contract": {"columns": [column]}}})
    try:
        shown = [plan.purpose_class for plan in read_plans(plans) if _shows(plan)]
    except MalformedAnswer as error:
        raise BundleRefused(f"data.demesne.main.plans: {error}") from error
    if shown:
        raise BundleRefused(f"data.demesne.main.plans shows a column without a label to {', '.join(shown)}")
    empty = {"claims": {}, "posture": "production", "purpose": "", "dataset_scope": [], "reference": []}
    appraisal = await evaluate("demesne/evidence/appraisal", empty)
    if not isinstance(appraisal, dict) or appraisal.get("tier") not in ("contraindicated", "none"):
        raise BundleRefused("data.demesne.evidence.appraisal trusts evidence that says nothing")


def _shows(plan: DeclaredPlan) -> bool:
    return any(column["action"] == "keep" for column in plan.effect["columns"])
