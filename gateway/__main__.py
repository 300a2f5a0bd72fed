"""`python -m gateway ROLE`: one process of one zone.

    front     S3 and API ports; holds no key-provider credentials
    broker    the only holder of provider credentials, on a Unix socket
    builder   builds masked views through decoder sandboxes
    jobs      ledger sequencer, residency checks, sweeper, lineage projection
    init      makes a zone's directories, keys and first principals; prints their credentials
    maintain  fsck, rebuild, backup, restore: by hand
    engine    doctrine engine child (pipes only)
    sandbox   decoder child (pipes only)
"""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its parent does, so that no orphan serves a stopped zone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def main(argv: list[str]) -> int:
    role = argv[0] if argv else ""
    if role not in {"front", "broker", "builder", "jobs", "init", "maintain", "engine", "sandbox"}:
        print(__doc__, file=sys.stderr)
        return 2
    if role == "sandbox":
        from gateway.enforce.sandbox import main as run_sandbox

        return run_sandbox()
    _die_with_parent()
    if role == "engine":
        from gateway.decide.regorus_child import main as run_engine

        return run_engine()
    from gateway.app import run

    return run(role, argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
