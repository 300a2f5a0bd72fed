"""One database of one zone: SQLite in WAL mode embedded, PostgreSQL by URL.

Every thread keeps one connection in autocommit: a read is one statement and its own transaction, so the
hot road pays no BEGIN and no pool. A write is an explicit transaction on that same connection: BEGIN
IMMEDIATE on SQLite, which takes the write lock first and so cannot fail half way for want of it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Executable, Row, create_engine, event, exc
from sqlalchemy.pool import NullPool

from vault.errors import Broken, Conflict, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MS = 5000
STREAMED = 1000  # rows a stream holds at once
Params = dict[str, Any]


def sqlite_url(path: Path) -> str:
    return f"sqlite+pysqlite:///{path}"


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    # None: the driver never opens a transaction of its own; ours are explicit.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last acknowledged commits when power fails
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.execute("PRAGMA mmap_size=268435456")
    cursor.close()


class Database:
    """Raises Unavailable("catalog.busy" | "catalog.unreachable") where the engine does; Conflict("catalog.exists")
    where a row of that identity exists."""

    def __init__(self, url: str) -> None:
        self.url = url
        arguments: dict[str, Any] = {}
        if url.startswith("sqlite"):
            arguments = {"check_same_thread": False, "cached_statements": 512}
        else:
            arguments = {"connect_timeout": 5, "options": "-c statement_timeout=5000 -c lock_timeout=5000"}
        self._engine: Engine = create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=arguments, query_cache_size=2000
        )
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
        self._begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[Connection] = []

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def upgrade(self) -> None:
        """Bring the schema to the newest migration; nothing happens when it is there already. Raises Unavailable."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["url"] = self.url
        try:
            command.upgrade(config, "head")
        except exc.OperationalError as error:
            raise self._translated(error) from error

    def rows(self, statement: Executable, params: Params) -> Sequence[Row[Any]]:
        try:
            return self._connection().execute(statement, params).all()
        except exc.DBAPIError as error:
            failure = self._translated(error)
            if not self._lost_at_rest(error):
                raise failure from error
        try:
            return self._connection().execute(statement, params).all()
        except exc.DBAPIError as error:
            raise self._translated(error) from error

    def stream(self, statement: Executable) -> Iterator[Row[Any]]:
        """Row after row of a whole table in constant memory, on a connection of its own."""
        try:
            with self._engine.connect() as connection:
                if not self.is_sqlite:  # a cursor on the server lives in a transaction, for as long as it takes
                    connection.execution_options(isolation_level="REPEATABLE READ")
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                yield from connection.execution_options(yield_per=STREAMED).execute(statement)
        except exc.DBAPIError as error:
            raise self._translated(error) from error

    def first(self, statement: Executable, params: Params) -> Row[Any] | None:
        """The first row; the statement is expected to give at most one."""
        found = self.rows(statement, params)
        return found[0] if found else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed durably when the block ends, rolled back when it raises."""
        connection = self._connection()
        if getattr(self._local, "writing", False):
            raise Broken("catalog.nested-write")
        self._local.writing = True
        try:
            connection = self._begun(connection)
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
        except exc.DBAPIError as error:
            raise self._translated(error) from error
        finally:
            self._local.writing = False

    def _begun(self, connection: Connection) -> Connection:
        """A connection on which a transaction has begun."""
        try:
            connection.exec_driver_sql(self._begin)
        except exc.DBAPIError as error:
            failure = self._translated(error)
            if not error.connection_invalidated:
                raise failure from error
            connection = self._connection()
            connection.exec_driver_sql(self._begin)
        return connection

    def _lost_at_rest(self, error: exc.DBAPIError) -> bool:
        """The server was restarted since: every thread would find out by a refusal of its own. Asked once more on a
        new connection, a read is the same read; inside a transaction there is nothing left to ask in."""
        return error.connection_invalidated and not getattr(self._local, "writing", False)

    def close(self) -> None:
        """Close every thread's connection; the database must not be in use any more."""
        with self._lock:
            open_now, self._open = self._open, []
        for connection in open_now:
            connection.close()
        self._local = threading.local()
        self._engine.dispose()

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                connection = self._engine.connect()
            except exc.DBAPIError as error:
                raise self._translated(error) from error
            self._local.connection = connection
            with self._lock:
                self._open.append(connection)
        return connection

    def _roll_back(self, connection: Connection) -> None:
        if connection.closed:
            return  # lost, and forgotten already: the server rolled back
        if connection.invalidated:
            self._forget(connection)
            return
        try:
            connection.exec_driver_sql("ROLLBACK")
        except exc.DBAPIError:
            self._forget(connection)  # a COMMIT that failed half way, or a lost server: start from a new connection

    def _forget(self, connection: Connection) -> None:
        self._local.connection = None
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)
        connection.invalidate()
        connection.close()

    def _translated(self, error: exc.DBAPIError) -> Conflict | Unavailable | Broken:
        if isinstance(error, exc.IntegrityError):
            return Conflict("catalog.exists", str(error.orig))
        if error.connection_invalidated:
            connection: Connection | None = getattr(self._local, "connection", None)
            if connection is not None:
                self._forget(connection)
            return Unavailable("catalog.unreachable", str(error.orig))
        if isinstance(error, exc.OperationalError):
            reason = "catalog.busy" if "lock" in str(error.orig) else "catalog.unreachable"
            return Unavailable(reason, str(error.orig))
        return Broken("catalog.statement", str(error))
