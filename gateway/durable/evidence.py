"""What a zone's ledger says about its catalog: every commit, every removal, how far each dataset came."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lineage.errors import NotFound
from lineage.ledger.entry import decode_entry
from lineage.ledger.reader import LedgerReader
from vault.rebuild import Commit, Evidence

GENESIS = "0" * 32


def read_evidence(ledger_dir: Path, tenant: str, newest: int | None = None) -> Evidence | None:
    """From the published entries of a ledger directory, or the last `newest` of them; None where there is no ledger.
    Whether the ledger itself is what was recorded, `demesne ledger verify` says."""
    reader = LedgerReader(ledger_dir)
    try:
        size = reader.size
    except NotFound:
        return None
    return evidence_of(map(decode_entry, reader.encoded(0 if newest is None else max(0, size - newest), size)), tenant)


def evidence_of(entries: Iterable[Mapping[str, Any]], tenant: str) -> Evidence:
    commits: dict[str, Commit] = {}
    removed: set[str] = set()
    revoked: set[str] = set()
    distrusted: set[tuple[str, str]] = set()
    sequences: dict[str, int] = defaultdict(int)
    contracts: dict[str, int] = defaultdict(int)
    for entry in entries:
        if entry["tenant"] != tenant:
            continue
        match entry["type"]:
            case "commit":
                commits.setdefault(entry["version"], Commit(
                    entry["dataset_id"], entry["object"], entry["sequence"], entry["intent"] or GENESIS
                ))  # fmt: skip
            case "removal":
                if entry.get("marker"):
                    commits.setdefault(entry["marker"], Commit(
                        entry["dataset_id"], entry["object"], entry["sequence"], entry["intent"] or GENESIS
                    ))  # fmt: skip
                if entry.get("version"):
                    removed.add(entry["version"])
            case "revocation":
                if entry.get("session"):
                    revoked.add(entry["session"])
                else:
                    distrusted.add((entry["what"], entry["value"]))
                continue
            case "contract":
                contracts[entry["dataset_id"]] = max(contracts[entry["dataset_id"]], entry["version"])
                continue
            case _:
                continue
        sequences[entry["dataset_id"]] = max(sequences[entry["dataset_id"]], entry["sequence"])
    return Evidence(
        commits, frozenset(removed), dict(sequences), dict(contracts), frozenset(revoked), frozenset(distrusted)
    )
