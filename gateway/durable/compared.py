"""How far a zone's ledger was summed up for the comparison at a worker's start, kept beside the ledger and sealed.

A start reads only so many entries. What is older is in this sum: the highest sequence and contract that each dataset
was ever recorded with. The jobs process moves it on. Who puts an older sum back makes starts say that there is a gap;
nobody without the catalog's key makes one that says less than the ledger did.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.durable.evidence import evidence_of
from lineage.errors import NotFound
from lineage.ledger.entry import decode_entry
from lineage.ledger.reader import LedgerReader
from vault.catalog.catalog import Catalog
from vault.errors import Malformed
from vault.keys.secrets import derive_secret, open_blob, seal_blob

NAME = "ledger.compared"
STEP = 20_000
_LABEL = "ledger-compared"
_CONTEXT = b"demesne/ledger-compared/1\x00"


@dataclass(frozen=True, slots=True)
class Compared:
    """Entries below `size` are in the sums. By dataset id."""

    size: int = 0
    sequences: dict[str, int] = field(default_factory=dict)
    contracts: dict[str, int] = field(default_factory=dict)


def sum_file(ledger_dir: Path) -> Path:
    return ledger_dir.with_name(NAME)


def read_compared(ledger_dir: Path, catalog: Catalog) -> Compared:
    """Nothing summed up where there is none, or where it does not open: then a start reads what it can."""
    try:
        document = json.loads(open_blob(_key(catalog), sum_file(ledger_dir).read_bytes(), _context(catalog)))
        return Compared(int(document["size"]), dict(document["sequences"]), dict(document["contracts"]))
    except (OSError, Malformed):
        return Compared()


def sum_up(ledger_dir: Path, catalog: Catalog, step: int = STEP) -> int:
    """Add at most `step` entries that were published since; how many are left. Raises LineageError."""
    known = read_compared(ledger_dir, catalog)
    reader = LedgerReader(ledger_dir)
    try:
        size = reader.size
    except NotFound:
        return 0
    if size <= known.size:
        return 0
    end = min(size, known.size + step)
    found = evidence_of(map(decode_entry, reader.encoded(known.size, end)), catalog.tenant)
    made = {
        "size": end, "sequences": highest(known.sequences, found.sequences),
        "contracts": highest(known.contracts, found.contracts),
    }  # fmt: skip
    path = sum_file(ledger_dir)
    temporary = path.with_name(f".{NAME}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_bytes(seal_blob(_key(catalog), json.dumps(made, sort_keys=True).encode(), _context(catalog)))
    temporary.replace(path)
    return size - end


def highest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}


def _key(catalog: Catalog) -> bytes:
    return derive_secret(catalog.derived_key(), _LABEL)


def _context(catalog: Catalog) -> bytes:
    return _CONTEXT + catalog.tenant.encode()
