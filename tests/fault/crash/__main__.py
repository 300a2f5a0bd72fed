"""`python -m tests.fault.crash --seeds 1000 [--base N] [--target files|servers] [--out FILE.json]`

Prints a table, writes the figures as JSON, exits 1 when a seed found something. A report names seed and kill:
`--base SEED --kill put:17:after` does exactly that one again.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

from tests.fault.crash.figures import Found, Kill, report
from tests.fault.crash.harness import replay, run
from tests.fault.crash.targets import target


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fault.crash")
    asked.add_argument("--seeds", type=int, default=50)
    asked.add_argument("--base", type=int, default=0)
    asked.add_argument("--target", choices=["files", "servers"], default="files")
    asked.add_argument("--out", type=Path)
    asked.add_argument("--kill", type=Kill.read, help="KIND:POINT:before|after|torn[:POINT OF THE RECOVERY]")
    given = asked.parse_args()
    begun = time.monotonic()

    def each(found: Found) -> None:
        for problem in found.problems:
            print(f"\n{report(found, problem)}", flush=True)
        if (found.seed - given.base) % 50 == 49:
            print(f"{found.seed - given.base + 1} of {given.seeds} seeds, {time.monotonic() - begun:.0f} s", flush=True)

    if given.kill:
        with target(given.target) as where:
            found = replay(where, given.base, given.kill)
        print("\n".join(report(found, each) for each in found.problems) or f"{found.ops} operations, nothing found")
        return 1 if found.problems else 0
    with target(given.target) as where:
        _, figures = run(where, given.base, given.seeds, each)
    figures = {"target": given.target, "base": given.base, "wall_seconds": round(time.monotonic() - begun, 1),
               "machine": f"{platform.system()} {platform.release()} {platform.machine()}"} | figures  # fmt: skip
    show(figures)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    return 1 if figures["failed_seeds"] else 0


def show(figures: dict[str, object]) -> None:
    by_operation = figures["by_operation"]
    assert isinstance(by_operation, dict)
    print(f"{'operation':<16}{'points':>8}{'killed at':>11}{'kills':>8}")
    for kind, row in by_operation.items():
        print(f"{kind:<16}{row['points']:>8}{row['points_killed_at']:>11}{row['kills']:>8}")
    print(f"{figures['seeds']} seeds on {figures['target']}, {figures['operations']} operations, "
          f"recovery {figures['recovery_seconds']}, failed: {figures['failed_seeds'] or 'none'}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
