"""`demesne ledger receipt`: fetch the proof that a decision is in the ledger. (The server adds `verify`.)"""

from pathlib import Path
from typing import Annotated

import typer

from demesne.cli.output import Json, ReadyFile, ZoneName, client_of, console, print_json


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The zone's tamper-evident record of every decision.", no_args_is_help=True)
    group.command("receipt")(receipt)
    app.add_typer(group, name="ledger")


def receipt(
    decision: Annotated[str, typer.Argument(help="Decision id, as every answer and error names it.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the receipt here.")] = None,
    zone: ZoneName = None,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Fetch the receipt (tlog-proof) of a decision; it verifies offline."""
    with client_of(ready_file, zone) as client:
        text = client.receipt(decision)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if json:
        print_json({"decision_id": decision, "receipt": text, "file": str(out) if out else None})
    elif out is not None:
        console().print(f"Receipt of {decision} written to {out}.")
    else:
        typer.echo(text, nl=False)
