"""At the start of a worker: is the catalog at least as far as the ledger says it was?

A row's seal passes an older genuine row, and a whole older backup. The ledger has a `commit`, `removal` or `contract`
entry for each step of a dataset, so a worker that starts over a catalog that is behind refuses that dataset until the
catalog is what it was, or somebody has accepted the loss (docs/runbooks/backup.md).
"""

from pathlib import Path

import structlog

from gateway.durable.evidence import read_evidence
from vault.catalog.catalog import Catalog
from vault.fsck import behind

NEWEST = 50_000
"""Entries looked at: about a second. What is further back, `demesne fsck` compares."""
log = structlog.get_logger("durable")


def datasets_behind(ledger_dir: Path, catalog: Catalog) -> frozenset[str]:
    """Ids of datasets whose sequence or contract is older than the ledger's, or in which a version lives again that
    the ledger saw removed. Raises LineageError, VaultError."""
    evidence = read_evidence(ledger_dir, catalog.tenant, NEWEST)
    if evidence is None:
        return frozenset()
    found = {finding.name: finding.code for finding in behind(catalog, evidence)}
    for dataset_id in catalog.datasets_of_living(sorted(evidence.removed)):
        found.setdefault(dataset_id, "version.returned")
    for dataset_id, code in sorted(found.items()):
        log.error("dataset refused: the catalog is behind the ledger", dataset_id=dataset_id, reason=code)
    return frozenset(found)
