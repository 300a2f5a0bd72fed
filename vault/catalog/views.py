"""Plans a dataset has declared, and the views built under them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, update

from vault.catalog.mapping import EXTENT, MANIFEST, PLAN, VERSION, VIEW
from vault.catalog.rows import ExtentRow, ManifestRow, PlanRow, VersionRow, ViewRow
from vault.catalog.section import literal, new_id, same
from vault.catalog.tables import object_version, plan, view
from vault.catalog.versions import NewManifest, Versions, view_job
from vault.errors import Conflict, NotFound

_PLANS = PLAN.select.where(same(plan, "dataset_id"), plan.c.state == literal("declared")).order_by(
    plan.c.purpose_class, plan.c.created_at
)
_PLAN = PLAN.select.where(same(plan, "dataset_id", "plan_id", "purpose_class"))
_VIEW = VIEW.select.where(same(view, "version_id", "plan_id"))
_VIEW_LOCKED = VIEW.select.where(same(view, "view_id")).with_for_update()
_BY_ID = VIEW.select.where(same(view, "view_id"))
_OF_VERSIONS = VIEW.select.where(
    same(view, "plan_id"), view.c.version_id.in_(bindparam("version_ids", expanding=True))
)
_ANY_OF_VERSIONS = VIEW.select.where(same(view), view.c.version_id.in_(bindparam("version_ids", expanding=True)))
_OF_DATASET = VIEW.select.where(same(view, "dataset_id")).order_by(view.c.created_at, view.c.view_id)
_WITHOUT = (
    VERSION.select.outerjoin(
        view,
        (view.c.tenant == object_version.c.tenant)
        & (view.c.version_id == object_version.c.version_id)
        & (view.c.plan_id == bindparam("plan_id")),
    )
    .where(
        same(object_version, "dataset_id"),
        object_version.c.state == literal("live"),
        object_version.c.delete_marker.is_(False),
        object_version.c.format != literal("opaque"),
        view.c.view_id.is_(None),
    )
    .limit(bindparam("limit"))
)
_PROGRESS = (
    update(view)
    .where(view.c.tenant == bindparam("v_tenant"), view.c.view_id == bindparam("v_id"))
    .values(progress=bindparam("v_percent"))
)
MAX_PLANS = 16


@dataclass(frozen=True, slots=True)
class ReadyView:
    """What a build commits. `bodies`: (body id, sealed length), the stored manifest's own among them."""

    view_id: str
    size: int
    etag: str
    content_type: str
    manifest: NewManifest
    bodies: tuple[tuple[str, int], ...]
    columns: tuple[Any, ...] | None = None


