"""What an erasure asks the catalog: which versions a name means, who holds the same content, what is to leave the
store at once."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from vault.catalog.listing import after_prefix
from vault.catalog.mapping import BODY, VERSION
from vault.catalog.rows import BodyRow, VersionRow
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import body, body_share, object_version

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
_PAGE = 500


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
