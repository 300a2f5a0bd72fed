"""Versions of keys, and THE commit: one transaction that makes a write visible, or leaves nothing.

In it: sequence + 1, the snapshot row, the `is_latest` flip, manifest and bodies, views and jobs to be done.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select, update

from vault.catalog.bodies import Bodies
from vault.catalog.changes import (
    Committed,
    Deleted,
    DeletePrecondition,
    NewGeneration,
    NewManifest,
    NewMarker,
    NewVersion,
    NewView,
    Precondition,
)
from vault.catalog.datasets import Datasets
from vault.catalog.jobs import Jobs
from vault.catalog.keys import Keys
from vault.catalog.mapping import EXTENT, MANIFEST, SNAPSHOT, VERSION, VIEW
from vault.catalog.rows import DatasetRow, ExtentRow, ManifestRow, SnapshotRow, VersionRow, ViewRow
from vault.catalog.section import NewJob, literal, new_id, same
from vault.catalog.tables import dataset, extent, manifest_generation, object_version, snapshot, view
from vault.errors import Conflict, NotFound, Refused

__all__ = [
    "Committed",
    "DeletePrecondition",
    "Deleted",
    "NewGeneration",
    "NewManifest",
    "NewMarker",
    "NewVersion",
    "NewView",
    "Precondition",
    "Versions",
    "view_job",
]

_LIVE = object_version.c.state == literal("live")
_LATEST = VERSION.select.where(same(object_version, "dataset_id", "key"), object_version.c.is_latest.is_(True))
_BY_ID = VERSION.select.where(same(object_version, "dataset_id", "version_id"))
_NULL = VERSION.select.where(same(object_version, "dataset_id", "key"), object_version.c.is_null.is_(True), _LIVE)
_NEWEST = (
    VERSION.select.where(same(object_version, "dataset_id", "key"), _LIVE)
    .order_by(object_version.c.sequence.desc())
    .limit(1)
)
_MANIFEST = MANIFEST.select.where(same(manifest_generation, "manifest_id", "generation"))
_EXTENT = EXTENT.select.where(same(extent, "subject"))
_VIEWS = VIEW.select.where(same(view, "version_id"))
_SNAPSHOTS = (
    SNAPSHOT.select.where(same(snapshot, "dataset_id"), snapshot.c.sequence > bindparam("after"))
    .order_by(snapshot.c.sequence)
    .limit(bindparam("limit"))
)
_MANIFEST_KEYS = select(manifest_generation.c.store_key).where(same(manifest_generation, "manifest_id"))
_STAMP = (
    select(dataset.c.versioning, object_version.c.created_at)
    .select_from(
        dataset.outerjoin(
            object_version,
            and_(
                object_version.c.tenant == dataset.c.tenant,
                object_version.c.dataset_id == dataset.c.dataset_id,
                object_version.c.key == bindparam("key"),
                object_version.c.is_latest.is_(True),
            ),
        )
    )
    .where(same(dataset, "dataset_id"))
)
_SEQUENCE = (
    update(dataset)
    .where(dataset.c.tenant == bindparam("d_tenant"), dataset.c.dataset_id == bindparam("d_id"))
    .values(sequence=bindparam("d_sequence"))
)


class Versions(Datasets, Bodies, Jobs, Keys):
    def commit_version(
        self,
        new: NewVersion,
        jobs: Sequence[NewJob] = (),
        views: Sequence[NewView] = (),
        expect: Precondition | None = None,
    ) -> Committed:
        """Durable and visible when it returns. Conflict("precondition" | "body.gone" | "version.stamp"),
        NotFound("dataset" | "key"). version.stamp: the manifest says a time that is not after the key's newest, or
        another kind of version than would be made now; seal it again."""
        with self._database.write() as connection:
            return self._commit_version(connection, new, jobs, views, expect)

    def newest_stamp(self, dataset_id: str, key: str) -> tuple[int, bool]:
        """When the key's newest version was written (ms; -1 where it has none), and whether a version made now would
        be the null one. Advice for sealing: the commit itself compares. NotFound("dataset")."""
        found = self._database.first(_STAMP, {"tenant": self.tenant, "dataset_id": dataset_id, "key": key})
        if found is None:
            raise NotFound("dataset", dataset_id)
        versioning, written_at = tuple(found)
        return (-1 if written_at is None else int(written_at)), versioning != "enabled"

    def latest(self, dataset_id: str, key: str) -> VersionRow | None:
        """The newest version, which may be a delete marker; None where the key has none."""
        return self._find(VERSION, _LATEST, dataset_id=dataset_id, key=key)

    def version(self, dataset_id: str, version_id: str) -> VersionRow | None:
        """A living version by id."""
        row = self._find(VERSION, _BY_ID, dataset_id=dataset_id, version_id=version_id)
        return None if row is None or row.state != "live" else row

    def null_version(self, dataset_id: str, key: str) -> VersionRow | None:
        """What S3 calls version "null"."""
        return self._find(VERSION, _NULL, dataset_id=dataset_id, key=key)

    def manifest(self, manifest_id: str, generation: int) -> ManifestRow:
        row = self._find(MANIFEST, _MANIFEST, manifest_id=manifest_id, generation=generation)
        if row is None:
            raise NotFound("manifest", manifest_id)
        return row

    def columns(self, subject: str) -> tuple[Any, ...] | None:
        """Column chunk extents of a version or view id; None where it was never described."""
        row = self._find(EXTENT, _EXTENT, subject=subject)
        return None if row is None else row.columns

    def set_columns(self, dataset_id: str, subject: str, columns: Sequence[Any], record: str) -> None:
        """Describe a version or view once; a second description changes nothing."""
        if self.columns(subject) is not None:
            return
        with self._database.write() as connection:
            if self._within(connection, EXTENT, _EXTENT, subject=subject) is None:
                self._insert(connection, EXTENT, ExtentRow(self.tenant, subject, dataset_id, tuple(columns), record))

    def next_generation(
        self, row: VersionRow, new: NewGeneration, record: str, *, jobs: Sequence[NewJob] = (),
        views: Sequence[NewView] = (),
    ) -> Committed:  # fmt: skip
        """Pin the next generation of a version's manifest; the one before waits for the sweeper, and what others sealed
        as the same generation is superseded: two of one number would each say they follow. NotFound("version"),
        Refused("version.label"), Conflict("version.generation") when the version is at another one than `row`."""
        if new.label not in {None, "personal", "none"}:
            raise Refused("version.label", str(new.label))
        with self._database.write() as connection:
            held = self._locked_dataset(connection, row.dataset_id)
            where = {"dataset_id": row.dataset_id, "version_id": row.version_id}
            now = self._within(connection, VERSION, _BY_ID, **where)
            if now is None or now.state != "live":
                raise NotFound("version", row.version_id)
            made = new.manifest
            if (now.manifest_id, now.generation + 1) != (made.manifest_id, made.generation):
                raise Conflict("version.generation", row.version_id)
            old = self._within(
                connection, MANIFEST, _MANIFEST, manifest_id=now.manifest_id, generation=now.generation
            )
            changed = replace(now, generation=made.generation)
            if new.label is not None:
                changed = replace(changed, label=new.label, record=record)
            self._replace(connection, VERSION, changed)
            self._insert(connection, MANIFEST, replace(made, created_at=self._clock(), record=record))
            self._make_live(connection, [(new.body_id, new.length)], row.version_id)
            if old is not None:
                self._orphan_stored(connection, row.version_id, old.store_key)
            self._queue(connection, changed, jobs, views)
            superseded = self._orphan_unfinished(connection, row.version_id)
            change = {"generations": [row.version_id]} | ({} if new.label is None else {"label": new.label})
            self._advance(connection, held, change, row.run_id, record)
        return Committed(changed, superseded)

    def commit_copy(
        self, new: NewVersion, source: VersionRow, shared: Sequence[str], jobs: Sequence[NewJob] = (),
        views: Sequence[NewView] = (), expect: Precondition | None = None,
    ) -> Committed:  # fmt: skip
        """As `commit_version`, over bodies that `source` names: they are counted before anything makes room for the
        copy, which may be of `source` onto itself. Conflict("copy.source-gone")."""
        with self._database.write() as connection:
            self._locked_dataset(connection, new.dataset_id)
            where = {"dataset_id": new.dataset_id, "version_id": source.version_id}
            now = self._within(connection, VERSION, _BY_ID, **where)
            if now is None or now.state != "live" or now.manifest_id != source.manifest_id:
                raise Conflict("copy.source-gone", source.version_id)
            self._share(connection, shared, new.version_id)
            own = [(body_id, length) for body_id, length in new.bodies if body_id == new.manifest.manifest_id]
            return self._commit_version(connection, replace(new, bodies=tuple(own)), jobs, views, expect)

    def put_delete(
        self, dataset_id: str, key: str, by: str, run_id: str, record: str, *, version_id: str | None = None,
        marker: NewMarker | None = None, expect: DeletePrecondition | None = None, sealed_markers: bool = False,
    ) -> Deleted:  # fmt: skip
        """DELETE. Without versioning the object goes; with it a marker is set; `version_id` removes that one version
        ("null" is understood). Nothing there: nothing happens, as in S3. Without `marker` the one that is set stands
        in the catalog alone, and a catalog rebuilt from the store would not know it; `sealed_markers` refuses that:
        Conflict("version.marker"). Conflict("version.stamp") as for a commit, Conflict("precondition")."""
        with self._database.write() as connection:
            held = self._locked_dataset(connection, dataset_id)
            if version_id is not None:
                return self._remove(connection, held, key, version_id, run_id, record, expect)
            latest = self._within(connection, VERSION, _LATEST, dataset_id=dataset_id, key=key)
            if held.versioning == "off":
                if latest is None:
                    return Deleted(False, None, None)
                return self._remove(connection, held, key, latest.version_id, run_id, record, expect)
            if sealed_markers and marker is None:
                raise Conflict("version.marker", "versioning was switched on meanwhile")
            if expect is not None:
                if latest is None:  # what was meant is not there: no marker hides a key that never was
                    return Deleted(False, None, None)
                expect.check(latest)
            row = self._marker(held, key, by, run_id, record, marker, latest)
            superseded = self._displace(connection, latest, row)
            self._insert(connection, VERSION, row)
            if marker is not None:
                self._insert(connection, MANIFEST, self._pinned(marker.manifest, row))
                self._hold_wrap(connection, row.dataset_id, row.version_id, marker.manifest.wrapped)
                self._make_live(connection, [(marker.manifest.manifest_id, marker.length)], row.version_id)
            self._advance(connection, held, {"markers": [row.version_id]}, run_id, record)
        return Deleted(True, "null" if row.is_null else row.version_id, None, superseded, row.sequence, row.version_id)

    def snapshots(self, dataset_id: str, after: int = 0, limit: int = 1000) -> list[SnapshotRow]:
        return self._all(SNAPSHOT, _SNAPSHOTS, dataset_id=dataset_id, after=after, limit=limit)

    def _commit_version(
        self, connection: Connection, new: NewVersion, jobs: Sequence[NewJob], views: Sequence[NewView],
        expect: Precondition | None,
    ) -> Committed:  # fmt: skip
        held = self._locked_dataset(connection, new.dataset_id)
        latest = self._within(connection, VERSION, _LATEST, dataset_id=new.dataset_id, key=new.key)
        if expect is not None:
            expect.check(latest)
        row = self._row(held, new, latest)
        superseded = self._displace(connection, latest, row)
        self._insert(connection, VERSION, row)
        self._insert(connection, MANIFEST, self._pinned(new.manifest, row))
        self._hold_wrap(connection, new.dataset_id, new.version_id, new.manifest.wrapped)
        self._make_live(connection, new.bodies, new.version_id)
        self._queue(connection, row, jobs, views)
        self._advance(connection, held, {"versions": [new.version_id]}, new.run_id, new.record)
        return Committed(row, superseded)

    def _pinned(self, made: NewManifest, row: VersionRow) -> ManifestRow:
        return ManifestRow(
            self.tenant, made.manifest_id, made.generation, row.dataset_id, row.version_id, made.sha256,
            made.store_key, self._clock(), row.record,
        )  # fmt: skip

    def _row(self, held: DatasetRow, new: NewVersion, latest: VersionRow | None) -> VersionRow:
        is_null = held.versioning != "enabled"
        if new.null_version not in {None, is_null}:
            raise Conflict("version.stamp", "versioning was switched meanwhile")
        checksums = {**new.checksums, "type": new.checksum_type} if new.checksums else {}
        return VersionRow(
            tenant=self.tenant, dataset_id=new.dataset_id, version_id=new.version_id, key=new.key,
            sequence=held.sequence + 1, is_latest=True, is_null=is_null, delete_marker=False,
            state="live", size=new.size, etag=new.etag, checksums=checksums, content_type=new.content_type,
            format=new.format, key_class=new.key_class, label=new.label, placement=new.placement,
            contract_version=new.contract_version, manifest_id=new.manifest.manifest_id,
            generation=new.manifest.generation, written_by=new.written_by, run_id=new.run_id,
            created_at=self._after(latest) if new.written_at is None else new.written_at, record=new.record,
        )  # fmt: skip

    def _marker(
        self, held: DatasetRow, key: str, by: str, run_id: str, record: str, made: NewMarker | None,
        latest: VersionRow | None,
    ) -> VersionRow:  # fmt: skip
        is_null = held.versioning != "enabled"
        if made is not None and made.null_version != is_null:
            raise Conflict("version.stamp", "versioning was switched meanwhile")
        return VersionRow(
            tenant=self.tenant, dataset_id=held.dataset_id, version_id=made.version_id if made else new_id(), key=key,
            sequence=held.sequence + 1, is_latest=True, is_null=is_null, delete_marker=True, state="live", size=0,
            etag="", checksums={}, content_type="", format="opaque", key_class=made.key_class if made else "raw",
            label=made.label if made else "none", placement=(), contract_version=held.contract_version,
            manifest_id=made.manifest.manifest_id if made else "",
            generation=made.manifest.generation if made else 0, written_by=by, run_id=run_id,
            created_at=made.written_at if made else self._after(latest), record=record,
        )  # fmt: skip

    def _after(self, latest: VersionRow | None) -> int:
        return self._clock() if latest is None else max(self._clock(), latest.created_at + 1)

    def _displace(self, connection: Connection, latest: VersionRow | None, new: VersionRow) -> tuple[str, ...]:
        """Make room for a new latest row; a null version replaces the null version that was. Answers the store keys of
        the manifests that are superseded."""
        superseded: tuple[str, ...] = ()
        if latest is not None and new.created_at <= latest.created_at:
            raise Conflict("version.stamp", "written after the newest version, and stamped before it")
        if new.is_null:
            old = self._within(connection, VERSION, _NULL, dataset_id=new.dataset_id, key=new.key)
            if old is not None:
                superseded = self._bury(connection, old)
                if latest is not None and old.version_id == latest.version_id:
                    return superseded
        if latest is not None:
            self._replace(connection, VERSION, replace(latest, is_latest=False))
        return superseded

    def _bury(self, connection: Connection, row: VersionRow) -> tuple[str, ...]:
        """The row stays, for lineage still names it; its bodies and its views' wait for the sweeper. Answers the store
        keys of its manifests and theirs."""
        self._replace(connection, VERSION, replace(row, is_latest=False, state="deleted"))
        self._orphan_subject(connection, row.version_id)
        self._drop_wrap(connection, row.version_id)
        superseded = self._manifest_keys(connection, row.manifest_id)
        found = connection.execute(_VIEWS, {"tenant": self.tenant, "version_id": row.version_id}).all()
        for each in found:
            built: ViewRow = VIEW.read(each, self._seal)
            self._orphan_subject(connection, built.view_id)
            self._drop_wrap(connection, built.view_id)
            superseded += self._manifest_keys(connection, built.manifest_id)
            self._replace(connection, VIEW, replace(built, state="failed", reason="version.deleted"))
        return superseded

    def _manifest_keys(self, connection: Connection, manifest_id: str) -> tuple[str, ...]:
        if not manifest_id:
            return ()
        found = connection.execute(_MANIFEST_KEYS, {"tenant": self.tenant, "manifest_id": manifest_id})
        return tuple(found.scalars())

    def _remove(
        self, connection: Connection, held: DatasetRow, key: str, version_id: str, run_id: str, record: str,
        expect: DeletePrecondition | None,
    ) -> Deleted:  # fmt: skip
        where = {"dataset_id": held.dataset_id}
        if version_id == "null":
            row = self._within(connection, VERSION, _NULL, **where, key=key)
        else:
            row = self._within(connection, VERSION, _BY_ID, **where, version_id=version_id)
        if row is None or row.state != "live" or row.key != key:
            return Deleted(False, version_id, None)
        if expect is not None:
            expect.check(row)
        superseded = self._bury(connection, row)
        if row.is_latest:
            newest = self._within(connection, VERSION, _NEWEST, **where, key=key)
            if newest is not None:
                self._replace(connection, VERSION, replace(newest, is_latest=True))
        self._advance(connection, held, {"removed": [row.version_id]}, run_id, record)
        return Deleted(row.delete_marker, version_id, row, superseded, held.sequence + 1)

    def _queue(
        self, connection: Connection, row: VersionRow, jobs: Sequence[NewJob], views: Sequence[NewView]
    ) -> None:
        for wanted in views:
            queued = ViewRow(
                tenant=self.tenant, view_id=new_id(), dataset_id=row.dataset_id, version_id=row.version_id,
                plan_id=wanted.plan_id, builder=wanted.builder, state="queued", progress=0, reason="", size=0,
                etag="", content_type=row.content_type, manifest_id="", generation=0, created_at=row.created_at,
                ready_at=None, record=row.record,
            )  # fmt: skip
            self._insert(connection, VIEW, queued)
            self._enqueue(connection, view_job(queued))
        for job in jobs:
            self._enqueue(connection, job)

    def _advance(
        self, connection: Connection, held: DatasetRow, change: dict[str, Any], run_id: str, record: str
    ) -> None:
        sequence = held.sequence + 1
        connection.execute(_SEQUENCE, {"d_tenant": self.tenant, "d_id": held.dataset_id, "d_sequence": sequence})
        row = SnapshotRow(self.tenant, held.dataset_id, sequence, change, run_id, record, self._clock())
        self._insert(connection, SNAPSHOT, row)


def view_job(queued: ViewRow) -> NewJob:
    """The job that builds a view; its subject is what the broker compares before it unwraps for the builder."""
    subject = {
        "view_id": queued.view_id, "dataset_id": queued.dataset_id, "version_id": queued.version_id,
        "plan_id": queued.plan_id,
    }  # fmt: skip
    return NewJob("view", subject, f"view-{queued.view_id}")
