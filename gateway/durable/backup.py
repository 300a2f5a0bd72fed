"""A zone's catalog, ledger and graph in one directory, taken while the zone serves; and put back into an empty one.

    backup.json            what it is, each file's SHA-256, how far each dataset was
    catalog.sqlite3        by SQLite's online backup; or catalog.dump by pg_dump
    ledger/  decisions/    the ledger's files; sealed decision inputs
    ledger.id              by which the catalog knows that ledger
    lineage.sqlite3        the graph, by SQLite's online backup
    store/                 files store only, and only when asked for

No key: not the provider's folder, not the signing key, not the key of static secrets. They are kept apart, or whoever
finds a backup has everything. The ledger is taken before the catalog: a catalog that is ahead is completed by the
reconciler, one that is behind would look as if somebody had rolled it back.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from gateway.durable.compared import sum_file
from vault.errors import Conflict, Malformed, Unavailable

FORMAT = 1
NAME = "backup.json"
_SKIPPED = {"lock", "checkpoint.tmp"}
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a zone keeps what a backup holds. `store`: the files store's folder, None for any other."""

    zone: str
    tenant: str
    catalog_url: str
    ledger: Path
    decisions: Path
    graph: Path
    store: Path | None

    @property
    def ledger_id(self) -> Path:
        """Beside the ledger's files, which are its format's alone."""
        return self.ledger.with_name("ledger.id")


@dataclass(slots=True)
class Taken:
    files: dict[str, dict[str, object]] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)


def back_up(
    places: Places, target: Path, sequences: Callable[[], dict[str, int]], made_at: str, *, with_store: bool,
    progress: Progress = lambda _: None,
) -> Taken:  # fmt: skip
    """Conflict("backup.exists") unless `target` is empty; Malformed("backup.directory"); Unavailable("backup.catalog").
    """
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken_already = any(target.iterdir())
    except OSError as error:
        raise Malformed("backup.directory", f"{target}: {error.strerror}") from error
    if taken_already:
        raise Conflict("backup.exists", str(target))
    if with_store:
        _store(places, target, progress)
    progress("ledger")
    _ledger(places.ledger, target / "ledger")
    if places.ledger_id.exists():
        _copy(places.ledger_id, target / "ledger.id")
    _tree(places.decisions, target / "decisions")
    progress("catalog")
    _catalog(places.catalog_url, target)
    if places.graph.exists():
        _sqlite(places.graph, target / "lineage.sqlite3")
    if with_store:
        _store(places, target, progress)  # again: what the catalog names by now, and did not at first
    taken = Taken(sequences=sequences())
    for path in sorted(each for each in target.rglob("*") if each.is_file()):
        taken.files[path.relative_to(target).as_posix()] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    document = {"format": FORMAT, "zone": places.zone, "tenant": places.tenant, "made_at": made_at,
                "sequences": taken.sequences, "files": taken.files, "store": with_store}  # fmt: skip
    _write(target / NAME, json.dumps(document, indent=1, sort_keys=True).encode())
    return taken


def restore(source: Path, places: Places, *, progress: Progress = lambda _: None) -> dict[str, object]:
    """The backup's own document. Conflict("restore.not-empty"), Malformed("backup.…") before anything is written."""
    document = check(source)
    if (document["zone"], document["tenant"]) != (places.zone, places.tenant):
        raise Conflict("restore.zone", f"the backup is of zone {document['zone']}")
    _must_be_empty(places)
    if (source / "store").is_dir():
        if places.store is None:
            raise Conflict("restore.store", "the backup holds a files store, and this zone has another kind")
        if (places.store / "b").exists():
            raise Conflict("restore.not-empty", str(places.store))
        progress("store")
        _tree(source / "store", places.store)
        (places.store / ".unfinished").mkdir(mode=0o700, exist_ok=True)
    progress("ledger")
    _tree(source / "ledger", places.ledger)
    sum_file(places.ledger).unlink(missing_ok=True)  # of another ledger: this one is summed up anew
    if (source / "ledger.id").exists():  # by which the catalog knows these files to be the zone's ledger
        places.ledger_id.unlink(missing_ok=True)
        _copy(source / "ledger.id", places.ledger_id)
    _tree(source / "decisions", places.decisions)
    if (source / "lineage.sqlite3").exists():
        _copy(source / "lineage.sqlite3", places.graph)
    progress("catalog")
    if (source / "catalog.sqlite3").exists():
        _copy(source / "catalog.sqlite3", _sqlite_path(places.catalog_url))
    else:
        _postgresql("pg_restore", places.catalog_url, ["--no-owner", "--exit-on-error", str(source / "catalog.dump")])
    return document


