"""Ledger and lineage as the API tells them: readers only."""

from pathlib import Path
from typing import Any

from gateway.errors import BadRequest, NotFound
from lineage.errors import LineageError
from lineage.errors import NotFound as NotInGraph
from lineage.ledger.reader import LedgerReader
from lineage.questions import Lineage
from lineage.tree import dataset_tree, run_tree


class Records:
    def __init__(self, ledger_dir: Path, graph: Path, public_key: bytes) -> None:
        self._reader = LedgerReader(ledger_dir)
        self._graph = graph
        self.public_key = public_key

    def checkpoint(self) -> str:
        return self._reader.checkpoint_note().decode()

    def tile(self, path: str) -> bytes:
        try:
            return self._reader.resource(f"tile/{path}")
        except LineageError as error:
            raise NotFound("NoSuchTile", "No such tile in the published tree", rule=error.reason) from error

    def receipt(self, decision_id: str) -> str:
        """The inclusion proof of a decision's intent; at most 2 s after the answer it is published."""
        try:
            return self._reader.receipt(decision_id)
        except LineageError as error:
            raise NotFound(
                "NoSuchDecision", "No decision of that id is published yet", rule=error.reason,
                remedy="check the id; a receipt can be had within 2 s of the answer",
            ) from error  # fmt: skip

    def decisions(self, limit: int) -> list[dict[str, Any]]:
        """The newest entries, newest first."""
        size = self._reader.size
        return list(reversed(self._reader.entries(max(0, size - limit), size)))

    def lineage(self, dataset: str | None, run: str | None) -> dict[str, Any]:
        """Nodes and edges around a dataset or a run, and the same as a tree."""
        if (dataset is None) == (run is None):
            raise BadRequest("InvalidArgument", "dataset, run: name exactly one of them")
        try:
            found = Lineage(self._graph).neighbourhood(dataset=dataset, run=run)
            tree = dataset_tree(self._graph, dataset) if dataset is not None else run_tree(self._graph, run or "")
        except NotInGraph as error:
            raise NotFound(
                "NoSuchLineage", "Nothing is known of it yet", rule=error.reason,
                remedy="lineage follows the ledger within seconds; check the name",
            ) from error  # fmt: skip
        return found | {"tree": tree.as_document()}

    def events(self, limit: int) -> list[dict[str, Any]]:
        return Lineage(self._graph).events(limit)
