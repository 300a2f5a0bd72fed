"""The write road (design §4.2): decide at start and at completion, seal, durable, one catalog commit, record.

An unacknowledged write leaves nothing visible: bodies without a commit are swept. Labels flow by run.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from vault.objects import PutWriter, Vault, WriteFacts

from gateway.decide.decision import Allow
from gateway.enforce.sniff import SNIFF_BYTES, sniff
from gateway.errors import BadRequest, GatewayError, NotFound
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.jobs.builder import BUILDER_VERSION
from gateway.reads import IDENTITY_PLAN
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
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow, VersionRow
from vault.catalog.versions import NewView, Precondition
from vault.ref import DatasetRef, ObjectRef

MASKABLE = frozenset({"parquet", "csv"})
_SLAB = 1 << 20


class _Body(Protocol):
    """What is being written: a whole object or one part."""

    def write(self, data: Buffer) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def md5(self) -> bytes: ...
    def abort(self) -> None: ...


class _Slabs:
    """Collects small pieces so that each hop to the executor carries about 1 MiB."""

    def __init__(self, guard: Guard, body: _Body) -> None:
        self._guard = guard
        self._body = body
        self._pending = bytearray()
        self.head = b""

    async def write(self, data: Buffer) -> None:
        if len(self.head) < SNIFF_BYTES:
            self.head += bytes(data[: SNIFF_BYTES - len(self.head)])
        self._pending += data
        if len(self._pending) >= _SLAB:
            await self.flush()

    async def flush(self) -> None:
        if self._pending:
            slab, self._pending = self._pending, bytearray()
            await self._guard.blocking(self._body.write, slab)


class Writing:
    """The S3 dialect's `OpenWrite` for a whole object."""

    def __init__(self, writes: "Writes", principal: Principal, ref: ObjectRef, admission: Admission,
                 writer: PutWriter, condition: WriteCondition | None, request_id: str) -> None:  # fmt: skip
        self._writes = writes
        self._principal = principal
        self._ref = ref
        self._admission = admission
        self._writer = writer
        self._condition = condition
        self._request_id = request_id
        self._slabs = _Slabs(writes.guard, writer)
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
        facts = self._writes.write_facts(
            self._principal, again, data_format=sniff(self._slabs.head, self._ref.key), size=self._writer.size
        )
        _same_class(self._admission.allow, again.allow)
        sealed = await guard.blocking(self._writer.finish, facts)
        row = await guard.blocking(
            self._writes.vault.commit, sealed, views=self._writes.views(again.facts.dataset, facts.format),
            expect=_precondition(self._condition),
        )  # fmt: skip
        self.done = True
        await self._writes.committed(self._principal, again, row)
        return _written(again.facts.dataset, row, again.decision_id)

    async def abort(self) -> None:
        if not self.done:
            self.done = True
            await self._writes.guard.blocking(self._writer.abort)


