"""What a check answers with."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How bad a finding is. Only `fail` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: what was looked at, what was found, what to do about it, and why it matters."""

    what: str
    state: State
    detail: str
    remedy: str = ""
    why: str = ""

    def as_document(self) -> dict[str, Any]:
        """As `--json` prints it: what, state (lower case), detail, why, remedy."""
        return {**asdict(self), "state": self.state.value.lower()}