class Views(Versions):
    def declare_plan(
        self, dataset_id: str, plan_id: str, purpose_class: str, effect: dict[str, Any], contract_version: int,
        record: str,
    ) -> PlanRow:  # fmt: skip
        """Declared again, also after it was retired, it is the same plan: its id is the hash of its effect.
        Conflict("plan.too-many") beyond 16 declared in a dataset."""
        now = self._clock()
        row = PlanRow(
            self.tenant, dataset_id, plan_id, purpose_class, effect, contract_version, "declared", now, record
        )
        with self._database.write() as connection:
            self._locked_dataset(connection, dataset_id)
            found = self._within(
                connection, PLAN, _PLAN, dataset_id=dataset_id, plan_id=plan_id, purpose_class=purpose_class
            )
            if found is not None and found.state == "declared":
                return found
            if len(connection.execute(_PLANS, {"tenant": self.tenant, "dataset_id": dataset_id}).all()) >= MAX_PLANS:
                raise Conflict("plan.too-many", dataset_id)
            (self._insert if found is None else self._replace)(connection, PLAN, row)
        return row

    def retire_plan(self, dataset_id: str, plan_id: str, purpose_class: str, record: str) -> None:
        with self._database.write() as connection:
            found = self._within(
                connection, PLAN, _PLAN, dataset_id=dataset_id, plan_id=plan_id, purpose_class=purpose_class
            )
            if found is None:
                raise NotFound("plan", plan_id)
            self._replace(connection, PLAN, replace(found, state="retired", record=record))

    def plans(self, dataset_id: str) -> list[PlanRow]:
        """Declared ones."""
        return self._all(PLAN, _PLANS, dataset_id=dataset_id)

    def view(self, version_id: str, plan_id: str) -> ViewRow | None:
        return self._find(VIEW, _VIEW, version_id=version_id, plan_id=plan_id)

    def find_view(self, view_id: str) -> ViewRow | None:
        return self._find(VIEW, _BY_ID, view_id=view_id)

    def views_of(self, version_ids: Sequence[str], plan_id: str) -> dict[str, ViewRow]:
        """By version id, for one page of a listing."""
        found = self._all(VIEW, _OF_VERSIONS, version_ids=list(version_ids), plan_id=plan_id) if version_ids else []
        return {row.version_id: row for row in found}

    def views(self, dataset_id: str) -> list[ViewRow]:
        return self._all(VIEW, _OF_DATASET, dataset_id=dataset_id)

    def views_of_versions(self, dataset_id: str, version_ids: Sequence[str]) -> list[str]:
        """Ids of every view of these versions, whatever their state."""
        found: list[str] = []
        for at in range(0, len(version_ids), 500):
            page = list(version_ids[at : at + 500])
            found += [
                row.view_id for row in self._all(VIEW, _ANY_OF_VERSIONS, version_ids=page)
                if row.dataset_id == dataset_id
            ]  # fmt: skip
        return found

    def versions_without_view(self, dataset_id: str, plan_id: str, limit: int = 1000) -> list[VersionRow]:
        """What a backfill has still to queue for this plan."""
        return self._all(VERSION, _WITHOUT, dataset_id=dataset_id, plan_id=plan_id, limit=limit)

    def request_view(self, version: VersionRow, plan_id: str, builder: str, record: str) -> ViewRow:
        """Queue one view and its job; answers the existing one where it was asked for before."""
        queued = ViewRow(
            tenant=self.tenant, view_id=new_id(), dataset_id=version.dataset_id, version_id=version.version_id,
            plan_id=plan_id, builder=builder, state="queued", progress=0, reason="", size=0, etag="",
            content_type=version.content_type, manifest_id="", generation=0, created_at=self._clock(), ready_at=None,
            record=record,
        )  # fmt: skip
        with self._database.write() as connection:
            found = self._within(connection, VIEW, _VIEW, version_id=version.version_id, plan_id=plan_id)
            if found is not None:
                return found
            self._insert(connection, VIEW, queued)
            self._enqueue(connection, view_job(queued))
        return queued

    def view_building(self, view_id: str, progress: int) -> None:
        """`progress` in percent; decides nothing, so it is not under the row's MAC."""
        params = {"v_tenant": self.tenant, "v_id": view_id, "v_percent": max(0, min(100, progress))}
        with self._database.write() as connection:
            connection.execute(_PROGRESS, params)
            row = self._within(connection, VIEW, _VIEW_LOCKED, view_id=view_id)
            if row is not None and row.state == "queued":
                self._replace(connection, VIEW, replace(row, state="building"))

    def view_ready(self, ready: ReadyView, record: str, builder: str | None = None) -> ViewRow:
        """The first committed build wins: a later one changes nothing, is answered the winner's row, and its own
        bodies are orphaned. NotFound("view") when the version went away meanwhile."""
        now = self._clock()
        with self._database.write() as connection:
            row = self._within(connection, VIEW, _VIEW_LOCKED, view_id=ready.view_id)
            if row is None or row.reason == "version.deleted":
                raise NotFound("view", ready.view_id)
            if row.state == "ready":
                for body_id, _ in ready.bodies:
                    self._orphan_one(connection, body_id)
                return row
            made = ready.manifest
            self._insert(connection, MANIFEST, ManifestRow(
                self.tenant, made.manifest_id, made.generation, row.dataset_id, row.view_id, made.sha256,
                made.store_key, now, record,
            ))  # fmt: skip
            self._hold_wrap(connection, row.dataset_id, row.view_id, made.wrapped)
            self._make_live(connection, ready.bodies, row.view_id)
            if ready.columns is not None:
                described = ExtentRow(self.tenant, row.view_id, row.dataset_id, ready.columns, record)
                self._insert(connection, EXTENT, described)
            built = replace(
                row, state="ready", progress=100, reason="", size=ready.size, etag=ready.etag,
                content_type=ready.content_type, manifest_id=made.manifest_id, generation=made.generation,
                builder=builder or row.builder, ready_at=now, record=record,
            )  # fmt: skip
            self._replace(connection, VIEW, built)
        return built

    def view_failed(self, view_id: str, reason: str) -> None:
        """`reason` names the rule that stopped the build and holds no data values; a ready view stays ready."""
        with self._database.write() as connection:
            row = self._within(connection, VIEW, _VIEW_LOCKED, view_id=view_id)
            if row is None:
                raise NotFound("view", view_id)
            if row.state != "ready":
                self._replace(connection, VIEW, replace(row, state="failed", reason=reason))

    def view_again(self, view_id: str, record: str) -> ViewRow:
        """Queue a failed view once more."""
        with self._database.write() as connection:
            row = self._within(connection, VIEW, _VIEW_LOCKED, view_id=view_id)
            if row is None or row.reason == "version.deleted":
                raise NotFound("view", view_id)
            if row.state != "failed":
                return row
            queued = replace(row, state="queued", progress=0, reason="", record=record)
            self._replace(connection, VIEW, queued)
            again = view_job(queued)
            self._enqueue(connection, replace(again, job_id=f"{again.job_id}-{self._clock()}"))
        return queued
