"""From ledger entries to graph and events, by cursor: no help from the job, and nothing forgotten in a crash.

An allowed read opens as a read of the whole object; its outcome narrows it to what was sent. Entries are taken
in order; one step of them, the cursor and the events it gives are one transaction.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lineage import events
from lineage.graph import ENTRIES, GraphWriter
from lineage.ledger.reader import LedgerReader
from lineage.names import Names
from lineage.questions import Questions

STEP = 500
_NO_BYTES = frozenset({"none", "writer"})


class Projector:
    """One per zone, under the lease of its job. `names` answers what the ledger does not hold."""

    def __init__(self, reader: LedgerReader, graph: GraphWriter, names: Names, zone: str) -> None:
        self._reader = reader
        self._graph = graph
        self._names = names
        self._zone = zone

    def catch_up(self) -> int:
        """Project everything published; returns how many entries. Raises what the ledger reader raises."""
        done = 0
        while taken := self.step():
            done += taken
        return done

    def step(self) -> int:
        """At most STEP entries in one transaction."""
        position = self._graph.cursor(ENTRIES)
        entries = self._reader.entries(position, position + STEP)
        if not entries:
            return 0
        with self._graph.step():
            changes = _Changes()
            for index, entry in enumerate(entries, position):
                self._apply(index, entry, changes)
            self._graph.emit(self._events(changes))
            self._graph.set_cursor(ENTRIES, position + len(entries))
        return len(entries)

    def _apply(self, index: int, entry: Mapping[str, Any], changes: "_Changes") -> None:
        match entry["type"]:
            case "intent":
                self._intent(entry, changes)
            case "outcome":
                self._outcome(entry, changes)
            case "commit":
                self._commit(index, entry, changes)
            case "run-statement":
                self._statement(entry, changes)

    def _intent(self, entry: Mapping[str, Any], changes: "_Changes") -> None:
        if not entry["decision"]["allow"] or entry["action"] != "read" or entry["view"] in _NO_BYTES:
            return
        if entry["run"] is None or entry["version"] is None or entry["dataset_id"] is None:
            return  # an allowed read of a key that is not there
        self._seen(entry["run"], entry["purpose"], entry["principal"], entry["at"], changes)
        columns = self._names.columns(entry["dataset_id"], entry["version"], entry["view"], None)
        row = {
            "intent": entry["id"], "run_id": entry["run"], "dataset_id": entry["dataset_id"],
            "version_id": entry["version"], "view": entry["view"], "at": entry["at"], "columns": columns,
        }  # fmt: skip
        self._graph.open_read(row)

    def _outcome(self, entry: Mapping[str, Any], changes: "_Changes") -> None:
        opened = self._graph.take_open_read(entry["intent"])
        if opened is None or (entry["bytes"] == 0 and entry["ranges"] in ([], "whole")):
            return  # of a write, known already, or nothing was sent
        ranges = None if entry["ranges"] == "whole" else entry["ranges"]
        columns = self._names.columns(opened["dataset_id"], opened["version_id"], opened["view"], ranges)
        if self._graph.add_input(opened, columns, entry["bytes"]):
            changes.grown.setdefault(opened["run_id"], set()).add((opened["version_id"], opened["view"]))

    def _commit(self, index: int, entry: Mapping[str, Any], changes: "_Changes") -> None:
        run_id = entry["run"] or ""
        known = self._names.version(entry["dataset_id"], entry["version"])
        row = {
            "version_id": entry["version"], "dataset_id": entry["dataset_id"], "dataset": entry["dataset"],
            "key": known.key if known else f"object-{entry['object'][:12]}", "format": entry["format"],
            "label": entry["label"], "bytes": entry["bytes"], "at": entry["at"], "run_id": run_id,
            "contract_version": known.contract_version if known else 0, "fields": known.fields if known else (),
            "entry": index,
        }  # fmt: skip
        if not self._graph.add_version(row) or not run_id:
            return
        self._seen(run_id, "", entry["principal"], entry["at"], changes)
        changes.written.append((run_id, entry["version"]))

    def _statement(self, entry: Mapping[str, Any], changes: "_Changes") -> None:
        """The job's own words. Words that are not those the ledger has the hash of were changed since: they are left
        out, and that they are is said."""
        text = self._names.statement(entry["statement"])
        said: dict[str, Any] = {"status": "unreadable"}
        if text is not None and hashlib.sha256(text.encode()).hexdigest() == entry["sha256"]:
            said = json.loads(text)
        self._seen(entry["run"], entry["purpose"], entry["principal"], entry["at"], changes)
        if self._graph.add_statement(entry["statement"], entry["run"], entry["at"], said):
            changes.stated.append(entry["run"])

    def _seen(self, run_id: str, purpose: str, principal: str, at: str, changes: "_Changes") -> None:
        known = None if self._graph.has_run(run_id) else self._names.run(run_id)
        name = known.name if known else ""
        who = (known.purpose, known.principal) if known else (purpose, principal[:12])
        if self._graph.touch_run(run_id, name, *who, at):
            changes.started.append(run_id)

    def _events(self, changes: "_Changes") -> list[dict[str, Any]]:
        questions = Questions(self._graph.connection)
        found = [events.start(self._zone, questions.run(run_id)) for run_id in changes.started]
        writers = {run_id for run_id, _ in changes.written}
        for run_id, grown in changes.grown.items():
            if run_id not in writers:
                inputs = [i for i in questions.inputs(run_id) if (i.object.version_id, i.view) in grown]
                found.append(events.running(self._zone, questions.run(run_id), inputs))
        silent = [run_id for run_id in dict.fromkeys(changes.stated) if run_id not in writers | changes.grown.keys()]
        found += [events.running(self._zone, questions.run(run_id), []) for run_id in silent]  # the others' carry it
        for run_id, version_id in changes.written:
            made = questions.object(version_id)
            if made is not None:
                found.append(events.complete(self._zone, questions.run(run_id), questions.inputs(run_id), made))
        return found


class _Changes:
    """What one step taught us, from which its events are made."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.grown: dict[str, set[tuple[str, str]]] = {}
        self.written: list[tuple[str, str]] = []
        self.stated: list[str] = []
