"""Bodies: every name this zone ever uses in its store, written down before the store sees it.

`writing` → `live` with the commit that makes it visible, or → `orphan` when nothing names it any more; a part is
`held` in between, for as long as its upload is open. The sweeper takes orphans, and what has been `writing` for
longer than a write may last.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vault.catalog.mapping import BODY
from vault.catalog.rows import BodyRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import body, body_share
from vault.errors import Conflict

_BY_ID = BODY.select.where(same(body, "body_id"))
_MAKE_LIVE = (
    update(body)
    .where(
        body.c.tenant == bindparam("b_tenant"),
        body.c.body_id == bindparam("b_id"),
        body.c.state.in_([literal("writing"), literal("held")]),
    )
    .values(state="live", subject=bindparam("b_subject"), sealed_length=bindparam("b_length"))
)
_HOLD = (
    update(body)
    .where(
        body.c.tenant == bindparam("b_tenant"),
        body.c.body_id == bindparam("b_id"),
        body.c.state == literal("writing"),
    )
    .values(state="held", sealed_length=bindparam("b_length"))
)
_ORPHAN_SUBJECT = (
    update(body)
    .where(body.c.tenant == bindparam("b_tenant"), body.c.subject == bindparam("b_subject"))
    .values(state="orphan", created_at=bindparam("b_now"))
)
_ORPHAN_ONE = (
    update(body)
    .where(
        body.c.tenant == bindparam("b_tenant"),
        body.c.body_id == bindparam("b_id"),
        body.c.state != literal("live"),
    )
    .values(state="orphan", created_at=bindparam("b_now"))
)
_ORPHAN_STORED = (
    update(body)
    .where(
        body.c.tenant == bindparam("b_tenant"),
        body.c.subject == bindparam("b_subject"),
        body.c.store_key == bindparam("b_key"),
    )
    .values(state="orphan", created_at=bindparam("b_now"))
)
# A body is handed on to one of those who still name it; `body.subject` is always one of them.
_UNSHARE = delete(body_share).where(
    body_share.c.tenant == bindparam("b_tenant"), body_share.c.subject == bindparam("b_subject")
)
_HEIR = (
    select(func.min(body_share.c.subject))
    .where(body_share.c.tenant == body.c.tenant, body_share.c.body_id == body.c.body_id)
    .scalar_subquery()
)
_HAND_ON = (
    update(body)
    .where(body.c.tenant == bindparam("b_tenant"), body.c.subject == bindparam("b_subject"), _HEIR.is_not(None))
    .values(subject=_HEIR)
)
_LIVE_OWNERS = select(body.c.body_id, body.c.subject).where(
    same(body), body.c.state == literal("live"), body.c.body_id.in_(bindparam("body_ids", expanding=True))
)
_UNFINISHED = select(body.c.body_id, body.c.store_key).where(same(body, "subject"), body.c.state == literal("writing"))
_SHARE_PAGE = 500
_SWEEPABLE = (
    BODY.select.where(same(body), body.c.state == bindparam("state"), body.c.created_at < bindparam("before"))
    .order_by(body.c.created_at)
    .limit(bindparam("limit"))
)
_FORGET = delete(body).where(
    body.c.tenant == bindparam("b_tenant"), body.c.body_id == bindparam("b_id"), body.c.state == literal("orphan")
)


class Bodies(Section):
    def add_bodies(self, bodies: Iterable[tuple[str, str, str]], dataset_id: str) -> None:
        """Write down (body id, store key, subject) as `writing`, before the store is touched."""
        now = self._clock()
        rows = [
            BodyRow(self.tenant, body_id, dataset_id, store_key, "writing", subject, 0, now)
            for body_id, store_key, subject in bodies
        ]
        with self._database.write() as connection:
            for row in rows:
                self._insert(connection, BODY, row)

    def find_body(self, body_id: str) -> BodyRow | None:
        return self._find(BODY, _BY_ID, body_id=body_id)

    def orphan_bodies(self, body_ids: Iterable[str]) -> None:
        """An aborted write: what it named may be swept. Live bodies stay live."""
        with self._database.write() as connection:
            for body_id in body_ids:
                self._orphan_one(connection, body_id)

    def sweepable(self, orphans_before: int, writing_before: int, limit: int = 100) -> list[BodyRow]:
        """Orphans since before `orphans_before` (readers of an overwritten version may still be streaming until
        then), and writes begun before `writing_before` (ms): those are marked orphan now and answered later."""
        for row in self._all(BODY, _SWEEPABLE, state="writing", before=writing_before, limit=limit):
            self.orphan_bodies([row.body_id])
        return self._all(BODY, _SWEEPABLE, state="orphan", before=orphans_before, limit=limit)

    def forget_bodies(self, body_ids: Sequence[str]) -> None:
        """After the store has deleted them."""
        with self._database.write() as connection:
            for body_id in body_ids:
                connection.execute(_FORGET, {"b_tenant": self.tenant, "b_id": body_id})

    def _make_live(self, connection: Connection, bodies: Sequence[tuple[str, int]], subject: str) -> None:
        """Conflict("body.gone") unless each (body id, sealed length) is `writing` or `held`: a sweeper was faster."""
        for body_id, length in bodies:
            params = {"b_tenant": self.tenant, "b_id": body_id, "b_subject": subject, "b_length": length}
            if connection.execute(_MAKE_LIVE, params).rowcount != 1:
                raise Conflict("body.gone", body_id)

    def _hold(self, connection: Connection, body_id: str, length: int) -> None:
        """Conflict("body.gone") unless it is still `writing`."""
        params = {"b_tenant": self.tenant, "b_id": body_id, "b_length": length}
        if connection.execute(_HOLD, params).rowcount != 1:
            raise Conflict("body.gone", body_id)

    def _share(self, connection: Connection, body_ids: Sequence[str], subject: str) -> None:
        """`subject` names these bodies too. Conflict("body.gone") unless each is live."""
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        into = make(body_share).on_conflict_do_nothing()
        for at in range(0, len(body_ids), _SHARE_PAGE):
            page = list(body_ids[at : at + _SHARE_PAGE])
            owners = connection.execute(_LIVE_OWNERS, {"tenant": self.tenant, "body_ids": page}).all()
            if len(owners) != len(page):
                raise Conflict("body.gone", f"{len(page) - len(owners)} of {len(page)}")
            rows = [
                {"tenant": self.tenant, "body_id": body_id, "subject": who}
                for body_id, owner in owners
                for who in (owner, subject)
            ]
            connection.execute(into, rows)

    def _orphan_subject(self, connection: Connection, subject: str) -> None:
        """What this subject alone named may be swept; what others name too is theirs from now on."""
        params = {"b_tenant": self.tenant, "b_subject": subject}
        if connection.execute(_UNSHARE, params).rowcount:
            connection.execute(_HAND_ON, params)
        connection.execute(_ORPHAN_SUBJECT, params | {"b_now": self._clock()})

    def _orphan_unfinished(self, connection: Connection, subject: str) -> tuple[str, ...]:
        """What was written down for this subject and never committed; answers the store keys."""
        params = {"tenant": self.tenant, "subject": subject}
        found = connection.execute(_UNFINISHED, params).all()
        for body_id, _ in found:
            self._orphan_one(connection, body_id)
        return tuple(store_key for _, store_key in found)

    def _orphan_stored(self, connection: Connection, subject: str, store_key: str) -> None:
        params = {"b_tenant": self.tenant, "b_subject": subject, "b_key": store_key, "b_now": self._clock()}
        connection.execute(_ORPHAN_STORED, params)

    def _orphan_one(self, connection: Connection, body_id: str) -> None:
        connection.execute(_ORPHAN_ONE, {"b_tenant": self.tenant, "b_id": body_id, "b_now": self._clock()})
