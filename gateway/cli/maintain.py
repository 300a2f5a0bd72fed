"""`demesne fsck`, `rebuild`, `backup`, `restore`: by hand, on the zone's own host, with its settings."""

import json as json_module
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, print_json
from demesne.errors import Conflict, DemesneError, Invalid, NotConfigured, NotFound, Unavailable

EXIT_SETTINGS = 2  # of `python -m gateway`

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
    directory: Annotated[Path, typer.Argument(help="What `backup` wrote.")], zone: Zone = None, state_dir: State = None,
    ledger: Ledger = None, json: Json = False,
) -> None:  # fmt: skip
    """A backup into a zone that has keys and nothing else. Exits 1 when a ledger says that it is older."""
    _run(["restore", str(directory)], zone, state_dir, ledger, as_json=json)


def _run(arguments: list[str], zone: str | None, state_dir: Path | None, ledger: Path | None, *, as_json: bool) -> None:
    """The child's own exit code when it told what is not well; DemesneError when it could not do its work."""
    environment = dict(os.environ)
    if zone:
        environment["DEMESNE_ZONE"] = zone
    if state_dir:
        environment["DEMESNE_STATE_DIR"] = str(state_dir)
    _must_be_a_zone(environment)
    # Of no weight here, and asked for by every role: what the zone's own marker says.
    environment.setdefault("DEMESNE_JURISDICTION", _jurisdiction(environment))
    more = ["--ledger", str(ledger)] if ledger else []
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "maintain", *arguments, *more], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if as_json else None, text=True, check=False,
    )  # fmt: skip
    if not done.stdout.strip():
        raise _without_a_word(arguments[0], done.returncode, done.stderr)
    document = json_module.loads(done.stdout.strip().splitlines()[-1])
    if "error" in document:
        raise failure(document["error"])
    print_json(document) if as_json else _tell(document)
    raise typer.Exit(done.returncode)


def _must_be_a_zone(environment: dict[str, str]) -> None:
    """Before anything is opened: which zone, and is it here. NotConfigured, NotFound."""
    name, state = environment.get("DEMESNE_ZONE", ""), environment.get("DEMESNE_STATE_DIR", "")
    if not state:
        raise NotConfigured(
            "state-dir.missing", "No state directory is named", remedy="--state-dir DIR, or DEMESNE_STATE_DIR"
        )
    zones = Path(state) / "zones"
    here = sorted(each.name for each in zones.iterdir() if each.is_dir()) if zones.is_dir() else []
    named = ", ".join(here) or "none"
    if not name:
        raise NotConfigured(
            "zone.missing", f"No zone is named; in {state} there are: {named}", remedy="--zone NAME, or DEMESNE_ZONE"
        )
    if name not in here:
        raise NotFound(
            "zone.unknown", f"--zone: no zone {name!r} in {zones}; there are: {named}",
            remedy="name one of these, or the state directory that holds it with --state-dir; a zone whose host was "
            "lost needs its keys put back first (docs/runbooks/backup.md)",
        )  # fmt: skip


def failure(told: dict[str, str]) -> DemesneError:
    """What `python -m gateway maintain` could not do, as the client's commands say it: field, fix and exit code."""
    code, kind, detail = told["code"], told["kind"], told["detail"]
    message, remedy = _SAID.get(code, ("", ""))
    error = _BY_CODE.get(code) or _BY_KIND.get(kind, DemesneError)
    said = ": ".join(part for part in (message, detail) if part)
    return error(code, said or f"the command ended with {code}", remedy=remedy or None)


_BY_CODE: dict[str, type[DemesneError]] = {
    "secret.missing": NotConfigured, "key.credential": NotConfigured, "backup.directory": Invalid,
    "backup.format": Invalid, "backup.missing": Invalid, "backup.changed": Invalid, "backup.store": Invalid,
}  # fmt: skip
_BY_KIND: dict[str, type[DemesneError]] = {"NotFound": NotFound, "Conflict": Conflict, "Unavailable": Unavailable}
_SAID = {
    "backup.directory": ("DIRECTORY cannot be used", "name a directory that this user may read and write"),
    "backup.exists": ("DIRECTORY is not empty", "name a new or an empty directory; a backup writes over nothing"),
    "backup.store": ("--with-store", "leave --with-store away, and copy the store by its own means"),
    "backup.format": ("DIRECTORY holds no backup", "name a directory that `demesne backup` finished"),
    "backup.missing": ("DIRECTORY: files are missing or too many", "take another copy of this backup"),
    "backup.changed": ("DIRECTORY: a file is not as it was backed up", "take another copy of this backup"),
    "backup.catalog": ("The catalog cannot be copied", "see DEMESNE_CATALOG_URL, and that its server answers"),
    "restore.zone": ("--zone is not the zone of this backup", "name the zone of the backup with --zone"),
    "restore.store": ("DEMESNE_STORE_URL", "name a files store, or restore a backup made without --with-store"),
    "restore.not-empty": (
        "The zone holds data already", "restore into a zone with keys and nothing else: move what is named away",
    ),
    "key.credential": (
        "The key provider's credentials do not serve",
        "put the zone's keys back, or see DEMESNE_KEY_PROVIDER and the credentials it needs",
    ),
    "secret.missing": ("The zone's secrets are not here", "put keys/secrets back from where secrets are kept"),
}  # fmt: skip


def _without_a_word(command: str, code: int, stderr: str | None) -> DemesneError:
    """It ended before it could say why, or its settings cannot work (2): the sentences name the variables."""
    lines = (stderr or "").strip().splitlines()
    if code == EXIT_SETTINGS:
        said = [line for line in lines if line.startswith("DEMESNE_")]
        return Invalid(
            "settings.invalid", "; ".join(said) or "the settings cannot work", remedy="see docs/settings.md"
        )
    return DemesneError(f"{command}.failed", lines[-1] if lines else f"it ended with {code}, see above")


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
