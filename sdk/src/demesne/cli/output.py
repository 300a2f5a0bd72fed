"""What every command shares: its options, and one way to speak to people (tables) or programs (JSON)."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from demesne.client import Client
from demesne.settings import Settings, read

_PIPE_WIDTH = 240
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
ReadyFile = Annotated[
    Path | None,
    typer.Option("--ready-file", envvar="DEMESNE_READY_FILE", help="Ready file of a dev gateway.", show_envvar=True),
]
ZoneName = Annotated[str | None, typer.Option("--zone", help="Zone to speak to; default: the first one.")]


def settings_of(ready_file: Path | None) -> Settings:
    """Settings of this invocation. Raises NotConfigured."""
    return read(ready_file)


def client_of(ready_file: Path | None, zone: str | None = None) -> Client:
    """A client as the steward of the ready file, or as the environment's principal."""
    return Client.from_settings(settings_of(ready_file), zone=zone)


def console() -> Console:
    """People's output: colours only on a terminal, NO_COLOR respected (rich does both)."""
    found = Console(highlight=False)
    # Into a file or a pipe nothing is cut: an endpoint with its end missing is worse than a long line.
    return found if found.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def print_json(document: Any) -> None:
    """One document and nothing else on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table; an empty one says so instead of showing a frame."""
    if not rows:
        console().print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    console().print(table)


def _plain(cell: str) -> str:
    """Names are data: markup and control characters in them must not reach the terminal."""
    printable = "".join(character if character.isprintable() else "�" for character in cell)
    return printable.replace("[", "\\[")
