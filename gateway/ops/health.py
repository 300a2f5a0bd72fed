"""Readiness: every part that must answer before anything can be served, and which one does not."""

from collections.abc import Callable
from typing import Any

from gateway.decide.doctrine import Doctrine
from gateway.facts import FactsReader
from vault.errors import VaultError

_MENDED = frozenset({"present", "missing"})  # what is not there was not wanted


def readiness(
    facts: FactsReader, doctrine: Doctrine, workers: Callable[[], dict[str, str]],
    trust: Callable[[], dict[str, str]] = dict,
) -> Callable[[], tuple[bool, dict[str, Any]]]:  # fmt: skip
    """A function answering (ready, document). A refused bundle shows here while the last good one serves. `trust`:
    state of each trust file; one that expired admits no evidence and stops nothing else, so the zone stays ready."""

    def answer() -> tuple[bool, dict[str, Any]]:
        try:
            zone = facts.zone()
            zone_state, zone_reason = zone.state, zone.reason
        except VaultError as error:
            zone_state, zone_reason = "closed", error.reason
        parts: dict[str, Any] = {
            "zone": {"state": zone_state, "reason": zone_reason},
            "doctrine": {**doctrine.status.as_document(), "answering": doctrine.answering},
        }
        answers = workers()
        parts |= {name: {"state": state} for name, state in answers.items()}
        try:
            files = trust()
        except VaultError as error:  # the catalog, which the zone's own state has told of by now
            files = {"catalog": error.reason}
        if files:
            mended = all(state in _MENDED for state in files.values())
            parts["trust"] = {"state": "ok" if mended else "degraded", "files": files}
        ready = zone_state == "open" and doctrine.answering and all(state == "ok" for state in answers.values())
        return ready, {"ready": ready, **parts}

    return answer
