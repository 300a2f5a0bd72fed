"""What leaves the catalog or follows the ledger: outbox, cursors, and which doctrine revisions were active."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from vault.catalog.mapping import OUTBOX, REVISION
from vault.catalog.rows import OutboxRow, RevisionRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import cursor, doctrine_revision, outbox
from vault.errors import Conflict

_DUE = (
    OUTBOX.select.where(same(outbox, "sink"), outbox.c.next_at <= bindparam("now"))
    .order_by(outbox.c.next_at, outbox.c.event_id)
    .limit(bindparam("limit"))
)
_HERE = (
    outbox.c.tenant == bindparam("o_tenant"),
    outbox.c.event_id == bindparam("o_event"),
    outbox.c.sink == bindparam("o_sink"),
)
_DEPTH = select(func.count()).select_from(outbox).where(same(outbox))
_CURSOR = select(cursor.c.position).where(same(cursor, "name"))
_ACTIVE = REVISION.select.where(same(doctrine_revision), doctrine_revision.c.state == literal("active"))
_REVISION = REVISION.select.where(same(doctrine_revision, "revision"))
_RECENT = (
    REVISION.select.where(same(doctrine_revision)).order_by(doctrine_revision.c.at.desc()).limit(bindparam("limit"))
)


class Outlets(Section):
    def outbox_add(self, event_id: str, sinks: Sequence[str], event: dict[str, Any]) -> None:
        """An event that is there already is not added twice."""
        now = self._clock()
        with self._database.write() as connection:
            for sink in sinks:
                which = {"o_tenant": self.tenant, "o_event": event_id, "o_sink": sink}
                if connection.execute(OUTBOX.select.where(*_HERE), which).first() is None:
                    self._insert(connection, OUTBOX, OutboxRow(self.tenant, event_id, sink, event, 0, now))

    def outbox_due(self, sink: str, limit: int = 100) -> list[OutboxRow]:
        return self._all(OUTBOX, _DUE, sink=sink, now=self._clock(), limit=limit)

    def outbox_sent(self, event_id: str, sink: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                delete(outbox).where(*_HERE), {"o_tenant": self.tenant, "o_event": event_id, "o_sink": sink}
            )

    def outbox_retry(self, row: OutboxRow, delay_ms: int) -> None:
        values = {"attempts": row.attempts + 1, "next_at": self._clock() + delay_ms}
        which = {"o_tenant": self.tenant, "o_event": row.event_id, "o_sink": row.sink}
        with self._database.write() as connection:
            connection.execute(update(outbox).where(*_HERE).values(values), which)

    def outbox_depth(self) -> int:
        row = self._database.first(_DEPTH, {"tenant": self.tenant})
        return 0 if row is None else int(row[0])

    def cursor(self, name: str) -> int:
        """0 where it was never moved."""
        row = self._database.first(_CURSOR, {"tenant": self.tenant, "name": name})
        return 0 if row is None else int(row[0])

    def advance_cursor(self, name: str, position: int) -> None:
        """Conflict("cursor.back") rather than back: another replica was faster."""
        with self._database.write() as connection:
            found = connection.execute(_CURSOR, {"tenant": self.tenant, "name": name}).first()
            if found is None:
                connection.execute(cursor.insert(), {"tenant": self.tenant, "name": name, "position": position})
                return
            if position < found[0]:
                raise Conflict("cursor.back", name)
            here = update(cursor).where(cursor.c.tenant == bindparam("k_tenant"), cursor.c.name == bindparam("k_name"))
            connection.execute(here.values(position=position), {"k_tenant": self.tenant, "k_name": name})

    def doctrine_active(self, revision: str) -> RevisionRow:
        """Note the revision that serves from now on; the one before is retired."""
        row = RevisionRow(self.tenant, revision, "active", "", self._clock())
        with self._database.write() as connection:
            retire = update(doctrine_revision).where(
                doctrine_revision.c.tenant == bindparam("k_tenant"), doctrine_revision.c.state == literal("active")
            )
            connection.execute(retire.values(state="retired"), {"k_tenant": self.tenant})
            known = self._within(connection, REVISION, _REVISION, revision=revision)
            (self._insert if known is None else self._replace)(connection, REVISION, row)
        return row

    def doctrine_refused(self, revision: str, reason: str) -> RevisionRow:
        """Note one that did not compile or pass its gate; it never replaces an active one's row."""
        row = RevisionRow(self.tenant, revision, "refused", reason, self._clock())
        with self._database.write() as connection:
            known = self._within(connection, REVISION, _REVISION, revision=revision)
            if known is None:
                self._insert(connection, REVISION, row)
        return row

    def doctrine(self) -> RevisionRow | None:
        return self._find(REVISION, _ACTIVE)

    def doctrines(self, limit: int = 20) -> list[RevisionRow]:
        return self._all(REVISION, _RECENT, limit=limit)
