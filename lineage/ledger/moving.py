"""A ledger of files, moved into PostgreSQL: the same entries at the same positions under the same checkpoint.

The files stay and are this host's copy from then on. It may be broken off and begun again: what is there already is
compared, the rest is added. Nothing else may write meanwhile: neither side's sequencer runs.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lineage.errors import Broken, Unavailable
from lineage.ledger import segments
from lineage.ledger.postgresql import SharedLog
from lineage.ledger.signature import Verify
from lineage.ledger.verify import verify_directory
from lineage.ledger.writer import ledger_lock

STEP = 1000
STEP_BYTES = 4 << 20


def move_into(
    log: SharedLog, directory: Path, zone: str, public_key: bytes, verify: Verify, *, holder: str,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> int:  # fmt: skip
    """Entries moved in all. `tell(done, of)` as it goes. Raises Broken("ledger.move") when the files do not verify or
    PostgreSQL holds other entries, Unavailable("ledger.move") when entries wait for a checkpoint."""
    with ledger_lock(directory):
        report = verify_directory(directory, public_key, verify, zone=zone)
        if not report.verified:
            raise Broken("ledger.move", f"the ledger of files does not verify: {report.problems[0].sentence()}")
        if report.unpublished:
            raise Unavailable("ledger.move", "start and stop the zone once: its last entries have no checkpoint yet")
        present = log.head().size
        if present > report.size:
            raise Broken("ledger.move", f"PostgreSQL holds {present} entries, the files {report.size}")
        for position, at, entries in _groups(directory / "log"):
            _add(log, position, at, entries, present)
            tell(position + len(entries), report.size)
        fence = log.lease(holder, 0)
        note = (directory / "checkpoint").read_bytes()
        if fence is None or not log.publish(holder, fence, report.size, note):
            raise Unavailable("ledger.move", "a gateway holds the shared ledger's lease: stop it first")
        log.give_back(holder, fence)
    return report.size


def _add(log: SharedLog, position: int, at: int, entries: Sequence[bytes], present: int) -> None:
    known = max(0, min(len(entries), present - position))
    if known and [entry for _, entry in log.entries(position, position + known)] != list(entries[:known]):
        raise Broken("ledger.move", f"PostgreSQL holds other entries from {position} on")
    if known < len(entries) and log.append(entries[known:], at)[0] != position + known:
        raise Broken("ledger.move", "somebody else appended meanwhile")


def _groups(directory: Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """(position, time, entries) in order, of a bounded size each."""
    for first, path in segments.list_segments(directory):
        position, at, gathered, size = first, 0, list[bytes](), 0
        for batch in segments.read_batches(path.read_bytes(), first):
            for _, entry in batch.entries:
                gathered.append(entry)
                size += len(entry)
            at = batch.at
            if len(gathered) >= STEP or size >= STEP_BYTES:
                yield position, at, gathered
                position, gathered, size = position + len(gathered), [], 0
        if gathered:
            yield position, at, gathered