class PartWriting:
    """The S3 dialect's `OpenPart`."""

    def __init__(self, guard: Guard, vault: Vault, writer: PutWriter) -> None:
        self._guard = guard
        self._vault = vault
        self._writer = writer
        self._slabs = _Slabs(guard, writer)
        self.done = False

    async def write(self, data: Buffer) -> None:
        await self._slabs.write(data)

    async def commit(self, check: Callable[[WriteDigests], None] | None = None) -> str:
        await self._slabs.flush()
        if check is not None:
            check(WriteDigests(self._writer.size, self._writer.md5))
        etag = await self._guard.blocking(self._vault.finish_part, self._writer)
        self.done = True
        return etag

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
            self.vault.begin, _here(admission), ref.key, key_class=key_class(admission.allow),
            content_type=content_type, user_metadata=dict(user_metadata),
        )  # fmt: skip
        writing = Writing(self, principal, ref, admission, writer, condition, request_id)
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
            self.catalog.put_delete, row.dataset_id, ref.key, principal.principal_id, admission.facts.run.run_id,
            admission.decision_id, version_id=ref.version_id,
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
        return await self.guard.blocking(
            self.vault.begin_upload, _here(admission), ref.key, key_class=key_class(admission.allow),
            content_type=content_type, user_metadata=dict(user_metadata), principal_id=principal.principal_id,
            run_id=admission.facts.run.run_id,
        )  # fmt: skip

    @asynccontextmanager
    async def open_part(
        self, principal: Principal, ref: ObjectRef, upload_id: str, part_number: int, request_id: str
    ) -> AsyncIterator[PartWriting]:
        admission = await self._admit_upload(principal, ref, upload_id, "write", request_id)
        writer = await self.guard.blocking(self.vault.begin_part, _here(admission), upload_id, part_number)
        writing = PartWriting(self.guard, self.vault, writer)
        try:
            yield writing
        finally:
            await writing.abort()

    async def complete_upload(
        self, principal: Principal, ref: ObjectRef, upload_id: str, parts: Sequence[tuple[int, str]],
        condition: WriteCondition | None, request_id: str,
    ) -> Written:  # fmt: skip
        """Decided afresh: what the run read since the upload began counts."""
        admission = await self._admit_upload(principal, ref, upload_id, "complete", request_id)
        dataset = _here(admission)
        head = await self.guard.blocking(self.vault.upload_head, dataset, upload_id, SNIFF_BYTES)
        facts = self.write_facts(principal, admission, data_format=sniff(head, ref.key), size=0)
        row, fresh = await self.guard.blocking(
            self.vault.complete_upload, dataset, upload_id, list(parts), facts,
            views=self.views(dataset, facts.format), expect=_precondition(condition),
        )  # fmt: skip
        if fresh:
            await self.committed(principal, admission, row)
        return _written(dataset, row, admission.decision_id)

    async def abort_upload(self, principal: Principal, ref: ObjectRef, upload_id: str, request_id: str) -> None:
        admission = await self._admit_upload(principal, ref, upload_id, "write", request_id)
        await self.guard.blocking(self.catalog.abort, _here(admission).dataset_id, upload_id)

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
    ) -> Admission:
        admission = await self.guard.admit(
            principal, "complete" if action == "complete" else "write", request_id=request_id,
            dataset=ref.dataset, key=ref.key, run_labels=True,
        )  # fmt: skip
        row = await self.guard.blocking(self.catalog.find_upload, _here(admission).dataset_id, upload_id)
        if row is None or row.key != ref.key or row.principal_id != principal.principal_id or row.state == "aborted":
            raise NotFound("NoSuchUpload", "No upload of that id is yours at this key")
        return admission

    def write_facts(
        self, principal: Principal, admission: Admission, *, data_format: str, size: int
    ) -> WriteFacts:
        """What the doctrine said of the bytes being committed. Placement never widens beyond this zone unasked."""
        allow, facts = admission.allow, admission.facts
        if len(allow.placement or ()) > 0 and self.guard.zone not in (allow.placement or ()):
            raise GatewayError("InternalError", "The doctrine placed this write elsewhere", rule="placement.mismatch")
        return WriteFacts(
            label=allow.label, placement=allow.placement or (self.guard.zone,),
            contract_version=facts.dataset.contract_version if facts.dataset else 0,
            written_by=principal.principal_id, run_id=facts.run.run_id, record=admission.decision_id,
            format=data_format, size=size,
        )  # fmt: skip

    def views(self, dataset: DatasetRow | None, data_format: str) -> list[NewView]:
        """One view for each declared plan, queued in the commit itself."""
        if dataset is None or dataset.label == "none" or data_format not in MASKABLE:
            return []
        plans = {plan.plan_id for plan in self.catalog.plans(dataset.dataset_id)} - {IDENTITY_PLAN}
        return [NewView(plan_id, BUILDER_VERSION) for plan_id in sorted(plans)]

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


def key_class(allow: Allow) -> str:
    """Personal data is sealed in the raw class; what holds none in the class every permitted reader may open."""
    return "view" if allow.label == "none" else "raw"


def _same_class(start: Allow, end: Allow) -> None:
    """What was sealed as not personal must still be so when it is committed."""
    if key_class(start) == "view" and key_class(end) == "raw":
        raise BadRequest(
            "OperationAborted", "This run read personal data while the upload was under way", status=409,
            rule="flow.label", remedy="upload again; it will carry the label",
        )  # fmt: skip


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
