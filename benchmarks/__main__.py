"""`python -m benchmarks [NAME…]`: every program in turn, each printing its figures; JSON goes to benchmarks/out.

A program that misses its goal is said so and does not stop the others.
"""

import contextlib
import importlib
import io
import json
import sys

from benchmarks.zone import publish

# These start servers and publish by themselves; the others print one JSON document with --json.
ZONES = ("get", "ranges", "peers", "http_server", "memory", "growth", "workers", "attest")
ALONE = ("seal", "decide", "ledger", "ledger_postgresql", "view", "classify", "shred")


def alone(name: str) -> None:
    """Run one program with --json and publish what it printed, with the machine."""
    sys.argv = [name, "--json"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(f"benchmarks.{name}").main()
    publish(name, {"figures": json.loads(printed.getvalue())})


def main() -> int:
    wanted = sys.argv[1:] or [*ALONE, *ZONES]
    unknown = sorted(set(wanted) - {*ALONE, *ZONES})
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join([*ALONE, *ZONES])}", file=sys.stderr)
        return 2
    for name in wanted:
        print(f"== {name}", flush=True)
        if name in ALONE:
            alone(name)
        else:
            sys.argv = [name]
            importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
