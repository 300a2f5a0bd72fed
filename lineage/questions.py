"""What the graph is asked: inputs and outputs of runs, who read a column raw, a whole neighbourhood as JSON."""

import json
import sqlite3
from collections import deque
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lineage.errors import NotFound
from lineage.graph import open_readonly

MAX_NODES = 2000


@dataclass(frozen=True, slots=True)
class Object:
    """One object version. `run_id` is the run that wrote it, or "" where none is known."""

    version_id: str
    dataset: str
    key: str
    format: str
    label: str
    bytes: int
    at: str
    run_id: str
    contract_version: int
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Run:
    run_id: str
    name: str
    purpose: str
    principal: str
    first_at: str
    last_at: str
    stated: tuple[dict[str, Any], ...] = ()
    """What the job itself said of it, oldest first: {"statement_id", "at", "status", "name", "parents", …}. Nothing of
    it was observed, and nothing is concluded from it."""

    @property
    def title(self) -> str:
        return self.name or f"run {self.run_id[:8]}"


@dataclass(frozen=True, slots=True)
class Input:
    """A run read a version as `view` ("raw", "open" or a plan id). `assumed` = no outcome was recorded: the whole."""

    run_id: str
    object: Object
    view: str
    columns: tuple[str, ...]
    bytes: int
    reads: int
    assumed: bool

    @property
    def rendering(self) -> str:
        return self.view if self.view in {"raw", "open"} else "masked"


@dataclass(frozen=True, slots=True)
class RawReader:
    """A run that read the column raw; `outputs` are what it wrote, `derived` what was made from those in turn."""

    run: Run
    read: tuple[Object, ...]
    outputs: tuple[Object, ...]
    derived: tuple[Object, ...]


class Questions:
    """Over one connection (the projector's inside its step, or a read-only one)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def run(self, run_id: str) -> Run:
        """Raises NotFound("run")."""
        row = self._db.execute("SELECT * FROM run WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotFound("run", run_id)
        found = Run(*(row[name] for name in ("run_id", "name", "purpose", "principal", "first_at", "last_at")))
        said = self._db.execute("SELECT * FROM stated WHERE run_id = ? ORDER BY rowid", (run_id,)).fetchall()
        words = ({"statement_id": s["statement_id"], "at": s["at"]} | json.loads(s["document"]) for s in said)
        return replace(found, stated=tuple(words)) if said else found

    def object(self, version_id: str) -> Object | None:
        row = self._db.execute("SELECT * FROM version WHERE version_id = ?", (version_id,)).fetchone()
        return _object(row) if row else None

    def objects(self, dataset: str) -> list[Object]:
        """Every version ever committed to the dataset, by key and time."""
        rows = self._db.execute("SELECT * FROM version WHERE dataset = ? ORDER BY key, entry", (dataset,))
        return [_object(row) for row in rows]

    def outputs(self, run_id: str) -> list[Object]:
        rows = self._db.execute("SELECT * FROM version WHERE run_id = ? ORDER BY entry", (run_id,))
        return [_object(row) for row in rows]

    def inputs(self, run_id: str) -> list[Input]:
        return self._inputs("run_id", run_id)

    def readers(self, version_id: str) -> list[Input]:
        return self._inputs("version_id", version_id)

    def raw_readers_of(self, dataset: str, column: str) -> list[RawReader]:
        """ "Which models saw column X raw?" - direct readers, with all that was made from what they wrote."""
        found: dict[str, list[Object]] = {}
        for version in self.objects(dataset):
            for read in self.readers(version.version_id):
                # Columns nobody knows: any may have been read. A known schema without columns: only the footer was.
                unknown = not read.columns and not version.fields
                if read.view == "raw" and (column in read.columns or unknown):
                    found.setdefault(read.run_id, []).append(version)
        return [self._raw_reader(run_id, versions) for run_id, versions in found.items()]

    def _raw_reader(self, run_id: str, versions: list[Object]) -> RawReader:
        outputs, derived = self.outputs(run_id), list[Object]()
        seen = {version.version_id for version in outputs}
        waiting = deque(outputs)
        while waiting:
            for read in self.readers(waiting.popleft().version_id):
                for made in self.outputs(read.run_id):
                    if made.version_id not in seen:
                        seen.add(made.version_id)
                        derived.append(made)
                        waiting.append(made)
        return RawReader(self.run(run_id), tuple(versions), tuple(outputs), tuple(derived))

    def _inputs(self, field: str, value: str) -> list[Input]:
        assert field in {"run_id", "version_id"}
        merged: dict[tuple[str, str, str], Input] = {}
        for table in ("input", "open_read"):
            for row in self._db.execute(f"SELECT * FROM {table} WHERE {field} = ? ORDER BY rowid", (value,)):  # noqa: S608 - both names are ours
                place = (row["run_id"], row["version_id"], row["view"])
                merged[place] = self._merge(merged.get(place), row, opened=table == "open_read")
        return list(merged.values())

    def _merge(self, known: Input | None, row: sqlite3.Row, *, opened: bool) -> Input:
        columns = list(known.columns) if known else []
        columns += [name for name in json.loads(row["columns"]) if name not in columns]
        source = self.object(row["version_id"]) or _unknown(row["version_id"])
        return Input(
            run_id=row["run_id"], object=source, view=row["view"], columns=tuple(columns),
            bytes=(known.bytes if known else 0) + (source.bytes if opened else row["bytes"]),
            reads=(known.reads if known else 0) + (1 if opened else row["reads"]),
            assumed=opened or bool(known and known.assumed),
        )  # fmt: skip


class Lineage:
    """For API and CLI: opens the graph read-only for each question."""

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def raw_readers_of(self, dataset: str, column: str) -> list[RawReader]:
        with closing(open_readonly(self._path)) as connection:
            return Questions(connection).raw_readers_of(dataset, column)

    def events(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest OpenLineage events, oldest first."""
        with closing(open_readonly(self._path)) as connection:
            rows = connection.execute("SELECT event FROM outgoing ORDER BY position DESC LIMIT ?", (limit,)).fetchall()
        return [json.loads(row["event"]) for row in reversed(rows)]

    def neighbourhood(self, *, dataset: str | None = None, run: str | None = None) -> dict[str, Any]:
        """{"nodes": [...], "edges": [...]}: everything that led to, or came from, a dataset or a run.

        Raises NotFound("dataset" | "run").
        """
        with closing(open_readonly(self._path)) as connection:
            return _neighbourhood(Questions(connection), dataset, run)


