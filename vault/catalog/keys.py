"""Epoch and group rows, for the broker: which provider key wraps which group key. No key is here in the clear."""

from sqlalchemy import bindparam, update

from vault.catalog.mapping import EPOCH, GROUP
from vault.catalog.rows import EpochRow, GroupRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import epoch_key, key_group
from vault.errors import NotFound

_EPOCH = EPOCH.select.where(same(epoch_key, "epoch_id"))
_EPOCHS = EPOCH.select.where(same(epoch_key, "dataset_id")).order_by(epoch_key.c.key_class, epoch_key.c.epoch)
_ACTIVE = EPOCH.select.where(
    same(epoch_key, "dataset_id", "key_class"), epoch_key.c.state == literal("active")
)
_GROUP = GROUP.select.where(same(key_group, "group_id"))
_GROUPS = GROUP.select.where(same(key_group, "epoch_id")).order_by(key_group.c.created_at)
_ROOM = (
    GROUP.select.where(same(key_group, "epoch_id"), key_group.c.objects <= bindparam("room"))
    .order_by(key_group.c.objects.desc())
    .limit(1)
    .with_for_update()
)
_COUNT = (
    update(key_group)
    .where(key_group.c.tenant == bindparam("g_tenant"), key_group.c.group_id == bindparam("g_id"))
    .values(objects=key_group.c.objects + bindparam("g_count"))
)
_STATE = (
    update(epoch_key)
    .where(epoch_key.c.tenant == bindparam("e_tenant"), epoch_key.c.epoch_id == bindparam("e_id"))
    .values(state=bindparam("e_state"))
)


class Keys(Section):
    def find_epoch(self, epoch_id: str) -> EpochRow | None:
        return self._find(EPOCH, _EPOCH, epoch_id=epoch_id)

    def epochs(self, dataset_id: str) -> list[EpochRow]:
        return self._all(EPOCH, _EPOCHS, dataset_id=dataset_id)

    def active_epoch(self, dataset_id: str, key_class: str) -> EpochRow | None:
        return self._find(EPOCH, _ACTIVE, dataset_id=dataset_id, key_class=key_class)

    def add_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str, epoch: int) -> EpochRow:
        """Insert as active and answer it; where another active one was first, that one."""
        row = EpochRow(self.tenant, epoch_id, dataset_id, key_class, epoch, "active", self._clock())
        with self._database.write() as connection:
            found = self._within(connection, EPOCH, _ACTIVE, dataset_id=dataset_id, key_class=key_class)
            if found is not None:
                return found
            self._insert(connection, EPOCH, row)
        return row

    def set_epoch_state(self, epoch_id: str, state: str) -> None:
        """active | retired | pending-destruction | destroyed. Conflict("catalog.exists") for a second active one."""
        with self._database.write() as connection:
            changed = connection.execute(_STATE, {"e_tenant": self.tenant, "e_id": epoch_id, "e_state": state})
            if changed.rowcount != 1:
                raise NotFound("epoch", epoch_id)

    def find_group(self, group_id: str) -> GroupRow | None:
        return self._find(GROUP, _GROUP, group_id=group_id)

    def groups(self, epoch_id: str) -> list[GroupRow]:
        return self._all(GROUP, _GROUPS, epoch_id=epoch_id)

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
        row = GroupRow(self.tenant, group_id, dataset_id, key_class, epoch_id, wrapped, objects, self._clock())
        with self._database.write() as connection:
            self._insert(connection, GROUP, row)
