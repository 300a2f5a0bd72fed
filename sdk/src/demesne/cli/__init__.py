"""The `demesne` command. The server adds its commands by the entry point group `demesne.commands`."""

import sys


def main() -> None:
    """Entry of the console script; without the `cli` extra it says how to get it, and exits 9."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        print("demesne: the command line is not installed. Run: pip install 'demesne[cli]'", file=sys.stderr)
        sys.exit(9)
    from demesne.cli.app import run

    sys.exit(run())