def _neighbourhood(questions: Questions, dataset: str | None, run: str | None) -> dict[str, Any]:
    runs, objects = deque[str](), deque[Object]()
    if dataset is not None:
        objects.extend(questions.objects(dataset))
        if not objects:
            raise NotFound("dataset", dataset)
    if run is not None:
        runs.append(questions.run(run).run_id)
    nodes: dict[str, dict[str, Any]] = {}
    edges: dict[tuple[str, str, str], dict[str, Any]] = {}

    def reached(version: Object) -> None:
        if version.version_id not in nodes:
            objects.append(version)

    while (runs or objects) and len(nodes) < MAX_NODES:
        if objects:
            version = objects.popleft()
            nodes[version.version_id] = {"id": version.version_id, "kind": "object"} | asdict(version)
            nodes.setdefault(f"dataset:{version.dataset}", _dataset_node(version.dataset))
            place = (version.version_id, f"dataset:{version.dataset}", "in")
            edges[place] = {"source": place[0], "target": place[1], "kind": "in"}
            runs.extend(read.run_id for read in questions.readers(version.version_id) if read.run_id not in nodes)
            if version.run_id and version.run_id not in nodes:
                runs.append(version.run_id)
            continue
        run_id = runs.popleft()
        if run_id in nodes:
            continue
        nodes[run_id] = {"id": run_id, "kind": "run"} | asdict(questions.run(run_id))
        for read in questions.inputs(run_id):
            edges[(read.object.version_id, run_id, read.view)] = _read_edge(read)
            reached(read.object)
        for made in questions.outputs(run_id):
            edges[(run_id, made.version_id, "wrote")] = {"source": run_id, "target": made.version_id, "kind": "wrote"}
            reached(made)
    return {"nodes": list(nodes.values()), "edges": list(edges.values()), "complete": not (runs or objects)}


def _dataset_node(name: str) -> dict[str, Any]:
    return {"id": f"dataset:{name}", "kind": "dataset", "name": name}


def _read_edge(read: Input) -> dict[str, Any]:
    return {
        "source": read.object.version_id, "target": read.run_id, "kind": "read", "view": read.view,
        "rendering": read.rendering, "columns": list(read.columns), "bytes": read.bytes, "reads": read.reads,
        "assumed": read.assumed,
    }  # fmt: skip


def _object(row: sqlite3.Row) -> Object:
    return Object(
        version_id=row["version_id"], dataset=row["dataset"], key=row["key"], format=row["format"], label=row["label"],
        bytes=row["bytes"], at=row["at"], run_id=row["run_id"], contract_version=row["contract_version"],
        fields=tuple((name, kind) for name, kind in json.loads(row["fields"])),
    )  # fmt: skip


def _unknown(version_id: str) -> Object:
    """A version read without a commit in this ledger: still an input, by id."""
    return Object(version_id, "unknown", version_id, "unknown", "personal", 0, "", "", 0, ())
