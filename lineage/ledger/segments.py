"""Segments: the files that hold the entries, and the batch framing inside them. Format: docs/spec/ledger.md §3.

A segment is a sequence of batches; a batch is what one fdatasync made durable:

    "DLG1" | u32 payload length | u32 count | u64 first index | u64 at (ms) | u32 CRC-32 | payload

and the payload is `count` entries, each behind a u16 length, as in a C2SP entry bundle. A batch is written only
after its predecessor is on disk: so only the very last batch of the log may be torn, and a damaged batch with
anything valid behind it was acknowledged once and is damage, never a torn tail.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import Malformed

MAGIC = b"DLG1"
_HEADER = struct.Struct(">4sIIQQ")
_CRC = struct.Struct(">I")
HEADER_BYTES = _HEADER.size + _CRC.size
MAX_BATCH_BYTES = 8 << 20
SUFFIX = ".seg"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as read: `offset` of its header, `at` in ms, entries with the offset of each one's u16."""

    offset: int
    length: int
    first: int
    at: int
    entries: tuple[tuple[int, bytes], ...]


class BadBatch(Malformed):
    """The bytes at `offset` are no batch; entries from `index` on are in doubt."""

    def __init__(self, offset: int, index: int, detail: str) -> None:
        super().__init__("segment.batch", f"offset {offset}, entries from {index}: {detail}")
        self.offset = offset
        self.index = index


def encode_batch(first: int, at: int, entries: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """-> (batch bytes, offset of each entry's u16 relative to the batch)."""
    parts: list[bytes] = []
    offsets: list[int] = []
    position = HEADER_BYTES
    for entry in entries:
        offsets.append(position)
        parts += (len(entry).to_bytes(2, "big"), entry)
        position += 2 + len(entry)
    payload = b"".join(parts)
    header = _HEADER.pack(MAGIC, len(payload), len(entries), first, at)
    return header + _CRC.pack(zlib.crc32(payload, zlib.crc32(header))) + payload, offsets


def read_batches(data: bytes | memoryview, first: int) -> Iterator[Batch]:
    """Batches from the start of a segment whose first entry has index `first`. Raises BadBatch."""
    offset, index = 0, first
    while offset < len(data):
        batch = _read_batch(data, offset, index)
        yield batch
        offset += batch.length
        index += len(batch.entries)


def has_batch_behind(data: bytes | memoryview, offset: int, index: int) -> bool:
    """Whether a valid batch of a later entry starts anywhere after `offset`."""
    raw = bytes(data)
    found = raw.find(MAGIC, offset + 1)
    while found >= 0:
        if len(raw) - found >= HEADER_BYTES:
            claimed = _HEADER.unpack_from(raw, found)[3]
            if claimed > index:
                try:
                    _read_batch(raw, found, claimed)
                except BadBatch:
                    pass
                else:
                    return True
        found = raw.find(MAGIC, found + 1)
    return False


def segment_path(directory: Path, first: int) -> Path:
    return directory / f"{first:020d}{SUFFIX}"


def list_segments(directory: Path) -> list[tuple[int, Path]]:
    """(first index, path) in order. Raises Malformed("segment.name") for a file that is none."""
    found: list[tuple[int, Path]] = []
    for path in directory.iterdir():
        stem = path.name.removesuffix(SUFFIX)
        if not path.name.endswith(SUFFIX) or len(stem) != 20 or not (stem.isascii() and stem.isdigit()):
            raise Malformed("segment.name", path.name)
        found.append((int(stem), path))
    return sorted(found)


def entries_of(payload: bytes | memoryview, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """u16-prefixed entries between two offsets -> (offset, entry). Raises Malformed("bundle")."""
    position = start
    while position < stop:
        if stop - position < 2:
            raise Malformed("bundle", "half a length")
        length = int.from_bytes(payload[position : position + 2], "big")
        if stop - position - 2 < length:
            raise Malformed("bundle", "an entry longer than what is there")
        yield position, bytes(payload[position + 2 : position + 2 + length])
        position += 2 + length


def _read_batch(data: bytes | memoryview, offset: int, index: int) -> Batch:
    if len(data) - offset < HEADER_BYTES:
        raise BadBatch(offset, index, "half a header")
    header = bytes(data[offset : offset + _HEADER.size])
    magic, length, count, first, at = _HEADER.unpack(header)
    (crc,) = _CRC.unpack_from(data, offset + _HEADER.size)
    if magic != MAGIC or not 0 < length <= MAX_BATCH_BYTES or count == 0:
        raise BadBatch(offset, index, "no batch header")
    start, stop = offset + HEADER_BYTES, offset + HEADER_BYTES + length
    if stop > len(data):
        raise BadBatch(offset, index, "the batch is longer than the file")
    if zlib.crc32(data[start:stop], zlib.crc32(header)) != crc:
        raise BadBatch(offset, index, "checksum")
    if first != index:
        raise BadBatch(offset, index, f"claims to begin at {first}")
    try:
        entries = tuple(entries_of(data, start, stop))
    except Malformed as error:
        raise BadBatch(offset, index, error.detail) from error
    if len(entries) != count:
        raise BadBatch(offset, index, f"{len(entries)} entries instead of {count}")
    return Batch(offset, HEADER_BYTES + length, index, at, entries)
