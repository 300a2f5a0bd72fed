"""Versions as S3 shows them: switching them on and off, and listing them."""

import secrets
from collections.abc import Callable, Sequence

from gateway.errors import BadRequest
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.reads import Reads, Row
from gateway.s3.ports import ListedVersion, VersionListing
from gateway.shown import here, kept_checksums, modified
from vault.catalog.catalog import Catalog
from vault.catalog.history import VersionPage
from vault.catalog.rows import VersionRow
from vault.ref import DatasetRef


class Versions:
    def __init__(self, guard: Guard, catalog: Catalog, reads: Reads, keep: Callable[[str], None]) -> None:
        self._guard = guard
        self._catalog = catalog
        self._reads = reads
        self._keep = keep

    async def get_versioning(self, principal: Principal, dataset: DatasetRef) -> str:
        """off | enabled | suspended"""
        admission = await self._guard.admit(
            principal, "head-dataset", request_id=secrets.token_hex(8), dataset=dataset.dataset
        )
        return here(admission).versioning

    async def set_versioning(self, principal: Principal, dataset: DatasetRef, state: str, request_id: str) -> None:
        """enabled | suspended. What is written from then on has an id, or replaces the null version."""
        if state not in {"enabled", "suspended"}:
            raise BadRequest("MalformedXML", "versioning is Enabled or Suspended", rule="dataset.versioning")
        admission = await self._guard.admit(
            principal, "administer", request_id=request_id, dataset=dataset.dataset
        )
        row, recorder = here(admission), self._guard.recorder
        if row.versioning == state:
            return
        await self._guard.append(
            recorder.event(
                "dataset", self._guard.clock(), principal=recorder.principal(principal.principal_id), dataset=row.name,
                dataset_id=row.dataset_id, change="versioning", versioning=state, intent=admission.decision_id,
            )
        )  # fmt: skip
        await self._guard.blocking(self._catalog.set_versioning, row.dataset_id, state, admission.decision_id)
        await self._guard.blocking(self._keep, row.dataset_id)  # in the store before anybody is told of it

    async def list_versions(
        self, principal: Principal, dataset: DatasetRef, *, prefix: str, delimiter: str, after_key: str,
        after_version: str, limit: int, request_id: str,
    ) -> VersionListing:  # fmt: skip
        """One decision a page. Whoever is shown renderings sees those versions that have one, and no markers: that
        there was something is a fact about the object as it was written."""
        admission = await self._guard.admit(principal, "list", request_id=request_id, dataset=dataset.dataset)
        row = here(admission)
        rendered: dict[str, Row] = {}

        def shown(versions: Sequence[VersionRow]) -> list[VersionRow]:
            markers = {v.version_id: v for v in versions if v.delete_marker and _sees_marker(principal, admission, v)}
            found = self._reads.shown(principal, admission, [v for v in versions if not v.delete_marker])
            rendered.update(found | markers)
            return [version for version in versions if version.version_id in rendered]

        def page() -> VersionPage:
            before = None
            if after_version:
                before = self._catalog.sequence_of(row.dataset_id, after_key, after_version)
                if before is None:
                    raise BadRequest("InvalidArgument", "version-id-marker: no version of that key")
            return self._catalog.version_page(
                row.dataset_id, prefix=prefix, delimiter=delimiter, after_key=after_key, before=before, limit=limit,
                shown=shown,
            )  # fmt: skip

        found = await self._guard.blocking(page)
        self._reads.outcome(admission, "complete", None)
        return VersionListing(
            versions=tuple(_listed(version, rendered[version.version_id]) for version in found.versions),
            common_prefixes=found.common_prefixes, truncated=found.truncated, last_key=found.last_key,
            last_version=_name(found.last) if found.last is not None else None, decision_id=admission.decision_id,
            view=admission.view, promise=admission.promise.encode(),
        )  # fmt: skip


def _sees_marker(principal: Principal, admission: Admission, marker: VersionRow) -> bool:
    view = admission.allow.view
    return view in {"raw", "open"} or (view == "writer" and marker.written_by == principal.principal_id)


def _name(version: VersionRow) -> str:
    return "null" if version.is_null else version.version_id


def _listed(version: VersionRow, row: Row) -> ListedVersion:
    return ListedVersion(
        key=version.key, version_id=_name(version), is_latest=version.is_latest, delete_marker=version.delete_marker,
        size=row.size, etag=row.etag, last_modified=modified(row), checksums=kept_checksums(row),
    )  # fmt: skip
