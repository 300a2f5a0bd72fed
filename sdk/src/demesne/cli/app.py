"""Puts the command together: the client's own commands, then those of installed distributions.

A distribution adds commands with an entry point in the group `demesne.commands`: a function
`register(app: typer.Typer) -> None`. Groups of one name are merged, so that the server's `ledger verify`
stands beside the client's `ledger receipt`.
"""

import json
import sys
from importlib.metadata import entry_points

import typer

from demesne.cli import agent, attest, dataset, doctor, key, ledger, lineage, session, zone
from demesne.errors import DemesneError

GROUP = "demesne.commands"
_EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 not found, 5 bad input, 6 unavailable, "
    "7 conflict, 8 malformed answer, 9 not configured."
)


def build(*, extensions: bool = True) -> typer.Typer:
    """The whole application. An extension that does not import is named, never fatal."""
    app = typer.Typer(
        name="demesne",
        help="A sovereign data plane: one URI, one decision, one receipt.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for part in (zone, dataset, key, lineage, ledger, agent, doctor, session, attest):
        part.register(app)
    if extensions:
        _load_extensions(app)
    _merge_groups(app)
    return app


def _root() -> None:
    """A sovereign data plane: one URI, one decision, one receipt."""


def _load_extensions(app: typer.Typer) -> None:
    for entry in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        try:
            register = entry.load()
        except (ImportError, AttributeError) as error:
            print(f"demesne: commands of {entry.name!r} are not available: {error}", file=sys.stderr)
            continue
        register(app)


def _merge_groups(app: typer.Typer) -> None:
    """Fold later groups into the first of their name; click would silently drop the first one's commands."""
    first: dict[str, typer.Typer] = {}
    kept = []
    for info in app.registered_groups:
        name, group = info.name, info.typer_instance
        if not isinstance(name, str) or group is None:
            kept.append(info)
        elif name in first:
            first[name].registered_commands += group.registered_commands
            first[name].registered_groups += group.registered_groups
        else:
            first[name] = group
            kept.append(info)
    app.registered_groups = kept


def run(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code. Errors are a sentence on stderr, or JSON on stdout with --json."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        build()(given, prog_name="demesne")
    except DemesneError as error:
        _say(error, as_json="--json" in given)
        return error.exit_code
    except SystemExit as end:  # usage errors, --help, and commands that end with a code of their own
        return end.code if isinstance(end.code, int) else 1
    return 0


def _say(error: DemesneError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": error.as_document()}))
    print(f"demesne: {error.sentence}", file=sys.stderr)
