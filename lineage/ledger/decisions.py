"""The sealed decision store: full decision inputs, sealed by the caller, beside the ledger. docs/spec/ledger.md §5.

One file a day, `<YYYY-MM-DD>.sealed`, so that retention is deleting files. Frames: u32 length | 16-byte entry id |
u32 CRC-32 | sealed bytes. Written before the entry, synced with the next checkpoint: after power loss an input of
the last second may be missing, its hash in the ledger never is.
"""

import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lineage.errors import NotFound
from lineage.ledger.durable import make_directory, write_all

_FRAME = struct.Struct(">I16sI")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class DecisionStore:
    """Appends for one zone; owned by the sequencer."""

    def __init__(self, directory: Path, *, sync: Callable[[int], None] = os.fdatasync) -> None:
        make_directory(directory)
        self._directory = directory
        self._sync = sync
        self._handle: int | None = None
        self._day = ""
        self._dirty = False
        self._lock = threading.Lock()

    def append(self, at: int, inputs: Sequence[tuple[str, bytes]]) -> None:
        """`inputs` are (entry id, sealed). OSError leaves at most a torn last frame, which reading skips."""
        frames = b"".join(
            _FRAME.pack(len(sealed), bytes.fromhex(entry_id), zlib.crc32(sealed)) + sealed
            for entry_id, sealed in inputs
        )
        with self._lock:
            handle = self._open(day_of(at))
            end = os.lseek(handle, 0, os.SEEK_END)
            try:
                write_all(handle, frames)
            except OSError:
                os.ftruncate(handle, end)
                raise
            self._dirty = True

    def sync(self) -> None:
        """May run beside `append`: the sync itself holds up nobody."""
        with self._lock:
            if not self._dirty or self._handle is None:
                return
            self._dirty = False
            handle = os.dup(self._handle)
        try:
            self._sync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        if self._handle is not None:
            if self._dirty:
                self._sync(self._handle)
                self._dirty = False
            os.close(self._handle)
            self._handle = None

    def _open(self, day: str) -> int:
        if self._handle is None or day != self._day:
            self.close()
            path = self._directory / f"{day}.sealed"
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._day = day
            _cut_torn_frame(self._handle)
        return self._handle


def read_input(directory: Path, day: str, entry_id: str) -> bytes:
    """The sealed input of an entry of `day` (YYYY-MM-DD). Raises NotFound("decision")."""
    wanted = bytes.fromhex(entry_id)
    path = directory / f"{day}.sealed"
    if not _DAY.fullmatch(day) or not path.exists():
        raise NotFound("decision", entry_id)
    with path.open("rb") as file:
        while len(header := file.read(_FRAME.size)) == _FRAME.size:
            length, found, crc = _FRAME.unpack(header)
            if found != wanted:
                file.seek(length, os.SEEK_CUR)
                continue
            sealed = file.read(length)
            if len(sealed) == length and zlib.crc32(sealed) == crc:
                return sealed
    raise NotFound("decision", entry_id)


def day_of(at: int) -> str:
    """The UTC day of a time in ms."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def _cut_torn_frame(handle: int) -> None:
    """After a crash the last frame may be half there; what follows must start on a frame."""
    end, position = os.lseek(handle, 0, os.SEEK_END), 0
    while position + _FRAME.size <= end:
        length, _, _ = _FRAME.unpack(os.pread(handle, _FRAME.size, position))
        if position + _FRAME.size + length > end:
            break
        position += _FRAME.size + length
    if position != end:
        os.ftruncate(handle, position)
