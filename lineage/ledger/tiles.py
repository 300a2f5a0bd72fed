"""Tiles (C2SP tlog-tiles): the names of served resources, and the level files they are slices of.

A level file is the concatenation of all tiles of one level, 32 bytes a hash: tile N of width W is the slice
[N*8192, N*8192 + W*32). One append-only file a level instead of one file a tile: partial tiles of every
checkpoint ever given stay servable, and one sync covers all of them. Format: docs/spec/ledger.md §3.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import Malformed, NotFound
from lineage.ledger.durable import write_at
from lineage.ledger.merkle import fold

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH_BYTES = 32
MAX_LEVEL = 6  # 256^7 entries are beyond any log

_RESOURCE = re.compile(
    r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """A tile (`level` >= 0) or an entry bundle (`level` is None): `index`, and `width` 1..256."""

    level: int | None
    index: int
    width: int

    def path(self) -> str:
        """tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>]."""
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        name = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{name}" + (f".p/{self.width}" if self.width < WIDTH else "")


def parse_resource(path: str) -> Resource:
    """Raises Malformed("tile.path") unless `path` is the one name of a tile or bundle."""
    match = _RESOURCE.fullmatch(path)
    if match is None:
        raise Malformed("tile.path", path[:80])
    level, name, width = match.groups()
    index = int(name.replace("x", "").replace("/", ""))
    resource = Resource(None if level == "entries" else int(level), index, int(width) if width else WIDTH)
    if resource.path() != path:
        raise Malformed("tile.path", path[:80])
    return resource


def level_path(directory: Path, level: int) -> Path:
    return directory / "tile" / str(level)


def level_size(size: int, level: int) -> int:
    """How many hashes level `level` of a tree of `size` entries has."""
    return size >> (HEIGHT * level)


class TileReader:
    """Hashes of the published tree, read from the level files; every read is bounded by `size`."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size

    def hashes(self, level: int, start: int, count: int) -> bytes:
        """Raises NotFound("tile") beyond the tree, Malformed("tile.short") when the file is shorter than it."""
        if count < 1 or start + count > level_size(self._size, level):
            raise NotFound("tile", f"level {level}, {start} to {start + count}")
        try:
            with level_path(self._directory, level).open("rb") as file:
                data = os.pread(file.fileno(), count * HASH_BYTES, start * HASH_BYTES)
        except FileNotFoundError as error:
            raise Malformed("tile.short", f"level {level} is missing") from error
        if len(data) != count * HASH_BYTES:
            raise Malformed("tile.short", f"level {level} ends before {start + count}")
        return data

    def subtree(self, height: int, index: int) -> bytes:
        """The `Subtree` port of lineage.ledger.merkle."""
        level, inside = divmod(height, HEIGHT)
        raw = self.hashes(level, index << inside, 1 << inside)
        return fold([raw[i : i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES)])


class TileWriter:
    """Appends to the level files. `sync` is os.fdatasync, or a test's failing one."""

    def __init__(self, directory: Path, sync: Callable[[int], None]) -> None:
        self._directory = directory
        self._sync = sync
        self._added: dict[int, list[bytes]] = {}
        self._pending: dict[int, list[bytes]] = {}
        self._written: dict[int, int] = {}

    def add(self, completed: list[bytes]) -> None:
        """`completed` as Frontier.append returns it: every eighth height is a hash of some level."""
        for level, value in enumerate(completed[::HEIGHT]):
            self._added.setdefault(level, []).append(value)

    def take(self) -> None:
        """Move what was added in front of the next `flush`; not while another thread adds."""
        added, self._added = self._added, {}
        for level, hashes in added.items():
            self._pending.setdefault(level, []).extend(hashes)

    def set_length(self, level: int, hashes: int) -> None:
        self._written[level] = hashes

    def flush(self) -> None:
        """Write and sync what was taken, at its exact offset: a repeated flush writes the same bytes."""
        for level in list(self._pending):
            hashes = self._pending[level]
            start = self._written.get(level, 0)
            handle = os.open(level_path(self._directory, level), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                write_at(handle, b"".join(hashes), start * HASH_BYTES)
                self._sync(handle)
            finally:
                os.close(handle)
            self._written[level] = start + len(hashes)
            del self._pending[level]
