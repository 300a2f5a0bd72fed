"""`demesne demo`: the whole story on embedded zones, with a report."""

from pathlib import Path
from typing import Annotated

import typer

from demesne.cli.output import Json

EXIT_EXTRA = 9  # as the client's NotConfigured: something is not installed


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    work_dir: Annotated[Path, typer.Option("--work-dir", help="Emptied and used; report.json is left in it.")] = Path(
        ".demesne-demo"
    ),
    json: Json = False,
) -> None:
    """Run the story: two zones, one URI, three answers, on real data. Exits 0 only if every step passed."""
    try:
        from gateway.cli.demo.story import run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "gateway":
            raise
        typer.echo(f"demesne demo: {error.name} is not installed. Run: pip install 'demesne-server[demo]'", err=True)
        raise typer.Exit(EXIT_EXTRA) from None
    raise typer.Exit(run(work_dir, json))
