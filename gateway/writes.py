"""The write road (design §4.2): decide at start and at completion, seal, durable, one catalog commit, record.

An unacknowledged write leaves nothing visible: bodies without a commit are swept. Labels flow by run.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from gateway.decide.decision import Allow
from gateway.enforce.sniff import OPAQUE, format_of
from gateway.errors import Conflict, Denied, GatewayError
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.jobs.builder import BUILDER_VERSION
from gateway.plans import IDENTITY_PLAN
from gateway.s3.ports import (
    NO_CHECKSUMS,
    Buffer,
    Checksums,
    DeleteCondition,
    Deleted,
    WriteCondition,
    WriteDigests,
    Written,
)
from gateway.shown import here, kept_checksums, shown_version
from gateway.slabs import Slabs
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow, VersionRow
from vault.catalog.section import NewJob
from vault.catalog.versions import Deleted as CatalogDeleted
from vault.catalog.versions import DeletePrecondition, NewView, Precondition
from vault.objects import Vault
from vault.ref import ObjectRef
from vault.writing import Facts as SealedFacts
from vault.writing import PutWriter

MASKABLE = frozenset({"parquet", "csv"})


class Writing:
    """The S3 dialect's `OpenWrite` for a whole object."""

    def __init__(self, writes: "Writes", principal: Principal, ref: ObjectRef, admission: Admission,
                 writer: PutWriter, content_type: str, condition: WriteCondition | None,
                 request_id: str) -> None:  # fmt: skip
        self._writes = writes
        self._principal = principal
        self._ref = ref
        self._admission = admission
        self._writer = writer
        self._content_type = content_type
        self._condition = condition
        self._request_id = request_id
        self._slabs = Slabs(writes.guard, writer)
        self._source: VersionRow | None = None
        self.committed_at = 0
        self.done = False

    def no_weaker_than(self, source: VersionRow) -> None:
        """What is written is a copy of `source`: it lies nowhere that the source may not, and is no less personal."""
        self._source = source

    async def write(self, data: Buffer) -> None:
        await self._slabs.write(data)

    async def commit(
        self, check: Callable[[WriteDigests], None] | None = None, checksums: Checksums = NO_CHECKSUMS
    ) -> Written:
        """Flush, check the caller's digests, seal durably, decide again, commit once, record."""
        guard = self._writes.guard
        await self._slabs.flush()
        if check is not None:
            check(WriteDigests(self._writer.size, self._writer.md5))
        again = await guard.admit(
            self._principal, "complete", request_id=self._request_id, dataset=self._ref.dataset, key=self._ref.key,
            run_labels=True,
        )  # fmt: skip
        same_class(self._admission.allow, again.allow)
        dataset = here(again)
        data_format = trusted_format(
            again, format_of(self._slabs.head, self._slabs.tail, self._ref.key, self._content_type)
        )
        views = await guard.blocking(self._writes.views, dataset, again.allow, data_format)
        facts = self._writes.sealed_facts(again)
        if self._source is not None:
            facts = as_strict(facts, self._source)
        if facts.label != "none" and key_class(self._admission.allow) == "view":
            raise label_changed()
        sealed = await guard.blocking(self._writer.finish, facts)
        row = await guard.blocking(
            self._writes.vault.commit, sealed, written_by=self._principal.principal_id,
            run_id=again.facts.run.run_id, record=again.decision_id, object_format=data_format,
            checksums=checksums.values, checksum_type=checksums.type,
            jobs=self._writes.jobs(dataset, sealed.subject.version_id, data_format, views), views=views,
            expect=precondition(self._condition, self._principal),
        )  # fmt: skip
        self.done, self.committed_at = True, row.created_at
        await self._writes.committed(self._principal, again, row)
        return written(dataset, row, again.decision_id)

    async def abort(self) -> None:
        if not self.done:
            self.done = True
            await self._slabs.settle()
            await self._writes.guard.blocking(self._writer.abort)


