"""The index file: where each published entry lies, and which id it has. Format: docs/spec/ledger.md §3.

16 bytes an entry: the first 8 bytes of its id, then the u64 offset of its u16 length within its segment. Finding
an id is one scan at memory speed; every byte follows from the entries, so verification covers the file too.
"""

import mmap
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from lineage.errors import Malformed
from lineage.ledger.durable import write_at

RECORD_BYTES = 16
ID_BYTES = 8
ENTRY_ID = re.compile(r"[0-9a-f]{32}")


def index_path(directory: Path) -> Path:
    return directory / "index"


def encode_record(entry_id: str, offset: int) -> bytes:
    """`entry_id` is 32 hex characters."""
    return bytes.fromhex(entry_id[: 2 * ID_BYTES]) + offset.to_bytes(8, "big")


class IndexReader:
    """Bounded by `size`, the entries of a verified or at least parsed checkpoint."""

    def __init__(self, directory: Path, size: int) -> None:
        self._path = index_path(directory)
        self._size = size

    def offset(self, index: int) -> int:
        """Raises Malformed("index.short")."""
        with self._path.open("rb") as file:
            record = os.pread(file.fileno(), RECORD_BYTES, index * RECORD_BYTES)
        if len(record) != RECORD_BYTES:
            raise Malformed("index.short", f"no record for entry {index}")
        return int.from_bytes(record[ID_BYTES:], "big")

    def candidates(self, entry_id: str) -> Iterator[int]:
        """Indices whose id begins like `entry_id`, newest first; none for what cannot be an id (a caller's word)."""
        if self._size == 0 or not ENTRY_ID.fullmatch(entry_id):
            return
        prefix = bytes.fromhex(entry_id)[:ID_BYTES]
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = min(len(data), self._size * RECORD_BYTES)
            found = data.rfind(prefix, 0, end)
            while found >= 0:
                if found % RECORD_BYTES == 0:
                    yield found // RECORD_BYTES
                found = data.rfind(prefix, 0, found + ID_BYTES - 1)


class IndexWriter:
    """Appends records after `length` of them."""

    def __init__(self, directory: Path, length: int, sync: Callable[[int], None]) -> None:
        self._path = index_path(directory)
        self._length = length
        self._added: list[bytes] = []
        self._pending: list[bytes] = []
        self._sync = sync

    def add(self, record: bytes) -> None:
        self._added.append(record)

    def take(self) -> None:
        """Move what was added in front of the next `flush`; not while another thread adds."""
        self._pending += self._added
        self._added = []

    def flush(self) -> None:
        if not self._pending:
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_at(handle, b"".join(self._pending), self._length * RECORD_BYTES)
            self._sync(handle)
        finally:
            os.close(handle)
        self._length += len(self._pending)
        self._pending.clear()
