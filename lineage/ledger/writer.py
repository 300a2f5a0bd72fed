"""The open ledger of a zone: lock, self-check, recovery, then commit and publish. Blocking; no sockets here."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lineage.errors import Broken, Unavailable
from lineage.ledger.checkpoint import origin_of
from lineage.ledger.decisions import DecisionStore
from lineage.ledger.entry import leaf_hash
from lineage.ledger.log import FULL, SEGMENT_BYTES, EntryLog, Stored, Sync, recover
from lineage.ledger.publisher import Publisher
from lineage.ledger.signature import Sign, Verify
from lineage.ledger.spelling import name_of

CLOCK_BACK_MS = 5_000


@dataclass(slots=True)
class Request:
    """A checked entry on its way to the disk: canonical bytes, their id, the sealed decision input (or b"")."""

    entry: bytes
    entry_id: str
    sealed: bytes


class Writer(Protocol):
    """What the sequencer writes to: files of this host, or the log that several hosts share (lineage.ledger.shared)."""

    zone: str

    def sign(self, message: bytes, /) -> bytes: ...

    def commit(self, batch: Sequence[Request]) -> tuple[int, list[Stored]]: ...

    def committed(self, leaf: bytes, entry_id: str, stored: Stored) -> None: ...

    @property
    def waiting(self) -> bool: ...

    def publish(self) -> None: ...


@dataclass
class LedgerWriter:
    """`commit` and `publish` may run in two threads; each of them in one."""

    zone: str
    sign: Sign
    log: EntryLog
    publisher: Publisher
    decisions: DecisionStore
    now_ms: Callable[[], int]

    def commit(self, batch: Sequence[Request]) -> tuple[int, list[Stored]]:
        """Durable when it returns (time in ms, stored). Raises Unavailable (nothing recorded) or Broken."""
        at = self.now_ms()
        if at < self.log.last_at - CLOCK_BACK_MS:
            raise Unavailable("ledger.clock", "the clock went back more than 5 s")
        at = max(at, self.log.last_at)
        sealed = [(request.entry_id, request.sealed) for request in batch if request.sealed]
        if sealed:
            try:
                self.decisions.append(at, sealed)
            except OSError as error:
                raise Unavailable("ledger.full", f"decision store: {error.strerror}") from error
        return at, self.log.append([request.entry for request in batch], at)

    def committed(self, leaf: bytes, entry_id: str, stored: Stored) -> None:
        """The tree takes in what `commit` stored, in its order."""
        self.publisher.add(leaf, entry_id, stored.offset)

    @property
    def waiting(self) -> bool:
        """Whether `publish` has something to do."""
        return self.publisher.waiting > 0

    def publish(self) -> None:
        """A full disk is tried again; any other failure is Broken."""
        try:
            self.decisions.sync()
            self.publisher.publish()
        except OSError as error:
            if error.errno not in FULL:
                raise Broken("ledger.publish", error.strerror or "") from error

    def close(self) -> None:
        self.log.close()
        self.decisions.close()


@contextlib.contextmanager
def open_ledger(
    directory: Path, decisions_dir: Path, zone: str, sign: Sign, public_key: bytes, verify: Verify, *,
    origin: str | None = None, now_ms: Callable[[], int] | None = None, sync: Sync = os.fdatasync,
    segment_bytes: int = SEGMENT_BYTES,
) -> Iterator[LedgerWriter]:  # fmt: skip
    """Lock, self-check, recover, publish what a crash left unpublished.

    Raises Unavailable("ledger.locked") when another sequencer runs, Broken when the stored tree fails its check.
    """
    with ledger_lock(directory):
        publisher = Publisher(
            directory, origin or origin_of(zone), sign=sign, public_key=public_key, verify=verify, sync=sync
        )
        log, recent = recover(directory / "log", publisher.published.size, sync=sync, limit=segment_bytes)
        for stored in publisher.check(recent):
            publisher.add(leaf_hash(stored.entry), name_of(stored.entry)[0], stored.offset)
        publisher.publish()
        clock = now_ms or (lambda: time.time_ns() // 1_000_000)
        ledger = LedgerWriter(zone, sign, log, publisher, DecisionStore(decisions_dir, sync=sync), clock)
        try:
            yield ledger
        finally:
            ledger.close()


@contextlib.contextmanager
def ledger_lock(directory: Path) -> Iterator[None]:
    """One process a directory, for as long as the block lasts. Raises Unavailable("ledger.locked")."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable("ledger.locked", "another sequencer holds this ledger") from error
        yield
    finally:
        os.close(handle)
