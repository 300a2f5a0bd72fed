"""What every section of the catalog stands on: one tenant's rows of one database, read sealed, written sealed."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, and_, bindparam, insert, literal_column, update
from sqlalchemy.sql.elements import ColumnElement

from vault.catalog.database import Database
from vault.catalog.mapping import Mapper
from vault.catalog.seal import RowSeal

T = TypeVar("T")
Clock = Callable[[], int]
"""Milliseconds since the epoch, UTC."""


def new_id() -> str:
    """32 lowercase hex of 128 random bits."""
    return secrets.token_hex(16)


def literal(text: str) -> ColumnElement[str]:
    """A constant in the query's own text: a partial index is used only when the planner can see it."""
    if not text.isascii() or not text.replace("-", "").isalpha():
        raise ValueError(text)
    return literal_column(f"'{text}'")


def same(table: Table, *names: str) -> ColumnElement[bool]:
    """`table.tenant = :tenant and table.name = :name …`."""
    return and_(*(table.c[name] == bindparam(name) for name in ("tenant", *names)))


@dataclass(frozen=True, slots=True)
class NewJob:
    """Work to be queued in the same transaction; an empty `job_id` gets a random one."""

    kind: str
    subject: dict[str, Any]
    job_id: str = ""


class Section:
    """Base of the catalog's sections. Thread-safe: each thread has its own connection."""

    def __init__(self, database: Database, seal: RowSeal, clock: Clock, tenant: str = "main") -> None:
        self._database = database
        self._seal = seal
        self._clock = clock
        self.tenant = tenant

    def now(self) -> int:
        """The catalog's clock: one clock for every time it stores."""
        return self._clock()

    def _find(self, mapper: Mapper[T], statement: Select[Any], **params: Any) -> T | None:
        row = self._database.first(statement, {"tenant": self.tenant, **params})
        return None if row is None else mapper.read(row, self._seal)

    def _all(self, mapper: Mapper[T], statement: Select[Any], **params: Any) -> list[T]:
        found = self._database.rows(statement, {"tenant": self.tenant, **params})
        return [mapper.read(row, self._seal) for row in found]

    def _within(self, connection: Connection, mapper: Mapper[T], statement: Select[Any], **params: Any) -> T | None:
        row = connection.execute(statement, {"tenant": self.tenant, **params}).first()
        return None if row is None else mapper.read(row, self._seal)

    def _insert(self, connection: Connection, mapper: Mapper[T], item: T) -> None:
        connection.execute(insert(mapper.table), mapper.stored(item, self._seal))

    def _replace(self, connection: Connection, mapper: Mapper[T], item: T) -> None:
        """Write every column of a row that exists, with a new MAC."""
        stored = mapper.stored(item, self._seal)
        table = mapper.table
        keys = [column.name for column in table.primary_key]
        statement = update(table).where(and_(*(table.c[key] == stored[key] for key in keys)))
        connection.execute(statement.values({name: value for name, value in stored.items() if name not in keys}))
