"""`python -m benchmarks`: every program in turn; each prints machine, sizes, medians and ratios."""

import importlib
import sys

PROGRAMS = ("seal", "decide", "ledger", "view", "classify", "get", "ranges", "memory")


def main() -> int:
    wanted = sys.argv[1:] or list(PROGRAMS)
    sys.argv = sys.argv[:1]
    for name in wanted:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
