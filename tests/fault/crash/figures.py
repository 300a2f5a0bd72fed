"""Where a seed dies, what it came to, and the figures that are published of many."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.fault.crash.points import MODES


@dataclass(frozen=True)
class Kill:
    """The last operation of the workload is of `kind` and dies at its `at`-th point (from 1)."""

    kind: str
    at: int
    mode: str
    again: int = 0
    """The recovery dies as well, at this point; 0: it does not."""

    @classmethod
    def read(cls, text: str) -> "Kill":
        """As `spelled`: `put:17:after`, and `:5` behind it for a recovery that dies at its fifth point."""
        kind, at, mode, *again = text.split(":")
        if mode not in MODES or int(at) < 1 or len(again) > 1:
            raise ValueError(text)
        return cls(kind, int(at), mode, int(again[0]) if again else 0)

    @property
    def spelled(self) -> str:
        return f"{self.kind}:{self.at}:{self.mode}" + (f":{self.again}" if self.again else "")


@dataclass
class Found:
    """What one seed came to."""

    seed: int
    kill: Kill
    point: str
    ops: int
    seconds: float
    problems: list[str] = field(default_factory=list)


def report(found: Found, problem: str) -> str:
    """With what it takes to have it again."""
    return f"--base {found.seed} --kill {found.kill.spelled} (at {found.point}): {problem}"


def summary(found: list[Found], counted: dict[str, list[str]]) -> dict[str, Any]:
    """What is published: how many, where they died, what was wrong, how long opening again took."""
    seconds = sorted(each.seconds for each in found)
    at = Counter((each.kill.kind, each.kill.at) for each in found)
    return {
        "seeds": len(found),
        "operations": sum(each.ops for each in found),
        "failed_seeds": [each.seed for each in found if each.problems],
        "killed_in_recovery_too": sum(each.kill.again > 0 for each in found),
        "recovery_seconds": {"median": seconds[len(seconds) // 2], "max": seconds[-1]} if seconds else {},
        "by_operation": {
            kind: {
                "points": len(points),
                "points_killed_at": len({n for (k, n) in at if k == kind and n <= len(points)}),
                "kills": sum(count for (k, _), count in at.items() if k == kind),
            }
            for kind, points in sorted(counted.items())
        },
        "by_mode": dict(sorted(Counter(each.kill.mode for each in found).items())),
        "by_point": dict(sorted(Counter(each.point for each in found).items())),
    }
