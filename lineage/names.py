"""The port through which lineage learns names: ledger entries hold ids and keyed hashes only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Ranges = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class VersionName:
    """An object version as people know it. `fields` are (column, type) of the raw object, empty if it has none."""

    dataset: str
    key: str
    contract_version: int
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RunName:
    """`name` is empty for the unnamed run of a principal and workload."""

    name: str
    purpose: str
    principal: str


class Names(Protocol):
    """Answered by the gateway from the catalog. Unknown (deleted, not described yet) is None or empty."""

    def version(self, dataset_id: str, version_id: str) -> VersionName | None: ...

    def run(self, run_id: str) -> RunName | None: ...

    def statement(self, statement_id: str) -> str | None:
        """The words of a job about its run: the canonical JSON whose SHA-256 the ledger has."""
        ...

    def columns(self, dataset_id: str, version_id: str, view: str, ranges: Ranges | None) -> Sequence[str]:
        """Columns a read is charged to: `ranges` are half-open offsets in that view, None the whole of it."""
        ...


class NoNames:
    """Nothing is known beyond the ledger: how a copied ledger is projected elsewhere."""

    def version(self, dataset_id: str, version_id: str) -> VersionName | None:  # noqa: ARG002 - the port's signature
        return None

    def run(self, run_id: str) -> RunName | None:  # noqa: ARG002
        return None

    def statement(self, statement_id: str) -> str | None:  # noqa: ARG002
        return None

    def columns(self, dataset_id: str, version_id: str, view: str, ranges: Ranges | None) -> Sequence[str]:  # noqa: ARG002
        return ()
