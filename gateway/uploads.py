"""Multipart uploads: parts in any order and sent again, completion as one commit, listings of one's own."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from gateway.enforce.sniff import HEAD_BYTES, format_of
from gateway.errors import BadRequest, NotFound
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.part_checksums import check_parts, type_over_parts, whole_checksum
from gateway.s3.ports import (
    NO_CHECKSUMS,
    Buffer,
    Checksums,
    CompletedPart,
    ListedPart,
    ListedUpload,
    PartListing,
    UploadListing,
    WriteCondition,
    WriteDigests,
    Written,
    WrittenPart,
)
from gateway.shown import here
from gateway.slabs import Slabs
from gateway.writes import Writes, key_class, label_changed, precondition, trusted_format, written
from vault.catalog.rows import DatasetRow, UploadRow
from vault.multipart import SealedUpload
from vault.ref import DatasetRef, ObjectRef
from vault.uploads import PartWriter


class PartWriting:
    """The S3 dialect's `OpenPart`."""

    def __init__(self, guard: Guard, writer: PartWriter, algorithm: str) -> None:
        self._guard = guard
        self._writer = writer
        self.algorithm = algorithm
        self._slabs = Slabs(guard, writer)
        self.done = False

    async def write(self, data: Buffer) -> None:
        await self._slabs.write(data)

    async def commit(
        self, check: Callable[[WriteDigests], None] | None = None, checksums: Checksums = NO_CHECKSUMS
    ) -> WrittenPart:
        await self._slabs.flush()
        if check is not None:
            check(WriteDigests(self._writer.size, self._writer.md5))
        if self.algorithm and self.algorithm not in checksums.values:
            raise BadRequest(
                "InvalidRequest", f"the upload was created with {self.algorithm}: each part comes with its own",
                rule="checksum.missing", remedy=f"send x-amz-checksum-{self.algorithm} with each part",
            )  # fmt: skip
        row = await self._guard.blocking(self._writer.finish, checksums.values)
        self.done = True
        return WrittenPart(row.md5.hex(), checksums.values)

    async def abort(self) -> None:
        if not self.done:
            self.done = True
            await self._slabs.settle()
            await self._guard.blocking(self._writer.abort)


