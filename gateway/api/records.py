"""Ledger and lineage as the API tells them: readers only.

Entries name nobody, and still tell what a masked view hides: the sizes of raw objects and reads, run names and dataset
names that a hostile job may choose. Who audits reads all of them; everybody else those about their own requests.
"""

from pathlib import Path
from typing import Any

from gateway.errors import BadRequest, Denied, NotFound
from lineage.errors import LineageError
from lineage.errors import NotFound as NotOnRecord
from lineage.ledger.reader import LedgerReader
from lineage.questions import Lineage
from lineage.tree import dataset_tree, run_tree

AUDITING = frozenset({"steward", "auditor"})


class Records:
    def __init__(self, ledger_dir: Path, graph: Path, public_key: bytes) -> None:
        self._reader = LedgerReader(ledger_dir)
        self._graph = graph
        self.public_key = public_key

    def checkpoint(self) -> str:
        return self._reader.checkpoint_note().decode()

    def tile(self, path: str, *, whose: str | None = None) -> bytes:
        """Hashes for everybody; bundles of entries where `whose` is None."""
        if whose is not None and path.startswith("entries"):
            raise Denied("AccessDenied", "Whole entries are for those who audit", rule="ledger.entries",
                         remedy="fetch the receipts of your own decisions")  # fmt: skip
        try:
            return self._reader.resource(f"tile/{path}")
        except LineageError as error:
            raise NotFound("NoSuchTile", "No such tile in the published tree", rule=error.reason) from error

    def receipt(self, decision_id: str, *, whose: str | None = None) -> str:
        """The inclusion proof of a decision's intent; at most 2 s after the answer it is published."""
        try:
            if whose is not None:
                index = self._reader.find(decision_id)
                if self._reader.entries(index, index + 1)[0].get("principal") != whose:
                    raise NotOnRecord("entry", decision_id)
            return self._reader.receipt(decision_id)
        except LineageError as error:
            raise NotFound(
                "NoSuchDecision", "No decision of that id is published yet", rule=error.reason,
                remedy="check the id; a receipt can be had within 2 s of the answer",
            ) from error  # fmt: skip

    def decisions(self, limit: int, *, whose: str | None = None) -> list[dict[str, Any]]:
        """The newest entries, newest first; of these, where `whose` is given, those of that principal (its keyed hash)
        and what became of them."""
        size = self._reader.size
        newest = self._reader.entries(max(0, size - limit), size)
        if whose is not None:
            own = {entry["id"] for entry in newest if entry.get("principal") == whose}
            newest = [entry for entry in newest if entry["id"] in own or entry.get("intent") in own]
        return newest[::-1]

    def lineage(self, dataset: str | None, run: str | None) -> dict[str, Any]:
        """Nodes and edges around a dataset or a run, and the same as a tree."""
        if (dataset is None) == (run is None):
            raise BadRequest("InvalidArgument", "dataset, run: name exactly one of them")
        try:
            found = Lineage(self._graph).neighbourhood(dataset=dataset, run=run)
            tree = dataset_tree(self._graph, dataset) if dataset is not None else run_tree(self._graph, run or "")
        except NotOnRecord as error:
            raise NotFound(
                "NoSuchLineage", "Nothing is known of it yet", rule=error.reason,
                remedy="lineage follows the ledger within seconds; check the name",
            ) from error  # fmt: skip
        return found | {"tree": tree.as_document()}

    def events(self, limit: int) -> list[dict[str, Any]]:
        return Lineage(self._graph).events(limit)
