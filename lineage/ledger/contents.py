"""A whole ledger directory read into memory for verification: what is there, before anything is believed.

Tiles and index are read before the segments: a running sequencer writes them after the segments, so a live
directory never looks damaged because it grew while it was read.
"""

from dataclasses import dataclass, field
from pathlib import Path

from lineage.errors import Malformed
from lineage.ledger import segments
from lineage.ledger.entry import leaf_hash
from lineage.ledger.index import RECORD_BYTES, encode_record, index_path
from lineage.ledger.spelling import name_of
from lineage.ledger.tiles import HASH_BYTES, MAX_LEVEL, level_path

ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """`place` is for people ("entry 17", "tile/1/000 hash 3", "checkpoint"); `file` and `entry` for programs."""

    place: str
    detail: str
    file: str
    entry: int | None = None

    def sentence(self) -> str:
        return f"{self.place}: {self.detail}" + (f" ({self.file})" if self.file else "")


@dataclass
class Contents:
    """`leaves` and `records` follow from the entries; `levels` and `index` are what lies on disk."""

    levels: dict[int, bytes]
    index: bytes
    leaves: list[bytes] = field(default_factory=list)
    records: bytearray = field(default_factory=bytearray)
    places: list[tuple[int, str]] = field(default_factory=list)  # (first entry, segment)
    problems: list[Problem] = field(default_factory=list)
    whole: bool = True  # every entry could be read

    def segment_of(self, entry: int) -> str:
        return next((name for first, name in reversed(self.places) if first <= entry), "log")


def read_contents(directory: Path) -> Contents:
    levels = {level: _bytes(level_path(directory, level)) for level in range(MAX_LEVEL + 1)}
    contents = Contents(levels, _bytes(index_path(directory)))
    _unknown_files(directory, contents)
    try:
        found = segments.list_segments(directory / "log")
    except (OSError, Malformed) as error:
        _stop(contents, 0, str(error), "log")
        return contents
    for first, path in found:
        name = f"log/{path.name}"
        if first != len(contents.leaves):
            _stop(contents, len(contents.leaves), "entries are missing before this segment", name)
            return contents
        contents.places.append((first, name))
        if not _read_segment(path, first, name, contents):
            return contents
    return contents


def _read_segment(path: Path, first: int, name: str, contents: Contents) -> bool:
    data = path.read_bytes()
    for _ in range(ATTEMPTS):
        del contents.leaves[first:], contents.records[first * RECORD_BYTES :]
        try:
            for batch in segments.read_batches(data, first):
                for offset, entry in batch.entries:
                    _take(entry, offset, name, contents)
        except segments.BadBatch as bad:
            again = path.read_bytes()
            if again == data:  # not a batch that was being written while we read
                _name_damage(data, bad, name, contents)
                return False
            data = again
        else:
            return True
    _stop(contents, len(contents.leaves), "changes while it is read", name)
    return False


def _take(entry: bytes, offset: int, name: str, contents: Contents) -> None:
    position = len(contents.leaves)
    contents.leaves.append(leaf_hash(entry))
    try:
        contents.records += encode_record(name_of(entry)[0], offset)
    except Malformed as error:
        contents.records += bytes(RECORD_BYTES)
        contents.problems.append(Problem(f"entry {position}", str(error), name, position))


def _name_damage(data: bytes, bad: segments.BadBatch, name: str, contents: Contents) -> None:
    """A batch is unreadable: tile/0 tells up to which entry its bytes are still what was recorded."""
    position, offset = bad.index, bad.offset + segments.HEADER_BYTES
    while offset + 2 <= len(data):
        stop = offset + 2 + int.from_bytes(data[offset : offset + 2], "big")
        recorded = contents.levels[0][position * HASH_BYTES : (position + 1) * HASH_BYTES]
        if not recorded or leaf_hash(data[offset + 2 : stop]) != recorded:
            break
        position, offset = position + 1, stop
        if data[offset : offset + 4] == segments.MAGIC or offset == len(data):
            _stop(contents, bad.index, f"the header of its batch at offset {bad.offset}: {bad.detail}", name)
            return
    _stop(contents, position, f"not what was recorded, at offset {offset} ({bad.detail})", name)


def _stop(contents: Contents, entry: int, detail: str, name: str) -> None:
    contents.whole = False
    contents.problems.append(Problem(f"entry {entry}", detail, name, entry))


def _unknown_files(directory: Path, contents: Contents) -> None:
    known = {"checkpoint", "index", "lock"} | {f"tile/{level}" for level in range(MAX_LEVEL + 1)}
    if not directory.is_dir():
        return
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if (path.is_dir() and name in {"log", "tile"}) or path.parent == directory / "log":
            continue  # segments are judged by name where they are listed
        if name == "checkpoint.tmp":
            continue  # the next checkpoint, caught in the making
        if name not in known or not path.is_file():
            contents.problems.append(Problem(name, "is no part of a ledger", name))
        elif name == "lock" and path.stat().st_size:
            contents.problems.append(Problem(name, "is always empty", name))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
