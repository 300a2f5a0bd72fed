"""From durable entries to a published tree: tiles and index on disk, then the checkpoint that covers them.

The order is the safety: tiles and index are synced before the checkpoint replaces the old one, so whoever reads
the checkpoint first finds everything it names. Opening recomputes the whole tree from its leaf hashes and refuses
to go on from one that contradicts the signed checkpoint.
"""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from lineage.errors import Broken, LineageError
from lineage.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from lineage.ledger.durable import make_directory, replace_file
from lineage.ledger.entry import leaf_hash
from lineage.ledger.index import RECORD_BYTES, IndexWriter, encode_record, index_path
from lineage.ledger.log import Stored, Sync
from lineage.ledger.merkle import Frontier
from lineage.ledger.segments import list_segments
from lineage.ledger.signature import Sign, Verify
from lineage.ledger.tiles import HASH_BYTES, HEIGHT, MAX_LEVEL, TileWriter, level_path, level_size

CHECKPOINT = "checkpoint"
_SLAB = 8192 * HASH_BYTES


class Publisher:
    """Owns tile/, index and checkpoint of one ledger directory. `add` and `publish` may run in two threads."""

    def __init__(
        self, directory: Path, origin: str, *, sign: Sign, public_key: bytes, verify: Verify, sync: Sync = os.fdatasync
    ) -> None:
        self.origin = origin
        self._directory = directory
        self._sign = sign
        self._public_key = public_key
        self._sync = sync
        self._frontier = Frontier()
        self._adding = threading.Lock()
        make_directory(directory)
        make_directory(directory / "tile")
        make_directory(directory / "log")
        self._tiles = TileWriter(directory, sync)
        self.published = self._open(verify)
        self._index = IndexWriter(directory, self.published.size, sync)

    @property
    def waiting(self) -> int:
        """Entries durable but not yet under a checkpoint."""
        return self._frontier.size - self.published.size

    def add(self, leaf: bytes, entry_id: str, offset: int) -> None:
        """Hashing is done here, entry by entry: a publisher that hashed seconds of entries at once would hold
        the interpreter while appends wait."""
        with self._adding:
            self._tiles.add(self._frontier.append(leaf))
            self._index.add(encode_record(entry_id, offset))

    def publish(self, endorse: Callable[[Checkpoint], bytes] | None = None) -> Checkpoint:
        """Cover everything added. OSError leaves the old checkpoint standing; a later call continues.

        `endorse` gives the note to store in the place of our own signature, or raises: then, too, the old one stands.
        """
        with self._adding:
            head = Checkpoint(self.origin, self._frontier.size, self._frontier.root())
            self._tiles.take()
            self._index.take()
        if head.size != self.published.size:
            self._tiles.flush()
            self._index.flush()
            self._write(head, endorse(head) if endorse is not None else None)
        return self.published

    def check(self, recent: Iterable[Stored]) -> list[Stored]:
        """Compare entries with the published leaves; returns those beyond the checkpoint. Raises Broken."""
        beyond: list[Stored] = []
        with level_path(self._directory, 0).open("rb") as file:
            for stored in recent:
                if stored.index >= self.published.size:
                    beyond.append(stored)
                elif os.pread(file.fileno(), HASH_BYTES, stored.index * HASH_BYTES) != leaf_hash(stored.entry):
                    raise Broken("ledger.self-check", f"entry {stored.index} is not the one in the tree")
        return beyond

    def _open(self, verify: Verify) -> Checkpoint:
        path = self._directory / CHECKPOINT
        path.with_name(CHECKPOINT + ".tmp").unlink(missing_ok=True)
        if not path.exists():
            # Removing the checkpoint must not turn a ledger into a new one.
            if list_segments(self._directory / "log") or index_path(self._directory).exists():
                raise Broken("ledger.checkpoint", "there are entries and no checkpoint")
            level_path(self._directory, 0).touch(mode=0o600)
            index_path(self._directory).touch(mode=0o600)
            return self._write(Checkpoint(self.origin, 0, self._frontier.root()))
        try:
            checkpoint = open_checkpoint(path.read_bytes(), self.origin, self._public_key, verify)
        except LineageError as error:
            raise Broken("ledger.checkpoint", str(error)) from error
        self._load(checkpoint)
        return checkpoint

    def _write(self, checkpoint: Checkpoint, note: bytes | None = None) -> Checkpoint:
        signed = note if note is not None else sign_checkpoint(checkpoint, self._public_key, self._sign)
        replace_file(self._directory / CHECKPOINT, signed)
        self.published = checkpoint
        return checkpoint

    def _load(self, checkpoint: Checkpoint) -> None:
        """Recompute every level from the leaves; only then cut what a crash left beyond the checkpoint."""
        computed = self._recompute(checkpoint.size)
        if self._frontier.root() != checkpoint.root:
            raise Broken("ledger.self-check", "the root of tile/0 is not the one that was signed")
        for level, hashes in computed.items():
            path = level_path(self._directory, level)
            if not path.exists() or path.read_bytes()[: len(hashes)] != hashes:
                raise Broken("ledger.self-check", f"tile/{level} does not follow from tile/0")
        index = index_path(self._directory)
        if not index.exists() or index.stat().st_size < checkpoint.size * RECORD_BYTES:
            raise Broken("ledger.self-check", "index is shorter than the checkpoint")
        os.truncate(index, checkpoint.size * RECORD_BYTES)
        for level in range(MAX_LEVEL + 1):
            wanted = level_size(checkpoint.size, level)
            if level_path(self._directory, level).exists():
                os.truncate(level_path(self._directory, level), wanted * HASH_BYTES)
            self._tiles.set_length(level, wanted)

    def _recompute(self, size: int) -> dict[int, bytearray]:
        """Fill the frontier from tile/0; returns what the levels above must hold."""
        computed: dict[int, bytearray] = {}
        try:
            with level_path(self._directory, 0).open("rb") as file:
                while self._frontier.size < size:
                    slab = file.read(min(_SLAB, (size - self._frontier.size) * HASH_BYTES))
                    if not slab or len(slab) % HASH_BYTES:
                        raise Broken("ledger.self-check", f"tile/0 ends at entry {self._frontier.size} of {size}")
                    for start in range(0, len(slab), HASH_BYTES):
                        completed = self._frontier.append(slab[start : start + HASH_BYTES])
                        for level, value in enumerate(completed[HEIGHT::HEIGHT], 1):
                            computed.setdefault(level, bytearray()).extend(value)
        except FileNotFoundError as error:
            raise Broken("ledger.self-check", "tile/0 is missing") from error
        return computed
