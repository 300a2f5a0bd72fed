"""Local files and directories as sources: what is there, in what format, under which key."""

from dataclasses import dataclass
from pathlib import Path

from ingest.errors import BadFile

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv"}
CONTENT_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to take in. `key` is its path below the directory given, with `/`; size in bytes."""

    path: Path
    key: str
    format: str
    size: int


def find(path: Path) -> list[SourceFile]:
    """The file, or every file below the directory, sorted by key; names that start with `.` or `_` are left out
    (markers of other tools). Raises BadFile for an absent path, another format, an empty directory.

    A file of an unknown format stops the run rather than being passed over: nobody should believe it was taken.
    """
    if path.is_file():
        return [_source(path, path.name)]
    if not path.is_dir():
        raise BadFile("source.absent", path, "no such file or directory", remedy="check the path")
    entries = [entry for entry in sorted(path.rglob("*")) if _wanted(entry, path)]
    found = [_source(entry, entry.relative_to(path).as_posix()) for entry in entries]
    if not found:
        raise BadFile("source.empty", path, "no files in it", remedy="name a directory with Parquet or CSV files")
    return sorted(found, key=lambda source: source.key.encode())


def _wanted(entry: Path, root: Path) -> bool:
    return entry.is_file() and not any(part.startswith((".", "_")) for part in entry.relative_to(root).parts)


def _source(path: Path, key: str) -> SourceFile:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(sorted(FORMATS))
        raise BadFile(
            "source.format", path, f"not a format ingest reads ({known})", remedy="convert it, or move it elsewhere"
        )
    return SourceFile(path, key, kind, path.stat().st_size)
