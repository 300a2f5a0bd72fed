"""A gateway's part in a ledger that lies in PostgreSQL: append to it, keep a checked copy, and sign when elected.

    append    one statement in PostgreSQL, then the promise                     every gateway, at once
    publish   every half second: take what is new into the copy on this host, in the file format of docs/spec/ledger.md
              §3; the one that holds the lease signs the tree head, hands it to PostgreSQL under its fence, and only
              then writes it here; the others take that checkpoint if it is the head of their own tree

So each gateway serves tiles, receipts and lineage from its own disk, and each is a witness of the one that signs: a
checkpoint that contradicts what this host has seen, or a database that lost entries, ends the process.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lineage.errors import Broken, LineageError, Malformed, Unavailable
from lineage.ledger.checkpoint import Checkpoint, open_checkpoint, origin_of, sign_checkpoint
from lineage.ledger.decisions import DecisionStore
from lineage.ledger.entry import leaf_hash
from lineage.ledger.log import FULL, EntryLog, Stored, recover
from lineage.ledger.postgresql import Head, SharedLog
from lineage.ledger.publisher import Publisher
from lineage.ledger.signature import Sign, Verify
from lineage.ledger.spelling import name_of
from lineage.ledger.writer import Request, ledger_lock

STEP_ENTRIES = 1000
STEP_BYTES = 4 << 20
log = logging.getLogger("ledger")


class _NotElected(Exception):
    """Somebody else signs now; what we would have signed never leaves this process."""


class SharedLedger:
    """The sequencer's port on a shared log. `commit` and `publish` may run in two threads; each of them in one."""

    def __init__(
        self, zone: str, sign: Sign, public_key: bytes, verify: Verify, *, holder: str, appends: SharedLog,
        follows: SharedLog, copy: EntryLog, publisher: Publisher, decisions: DecisionStore, now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self.zone = zone
        self.sign = sign
        self.fence = 0
        self._public_key = public_key
        self._verify = verify
        self._holder = holder
        self._appends = appends
        self._follows = follows
        self._copy = copy
        self._publisher = publisher
        self._decisions = decisions
        self._now_ms = now_ms

    @property
    def elected(self) -> bool:
        """Whether this gateway signed last; another may have taken over since."""
        return self.fence > 0

    @property
    def waiting(self) -> bool:
        """Always: other gateways append too."""
        return True

    def commit(self, batch: Sequence[Request]) -> tuple[int, list[Stored]]:
        """As `LedgerWriter.commit`; the entries stand in PostgreSQL when it returns."""
        at = self._now_ms()
        sealed = [(request.entry_id, request.sealed) for request in batch if request.sealed]
        if sealed:
            try:
                self._decisions.append(at, sealed)
            except OSError as error:
                raise Unavailable("ledger.full", f"decision store: {error.strerror}") from error
        entries = [request.entry for request in batch]
        first, given = self._appends.append(entries, at)
        return given, [Stored(first + number, entry, 0) for number, entry in enumerate(entries)]

    def committed(self, leaf: bytes, entry_id: str, stored: Stored) -> None:
        """Nothing: the copy takes all entries in their order, ours among those of others, in `publish`."""

    def publish(self) -> None:
        """One round. A database or disk that cannot just now is tried again; a contradiction is Broken."""
        try:
            self._decisions.sync()
            self._round()
        except OSError as error:
            if error.errno not in FULL:
                raise Broken("ledger.publish", error.strerror or "") from error
        except Unavailable as error:
            log.warning("checkpoint waits: %s", error)

    def close(self) -> None:
        if self.elected:
            with contextlib.suppress(LineageError):
                self._follows.give_back(self._holder, self.fence)
        for part in (self._copy, self._decisions, self._appends, self._follows):
            part.close()

    def _round(self) -> None:
        held = self._follows.lease(self._holder, self.fence)
        if held is not None and held != self.fence:
            log.info("this gateway signs the zone's checkpoints, fence %s", held)
        elif held is None and self.elected:
            log.info("another gateway signs the zone's checkpoints")
        self.fence = held or 0
        head = self._follows.head()
        if head.size < self._copy.size:
            raise Broken("ledger.rolled-back", f"PostgreSQL holds {head.size} entries, this host saw {self._copy.size}")
        if head.note is not None:
            self._adopt(head)
        if self.elected:
            self._follow(head.size)
            with contextlib.suppress(_NotElected):
                self._publisher.publish(self._endorse)

    def _adopt(self, head: Head) -> None:
        """Take the zone's checkpoint, if it is the head of the tree that this host's entries make."""
        note = head.note or b""
        try:
            theirs = open_checkpoint(note, self._publisher.origin, self._public_key, self._verify)
        except LineageError as error:
            raise Broken("ledger.checkpoint", f"the checkpoint in PostgreSQL: {error}") from error
        if theirs.size > head.size or theirs.size < self._publisher.published.size:
            raise Broken("ledger.rolled-back", f"a checkpoint of {theirs.size} entries, {head.size} are there")
        if theirs.size < self._copy.size:
            return  # we read ahead while we were elected: the next checkpoint of our successor covers it
        self._follow(theirs.size)

        def agreed(ours: Checkpoint) -> bytes:
            if (ours.size, ours.root) != (theirs.size, theirs.root):
                raise Broken("ledger.split", f"the checkpoint of {theirs.size} entries is not of those this host has")
            return note

        self._publisher.publish(agreed)

    def _endorse(self, head: Checkpoint) -> bytes:
        note = sign_checkpoint(head, self._public_key, self.sign)
        if not self._follows.publish(self._holder, self.fence, head.size, note):
            log.warning("checkpoint refused: fence %s is gone", self.fence)
            self.fence = 0
            raise _NotElected
        return note

    def _follow(self, stop: int) -> None:
        while self._copy.size < stop:
            self._take(self._follows.entries(self._copy.size, min(stop, self._copy.size + STEP_ENTRIES)))

    def _take(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Into the segments of this host, and into its tree."""
        begun = size = 0
        for number, (_, entry) in enumerate(rows, 1):
            size += len(entry)
            if size >= STEP_BYTES or number == len(rows):
                part = rows[begun:number]
                names = [_entry_id(entry) for _, entry in part]
                for name, stored in zip(names, self._copy.append([e for _, e in part], part[-1][0]), strict=True):
                    self._publisher.add(leaf_hash(stored.entry), name, stored.offset)
                begun, size = number, 0


def _entry_id(entry: bytes) -> str:
    try:
        name, _ = name_of(entry)
    except Malformed as error:
        raise Broken("ledger.entry", f"PostgreSQL holds what no gateway wrote: {error}") from error
    return name


@contextlib.contextmanager
def open_shared_ledger(
    url: str, directory: Path, decisions_dir: Path, zone: str, sign: Sign, public_key: bytes, verify: Verify, *,
    holder: str, now_ms: Callable[[], int], origin: str | None = None, durable: bool = True,
) -> Iterator[SharedLedger]:  # fmt: skip
    """Lock this host's copy, check it, open the shared log. Raises as `open_ledger` and `SharedLog.check`."""
    with ledger_lock(directory), contextlib.ExitStack() as undo:
        publisher = Publisher(directory, origin or origin_of(zone), sign=sign, public_key=public_key, verify=verify)
        copy, recent = recover(directory / "log", publisher.published.size, sync=os.fdatasync)
        undo.callback(copy.close)
        for stored in publisher.check(recent):
            publisher.add(leaf_hash(stored.entry), name_of(stored.entry)[0], stored.offset)
        logs = [SharedLog(url, zone, public_key, durable=durable) for _ in range(2)]
        for shared in logs:
            undo.callback(shared.close)
            shared.check()
        ledger = SharedLedger(
            zone, sign, public_key, verify, holder=holder, appends=logs[0], follows=logs[1], copy=copy,
            publisher=publisher, decisions=DecisionStore(decisions_dir), now_ms=now_ms,
        )  # fmt: skip
        try:
            yield ledger
        finally:
            ledger.close()
