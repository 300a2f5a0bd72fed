"""The embedded lineage graph: one SQLite file a zone, written by the projector alone. docs/spec/lineage.md §2.

    dataset <- object version <-(wrote)- run <-(read: view, columns, bytes)- object version

Cursor, graph and outgoing events change in one transaction: a crash repeats a step, never loses or doubles one.
A read whose outcome is not known yet stands in `open_read` and counts as a read of the whole.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lineage.errors import NotFound

_SCHEMA = """
CREATE TABLE IF NOT EXISTS version (
  version_id TEXT PRIMARY KEY, dataset_id TEXT NOT NULL, dataset TEXT NOT NULL, key TEXT NOT NULL,
  format TEXT NOT NULL, label TEXT NOT NULL, bytes INTEGER NOT NULL, at TEXT NOT NULL,
  run_id TEXT NOT NULL, contract_version INTEGER NOT NULL, fields TEXT NOT NULL, entry INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS version_dataset ON version (dataset, key);
CREATE INDEX IF NOT EXISTS version_run ON version (run_id);
CREATE TABLE IF NOT EXISTS run (
  run_id TEXT PRIMARY KEY, name TEXT NOT NULL, purpose TEXT NOT NULL, principal TEXT NOT NULL,
  first_at TEXT NOT NULL, last_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS open_read (
  intent TEXT PRIMARY KEY, run_id TEXT NOT NULL, dataset_id TEXT NOT NULL, version_id TEXT NOT NULL,
  view TEXT NOT NULL, at TEXT NOT NULL, columns TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS open_read_run ON open_read (run_id);
CREATE INDEX IF NOT EXISTS open_read_version ON open_read (version_id);
CREATE TABLE IF NOT EXISTS input (
  run_id TEXT NOT NULL, version_id TEXT NOT NULL, view TEXT NOT NULL, reads INTEGER NOT NULL, bytes INTEGER NOT NULL,
  columns TEXT NOT NULL, first_at TEXT NOT NULL, last_at TEXT NOT NULL, PRIMARY KEY (run_id, version_id, view));
CREATE INDEX IF NOT EXISTS input_version ON input (version_id);
CREATE TABLE IF NOT EXISTS stated (
  statement_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, at TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS stated_run ON stated (run_id);
CREATE TABLE IF NOT EXISTS cursor (name TEXT PRIMARY KEY, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outgoing (position INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL);
"""

ENTRIES = "entries"


class GraphWriter:
    """The projector's side. One connection, one thread."""

    def __init__(self, path: str | Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def cursor(self, name: str) -> int:
        row = self._db.execute("SELECT position FROM cursor WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_cursor(self, name: str, position: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (name, position))

    def add_version(self, row: dict[str, Any]) -> bool:
        """False when it is known already: an entry recorded twice counts once."""
        known = self._db.execute(
            "INSERT OR IGNORE INTO version VALUES (:version_id, :dataset_id, :dataset, :key, :format, :label, :bytes,"
            " :at, :run_id, :contract_version, :fields, :entry)",
            row | {"fields": json.dumps(row["fields"])},
        )
        return known.rowcount == 1

    def touch_run(self, run_id: str, name: str, purpose: str, principal: str, at: str) -> bool:
        """True when this is the first that is heard of the run."""
        known = self._db.execute("UPDATE run SET last_at = max(last_at, ?) WHERE run_id = ?", (at, run_id))
        if known.rowcount:
            return False
        self._db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?)", (run_id, name, purpose, principal, at, at))
        return True

    def add_statement(self, statement_id: str, run_id: str, at: str, document: dict[str, Any]) -> bool:
        """What the job itself says of its run. False when it is known already."""
        known = self._db.execute(
            "INSERT OR IGNORE INTO stated VALUES (?, ?, ?, ?)", (statement_id, run_id, at, json.dumps(document))
        )
        return known.rowcount == 1

    def has_run(self, run_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM run WHERE run_id = ?", (run_id,)).fetchone() is not None

    def open_read(self, row: dict[str, Any]) -> None:
        """`row`: intent, run_id, dataset_id, version_id, view, at, columns. Known already: nothing changes."""
        self._db.execute(
            "INSERT OR IGNORE INTO open_read VALUES (:intent, :run_id, :dataset_id, :version_id, :view, :at, :columns)",
            row | {"columns": json.dumps(list(row["columns"]))},
        )

    def take_open_read(self, intent: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute("SELECT * FROM open_read WHERE intent = ?", (intent,)).fetchone()
        if row is not None:
            self._db.execute("DELETE FROM open_read WHERE intent = ?", (intent,))
        return row

    def add_input(self, opened: sqlite3.Row, columns: Sequence[str], sent: int) -> bool:
        """Merge a finished read. True when it says something new: another input, or more columns of it."""
        where = (opened["run_id"], opened["version_id"], opened["view"])
        known = self._db.execute(
            "SELECT columns FROM input WHERE run_id = ? AND version_id = ? AND view = ?", where
        ).fetchone()
        before = json.loads(known["columns"]) if known else []
        after = before + [name for name in columns if name not in set(before)]
        self._db.execute(
            "INSERT INTO input VALUES (?, ?, ?, 1, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET reads = reads + 1,"
            " bytes = bytes + excluded.bytes, columns = excluded.columns, last_at = max(last_at, excluded.last_at)",
            (*where, sent, json.dumps(after), opened["at"], opened["at"]),
        )
        return known is None or after != before

    def emit(self, events: Sequence[dict[str, Any]]) -> None:
        rows = [(json.dumps(event, sort_keys=True, separators=(",", ":")),) for event in events]
        self._db.executemany("INSERT INTO outgoing (event) VALUES (?)", rows)

    def outgoing(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Events behind a sink's cursor, oldest first."""
        rows = self._db.execute(
            "SELECT position, event FROM outgoing WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
        )
        return [(int(row[0]), str(row[1])) for row in rows]

    @property
    def connection(self) -> sqlite3.Connection:
        """For the questions of lineage.questions, asked inside a step."""
        return self._db


def open_readonly(path: str | Path) -> sqlite3.Connection:
    """A connection for questions. Raises NotFound("lineage") before the projector's first step."""
    if not Path(path).exists():
        raise NotFound("lineage", "nothing has been projected yet")
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only=ON")
    return connection
