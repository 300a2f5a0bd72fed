"""Refusals of callers nobody could authenticate: counted, and summarised in the ledger once a minute.

One entry a refusal would let anybody fill the ledger's disk.
"""

from collections import Counter

PERIOD_SECONDS = 60


class RefusalCounter:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, code: str, _source: str = "") -> None:
        self._counts[code] += 1

    def take(self) -> dict[str, int]:
        """What was counted since the last call, by code."""
        taken, self._counts = dict(self._counts), Counter()
        return taken
