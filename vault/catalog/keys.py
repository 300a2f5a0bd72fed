"""Epoch, group and wrap rows, for the broker: which provider key wraps which group key, which group key which object
key. No key is here in the clear.

Who holds keys of a group is told by `key_wrap`, written in the transaction that makes a version, view or upload
visible: a group can then be moved away from without looking into the store. When that is deleted its row stays, without
the wrap: it gets no other key any more, and who wants it shredded later still finds its group.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, distinct, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vault.catalog.mapping import EPOCH, GROUP, KEY_WRAP
from vault.catalog.rows import EpochRow, GroupRow, KeyWrapRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import epoch_key, key_group, key_wrap
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, NotFound
from vault.keys.rewrap import MovedGroup, MovedWrap

_OPEN = key_group.c.state == literal("open")
_EPOCH = EPOCH.select.where(same(epoch_key, "epoch_id"))
_EPOCH_LOCKED = _EPOCH.with_for_update()
_EPOCH_SHARED = _EPOCH.with_for_update(read=True)
_EPOCHS = EPOCH.select.where(same(epoch_key, "dataset_id")).order_by(epoch_key.c.key_class, epoch_key.c.epoch)
_ACTIVE = EPOCH.select.where(
    same(epoch_key, "dataset_id", "key_class"), epoch_key.c.state == literal("active")
)
_GROUP = GROUP.select.where(same(key_group, "group_id"))
_GROUPS = GROUP.select.where(same(key_group, "epoch_id")).order_by(key_group.c.created_at)
_ROOM = (
    GROUP.select.where(same(key_group, "epoch_id"), key_group.c.objects <= bindparam("room"), _OPEN)
    .order_by(key_group.c.objects.desc())
    .limit(1)
    .with_for_update()
)
_COUNT = (
    update(key_group)
    .where(key_group.c.tenant == bindparam("g_tenant"), key_group.c.group_id == bindparam("g_id"))
    .values(objects=key_group.c.objects + bindparam("g_count"))
)
_ELSEWHERE = (
    GROUP.select.where(same(key_group, "dataset_id", "key_class"), _OPEN, key_group.c.epoch_id != bindparam("epoch_id"))
    .order_by(key_group.c.group_id)
    .limit(bindparam("limit"))
)
_COUNT_ELSEWHERE = select(func.count()).where(
    same(key_group, "dataset_id", "key_class"), _OPEN, key_group.c.epoch_id != bindparam("epoch_id")
)
# Compare and set: a group that somebody else moved meanwhile stays as that one left it.
_MOVE = (
    update(key_group)
    .where(
        key_group.c.tenant == bindparam("g_tenant"), key_group.c.group_id == bindparam("g_id"),
        key_group.c.epoch_id == bindparam("g_from"), key_group.c.state != literal("erased"),
    )
    .values(epoch_id=bindparam("g_to"), wrapped=bindparam("g_wrapped"))
)  # fmt: skip
_CLOSE = (
    update(key_group)
    .where(key_group.c.tenant == bindparam("g_tenant"), key_group.c.group_id == bindparam("g_id"), _OPEN)
    .values(state="closed")
)
_ERASE = (
    update(key_group)
    .where(key_group.c.tenant == bindparam("g_tenant"), key_group.c.group_id == bindparam("g_id"))
    .values(state="erased", wrapped=b"", objects=0)
)
_STATE = (
    update(epoch_key)
    .where(epoch_key.c.tenant == bindparam("e_tenant"), epoch_key.c.epoch_id == bindparam("e_id"))
    .values(state=bindparam("e_state"), state_at=bindparam("e_at"), destroy_at=bindparam("e_destroy"))
)
_IN_USE = select(func.count()).where(same(key_group, "epoch_id"), key_group.c.state != literal("erased"))
_WRAP = KEY_WRAP.select.where(same(key_wrap, "subject"))
_HELD = func.length(key_wrap.c.wrapped) > 0
_WRAPS_OF = (
    KEY_WRAP.select.where(same(key_wrap, "group_id"), key_wrap.c.subject > bindparam("after"), _HELD)
    .order_by(key_wrap.c.subject)
    .limit(bindparam("limit"))
)
_WRAPS_FOR = KEY_WRAP.select.where(
    same(key_wrap, "dataset_id"), key_wrap.c.subject.in_(bindparam("subjects", expanding=True))
)
_MOVE_WRAP = (
    update(key_wrap)
    .where(
        key_wrap.c.tenant == bindparam("w_tenant"), key_wrap.c.subject == bindparam("w_subject"),
        key_wrap.c.group_id == bindparam("w_from"),
    )
    .values(group_id=bindparam("w_to"), wrapped=bindparam("w_wrapped"), moved=True)
)  # fmt: skip
_LEAVE = (
    update(key_wrap)
    .where(key_wrap.c.tenant == bindparam("w_tenant"), key_wrap.c.subject == bindparam("w_subject"))
    .values(wrapped=b"")
)
# The wraps of uploads are named after their version; ":" and ";" are neighbours.
_DROP_UPLOADS = delete(key_wrap).where(
    key_wrap.c.tenant == bindparam("w_tenant"), key_wrap.c.subject >= bindparam("w_first"),
    key_wrap.c.subject < bindparam("w_last"),
)  # fmt: skip
_FORGET_LEFT = delete(key_wrap).where(
    key_wrap.c.tenant == bindparam("w_tenant"), key_wrap.c.group_id == bindparam("w_group"),
)
_HOLDER = (
    select(key_group.c.state)
    .select_from(
        key_wrap.join(
            key_group, and_(key_group.c.tenant == key_wrap.c.tenant, key_group.c.group_id == key_wrap.c.group_id)
        )
    )
    .where(same(key_wrap, "subject"))
    .with_for_update(read=True, of=key_group)
)
_USAGE = (
    select(
        key_group.c.epoch_id,
        func.count(distinct(key_group.c.group_id)).label("groups"),
        func.count(key_wrap.c.subject).label("objects"),
    )
    .select_from(
        key_group.outerjoin(
            key_wrap,
            and_(key_wrap.c.tenant == key_group.c.tenant, key_wrap.c.group_id == key_group.c.group_id, _HELD),
        )
    )
    .where(same(key_group, "dataset_id"), key_group.c.state != literal("erased"))
    .group_by(key_group.c.epoch_id)
)


@dataclass(frozen=True, slots=True)
class EpochUsage:
    """What still hangs on one epoch: groups, and the object keys (of versions, views and open uploads) in them."""

    epoch: EpochRow
    groups: int
    objects: int


class Keys(Section):
    def find_epoch(self, epoch_id: str) -> EpochRow | None:
        return self._find(EPOCH, _EPOCH, epoch_id=epoch_id)

    def epochs(self, dataset_id: str) -> list[EpochRow]:
        return self._all(EPOCH, _EPOCHS, dataset_id=dataset_id)

    def active_epoch(self, dataset_id: str, key_class: str) -> EpochRow | None:
        return self._find(EPOCH, _ACTIVE, dataset_id=dataset_id, key_class=key_class)

    def add_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str, epoch: int) -> EpochRow:
        """Insert as active and answer it; where another active one was first, that one."""
        now = self._clock()
        row = EpochRow(self.tenant, epoch_id, dataset_id, key_class, epoch, "active", now, now)
        with self._database.write() as connection:
            found = self._within(connection, EPOCH, _ACTIVE, dataset_id=dataset_id, key_class=key_class)
            if found is not None:
                return found
            self._insert(connection, EPOCH, row)
        return row

    def rotate_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str) -> EpochRow:
        """Make `epoch_id` the active one and retire the one that was. Done before, it changes nothing."""
        now = self._clock()
        with self._database.write() as connection:
            known = self._within(connection, EPOCH, _EPOCH, epoch_id=epoch_id)
            if known is not None:
                return known
            params = {"tenant": self.tenant, "dataset_id": dataset_id}
            of_class = [
                each for each in (EPOCH.read(row, self._seal) for row in connection.execute(_EPOCHS, params))
                if each.key_class == key_class
            ]  # fmt: skip
            for each in of_class:
                if each.state == "active":
                    self._set_epoch(connection, each.epoch_id, "retired")
            number = max((each.epoch for each in of_class), default=0) + 1
            row = EpochRow(self.tenant, epoch_id, dataset_id, key_class, number, "active", now, now)
            self._insert(connection, EPOCH, row)
        return row

    def set_epoch_state(
        self, epoch_id: str, state: str, *, destroy_at: int | None = None, unused: bool = False
    ) -> None:
        """active | retired | disabled | pending-destruction | destroyed. Conflict("catalog.exists") for a second active
        one; `unused`: Conflict("key.in-use") where a group still hangs on it, decided in the same transaction."""
        with self._database.write() as connection:
            if self._within(connection, EPOCH, _EPOCH_LOCKED, epoch_id=epoch_id) is None:
                raise NotFound("epoch", epoch_id)
            if unused and connection.execute(_IN_USE, {"tenant": self.tenant, "epoch_id": epoch_id}).scalar():
                raise Conflict("key.in-use", epoch_id)
            self._set_epoch(connection, epoch_id, state, destroy_at)

    def usage(self, dataset_id: str) -> list[EpochUsage]:
        """Every epoch the dataset ever had, oldest first within its class, with what hangs on it now."""
        params = {"tenant": self.tenant, "dataset_id": dataset_id}
        found = self._database.rows(_USAGE, params)
        counted = {str(row.epoch_id): (int(row.groups), int(row.objects)) for row in found}
        none = (0, 0)
        return [
            EpochUsage(row, counted.get(row.epoch_id, none)[0], counted.get(row.epoch_id, none)[1])
            for row in self.epochs(dataset_id)
        ]

    def find_group(self, group_id: str) -> GroupRow | None:
        return self._find(GROUP, _GROUP, group_id=group_id)

    def groups(self, epoch_id: str) -> list[GroupRow]:
        return self._all(GROUP, _GROUPS, epoch_id=epoch_id)

    def groups_elsewhere(self, dataset_id: str, key_class: str, epoch_id: str, limit: int) -> list[GroupRow]:
        """Open groups of this dataset and class that hang on another epoch."""
        return self._all(
            GROUP, _ELSEWHERE, dataset_id=dataset_id, key_class=key_class, epoch_id=epoch_id, limit=limit
        )

    def count_groups_elsewhere(self, dataset_id: str, key_class: str, epoch_id: str) -> int:
        params = {"tenant": self.tenant, "dataset_id": dataset_id, "key_class": key_class, "epoch_id": epoch_id}
        found = self._database.first(_COUNT_ELSEWHERE, params)
        return 0 if found is None else int(found[0])

    def move_groups(self, moved: Sequence[MovedGroup]) -> int:
        """How many were still where they were taken from; the others were moved by somebody else."""
        done = 0
        with self._database.write() as connection:
            for epoch_id in sorted({each.to_epoch for each in moved}):
                self._need_active(connection, epoch_id)
            for each in moved:
                done += connection.execute(_MOVE, {
                    "g_tenant": self.tenant, "g_id": each.group_id, "g_from": each.from_epoch, "g_to": each.to_epoch,
                    "g_wrapped": each.wrapped,
                }).rowcount  # fmt: skip
        return done

    def close_groups(self, group_ids: Iterable[str]) -> None:
        """They take no more objects. Waits for commits that are under way in them."""
        with self._database.write() as connection:
            for group_id in sorted(group_ids):
                connection.execute(_CLOSE, {"g_tenant": self.tenant, "g_id": group_id})

    def erase_groups(self, group_ids: Iterable[str]) -> None:
        """Forget their wraps and who was in them. Conflict("key.group-in-use") while an object key is still theirs."""
        with self._database.write() as connection:
            for group_id in sorted(group_ids):
                params = {"tenant": self.tenant, "group_id": group_id, "after": "", "limit": 1}
                if connection.execute(_WRAPS_OF, params).first() is not None:
                    raise Conflict("key.group-in-use", group_id)
                connection.execute(_FORGET_LEFT, {"w_tenant": self.tenant, "w_group": group_id})
                connection.execute(_ERASE, {"g_tenant": self.tenant, "g_id": group_id})

    def reserve_group(self, epoch_id: str, *, count: int, limit: int) -> GroupRow | None:
        """Atomically add `count` to a group of this epoch that stays within `limit`: the fullest such; None if none."""
        with self._database.write() as connection:
            found = self._within(connection, GROUP, _ROOM, epoch_id=epoch_id, room=limit - count)
            if found is None:
                return None
            connection.execute(_COUNT, {"g_tenant": self.tenant, "g_id": found.group_id, "g_count": count})
            return self._within(connection, GROUP, _GROUP, group_id=found.group_id)

    def add_group(
        self, *, group_id: str, dataset_id: str, key_class: str, epoch_id: str, wrapped: bytes, objects: int
    ) -> None:
        """Conflict("key.epoch-retired") unless the epoch is active: nothing new hangs on a key that is to go."""
        row = GroupRow(self.tenant, group_id, dataset_id, key_class, epoch_id, wrapped, objects, self._clock())
        with self._database.write() as connection:
            self._need_active(connection, epoch_id)
            self._insert(connection, GROUP, row)

    def find_wrap(self, subject: str) -> KeyWrapRow | None:
        """An empty `wrapped` is that of somebody deleted."""
        return self._find(KEY_WRAP, _WRAP, subject=subject)

    def wraps_of(self, group_id: str, after: str = "", limit: int = 500) -> list[KeyWrapRow]:
        return self._all(KEY_WRAP, _WRAPS_OF, group_id=group_id, after=after, limit=limit)

    def wraps_for(self, dataset_id: str, subjects: Sequence[str]) -> list[KeyWrapRow]:
        found: list[KeyWrapRow] = []
        for at in range(0, len(subjects), 500):
            page = list(subjects[at : at + 500])
            found += self._all(KEY_WRAP, _WRAPS_FOR, dataset_id=dataset_id, subjects=page)
        return found

    def move_wraps(self, moved: Sequence[MovedWrap]) -> None:
        """Those that are still in the group they were taken from: a subject deleted meanwhile stays deleted."""
        params = [
            {"w_tenant": self.tenant, "w_subject": m.subject, "w_from": m.from_group, "w_to": m.to_group,
             "w_wrapped": m.wrapped}
            for m in moved
        ]  # fmt: skip
        with self._database.write() as connection:
            if params:
                connection.execute(_MOVE_WRAP, params)

    def drop_wraps(self, subjects: Iterable[str]) -> None:
        with self._database.write() as connection:
            for subject in subjects:
                self._drop_wrap(connection, subject)

    def add_wraps(self, wraps: Sequence[KeyWrapRow]) -> None:
        """For rebuilding: what is there stays as it is."""
        with self._database.write() as connection:
            for row in wraps:
                self._insert_wrap(connection, row)

    def _hold_wrap(self, connection: Connection, dataset_id: str, subject: str, wrapped: WrappedKey | None) -> None:
        """Write down whose key this is, in the transaction that makes it visible; the first wrap stays (an upload's
        may have been moved since). Conflict("key.group-closed") when its group is being left: it would not open long.
        """
        if wrapped is None:
            return
        row = KeyWrapRow(self.tenant, subject, dataset_id, wrapped.key_class, wrapped.group_id, wrapped.wrapped)
        self._insert_wrap(connection, row)
        state = connection.execute(_HOLDER, {"tenant": self.tenant, "subject": subject}).scalar()
        if state not in {None, "open"}:
            raise Conflict("key.group-closed", wrapped.group_id)

    def _insert_wrap(self, connection: Connection, row: KeyWrapRow) -> None:
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        connection.execute(make(key_wrap).on_conflict_do_nothing(), KEY_WRAP.stored(row, self._seal))

    def _drop_wrap(self, connection: Connection, subject: str) -> None:
        """No key any more for this subject, nor for uploads of it. An upload's own wrap leaves nothing: the broker
        opens that one without a session."""
        if ":" in subject:
            first, last = subject, f"{subject}!"
        else:
            connection.execute(_LEAVE, {"w_tenant": self.tenant, "w_subject": subject})
            first, last = f"{subject}:", f"{subject};"
        connection.execute(_DROP_UPLOADS, {"w_tenant": self.tenant, "w_first": first, "w_last": last})

    def _need_active(self, connection: Connection, epoch_id: str) -> None:
        row = self._within(connection, EPOCH, _EPOCH_SHARED, epoch_id=epoch_id)
        if row is None or row.state != "active":
            raise Conflict("key.epoch-retired", epoch_id)

    def _set_epoch(self, connection: Connection, epoch_id: str, state: str, destroy_at: int | None = None) -> None:
        connection.execute(_STATE, {
            "e_tenant": self.tenant, "e_id": epoch_id, "e_state": state, "e_at": self._clock(),
            "e_destroy": destroy_at,
        })  # fmt: skip
