"""Looking through a whole catalog, row by row in constant memory, for `vault.fsck`."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, select, update

from vault.catalog import mapping
from vault.catalog.mapping import BODY, GROUP, JOB, KEY_WRAP, MANIFEST, VERSION, VIEW, Mapper
from vault.catalog.rows import BodyRow, KeyWrapRow, ManifestRow, VersionRow, ViewRow
from vault.catalog.section import Section, same
from vault.catalog.tables import body, body_share, job, key_group, key_wrap, object_version, view
from vault.catalog.versions import view_job
from vault.errors import Refused

T = TypeVar("T")
_PAGE = 500
_GROUP = GROUP.select.where(same(key_group, "group_id"))
_WRAP = KEY_WRAP.select.where(same(key_wrap, "subject"))
SEALED = tuple(each for each in vars(mapping).values() if isinstance(each, Mapper) and each.sealed)


def _wrapped(tenant: ColumnElement[str], subject: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(
        key_wrap.c.tenant == tenant, key_wrap.c.subject == subject, func.length(key_wrap.c.wrapped) > 0
    )


class Inspecting(Section):
    def edited_rows(self) -> Iterator[tuple[str, str]]:
        """(table, primary key) of each row that does not carry its seal."""
        for mapper in SEALED:
            keys = [mapper.columns.index(column.name) for column in mapper.table.primary_key]
            for row in self._database.stream(mapper.select.where(mapper.table.c.tenant == self.tenant)):
                try:
                    mapper.read(row, self._seal)
                except Refused:
                    yield mapper.name, "/".join(str(row[at]) for at in keys)

    def every_version(self) -> Iterator[VersionRow]:
        """Living ones, markers too."""
        return self._every(VERSION, VERSION.select.where(object_version.c.state == "live"))

    def every_view(self) -> Iterator[ViewRow]:
        return self._every(VIEW, VIEW.select)

    def every_manifest(self) -> Iterator[ManifestRow]:
        return self._every(MANIFEST, MANIFEST.select)

    def every_body(self) -> Iterator[BodyRow]:
        return self._every(BODY, BODY.select)

    def unreferenced_bodies(self) -> Iterator[BodyRow]:
        """Live ones whose version or view is not, and which no copy shares."""
        named = exists().where(and_(
            object_version.c.tenant == body.c.tenant, object_version.c.version_id == body.c.subject,
            object_version.c.state == "live",
        ))  # fmt: skip
        rendered = exists().where(and_(
            view.c.tenant == body.c.tenant, view.c.view_id == body.c.subject, view.c.state == "ready"
        ))  # fmt: skip
        shared = exists().where(and_(body_share.c.tenant == body.c.tenant, body_share.c.body_id == body.c.body_id))
        return self._every(BODY, BODY.select.where(body.c.state == "live", ~named, ~rendered, ~shared))

    def without_wrap(self) -> Iterator[VersionRow | ViewRow]:
        """Living, sealed, and not among those whose key a group is known to hold: a shredding would not move them."""
        yield from self._every(VERSION, VERSION.select.where(
            object_version.c.state == "live", object_version.c.manifest_id != "",
            ~_wrapped(object_version.c.tenant, object_version.c.version_id),
        ))  # fmt: skip
        yield from self._every(VIEW, VIEW.select.where(
            view.c.state == "ready", ~_wrapped(view.c.tenant, view.c.view_id)
        ))  # fmt: skip

    def restore_wrap(self, row: KeyWrapRow) -> bool:
        """Where there is none, or an empty one, and the group still holds keys; whether that was so."""
        with self._database.write() as connection:
            group = self._within(connection, GROUP, _GROUP, group_id=row.group_id)
            if group is None or group.state == "erased" or (group.dataset_id, group.key_class) != (
                row.dataset_id, row.key_class
            ):  # fmt: skip
                return False
            known = self._within(connection, KEY_WRAP, _WRAP, subject=row.subject)
            if known is not None and known.wrapped:
                return False
            (self._insert if known is None else self._replace)(connection, KEY_WRAP, row)
        return True

    def keys_without_latest(self) -> Iterator[tuple[str, str]]:
        """(dataset id, key) that have living versions and none that is the latest."""
        latest = func.sum(case((object_version.c.is_latest.is_(True), 1), else_=0))
        statement = (
            select(object_version.c.dataset_id, object_version.c.key)
            .where(object_version.c.tenant == self.tenant, object_version.c.state == "live")
            .group_by(object_version.c.dataset_id, object_version.c.key)
            .having(latest != 1)
        )
        for row in self._database.stream(statement):
            dataset_id, key = tuple(row)
            yield dataset_id, key

    def known_version(self, dataset_id: str, version_id: str) -> VersionRow | None:
        """Buried ones too."""
        statement = VERSION.select.where(
            object_version.c.tenant == self.tenant, object_version.c.dataset_id == dataset_id,
            object_version.c.version_id == version_id,
        )  # fmt: skip
        return self._find(VERSION, statement)

    def datasets_of_living(self, version_ids: Sequence[str]) -> set[str]:
        """Dataset ids of those of the versions that live."""
        found: set[str] = set()
        for at in range(0, len(version_ids), _PAGE):
            statement = select(object_version.c.dataset_id).where(
                object_version.c.tenant == self.tenant, object_version.c.state == "live",
                object_version.c.version_id.in_(version_ids[at : at + _PAGE]),
            )  # fmt: skip
            found |= {row[0] for row in self._database.rows(statement, {})}
        return found

    def orphan_unreferenced(self, body_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                update(body).where(body.c.tenant == self.tenant, body.c.body_id == body_id)
                .values(state="orphan", created_at=self._clock())
            )  # fmt: skip

    def views_without_job(self) -> Iterator[ViewRow]:
        """Waiting to be built, and nobody was told to."""
        for waiting in self._every(VIEW, VIEW.select.where(view.c.state.in_(["queued", "building"]))):
            name = view_job(waiting).job_id
            found = self._all(
                JOB, JOB.select.where(job.c.tenant == self.tenant, job.c.job_id.like(f"{name}%"))
            )
            if not any(each.state in {"queued", "leased"} for each in found):
                yield waiting

    def _every(self, mapper: Mapper[T], statement: Select[tuple[object, ...]]) -> Iterator[T]:
        """Rows that carry their seal; edited ones are `edited_rows`' to tell."""
        for row in self._database.stream(statement.where(mapper.table.c.tenant == self.tenant)):
            try:
                yield mapper.read(row, self._seal)
            except Refused:
                continue
