"""The write road (design §4.2): decide at start and at completion, seal, durable, one catalog commit, record.

An unacknowledged write leaves nothing visible: bodies without a commit are swept. Labels flow by run.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from gateway.decide.decision import Allow
from gateway.enforce.sniff import HEAD_BYTES, OPAQUE, format_of
from gateway.errors import Conflict, GatewayError, NotFound
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.jobs.builder import BUILDER_VERSION
from gateway.plans import IDENTITY_PLAN
from gateway.s3.ports import (
    Buffer,
    Deleted,
    ListedPart,
    ListedUpload,
    PartListing,
    UploadListing,
    WriteCondition,
    WriteDigests,
    Written,
)
from gateway.slabs import Slabs
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow, UploadRow, VersionRow
from vault.catalog.section import NewJob
from vault.catalog.versions import NewView, Precondition
from vault.objects import Vault
from vault.ref import DatasetRef, ObjectRef
from vault.uploads import PartWriter
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
        self.done = False

    async def write(self, data: Buffer) -> None:
        await self._slabs.write(data)

    async def commit(self, check: Callable[[WriteDigests], None] | None = None) -> Written:
        """Flush, check the caller's digests, seal durably, decide again, commit once, record."""
        guard = self._writes.guard
        await self._slabs.flush()
        if check is not None:
            check(WriteDigests(self._writer.size, self._writer.md5))
        again = await guard.admit(
            self._principal, "complete", request_id=self._request_id, dataset=self._ref.dataset, key=self._ref.key,
            run_labels=True,
        )  # fmt: skip
        _same_class(self._admission.allow, again.allow)
        dataset = _here(again)
        data_format = trusted_format(
            again, format_of(self._slabs.head, self._slabs.tail, self._ref.key, self._content_type)
        )
        views = await guard.blocking(self._writes.views, dataset, again.allow, data_format)
        sealed = await guard.blocking(self._writer.finish, self._writes.sealed_facts(again))
        row = await guard.blocking(
            self._writes.vault.commit, sealed, written_by=self._principal.principal_id,
            run_id=again.facts.run.run_id, record=again.decision_id, object_format=data_format,
            jobs=self._writes.jobs(dataset, sealed.subject.version_id, data_format, views), views=views,
            expect=_precondition(self._condition),
        )  # fmt: skip
        self.done = True
        await self._writes.committed(self._principal, again, row)
        return _written(dataset, row, again.decision_id)

    async def abort(self) -> None:
        if not self.done:
            self.done = True
            await self._writes.guard.blocking(self._writer.abort)


class PartWriting:
    """The S3 dialect's `OpenPart`."""

    def __init__(self, guard: Guard, writer: PartWriter) -> None:
        self._guard = guard
        self._writer = writer
        self._slabs = Slabs(guard, writer)
        self.done = False

    async def write(self, data: Buffer) -> None:
        await self._slabs.write(data)

    async def commit(self, check: Callable[[WriteDigests], None] | None = None) -> str:
        await self._slabs.flush()
        if check is not None:
            check(WriteDigests(self._writer.size, self._writer.md5))
        row = await self._guard.blocking(self._writer.finish)
        self.done = True
        return row.md5.hex()

    async def abort(self) -> None:
        if not self.done:
            self.done = True
            await self._guard.blocking(self._writer.abort)


