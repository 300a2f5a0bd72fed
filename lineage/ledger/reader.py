"""Reading a ledger directory from any process: served resources, entries, and receipts.

A reader takes the checkpoint first and then stays within it: the sequencer syncs tiles, index and segments
before it replaces the checkpoint, so everything a checkpoint names is there. Reading does not verify the whole
log (lineage.ledger.verify does); what it hands out as proof is checked by whoever receives it.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lineage.errors import Malformed, NotFound
from lineage.ledger.checkpoint import Checkpoint, unverified_checkpoint
from lineage.ledger.entry import decode_entry
from lineage.ledger.index import IndexReader
from lineage.ledger.merkle import consistency_path, inclusion_path
from lineage.ledger.proof import write_receipt
from lineage.ledger.segments import HEADER_BYTES, MAGIC, list_segments
from lineage.ledger.tiles import WIDTH, TileReader, parse_resource


class LedgerReader:
    """Stateless between calls except for the directory; safe from several threads."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)

    def checkpoint_note(self) -> bytes:
        """The signed note as served. Raises NotFound("checkpoint") before the sequencer's first start."""
        try:
            return (self._directory / "checkpoint").read_bytes()
        except FileNotFoundError as error:
            raise NotFound("checkpoint", "the ledger has not been started") from error

    def checkpoint(self) -> Checkpoint:
        """Parsed and not verified: our own file, and only its size is used for bounds."""
        return unverified_checkpoint(self.checkpoint_note())

    @property
    def size(self) -> int:
        return self.checkpoint().size

    def resource(self, path: str) -> bytes:
        """`checkpoint`, `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`, as C2SP tlog-tiles names them.

        Raises NotFound beyond the published tree and Malformed("tile.path").
        """
        if path == "checkpoint":
            return self.checkpoint_note()
        wanted = parse_resource(path)
        size = self.size
        start = wanted.index * WIDTH
        if wanted.level is not None:
            return TileReader(self._directory, size).hashes(wanted.level, start, wanted.width)
        if start + wanted.width > size:
            raise NotFound("tile", path)
        encoded = self.encoded(start, start + wanted.width)
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in encoded)

    def entries(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Entries [start, stop) within the published tree; `stop` beyond it is cut."""
        return [decode_entry(entry) for entry in self.encoded(start, stop)]

    def encoded(self, start: int, stop: int) -> Iterator[bytes]:
        """Their canonical bytes, streamed."""
        size = self.size
        stop = min(stop, size)
        if not 0 <= start < stop:
            return
        index = IndexReader(self._directory, size)
        found = list_segments(self._directory / "log")
        firsts = [first for first, _ in found]
        position = bisect_right(firsts, start) - 1
        while start < stop:
            end = firsts[position + 1] if position + 1 < len(found) else size
            upto = min(stop, end)
            yield from _read_entries(found[position][1], index.offset(start), upto - start)
            start, position = upto, position + 1

    def find(self, entry_id: str) -> int:
        """Index of the first entry with this id: one that repeats an id cannot take the place of what was recorded.

        Raises NotFound("entry") while it is not yet published.
        """
        first: int | None = None
        for index in IndexReader(self._directory, self.size).candidates(entry_id):
            if self.entries(index, index + 1)[0]["id"] == entry_id:
                first = index
        if first is None:
            raise NotFound("entry", entry_id)
        return first

    def receipt(self, entry_id: str) -> str:
        """The receipt of the entry with this id (a decision's id is its intent's). Raises NotFound("entry")."""
        note = self.checkpoint_note()
        size = unverified_checkpoint(note).size
        index = self.find(entry_id)
        if index >= size:  # published between the two reads
            return self.receipt(entry_id)
        path = inclusion_path(index, size, TileReader(self._directory, size).subtree)
        return write_receipt(next(self.encoded(index, index + 1)), index, path, note)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Path that the tree of `new` entries continues that of `old`."""
        if new > (size := self.size):
            raise NotFound("tile", f"{new} entries; {size} are published")
        return consistency_path(old, new, TileReader(self._directory, new).subtree)


def _read_entries(path: Path, offset: int, count: int) -> Iterator[bytes]:
    """`count` entries of one segment from the one whose u16 stands at `offset`, stepping over batch headers.

    The two cannot be confused: an entry begins with "{" behind its u16, a header has "G" there.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while count:
            prefix = file.read(2)
            if prefix == MAGIC[:2] and file.peek(1)[:1] == MAGIC[2:3]:
                file.seek(HEADER_BYTES - 2, os.SEEK_CUR)
                prefix = file.read(2)
            length = int.from_bytes(prefix, "big")
            entry = file.read(length)
            if len(prefix) != 2 or len(entry) != length:
                raise Malformed("segment.short", path.name)
            yield entry
            count -= 1
