"""What an erasure asks the catalog: which versions a name means, who holds the same content, what is to leave the
store at once; and keys of an older catalog that was put back, as the store's records know them now."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, exists, select

from vault.catalog.listing import after_prefix
from vault.catalog.mapping import BODY, EPOCH, GROUP, KEY_WRAP, VERSION
from vault.catalog.rows import BodyRow, EpochRow, GroupRow, KeyWrapRow, VersionRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import body, body_share, epoch_key, key_group, key_wrap, object_version
from vault.keys.hierarchy import GROUP_LIMIT

_LIVE = object_version.c.state == literal("live")
_IN_ORDER = (object_version.c.key, object_version.c.sequence)
_FROM = VERSION.select.where(same(object_version, "dataset_id"), _LIVE, object_version.c.key >= bindparam("low"))
_UNDER = _FROM.order_by(*_IN_ORDER).limit(bindparam("limit"))
_BETWEEN = _FROM.where(object_version.c.key < bindparam("high")).order_by(*_IN_ORDER).limit(bindparam("limit"))
_OF_KEYS = (
    VERSION.select.where(
        same(object_version, "dataset_id"), _LIVE, object_version.c.key.in_(bindparam("keys", expanding=True))
    )
    .order_by(*_IN_ORDER)
    .limit(bindparam("limit"))
)
_other = body_share.alias("other")
_SHARING = (
    select(_other.c.subject)
    .distinct()
    .select_from(
        body_share.join(_other, (_other.c.tenant == body_share.c.tenant) & (_other.c.body_id == body_share.c.body_id))
    )
    .where(same(body_share), body_share.c.subject.in_(bindparam("subjects", expanding=True)))
)
_ORPHANS = BODY.select.where(
    same(body, "dataset_id"), body.c.state == literal("orphan"),
    body.c.subject.in_(bindparam("subjects", expanding=True)),
)  # fmt: skip
_GROUP = GROUP.select.where(same(key_group, "group_id"))
_EPOCH = EPOCH.select.where(same(epoch_key, "epoch_id"))
_ACTIVE = EPOCH.select.where(
    same(epoch_key, "dataset_id", "key_class"), epoch_key.c.state == literal("active")
)
_WRAP = KEY_WRAP.select.where(same(key_wrap, "subject"))
_KEYLESS = VERSION.select.where(
    same(object_version), _LIVE,
    exists().where(
        key_wrap.c.tenant == object_version.c.tenant, key_wrap.c.subject == object_version.c.version_id,
        key_group.c.tenant == key_wrap.c.tenant, key_group.c.group_id == key_wrap.c.group_id,
        key_group.c.state == literal("erased"),
    ),
).order_by(object_version.c.dataset_id, object_version.c.sequence)
_PAGE = 500


def _newer(known: GroupRow, under: EpochRow | None, group: GroupRow, epoch: EpochRow) -> bool:
    """A record is ahead of a row that hangs on an earlier epoch, or that does not know yet that the group is erased."""
    later = under is None or epoch.epoch > under.epoch
    return known.state != "erased" and (later or group.state == "erased")


class Erasing(Section):
    def versions_under(
        self, dataset_id: str, prefix: str | None, keys: Sequence[str], limit: int
    ) -> list[VersionRow]:
        """Living versions, old ones and markers too, of these keys and of every key that begins with `prefix`."""
        found: list[VersionRow] = []
        for at in range(0, len(keys), _PAGE):
            page = list(keys[at : at + _PAGE])
            found += self._all(VERSION, _OF_KEYS, dataset_id=dataset_id, keys=page, limit=limit)
        if prefix is not None:
            high = after_prefix(prefix)
            if high is None:
                found += self._all(VERSION, _UNDER, dataset_id=dataset_id, low=prefix, limit=limit)
            else:
                found += self._all(VERSION, _BETWEEN, dataset_id=dataset_id, low=prefix, high=high, limit=limit)
        return found

    def sharing(self, version_ids: Sequence[str]) -> list[str]:
        """Other living versions over the same bodies: copies, which open with the same object key."""
        named, others = set(version_ids), set()
        for at in range(0, len(version_ids), _PAGE):
            params = {"tenant": self.tenant, "subjects": list(version_ids[at : at + _PAGE])}
            others |= {str(row.subject) for row in self._database.rows(_SHARING, params)}
        return sorted(others - named)

    def orphans_of(self, dataset_id: str, subjects: Sequence[str]) -> list[BodyRow]:
        """What of these versions and views still lies in the store."""
        found: list[BodyRow] = []
        for at in range(0, len(subjects), _PAGE):
            page = list(subjects[at : at + _PAGE])
            found += self._all(BODY, _ORPHANS, dataset_id=dataset_id, subjects=page)
        return found

    def adopt_group(self, group: GroupRow, epoch: EpochRow) -> bool:
        """Take a group as a record in the store has it, if that is newer: under a later epoch, or erased."""
        with self._database.write() as connection:
            self._adopt_epoch(connection, epoch)
            known = self._within(connection, GROUP, _GROUP, group_id=group.group_id)
            if known is None:
                self._insert(connection, GROUP, replace(group, objects=GROUP_LIMIT))
                return True
            under = self._within(connection, EPOCH, _EPOCH, epoch_id=known.epoch_id)
            if not _newer(known, under, group, epoch):
                return False
            self._replace(connection, GROUP, replace(group, objects=GROUP_LIMIT, created_at=known.created_at))
        return True

    def newer_group(self, group: GroupRow, epoch: EpochRow) -> bool:
        """Whether `adopt_group` would change a group that is here."""
        known = self._find(GROUP, _GROUP, group_id=group.group_id)
        if known is None:
            return False
        return _newer(known, self._find(EPOCH, _EPOCH, epoch_id=known.epoch_id), group, epoch)

    def without_a_key(self) -> list[VersionRow]:
        """Living versions whose key group was erased and which got no other wrap: nothing opens them."""
        return self._all(VERSION, _KEYLESS)

    def adopt_wraps(self, wraps: Sequence[KeyWrapRow]) -> int:
        """Take the wraps of those whose group was erased meanwhile."""
        adopted = 0
        with self._database.write() as connection:
            for row in wraps:
                known = self._within(connection, KEY_WRAP, _WRAP, subject=row.subject)
                group = None
                if known is not None:
                    group = self._within(connection, GROUP, _GROUP, group_id=known.group_id)
                if known is None or (known.wrapped and group is not None and group.state == "erased"):
                    (self._insert if known is None else self._replace)(connection, KEY_WRAP, row)
                    adopted += 1
        return adopted

    def _adopt_epoch(self, connection: Connection, epoch: EpochRow) -> None:
        if self._within(connection, EPOCH, _EPOCH, epoch_id=epoch.epoch_id) is not None:
            return
        where = {"dataset_id": epoch.dataset_id, "key_class": epoch.key_class}
        active = self._within(connection, EPOCH, _ACTIVE, **where)
        if active is not None and epoch.state == "active":
            older, epoch = (active, epoch) if active.epoch < epoch.epoch else (None, replace(epoch, state="retired"))
            if older is not None:
                self._replace(connection, EPOCH, replace(older, state="retired"))
        self._insert(connection, EPOCH, epoch)
