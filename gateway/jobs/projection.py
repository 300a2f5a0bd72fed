"""Lineage as a projection of the ledger by cursor. Replaced below by the graph's own projector when it is there."""

from gateway.settings import Settings
from vault.catalog.catalog import Catalog


class Projection:
    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog

    def __call__(self) -> None:
        return None