class Writes:
    """Writes, deletes and uploads of one front worker."""

    def __init__(self, guard: Guard, vault: Vault, catalog: Catalog) -> None:
        self.guard = guard
        self.vault = vault
        self.catalog = catalog

    @asynccontextmanager
    async def open_write(
        self, principal: Principal, ref: ObjectRef, *, content_type: str, user_metadata: Mapping[str, str],
        condition: WriteCondition | None, request_id: str,
    ) -> AsyncIterator[Writing]:  # fmt: skip
        admission = await self.guard.admit(
            principal, "write", request_id=request_id, dataset=ref.dataset, key=ref.key, run_labels=True
        )
        writer = await self.guard.blocking(
            self.vault.begin, _here(admission), ref.key, key_class(admission.allow), content_type, user_metadata
        )  # fmt: skip
        writing = Writing(self, principal, ref, admission, writer, content_type, condition, request_id)
        try:
            yield writing
        finally:
            await writing.abort()

    async def delete(self, principal: Principal, ref: ObjectRef, request_id: str) -> Deleted:
        admission = await self.guard.admit(
            principal, "delete", request_id=request_id, dataset=ref.dataset, key=ref.key, version_id=ref.version_id
        )
        row = _here(admission)
        gone = await self.guard.blocking(
            self.vault.delete, row, ref.key, by=principal.principal_id, run_id=admission.facts.run.run_id,
            record=admission.decision_id, version_id=ref.version_id,
        )  # fmt: skip
        shown = gone.version_id if row.versioning != "off" else None
        return Deleted(gone.delete_marker, shown, admission.decision_id)

    async def create_upload(
        self, principal: Principal, ref: ObjectRef, content_type: str, user_metadata: Mapping[str, str],
        request_id: str,
    ) -> str:  # fmt: skip
        admission = await self.guard.admit(
            principal, "write", request_id=request_id, dataset=ref.dataset, key=ref.key, run_labels=True
        )
        row = await self.guard.blocking(
            self.vault.begin_upload, _here(admission), ref.key, key_class(admission.allow), content_type,
            user_metadata, principal_id=principal.principal_id, run_id=admission.facts.run.run_id,
        )  # fmt: skip
        return row.upload_id

    @asynccontextmanager
    async def open_part(
        self, principal: Principal, ref: ObjectRef, upload_id: str, part_number: int, request_id: str
    ) -> AsyncIterator[PartWriting]:
        _, upload = await self._admit_upload(principal, ref, upload_id, "write", request_id)
        writer = await self.guard.blocking(self.vault.begin_part, upload, part_number)
        writing = PartWriting(self.guard, writer)
        try:
            yield writing
        finally:
            await writing.abort()

    async def complete_upload(
        self, principal: Principal, ref: ObjectRef, upload_id: str, parts: Sequence[tuple[int, str]],
        condition: WriteCondition | None, request_id: str,
    ) -> Written:  # fmt: skip
        """Decided afresh: what the run read since the upload began counts. A repeated Complete answers the same."""
        admission, upload = await self._admit_upload(principal, ref, upload_id, "complete", request_id)
        dataset = _here(admission)
        if upload.completed is not None:
            return _repeated(dataset, upload, admission.decision_id)
        if upload.wrapped["key_class"] == "view" and key_class(admission.allow) == "raw":
            raise _label_changed()
        guard = self.guard
        done = await guard.blocking(self.vault.finish_upload, upload, list(parts), self.sealed_facts(admission))
        head, tail = await guard.blocking(self.vault.upload_edges, done, HEAD_BYTES)
        data_format = trusted_format(admission, format_of(head, tail, ref.key, upload.content_type))
        views = await guard.blocking(self.views, dataset, admission.allow, data_format)
        result = {"etag": done.sealed.etag, "version_id": upload.version_id, "size": done.sealed.size}
        row = await guard.blocking(
            self.vault.commit_upload, done, written_by=principal.principal_id, run_id=admission.facts.run.run_id,
            record=admission.decision_id, result=result, object_format=data_format,
            jobs=self.jobs(dataset, upload.version_id, data_format, views), views=views,
            expect=_precondition(condition),
        )  # fmt: skip
        await self.committed(principal, admission, row)
        return _written(dataset, row, admission.decision_id)

    async def abort_upload(self, principal: Principal, ref: ObjectRef, upload_id: str, request_id: str) -> None:
        _, upload = await self._admit_upload(principal, ref, upload_id, "write", request_id)
        await self.guard.blocking(self.vault.abort_upload, upload)

    async def list_parts(
        self, principal: Principal, ref: ObjectRef, upload_id: str, *, after: int, limit: int
    ) -> PartListing:
        await self._admit_upload(principal, ref, upload_id, "write", secrets.token_hex(8))
        found = await self.guard.blocking(self.catalog.parts, upload_id, after, limit + 1)
        parts = tuple(ListedPart(p.part_number, p.size, p.md5.hex(), p.created_at) for p in found[:limit])
        return PartListing(parts, len(found) > limit)

    async def list_uploads(
        self, principal: Principal, dataset: DatasetRef, *, prefix: str, after_key: str, after_upload: str, limit: int
    ) -> UploadListing:
        """Open uploads of the caller: another's keys are not the caller's to see."""
        admission = await self.guard.admit(
            principal, "write", request_id=secrets.token_hex(8), dataset=dataset.dataset, run_labels=True
        )
        rows = await self.guard.blocking(self.catalog.uploads, _here(admission).dataset_id, prefix)
        mine = sorted(
            (u.key, u.upload_id, u.created_at) for u in rows
            if u.principal_id == principal.principal_id and (u.key, u.upload_id) > (after_key, after_upload)
        )  # fmt: skip
        return UploadListing(tuple(ListedUpload(*u) for u in mine[:limit]), len(mine) > limit)

    async def _admit_upload(
        self, principal: Principal, ref: ObjectRef, upload_id: str, action: str, request_id: str
    ) -> tuple[Admission, UploadRow]:
        admission = await self.guard.admit(
            principal, "complete" if action == "complete" else "write", request_id=request_id,
            dataset=ref.dataset, key=ref.key, run_labels=True,
        )  # fmt: skip
        row = await self.guard.blocking(self.catalog.find_upload, _here(admission).dataset_id, upload_id)
        # One that is complete is there for a repeated Complete alone.
        states = {"open", "completed"} if action == "complete" else {"open"}
        mine = row is not None and row.key == ref.key and row.principal_id == principal.principal_id
        # Labels flow by run: parts that one run sent and another completed would carry the label of the second alone.
        mine = mine and row is not None and row.run_id == admission.facts.run.run_id
        if row is None or not mine or row.state not in states:
            raise NotFound("NoSuchUpload", "No upload of that id is yours at this key")
        return admission, row

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
        dataset = _here(admission)
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


def _same_class(start: Allow, end: Allow) -> None:
    """What was sealed as not personal must still be so when it is committed."""
    if key_class(start) == "view" and key_class(end) == "raw":
        raise _label_changed()


def _label_changed() -> Conflict:
    return Conflict(
        "OperationAborted", "This run read personal data while the upload was under way", rule="flow.label",
        remedy="upload again; it will carry the label",
    )  # fmt: skip


def _repeated(dataset: DatasetRow, upload: UploadRow, decision_id: str) -> Written:
    result = upload.completed or {}
    shown = upload.version_id if dataset.versioning == "enabled" else None
    return Written(str(result["etag"]), shown, int(result["size"]), {}, decision_id)


def _here(admission: Admission) -> DatasetRow:
    row = admission.facts.dataset
    if row is None:
        raise NotFound("NoSuchBucket", "No dataset of that name is here for you", decision_id=admission.decision_id)
    return row


def _precondition(condition: WriteCondition | None) -> Precondition | None:
    if condition is None:
        return None
    return Precondition(if_match=condition.if_match, if_none_match="*" if condition.if_none_match else None)


def _written(dataset: DatasetRow | None, row: VersionRow, decision_id: str) -> Written:
    shown = row.version_id if dataset is not None and dataset.versioning == "enabled" else None
    return Written(row.etag, shown, row.size, dict(row.checksums), decision_id)