class Uploads:
    """Multipart uploads of one front worker, on the write road."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self.guard = writes.guard
        self.vault = writes.vault
        self.catalog = writes.catalog

    async def create_upload(
        self, principal: Principal, ref: ObjectRef, content_type: str, user_metadata: Mapping[str, str],
        request_id: str, tags: Mapping[str, str] | None = None, checksum_algorithm: str = "",
        checksum_type: str = "",
    ) -> str:  # fmt: skip
        kind = type_over_parts(checksum_algorithm, checksum_type)
        admission = await self.guard.admit(
            principal, "write", request_id=request_id, dataset=ref.dataset, key=ref.key, run_labels=True
        )
        row = await self.guard.blocking(
            self.vault.begin_upload, here(admission), ref.key, key_class(admission.allow), content_type,
            user_metadata, principal_id=principal.principal_id, run_id=admission.facts.run.run_id, tags=tags,
            checksum_algorithm=checksum_algorithm, checksum_type=kind,
        )  # fmt: skip
        return row.upload_id

    @asynccontextmanager
    async def open_part(
        self, principal: Principal, ref: ObjectRef, upload_id: str, part_number: int, request_id: str
    ) -> AsyncIterator[PartWriting]:
        _, upload = await self.admit(principal, ref, upload_id, "write", request_id)
        writer = await self.guard.blocking(self.vault.begin_part, upload, part_number)
        writing = PartWriting(self.guard, writer, upload.checksum_algorithm)
        try:
            yield writing
        finally:
            await writing.abort()

    async def complete_upload(
        self, principal: Principal, ref: ObjectRef, upload_id: str, parts: Sequence[CompletedPart],
        condition: WriteCondition | None, request_id: str, checksums: Checksums = NO_CHECKSUMS,
        size: int | None = None,
    ) -> Written:  # fmt: skip
        """Decided afresh: what the run read since the upload began counts. A repeated Complete answers the same."""
        admission, upload = await self.admit(principal, ref, upload_id, "complete", request_id)
        dataset, listed = here(admission), _listed_sha256(parts)
        if upload.completed is not None:
            return _repeated(dataset, upload, listed, admission.decision_id)
        if upload.wrapped["key_class"] == "view" and key_class(admission.allow) == "raw":
            raise label_changed()
        guard, writes = self.guard, self._writes
        check_parts(parts, await guard.blocking(self.catalog.parts, upload_id))
        done = await guard.blocking(
            self.vault.finish_upload, upload, [(part.number, part.etag) for part in parts],
            writes.sealed_facts(admission),
        )  # fmt: skip
        try:
            whole = _checked(done, checksums, size)
            head, tail = await guard.blocking(self.vault.upload_edges, done, HEAD_BYTES)
        except BaseException:
            await guard.blocking(self.vault.discard_upload, done)
            raise
        data_format = trusted_format(admission, format_of(head, tail, ref.key, upload.content_type))
        views = await guard.blocking(writes.views, dataset, admission.allow, data_format)
        result = {
            "etag": done.sealed.etag, "version_id": upload.version_id, "size": done.sealed.size, "parts": listed,
            "checksums": dict(whole.values), "checksum_type": whole.type,
        }  # fmt: skip
        row = await guard.blocking(
            self.vault.commit_upload, done, written_by=principal.principal_id, run_id=admission.facts.run.run_id,
            record=admission.decision_id, result=result, object_format=data_format, checksums=whole.values,
            checksum_type=whole.type, jobs=writes.jobs(dataset, upload.version_id, data_format, views), views=views,
            expect=precondition(condition, principal),
        )  # fmt: skip
        await writes.committed(principal, admission, row)
        return written(dataset, row, admission.decision_id)

    async def abort_upload(self, principal: Principal, ref: ObjectRef, upload_id: str, request_id: str) -> None:
        _, upload = await self.admit(principal, ref, upload_id, "write", request_id)
        await self.guard.blocking(self.vault.abort_upload, upload)

    async def list_parts(
        self, principal: Principal, ref: ObjectRef, upload_id: str, *, after: int, limit: int
    ) -> PartListing:
        _, upload = await self.admit(principal, ref, upload_id, "write", secrets.token_hex(8))
        found = await self.guard.blocking(self.catalog.parts, upload_id, after, limit + 1)
        parts = tuple(
            ListedPart(p.part_number, p.size, p.md5.hex(), p.created_at, dict(p.checksums)) for p in found[:limit]
        )
        return PartListing(parts, len(found) > limit, upload.checksum_algorithm, upload.checksum_type)

    async def list_uploads(
        self, principal: Principal, dataset: DatasetRef, *, prefix: str, after_key: str, after_upload: str, limit: int,
        delimiter: str = "",
    ) -> UploadListing:  # fmt: skip
        """Open uploads of the caller: another's keys are not the caller's to see."""
        admission = await self.guard.admit(
            principal, "write", request_id=secrets.token_hex(8), dataset=dataset.dataset, run_labels=True
        )
        page = await self.guard.blocking(
            self.catalog.upload_page, here(admission).dataset_id, principal.principal_id, prefix=prefix,
            delimiter=delimiter, after_key=after_key, after_upload=after_upload, limit=limit,
        )  # fmt: skip
        uploads = tuple(ListedUpload(u.key, u.upload_id, u.created_at) for u in page.uploads)
        return UploadListing(uploads, page.truncated, page.common_prefixes)

    async def admit(
        self, principal: Principal, ref: ObjectRef, upload_id: str, action: str, request_id: str
    ) -> tuple[Admission, UploadRow]:
        """Decide a step of an upload. NotFound("NoSuchUpload") unless it is the caller's, of this key and run."""
        admission = await self.guard.admit(
            principal, "complete" if action == "complete" else "write", request_id=request_id,
            dataset=ref.dataset, key=ref.key, run_labels=True,
        )  # fmt: skip
        row = await self.guard.blocking(self.catalog.find_upload, here(admission).dataset_id, upload_id)
        # One that is complete is there for a repeated Complete alone.
        states = {"open", "completed"} if action == "complete" else {"open"}
        mine = row is not None and row.key == ref.key and row.principal_id == principal.principal_id
        # Labels flow by run: parts that one run sent and another completed would carry the label of the second alone.
        mine = mine and row is not None and row.run_id == admission.facts.run.run_id
        if row is None or not mine or row.state not in states:
            raise _no_such_upload()
        return admission, row


def _no_such_upload() -> NotFound:
    return NotFound("NoSuchUpload", "No upload of that id is yours at this key")


def _checked(done: SealedUpload, stated: Checksums, size: int | None) -> Checksums:
    """The object's checksums, after what the caller says of the whole was compared."""
    if size is not None and size != done.sealed.size:
        raise BadRequest(
            "InvalidRequest", f"x-amz-mp-object-size says {size}, the parts have {done.sealed.size} bytes",
            rule="parts.size",
        )  # fmt: skip
    return whole_checksum(done.upload, done.parts, stated)


def _listed_sha256(parts: Sequence[CompletedPart]) -> str:
    """What tells one list of parts from another; kept with the answer, so that only the same Complete is repeated."""
    running = hashlib.sha256()
    for part in parts:
        running.update(f"{part.number}:{part.etag}\n".encode())
    return running.hexdigest()


def _repeated(dataset: DatasetRow, upload: UploadRow, listed: str, decision_id: str) -> Written:
    result = upload.completed or {}
    if result["parts"] != listed:
        raise _no_such_upload()
    shown = upload.version_id if dataset.versioning == "enabled" else None
    checksums = Checksums(dict(result["checksums"]), str(result["checksum_type"]))
    return Written(str(result["etag"]), shown, int(result["size"]), checksums, decision_id)
