"""At the start of a worker: is the catalog at least as far as the ledger says it was?

A row's seal passes an older genuine row, and a whole older backup. The ledger has a `commit`, `removal` or `contract`
entry for each step of a dataset, so a worker that starts over a catalog that is behind refuses that dataset until the
catalog is what it was, or somebody has accepted the loss (docs/runbooks/backup.md).
"""

from dataclasses import replace
from pathlib import Path

import structlog

from gateway.durable.compared import highest, read_compared
from gateway.durable.evidence import read_evidence
from lineage.ledger.reader import LedgerReader
from vault.catalog.catalog import Catalog
from vault.fsck import behind

NEWEST = 50_000
"""Entries looked at: about a second. What is further back is summed up (`gateway.durable.compared`): how far each
dataset was. Removals that far back are `demesne fsck`'s to compare."""
log = structlog.get_logger("durable")


def datasets_behind(ledger_dir: Path, catalog: Catalog, newest: int = NEWEST) -> frozenset[str]:
    """Ids of datasets whose sequence or contract is older than the ledger's, or in which a version lives again that
    the ledger saw removed. Raises LineageError, VaultError."""
    evidence = read_evidence(ledger_dir, catalog.tenant, newest)
    if evidence is None:
        return frozenset()
    known = read_compared(ledger_dir, catalog)
    evidence = replace(
        evidence, sequences=highest(known.sequences, evidence.sequences),
        contracts=highest(known.contracts, evidence.contracts),
    )  # fmt: skip
    gap = LedgerReader(ledger_dir).size - newest - known.size
    if gap > 0:
        log.warning("entries of the ledger were not compared with the catalog: run `demesne fsck`", entries=gap)
    found = {finding.name: finding.code for finding in behind(catalog, evidence)}
    for dataset_id in catalog.datasets_of_living(sorted(evidence.removed)):
        found.setdefault(dataset_id, "version.returned")
    for dataset_id, code in sorted(found.items()):
        log.error("dataset refused: the catalog is behind the ledger", dataset_id=dataset_id, reason=code)
    return frozenset(found)
