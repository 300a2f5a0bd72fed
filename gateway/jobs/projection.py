"""Lineage as a projection of the ledger by cursor: what the ledger does not hold is asked of the catalog."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from gateway.enforce.columns import Extents, columns_charged
from gateway.plans import IDENTITY_PLAN
from lineage.graph import GraphWriter
from lineage.ledger.reader import LedgerReader
from lineage.names import Ranges, RunName, VersionName
from lineage.outbox import Outbox
from lineage.projector import Projector
from lineage.questions import Questions
from lineage.transports.file import FileTransport
from vault.catalog.catalog import Catalog
from vault.errors import NotFound

MAX_KNOWN = 4096


class CatalogNames:
    """`lineage.names.Names` from the catalog's rows."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._extents: OrderedDict[tuple[str, str], Extents] = OrderedDict()

    def version(self, dataset_id: str, version_id: str) -> VersionName | None:
        row = self._catalog.version(dataset_id, version_id)
        dataset = self._catalog.find_dataset(dataset_id)
        if row is None or dataset is None:
            return None
        contract = self._catalog.contract(dataset_id, row.contract_version) if row.contract_version else None
        described = {name for name, _ in self._catalog.columns(version_id) or ()}
        columns = (contract or {}).get("columns", ())
        fields = tuple((c["name"], c["type"]) for c in columns if not described or c["name"] in described)
        return VersionName(dataset.name, row.key, row.contract_version, fields if row.format != "opaque" else ())

    def run(self, run_id: str) -> RunName | None:
        try:
            row = self._catalog.run(run_id)
        except NotFound:
            return None
        try:
            principal = self._catalog.principal(row.principal_id).name
        except NotFound:
            principal = ""
        return RunName(row.name, row.purpose, principal)

    def statement(self, statement_id: str) -> str | None:
        row = self._catalog.statement(statement_id)
        return None if row is None else row.document

    def columns(self, dataset_id: str, version_id: str, view: str, ranges: Ranges | None) -> Sequence[str]:
        """Ranges are charged to the column chunks they overlap, in the rendering that was read."""
        extents = self._described(dataset_id, version_id, view)
        if extents is None:
            return self._all(dataset_id, version_id)
        return columns_charged(extents, None if ranges is None else [(int(pair[0]), int(pair[1])) for pair in ranges])

    def _described(self, dataset_id: str, version_id: str, view: str) -> Extents | None:
        """Which bytes of this rendering are which column. It never changes once known, and each read asks twice."""
        known = self._extents.get((version_id, view))
        if known is not None:
            self._extents.move_to_end((version_id, view))
            return known
        subject = version_id
        if view not in {"raw", "open", "writer", "none"}:
            rendered = self._catalog.view(version_id, view)
            if rendered is None or view == IDENTITY_PLAN:
                return None
            subject = rendered.view_id
        found = self._catalog.columns(subject)
        row = self._catalog.version(dataset_id, version_id) if found is None else None
        if row is not None and row.format == "opaque":
            found = ()  # no columns, ever
        if found is None:
            return None
        extents = [list(extent) for extent in found]
        self._extents[version_id, view] = extents
        if len(self._extents) > MAX_KNOWN:
            self._extents.popitem(last=False)
        return extents

    def _all(self, dataset_id: str, version_id: str) -> list[str]:
        """Not described: charged to every column the contract has."""
        named = self.version(dataset_id, version_id)
        return [name for name, _ in named.fields] if named else []


class Projection:
    """One round of the duty: project what is published, deliver what is queued."""

    def __init__(self, ledger_dir: Path, graph: Path, events: Path, catalog: Catalog, zone: str) -> None:
        self._graph = GraphWriter(graph)
        self._projector = Projector(LedgerReader(ledger_dir), self._graph, CatalogNames(catalog), zone)
        self._outbox = Outbox(self._graph, FileTransport(events))

    def __call__(self) -> None:
        self._projector.catch_up()
        self._outbox.deliver()

    def knows(self, version_id: str) -> bool:
        """Whether the commit of this version has been projected."""
        return Questions(self._graph.connection).object(version_id) is not None

    def close(self) -> None:
        self._graph.close()
