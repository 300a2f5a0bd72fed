"""Runs: what was read and written together. Labels flow by run, not by session."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Select, bindparam, update

from vault.catalog.mapping import RUN, RUN_IO, RUN_STATEMENT
from vault.catalog.rows import RunIoRow, RunRow
from vault.catalog.section import Section, new_id, same
from vault.catalog.statement_rows import RunStatementRow
from vault.catalog.tables import run, run_io, run_statement
from vault.errors import NotFound

_BY_ID = RUN.select.where(same(run, "run_id"))
_NAMED = RUN.select.where(same(run, "principal_id", "name")).order_by(run.c.last_at.desc()).limit(1)
_WINDOW = (
    RUN.select.where(same(run, "principal_id", "workload", "name"), run.c.last_at >= bindparam("since"))
    .order_by(run.c.last_at.desc())
    .limit(1)
)
_TOUCH = (
    update(run).where(run.c.tenant == bindparam("r_tenant"), run.c.run_id == bindparam("r_id"))
    .values(last_at=bindparam("r_now"))
)  # fmt: skip
_IO = RUN_IO.select.where(same(run_io, "run_id")).order_by(run_io.c.at)
_INPUTS = RUN_IO.select.where(same(run_io, "run_id", "direction")).order_by(run_io.c.at)
_ONE_IO = RUN_IO.select.where(same(run_io, "run_id", "direction", "dataset_id", "version_id", "view"))
_RECENT = RUN.select.where(same(run)).order_by(run.c.last_at.desc()).limit(bindparam("limit"))
_STATEMENT = RUN_STATEMENT.select.where(same(run_statement, "statement_id"))
_STATEMENTS = RUN_STATEMENT.select.where(same(run_statement, "run_id")).order_by(run_statement.c.at)
TOUCH_MS = 60_000


@dataclass(frozen=True, slots=True)
class RunLabel:
    """What a run has read, folded: the strictest label, the zones all of it may lie in (None: nothing read yet)."""

    label: str
    placement: tuple[str, ...] | None
    inputs: int


class Runs(Section):
    def ensure_run(self, principal_id: str, purpose: str, name: str, workload: str, window_ms: int) -> str:
        """The run of this name of this principal, whatever its age; without a name, what this principal and workload
        do within the window. A new one where there is none."""
        now = self._clock()
        found = self._current(principal_id, name, workload, now - window_ms)
        if found is not None:
            if now - found.last_at >= TOUCH_MS:  # written seldom: a read must not cost a commit
                with self._database.write() as connection:
                    connection.execute(_TOUCH, {"r_tenant": self.tenant, "r_id": found.run_id, "r_now": now})
            return found.run_id
        row = RunRow(self.tenant, new_id(), name, principal_id, purpose, workload, now, now)
        with self._database.write() as connection:
            statement, values = self._which(principal_id, name, workload, now - window_ms)
            late = self._within(connection, RUN, statement, **values)
            if late is not None:
                return late.run_id
            self._insert(connection, RUN, row)
        return row.run_id

    def run(self, run_id: str) -> RunRow:
        row = self._find(RUN, _BY_ID, run_id=run_id)
        if row is None:
            raise NotFound("run", run_id)
        return row

    def runs(self, limit: int = 100) -> list[RunRow]:
        return self._all(RUN, _RECENT, limit=limit)

    def add_io(
        self, run_id: str, direction: str, dataset_id: str, version_id: str, view: str, label: str,
        placement: Sequence[str], record: str,
    ) -> None:  # fmt: skip
        """Note that the run reads (`in`) or writes (`out`) this. Noted before, only what is stricter by now is
        written: the label when it became personal, the zones that remain."""
        which = {
            "run_id": run_id, "direction": direction, "dataset_id": dataset_id, "version_id": version_id, "view": view,
        }  # fmt: skip
        zones = tuple(placement)
        if _covers(self._find(RUN_IO, _ONE_IO, **which), label, zones):
            return
        with self._database.write() as connection:
            found = self._within(connection, RUN_IO, _ONE_IO, **which)
            if found is None:
                row = RunIoRow(
                    tenant=self.tenant, **which, label=label, placement=zones, at=self._clock(), record=record
                )
                self._insert(connection, RUN_IO, row)
            elif not _covers(found, label, zones):
                stricter = replace(
                    found, label=label if found.label == "none" else found.label, record=record,
                    placement=tuple(zone for zone in found.placement if zone in zones),
                )  # fmt: skip
                self._replace(connection, RUN_IO, stricter)

    def io(self, run_id: str) -> list[RunIoRow]:
        return self._all(RUN_IO, _IO, run_id=run_id)

    def inputs(self, run_id: str) -> list[RunIoRow]:
        """What the run has read. Not what it wrote: an ingestion's every write would cost more than the one before."""
        return self._all(RUN_IO, _INPUTS, run_id=run_id, direction="in")

    def add_statement(self, row: RunStatementRow, limit: int) -> bool:
        """Keep a job's words; False, and nothing kept, when the run has `limit` of them already."""
        with self._database.write() as connection:
            if len(self._all(RUN_STATEMENT, _STATEMENTS, run_id=row.run_id)) >= limit:
                return False
            self._insert(connection, RUN_STATEMENT, row)
        return True

    def statement(self, statement_id: str) -> RunStatementRow | None:
        return self._find(RUN_STATEMENT, _STATEMENT, statement_id=statement_id)

    def run_label(self, run_id: str) -> RunLabel:
        """Strictest label and narrowest placement over everything the run has read."""
        inputs = self.inputs(run_id)
        if not inputs:
            return RunLabel("none", None, 0)
        zones = set(inputs[0].placement).intersection(*(row.placement for row in inputs))
        label = "personal" if any(row.label != "none" for row in inputs) else "none"
        return RunLabel(label, tuple(sorted(zones)), len(inputs))

    def _which(self, principal_id: str, name: str, workload: str, since: int) -> tuple[Select[Any], dict[str, Any]]:
        if name:
            return _NAMED, {"principal_id": principal_id, "name": name}
        return _WINDOW, {"principal_id": principal_id, "workload": workload, "name": "", "since": since}

    def _current(self, principal_id: str, name: str, workload: str, since: int) -> RunRow | None:
        statement, values = self._which(principal_id, name, workload, since)
        return self._find(RUN, statement, **values)


def _covers(noted: RunIoRow | None, label: str, zones: tuple[str, ...]) -> bool:
    """What is noted is at least as strict."""
    return noted is not None and (noted.label != "none" or label == "none") and set(noted.placement) <= set(zones)
