"""The ledger benchmark on its PostgreSQL backend, written by two sequencers at once.

    python benchmarks/ledger_postgresql.py [options of benchmarks/ledger.py]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ledger


def main() -> None:
    ledger.main(["--backend", "postgresql", *sys.argv[1:]])


if __name__ == "__main__":
    main()