class Writes:
    """Writes and deletes of one front worker."""

    def __init__(self, guard: Guard, vault: Vault, catalog: Catalog) -> None:
        self.guard = guard
        self.vault = vault
        self.catalog = catalog

    @asynccontextmanager
    async def open_write(
        self, principal: Principal, ref: ObjectRef, *, content_type: str, user_metadata: Mapping[str, str],
        condition: WriteCondition | None, request_id: str, tags: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Writing]:  # fmt: skip
        admission = await self.guard.admit(
            principal, "write", request_id=request_id, dataset=ref.dataset, key=ref.key, run_labels=True
        )
        writer = await self.guard.blocking(
            self.vault.begin, here(admission), ref.key, key_class(admission.allow), content_type, user_metadata, tags
        )  # fmt: skip
        writing = Writing(self, principal, ref, admission, writer, content_type, condition, request_id)
        try:
            yield writing
        finally:
            await writing.abort()

    async def _removed(self, admission: Admission, key: str, gone: CatalogDeleted) -> None:
        """On record before anybody is told: a catalog rebuilt from a store into which somebody puts back what was
        deleted must know, and so must one that was rolled back by a row."""
        if gone.sequence is None:
            return
        guard, dataset = self.guard, here(admission)
        await guard.append(guard.recorder.event(
            "removal", guard.clock(), dataset_id=dataset.dataset_id, dataset=dataset.name,
            object=guard.recorder.object(key), sequence=gone.sequence, marker=gone.marker_id,
            version=None if gone.removed is None else gone.removed.version_id, intent=admission.decision_id,
        ))  # fmt: skip

    async def delete(
        self, principal: Principal, ref: ObjectRef, request_id: str, condition: DeleteCondition | None = None
    ) -> Deleted:
        admission = await self.guard.admit(
            principal, "delete", request_id=request_id, dataset=ref.dataset, key=ref.key, version_id=ref.version_id
        )
        row = here(admission)
        gone = await self.guard.blocking(
            self.vault.delete, row, ref.key, by=principal.principal_id, run_id=admission.facts.run.run_id,
            record=admission.decision_id, version_id=ref.version_id, expect=_delete_precondition(condition, principal),
        )  # fmt: skip
        await self._removed(admission, ref.key, gone)
        shown = gone.version_id if row.versioning != "off" else None
        if shown is not None and gone.removed is not None and gone.removed.is_null:
            shown = "null"
        return Deleted(gone.delete_marker, shown, admission.decision_id)

    def sealed_facts(self, admission: Admission) -> SealedFacts:
        """What the doctrine said of the bytes being committed. Placement is this zone unless it says otherwise."""
        allow, dataset = admission.allow, admission.facts.dataset
        placement = allow.placement or (self.guard.zone,)
        if self.guard.zone not in placement:
            raise GatewayError("InternalError", "The doctrine placed this write elsewhere", rule="placement.mismatch")
        return SealedFacts(allow.label, placement, dataset.contract_version if dataset else 0)

    def views(self, dataset: DatasetRow, allow: Allow, data_format: str) -> list[NewView]:
        """One view for each declared plan, queued in the commit itself."""
        if allow.label == "none" or data_format not in MASKABLE:
            return []
        plans = {plan.plan_id for plan in self.catalog.plans(dataset.dataset_id)} - {IDENTITY_PLAN}
        return [NewView(plan_id, BUILDER_VERSION) for plan_id in sorted(plans)]

    def jobs(self, dataset: DatasetRow, version_id: str, data_format: str, views: list[NewView]) -> list[NewJob]:
        """Where no view will be built, a job of its own finds which bytes are which column."""
        if views or data_format not in MASKABLE:
            return []
        return [NewJob("describe", {"dataset_id": dataset.dataset_id, "version_id": version_id})]

    async def committed(self, principal: Principal, admission: Admission, row: VersionRow) -> None:
        """Visible already; now on record, and the run's output is noted."""
        guard = self.guard
        run_id = admission.facts.run.run_id
        dataset = here(admission)
        entry = guard.recorder.commit(
            at=guard.clock(), dataset_id=row.dataset_id, dataset=dataset.name, key=row.key, version=row.version_id,
            sequence=row.sequence, run=run_id, principal_id=principal.principal_id, label=row.label,
            placement=row.placement, size=row.size, data_format=row.format, intent=admission.decision_id,
        )  # fmt: skip
        await guard.append(entry)
        await guard.blocking(
            self.catalog.add_io, run_id, "out", row.dataset_id, row.version_id, row.key_class, row.label,
            row.placement, admission.decision_id,
        )  # fmt: skip


def trusted_format(admission: Admission, data_format: str) -> str:
    """The format by which a version may be masked: none, when its run has read personal data.

    A plan trusts the contract about what lies in which column. Who has read raw rows can write them under any
    column's name, one labelled `none` for example, and the view would carry them to everybody. So such a version
    is read raw or not at all until somebody declassifies it by name.
    """
    return OPAQUE if admission.facts.run.label == "personal" else data_format


def key_class(allow: Allow) -> str:
    """Personal data is sealed in the raw class; what holds none in the class every permitted reader may open."""
    return "view" if allow.label == "none" else "raw"


def same_class(start: Allow, end: Allow) -> None:
    """What was sealed as not personal must still be so when it is committed."""
    if key_class(start) == "view" and key_class(end) == "raw":
        raise label_changed()


def label_changed() -> Conflict:
    return Conflict(
        "OperationAborted", "This run read personal data while the upload was under way", rule="flow.label",
        remedy="upload again; it will carry the label",
    )  # fmt: skip


def as_strict(facts: SealedFacts, source: VersionRow) -> SealedFacts:
    """For a copy: the stricter label of what the doctrine says and the source carries, and only zones both allow."""
    placement = tuple(zone for zone in facts.placement if zone in source.placement)
    if not placement:
        raise Denied(
            "AccessDenied", "The source may lie nowhere that the copy may", rule="residency.placement",
            remedy="copy it where it may lie",
        )  # fmt: skip
    return replace(facts, label="none" if facts.label == source.label == "none" else "personal", placement=placement)


def precondition(condition: WriteCondition | None, principal: Principal) -> Precondition | None:
    if condition is None:
        return None
    none_match = "*" if condition.if_none_match else condition.if_none_match_etag
    return Precondition(if_match=condition.if_match, if_none_match=none_match, by=principal.principal_id)


def written(dataset: DatasetRow, row: VersionRow, decision_id: str) -> Written:
    return Written(row.etag, shown_version(dataset, row), row.size, kept_checksums(row), decision_id)


def _delete_precondition(condition: DeleteCondition | None, principal: Principal) -> DeletePrecondition | None:
    if condition is None:
        return None
    return DeletePrecondition(
        condition.if_match, condition.if_match_last_modified, condition.if_match_size, by=principal.principal_id
    )
