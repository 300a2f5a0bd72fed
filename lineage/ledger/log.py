"""The entry log: appends batches to segments, one fdatasync a batch, and recovers after a crash.

Two outcomes of a failure, kept apart: `Unavailable` means nothing was recorded and the log is as it was (a full
disk); `Broken` means the state on disk is unknown (a failed fdatasync is never retried: the kernel may have
dropped the dirty pages and a second call would succeed over lost data), so the process must stop and re-verify.
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import Broken, Malformed, Unavailable
from lineage.ledger import segments
from lineage.ledger.durable import sync_directory, write_at

SEGMENT_BYTES = 64 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Sync = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry on disk: its index, bytes, and the offset of its u16 length in its segment."""

    index: int
    entry: bytes
    offset: int


class EntryLog:
    """The writer. Open with `recover`; exactly one per directory (the caller holds the lock)."""

    def __init__(self, directory: Path, size: int, last_at: int, end: int, *, sync: Sync, limit: int) -> None:
        self.size = size
        self.last_at = last_at
        self._directory = directory
        self._end = end  # bytes of the last segment that are whole batches
        self._sync = sync
        self._limit = limit
        self._handle: int | None = None
        self._broken = False

    def append(self, entries: Sequence[bytes], at: int) -> list[Stored]:
        """Durable when it returns. Raises Unavailable("ledger.full") or Broken("ledger.disk")."""
        if self._broken:
            raise Broken("ledger.disk", "an earlier write failed")
        batch, offsets = segments.encode_batch(self.size, at, entries)
        handle = self._segment()
        try:
            write_at(handle, batch, self._end)
        except OSError as error:
            self._undo(handle, error)
        try:
            self._sync(handle)
        except OSError as error:
            self._broken = True
            raise Broken("ledger.disk", f"sync: {error.strerror}") from error
        stored = [
            Stored(self.size + i, entry, self._end + offset)
            for i, (entry, offset) in enumerate(zip(entries, offsets, strict=True))
        ]
        self._end += len(batch)
        self.size += len(entries)
        self.last_at = max(self.last_at, at)
        return stored

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _segment(self) -> int:
        if self._handle is not None and self._end < self._limit:
            return self._handle
        self.close()
        existing = segments.list_segments(self._directory)
        if existing and self._end < self._limit:
            self._handle = os.open(existing[-1][1], os.O_RDWR | os.O_CLOEXEC)
            return self._handle
        path = segments.segment_path(self._directory, self.size)
        try:
            # Not O_EXCL: a crash between this line and the first batch leaves an empty file of this very name.
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync_directory(self._directory)
        except OSError as error:
            raise Unavailable("ledger.full", error.strerror or "") from error
        self._end = 0
        return self._handle

    def _undo(self, handle: int, error: OSError) -> None:
        """Take a partly written batch back; if even that fails the state is unknown."""
        try:
            os.ftruncate(handle, self._end)
        except OSError as second:
            self._broken = True
            raise Broken("ledger.disk", f"write: {error.strerror}, truncate: {second.strerror}") from error
        if error.errno in FULL:
            raise Unavailable("ledger.full", error.strerror or "") from error
        self._broken = True
        raise Broken("ledger.disk", f"write: {error.strerror}") from error


def recover(
    directory: Path, published: int, *, sync: Sync = os.fdatasync, limit: int = SEGMENT_BYTES
) -> tuple[EntryLog, list[Stored]]:
    """Open the log of a ledger whose checkpoint covers `published` entries.

    Returns the log and the entries of the segments that reach beyond or up to the checkpoint, for the caller
    to compare with the tree and to publish the rest. Cuts off a torn last batch, which nobody was promised.
    Raises Broken("ledger.segment" | "ledger.truncated"), naming file, offset and entry index.
    """
    try:
        found = segments.list_segments(directory)
    except Malformed as error:
        raise Broken("ledger.segment", f"log/{error.detail} is not a segment") from error
    if found and found[0][0] != 0:
        raise Broken("ledger.truncated", "the first segment is missing")
    stored: list[Stored] = []
    size = last_at = end = 0
    recent = max((i for i, (first, _) in enumerate(found) if first < max(published, 1)), default=0)
    for position, (first, path) in enumerate(found[recent:], recent):
        if position > recent and first != size:
            raise Broken("ledger.segment", f"log/{path.name}: entries from {size} are missing")
        data = path.read_bytes()
        size, end = first, 0
        try:
            for batch in segments.read_batches(data, first):
                stored += [Stored(size + i, entry, offset) for i, (offset, entry) in enumerate(batch.entries)]
                size, end, last_at = size + len(batch.entries), batch.offset + batch.length, batch.at
        except segments.BadBatch as bad:
            _cut(path, data, bad, published, last=position == len(found) - 1, sync=sync)
    if size < published:
        raise Broken("ledger.truncated", f"the checkpoint covers {published} entries, the log has {size}")
    return EntryLog(directory, size, last_at, end, sync=sync, limit=limit), stored


def _cut(path: Path, data: bytes, bad: segments.BadBatch, published: int, *, last: bool, sync: Sync) -> None:
    place = f"log/{path.name} offset {bad.offset}, entry {bad.index}"
    if not last or bad.index < published or segments.has_batch_behind(data, bad.offset, bad.index):
        raise Broken("ledger.segment", f"{place}: damaged after it was acknowledged")
    if len(data) - bad.offset > segments.HEADER_BYTES + segments.MAX_BATCH_BYTES:
        raise Broken("ledger.segment", f"{place}: more than one batch is unreadable")
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(handle, bad.offset)
        sync(handle)
    finally:
        os.close(handle)
