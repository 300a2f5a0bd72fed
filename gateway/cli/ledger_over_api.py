"""Verify a zone's ledger over its API: fetch checkpoint, tiles and entries, recompute everything, believe nothing.

What only a directory holds (level files above 0, the index) is not served entry by entry and not checked here;
the root follows from the entries alone, so nothing recorded can differ unseen.
"""

import hashlib
from collections.abc import Callable, Iterator

from demesne._connection import Connection
from demesne.errors import Malformed as MalformedAnswer
from demesne.settings import Settings
from lineage.errors import LineageError, Malformed
from lineage.ledger.checkpoint import open_checkpoint, origin_of
from lineage.ledger.contents import Problem
from lineage.ledger.entry import leaf_hash
from lineage.ledger.merkle import Frontier
from lineage.ledger.signature import Verify
from lineage.ledger.tiles import HASH_BYTES, WIDTH, Resource
from lineage.ledger.verify import Report

Fetch = Callable[[str], bytes]
_EMPTY = hashlib.sha256(b"").hexdigest()


def verify_over_api(fetch: Fetch, zone: str, public_key: bytes, verify: Verify) -> Report:
    """`fetch` answers `checkpoint` and `tile/…` as C2SP tlog-tiles names them. Problems are in the report."""
    report = Report()
    try:
        checkpoint = open_checkpoint(fetch("checkpoint"), origin_of(zone), public_key, verify)
    except LineageError as error:
        report.add("checkpoint", str(error), "checkpoint")
        return report
    report.size = checkpoint.size
    tree = Frontier()
    for bundle, tile in _resources(checkpoint.size):
        try:
            entries = list(split_bundle(fetch(bundle.path())))
        except LineageError as error:
            report.add(bundle.path(), str(error), bundle.path(), tree.size)
            return report
        _compare(entries, fetch(tile.path()), bundle, tree, report)
    report.root = tree.root()
    if report.root != checkpoint.root:
        report.add("checkpoint", "the root it signs is not the root of the entries", "checkpoint")
    return report


def split_bundle(raw: bytes) -> Iterator[bytes]:
    """Entries of a C2SP entry bundle: each behind its big-endian u16 length. Raises Malformed("tile.entries")."""
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 2], "big")
        entry = raw[at + 2 : at + 2 + length]
        if len(raw) < at + 2 or len(entry) != length:
            raise Malformed("tile.entries", f"cut off at byte {at}")
        yield entry
        at += 2 + length


def fetcher(settings: Settings, zone: str | None) -> Fetch:
    """GETs of `/v1/ledger/…` as the steward of these settings. Raises the client's errors."""
    chosen = settings.zone(zone)
    caller = settings.caller()
    connection = Connection(
        chosen.api_endpoint, lambda: caller, region=chosen.region or chosen.name, service="demesne", ca=settings.ca
    )

    def fetch(path: str) -> bytes:
        answer = connection.send("GET", f"/v1/ledger/{path}", payload_sha256=_EMPTY)
        if answer.status_code != 200:
            raise MalformedAnswer("ledger.fetch", f"{path} was answered {answer.status_code}: {answer.text[:200]}")
        return answer.content

    return fetch


def _resources(size: int) -> Iterator[tuple[Resource, Resource]]:
    for index in range(-(-size // WIDTH)):
        width = min(WIDTH, size - index * WIDTH)
        yield Resource(None, index, width), Resource(0, index, width)


def _compare(entries: list[bytes], hashes: bytes, bundle: Resource, tree: Frontier, report: Report) -> None:
    first = tree.size
    if len(entries) != bundle.width:
        where = bundle.path()
        report.problems.append(Problem(where, f"{len(entries)} entries instead of {bundle.width}", where, first))
    for number, entry in enumerate(entries):
        leaf = leaf_hash(entry)
        tree.append(leaf)
        if hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES] != leaf:
            report.add(f"entry {first + number}", "differs from its hash in tile/0", bundle.path(), first + number)