def check(source: Path) -> dict[str, object]:
    """Every file is there and as it was backed up. Malformed("backup.missing" | "backup.changed" | "backup.format")."""
    try:
        document = json.loads((source / NAME).read_bytes())
        files = dict(document["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Malformed("backup.format", str(source / NAME)) from error
    if document.get("format") != FORMAT:
        raise Malformed("backup.format", str(document.get("format")))
    there = {each.relative_to(source).as_posix() for each in source.rglob("*") if each.is_file()} - {NAME}
    if there != files.keys():
        raise Malformed("backup.missing", ", ".join(sorted(there ^ files.keys())[:5]))
    for name, known in files.items():
        if _sha256(source / name) != known["sha256"]:
            raise Malformed("backup.changed", name)
    return dict(document)


def _must_be_empty(places: Places) -> None:
    for path in (places.ledger / "checkpoint", places.graph):
        if path.exists():
            raise Conflict("restore.not-empty", str(path))
    if not places.catalog_url.startswith("sqlite"):
        _must_have_no_tables(places.catalog_url)
    elif _sqlite_path(places.catalog_url).exists():
        raise Conflict("restore.not-empty", str(_sqlite_path(places.catalog_url)))


def _must_have_no_tables(url: str) -> None:
    """pg_restore would stop half way, after everything else was put back."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        tables = inspect(engine).get_table_names()
    except SQLAlchemyError as error:
        raise Unavailable("backup.catalog", str(error).splitlines()[0]) from error
    if tables:
        raise Conflict("restore.not-empty", f"the database has {len(tables)} tables")


def _ledger(source: Path, target: Path) -> None:
    """The checkpoint first: what it names is synced before it is, so everything copied afterwards reaches at least as
    far, and a start cuts or publishes the rest."""
    target.mkdir(mode=0o700, parents=True)
    for name in ("checkpoint", "log", "tile", "index"):
        path = source / name
        if path.is_dir():
            _tree(path, target / name)
        elif path.exists():
            _copy(path, target / name)


def _tree(source: Path, target: Path) -> None:
    if not source.is_dir():
        return
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        if path.is_file() and path.name not in _SKIPPED:
            with suppress(FileNotFoundError):  # gone since it was listed
                _copy(path, target / inner)


def _store(places: Places, target: Path, progress: Progress) -> None:
    """By hard link where the file system has them: a stored object is never written again, only replaced or removed."""
    if places.store is None:
        raise Conflict("backup.store", "only a files store is copied; another has replication of its own")
    progress("store")
    for path in places.store.rglob("*"):
        inner = path.relative_to(places.store)
        if not path.is_file() or inner.parts[0] == ".unfinished" or (target / "store" / inner).exists():
            continue
        place = target / "store" / inner
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            try:
                os.link(path, place)
            except OSError:
                shutil.copyfile(path, place)


def _catalog(url: str, target: Path) -> None:
    if url.startswith("sqlite"):
        _sqlite(_sqlite_path(url), target / "catalog.sqlite3")
    else:
        _postgresql("pg_dump", url, ["--format=custom", "--no-owner", "--file", str(target / "catalog.dump")])


def _sqlite(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as from_, closing(sqlite3.connect(target)) as to:
        from_.backup(to)
        to.execute("PRAGMA journal_mode=DELETE")
    target.chmod(0o600)


def _sqlite_path(url: str) -> Path:
    return Path(make_url(url).database or "")


def _postgresql(program: str, url: str, arguments: list[str]) -> None:
    """One snapshot of the whole database, by PostgreSQL's own program."""
    parsed = make_url(url)
    plain = parsed.set(drivername="postgresql")
    found = shutil.which(program) or next(
        (str(each) for each in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)), None
    )
    if found is None:
        raise Unavailable("backup.catalog", f"{program} is not installed")
    environment = {"PATH": os.defpath, **({"PGPASSWORD": str(parsed.password)} if parsed.password else {})}
    where = plain.set(password=None).render_as_string(hide_password=False)
    done = subprocess.run(
        [found, "--dbname", where, *arguments], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise Unavailable("backup.catalog", done.stderr.strip().splitlines()[-1] if done.stderr else program)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o600)


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
