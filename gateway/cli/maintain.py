"""`demesne fsck`, `rebuild`, `backup`, `restore`: by hand, on the zone's own host, with its settings."""

import json as json_module
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, print_json

Zone = Annotated[str | None, typer.Option("--zone", help="Zone, where DEMESNE_ZONE does not name it.")]
State = Annotated[Path | None, typer.Option("--state-dir", help="State directory, where DEMESNE_STATE_DIR names none.")]
Ledger = Annotated[Path | None, typer.Option("--ledger", exists=True, help="A newer ledger to compare with.")]


def register(app: typer.Typer) -> None:
    app.command("fsck")(fsck)
    app.command("rebuild")(rebuild)
    app.command("backup")(backup)
    app.command("restore")(restore)


def fsck(
    zone: Zone = None, state_dir: State = None, ledger: Ledger = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend bookkeeping; stop the zone first.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read and authenticate every body.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Hold catalog, store and ledger against each other. Exits 1 when something remains."""
    flags = [*(["--repair"] if repair else []), *(["--deep"] if deep else [])]
    _run(["fsck", *flags], zone, state_dir, ledger, as_json=json)


def rebuild(zone: Zone = None, state_dir: State = None, ledger: Ledger = None, json: Json = False) -> None:
    """Write an empty catalog again from the store alone. Exits 1 when something was refused or is missing."""
    _run(["rebuild"], zone, state_dir, ledger, as_json=json)


def backup(
    directory: Annotated[Path, typer.Argument(help="An empty directory.")], zone: Zone = None, state_dir: State = None,
    with_store: Annotated[bool, typer.Option("--with-store", help="Copy a files store too.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Catalog, ledger and graph, while the zone serves. Never a key."""
    _run(["backup", str(directory), *(["--with-store"] if with_store else [])], zone, state_dir, None, as_json=json)


def restore(
    directory: Annotated[Path, typer.Argument(exists=True)], zone: Zone = None, state_dir: State = None,
    ledger: Ledger = None, json: Json = False,
) -> None:  # fmt: skip
    """A backup into a zone that has keys and nothing else. Exits 1 when a ledger says that it is older."""
    _run(["restore", str(directory)], zone, state_dir, ledger, as_json=json)


def _run(arguments: list[str], zone: str | None, state_dir: Path | None, ledger: Path | None, *, as_json: bool) -> None:
    environment = dict(os.environ)
    if zone:
        environment["DEMESNE_ZONE"] = zone
    if state_dir:
        environment["DEMESNE_STATE_DIR"] = str(state_dir)
    # Of no weight here, and asked for by every role: what the zone's own marker says.
    environment.setdefault("DEMESNE_JURISDICTION", _jurisdiction(environment))
    more = ["--ledger", str(ledger)] if ledger else []
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "maintain", *arguments, *more], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if as_json else None, text=True, check=False,
    )  # fmt: skip
    if done.stdout.strip():
        document = json_module.loads(done.stdout.strip().splitlines()[-1])
        print_json(document) if as_json else _tell(document)
    elif as_json:
        print_json({"ok": False, "error": (done.stderr or "").strip().splitlines()[-1:]})
    raise typer.Exit(done.returncode)


def _jurisdiction(environment: dict[str, str]) -> str:
    marker = Path(environment.get("DEMESNE_STATE_DIR", ".")) / "zones" / environment.get("DEMESNE_ZONE", "") / "keys"
    try:
        return (marker / "location").read_text().strip()
    except OSError:
        return environment.get("DEMESNE_ZONE", "")


def _tell(document: dict[str, Any]) -> None:
    for name, value in document.items():
        if name in {"command", "zone", "ok"}:
            continue
        if isinstance(value, list):
            typer.echo(f"{name}: {len(value) or 'none'}")
            for each in value:
                typer.echo(f"  {'  '.join(map(str, each.values())) if isinstance(each, dict) else each}")
        else:
            typer.echo(f"{name}: {value}")
    typer.echo(f"{document['command']} of zone {document['zone']}: {'done' if document['ok'] else 'not all is well'}")
