"""Verify a ledger directory, or a copy of one, trusting nothing but the zone's public key; say where it fails.

Everything is recomputed from the entries (leaves, tiles, index, root) and compared with the signed checkpoint.
Where entries and tiles disagree, the signed root decides which of the two was changed. Every byte is covered: a
file that the format does not know is itself a finding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lineage.errors import LineageError
from lineage.ledger.checkpoint import Checkpoint, open_checkpoint, origin_of
from lineage.ledger.contents import Contents, Problem, read_contents
from lineage.ledger.index import RECORD_BYTES
from lineage.ledger.merkle import Frontier, root_of
from lineage.ledger.promise import Promise
from lineage.ledger.signature import Verify
from lineage.ledger.tiles import HASH_BYTES, HEIGHT, WIDTH, Resource, level_size


@dataclass
class Report:
    """`size` entries are under the signed checkpoint, `unpublished` follow it. No problems: everything holds."""

    size: int = 0
    unpublished: int = 0
    root: bytes = b""
    problems: list[Problem] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        return not self.problems

    def add(self, place: str, detail: str, file: str, entry: int | None = None) -> None:
        found = Problem(place, detail, file, entry)
        if all((known.place, known.file) != (place, file) for known in self.problems):
            self.problems.append(found)


def verify_directory(
    directory: str | Path, public_key: bytes, verify: Verify, *, zone: str | None = None, origin: str | None = None,
    earlier: Iterable[bytes] = (), promises: Iterable[Promise] = (),
) -> Report:  # fmt: skip
    """Check a whole ledger directory; `zone` (or its checkpoint `origin`) says whose it must be.

    `earlier` are signed checkpoints someone kept, `promises` those someone was given: both must still hold,
    which is how a log that was rolled back, or rewritten with its own key, is found. What is wrong with the
    ledger is in the report, never raised. Raises ValueError without zone and origin.
    """
    if origin is None and zone is None:
        raise ValueError("say whose ledger this must be: zone or origin")
    expected = origin or origin_of(zone or "")
    report = Report()

    def opened(note: bytes, place: str) -> Checkpoint | None:
        try:
            return open_checkpoint(note, expected, public_key, verify)
        except LineageError as error:
            report.add(place, str(error), "checkpoint" if place == "checkpoint" else "")
            return None

    checkpoint = opened(_note(Path(directory)), "checkpoint")
    contents = read_contents(Path(directory))
    report.problems += contents.problems
    report.size = checkpoint.size if checkpoint else len(contents.leaves)
    report.unpublished = max(0, len(contents.leaves) - report.size)
    _compare_tree(contents, checkpoint, report)
    _compare_index(contents, report)
    if contents.whole:
        _compare_earlier(
            contents.leaves, [kept for note in earlier if (kept := opened(note, "earlier checkpoint"))], report
        )
        _compare_promises(contents.leaves, promises, report)
    return report


def _compare_tree(contents: Contents, checkpoint: Checkpoint | None, report: Report) -> None:
    size, leaves = report.size, contents.leaves
    tiles = _hashes(contents.levels[0][: size * HASH_BYTES])
    report.root = root_of(leaves[:size])
    if checkpoint is None:
        if contents.whole:
            _compare_levels(leaves, contents, report)
        return
    if len(leaves) >= size and report.root == checkpoint.root:
        _compare_levels(leaves, contents, report)
        return
    tiles_are_signed = len(tiles) == size and root_of(tiles) == checkpoint.root
    changed = next((i for i, (a, b) in enumerate(zip(leaves, tiles, strict=False)) if a != b), len(leaves))
    if tiles_are_signed:
        detail = "missing" if changed >= len(leaves) else "not what was recorded: its leaf is not in the signed tree"
        if contents.whole or changed < len(leaves):
            report.add(f"entry {changed}", detail, contents.segment_of(changed), changed)
        _compare_levels(tiles, contents, report)
    elif contents.whole and len(leaves) < size:
        report.add(f"entry {len(leaves)}", f"missing: the checkpoint covers {size} entries", "log", len(leaves))
    elif contents.whole:
        if changed < min(len(leaves), len(tiles)):
            report.add(f"entry {changed}", "differs from its hash in tile/0", contents.segment_of(changed), changed)
        report.add("checkpoint", "the root it signs is not the root of the entries", "checkpoint")


def _compare_levels(leaves: Sequence[bytes], contents: Contents, report: Report) -> None:
    """Each level file holds at least the published hashes, and nothing the entries do not give."""
    frontier, wanted = Frontier(), {level: bytearray() for level in contents.levels}
    for leaf in leaves:
        for level, value in enumerate(frontier.append(leaf)[::HEIGHT]):
            wanted[level] += value
    for level, have in contents.levels.items():
        upto = max(level_size(min(report.size, len(leaves)), level) * HASH_BYTES, len(have))
        differing = _first_difference(bytes(wanted[level][:upto]), have, HASH_BYTES)
        if differing is not None:
            tile, place = divmod(differing, WIDTH)
            name = f"{Resource(level, tile, WIDTH).path()} hash {place}"
            report.add(name, "not the hash of the entries below it", f"tile/{level}", differing << (HEIGHT * level))


def _compare_index(contents: Contents, report: Report) -> None:
    readable = len(contents.leaves)
    have = contents.index if contents.whole else contents.index[: readable * RECORD_BYTES]
    upto = max(min(report.size, readable) * RECORD_BYTES, len(have))
    differing = _first_difference(bytes(contents.records[:upto]), have, RECORD_BYTES)
    if differing is not None:
        report.add(f"index record {differing}", "does not point at that entry", "index", differing)


def _compare_earlier(leaves: Sequence[bytes], kept: Sequence[Checkpoint], report: Report) -> None:
    for checkpoint in kept:
        if checkpoint.size > len(leaves):
            detail = f"{checkpoint.size} entries were signed earlier, {len(leaves)} are here"
            report.add(f"entry {len(leaves)}", f"rolled back: {detail}", "log", len(leaves))
        elif root_of(leaves[: checkpoint.size]) != checkpoint.root:
            report.add(f"entries 0 to {checkpoint.size - 1}", "rewritten: not those signed earlier", "log")


def _compare_promises(leaves: Sequence[bytes], promises: Iterable[Promise], report: Report) -> None:
    for promise in promises:
        if promise.index >= len(leaves) or leaves[promise.index].hex() != promise.leaf:
            report.add(f"entry {promise.index}", "not the entry that was promised", "log", promise.index)


def _note(directory: Path) -> bytes:
    try:
        return (directory / "checkpoint").read_bytes()
    except OSError:
        return b""


def _hashes(raw: bytes) -> list[bytes]:
    return [raw[i : i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES)]


def _first_difference(wanted: bytes, have: bytes, width: int) -> int | None:
    """Position, in records of `width` bytes, of the first that differs, is missing or is surplus."""
    if wanted == have:
        return None
    starts = range(0, max(len(wanted), len(have)), width)
    return next(start // width for start in starts if wanted[start : start + width] != have[start : start + width])
