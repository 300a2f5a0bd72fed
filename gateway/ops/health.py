"""Readiness: every part that must answer before anything can be served, and which one does not."""

from collections.abc import Callable
from typing import Any

from gateway.decide.doctrine import Doctrine
from gateway.facts import FactsReader
from vault.errors import VaultError


def readiness(facts: FactsReader, doctrine: Doctrine, workers: Callable[[], dict[str, str]]) -> Callable[
    [], tuple[bool, dict[str, Any]]
]:  # fmt: skip
    """A function answering (ready, document). A refused bundle shows here while the last good one serves."""

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
        ready = zone_state == "open" and doctrine.answering and all(state == "ok" for state in answers.values())
        return ready, {"ready": ready, **parts}

    return answer
