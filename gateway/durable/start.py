"""At the start of a worker: is the catalog at least as far as the ledger says it was?

A row's seal passes an older genuine row, and a whole older backup. The ledger has a `commit`, `removal` or `contract`
entry for each step of a dataset, so a worker that starts over a catalog that is behind refuses that dataset until the
catalog is what it was, or somebody has accepted the loss (docs/runbooks/backup.md).
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from gateway.durable.compared import highest, read_compared
from gateway.durable.evidence import read_evidence
from lineage.ledger.reader import LedgerReader
from vault.catalog.catalog import Catalog
from vault.errors import Refused
from vault.fsck import behind
from vault.rebuild import Evidence

NEWEST = 50_000
"""Entries looked at: about a second. What is further back is summed up (`gateway.durable.compared`): how far each
dataset was. Removals that far back are `demesne fsck`'s to compare."""
log = structlog.get_logger("durable")


def datasets_behind(ledger_dir: Path, catalog: Catalog, newest: int = NEWEST) -> frozenset[str]:
    """Ids of datasets whose sequence or contract is older than the ledger's, or in which a version lives again that
    the ledger saw removed. Whatever it saw revoked, and the catalog knows nothing of, is so again. Raises
    LineageError, VaultError."""
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
    _revoke_again(catalog, evidence)
    found = {finding.name: finding.code for finding in behind(catalog, evidence)}
    for dataset_id in catalog.datasets_of_living(sorted(evidence.removed)):
        found.setdefault(dataset_id, "version.returned")
    for dataset_id, code in sorted(found.items()):
        log.error("dataset refused: the catalog is behind the ledger", dataset_id=dataset_id, reason=code)
    return frozenset(found)


def _revoke_again(catalog: Catalog, evidence: Evidence) -> None:
    """`revoked_at` is not under a row's seal, and the broker's own marks are of one host."""
    for session_id in sorted(evidence.revoked):
        with suppress(Refused):  # an edited row is no session to anybody
            row = catalog.find_session(session_id)
            if row is not None and row.revoked_at is None:
                catalog.revoke_session(session_id)
                log.error("session revoked again: its row had forgotten", session=session_id)
    known = {(row.what, row.value) for row in catalog.revocations()}
    for what, value in sorted(evidence.distrusted - known):
        catalog.add_revocation(what, value, reason="as the ledger has it", by_principal="")
        log.error("revoked again: the catalog had forgotten", what=what, value=value)
