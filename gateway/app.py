"""Where the program is put together: one function per process, chosen by `python -m gateway ROLE`.

Each process loads only its own parts: the front workers never import a key provider, the builder no web
framework, the sandbox nothing but its decoder.
"""

import sys

import structlog
from pydantic import ValidationError

from gateway.ops.logs import configure_logs
from gateway.settings import Settings, problems_of
from lineage.errors import LineageError
from vault.errors import VaultError


def run(role: str, argv: list[str]) -> int:
    """Run one role until it is told to stop. 0 clean, 2 settings that cannot work, 1 anything else."""
    configure_logs()
    try:
        settings = Settings()
    except ValidationError as error:
        print("\n".join(problems_of(error)), file=sys.stderr)
        return 2
    try:
        return _start(role, settings, argv)
    except (VaultError, LineageError) as error:
        structlog.get_logger(role).error("stopped", reason=str(error))
        print(f"{role}: {error}", file=sys.stderr)
        return 1


def _start(role: str, settings: Settings, argv: list[str]) -> int:
    match role:
        case "init":
            from gateway.processes.init import run_init

            return run_init(settings)
        case "broker":
            from gateway.processes.broker import run_broker

            return run_broker(settings)
        case "builder":
            from gateway.processes.builder import run_builder

            return run_builder(settings)
        case "jobs":
            from gateway.processes.jobs import run_jobs

            return run_jobs(settings)
        case "maintain":
            from gateway.processes.maintain import run_maintain

            return run_maintain(settings, argv)
        case _:
            from gateway.processes.front import run_front

            return run_front(settings, argv)
