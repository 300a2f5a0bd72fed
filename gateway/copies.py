"""CopyObject and UploadPartCopy: a decided, recorded read of the source and a decided, recorded write of the target.

Inside a dataset, and where the caller reads the source as it was written, a copy is a manifest over the same bodies. In
every other case the caller's own view of the source is read and written anew, a slab at a time. A copy is never
labelled weaker than its source and may lie nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from gateway.errors import BadRequest
from gateway.guard import Admission
from gateway.identity.checksums import Checksum, new_checksum, spell_checksum
from gateway.identity.principal import Principal
from gateway.reads import Reading, Reads
from gateway.s3.ports import (
    NO_CHECKSUMS,
    CheckSource,
    Checksums,
    Copied,
    OpenPart,
    OpenWrite,
    SourceFacts,
    WriteCondition,
)
from gateway.shown import here, kept_checksums, shown_version
from gateway.uploads import Uploads
from gateway.writes import Writes, as_strict, key_class, precondition, trusted_format
from vault.catalog.rows import VersionRow
from vault.catalog.section import NewJob
from vault.objects import Changes
from vault.ref import ObjectRef


class Copies:
    def __init__(self, reads: Reads, writes: Writes, uploads: Uploads) -> None:
        self._reads = reads
        self._writes = writes
        self._uploads = uploads

    async def copy_object(
        self, principal: Principal, source: ObjectRef, target: ObjectRef, *, content_type: str | None,
        user_metadata: Mapping[str, str] | None, tags: Mapping[str, str] | None, check_source: CheckSource | None,
        condition: WriteCondition | None, checksum_algorithm: str, request_id: str,
    ) -> Copied:  # fmt: skip
        """Decided for the source first: whoever may not read it learns nothing of the target either."""
        async with self._reads.open_read(
            principal, source, action="read", require_view=None, request_id=request_id
        ) as reading:
            _check(reading, check_source)
            changes = Changes(content_type, user_metadata, tags)
            if reading.as_written and source.dataset == target.dataset:
                admission = await self._writes.guard.admit(
                    principal, "complete", request_id=request_id, dataset=target.dataset, key=target.key,
                    run_labels=True,
                )  # fmt: skip
                if self._same_bodies(reading, admission):
                    return await self._named_again(
                        principal, reading, admission, target, changes, condition, checksum_algorithm
                    )
            changes = replace(
                changes, content_type=reading.content_type if content_type is None else content_type,
                user_metadata=reading.user_metadata if user_metadata is None else user_metadata,
                tags=reading.tags if tags is None else tags,
            )  # fmt: skip
            return await self._written_anew(
                principal, reading, target, changes, condition, checksum_algorithm, request_id
            )

    async def copy_part(
        self, principal: Principal, source: ObjectRef, span: tuple[int, int] | None, target: ObjectRef, upload_id: str,
        part_number: int, *, check_source: CheckSource | None, request_id: str,
    ) -> Copied:  # fmt: skip
        """A part is sealed under its upload's key, so its bytes are always read and written anew."""
        async with self._reads.open_read(
            principal, source, action="read", require_view=None, request_id=request_id
        ) as reading:
            _check(reading, check_source)
            start, stop = span if span is not None else (0, reading.size)
            if not 0 <= start <= stop <= reading.size or (span is not None and start == stop):
                raise BadRequest("InvalidRange", f"the source has {reading.size} bytes", status=416)
            async with self._uploads.open_part(principal, target, upload_id, part_number, request_id) as part:
                running = new_checksum(part.algorithm) if part.algorithm else None
                await _pour(reading, start, stop, part, running)
                checksums = _spelled(part.algorithm, running)
                written = await part.commit(None, checksums)
            return Copied(
                etag=written.etag, last_modified=self._writes.guard.clock(), source_version_id=reading.version_id,
                checksums=checksums, decision_id=reading.decision_id,
            )  # fmt: skip

    def _same_bodies(self, reading: Reading, admission: Admission) -> bool:
        """Whether the copy may name the source's bodies: of one dataset, seen as written, in a class that fits."""
        source, dataset = reading.version, here(admission)
        fits = source.key_class == "raw" or key_class(admission.allow) == "view"
        return reading.as_written and source.dataset_id == dataset.dataset_id and fits

    async def _named_again(
        self, principal: Principal, reading: Reading, admission: Admission, target: ObjectRef, changes: Changes,
        condition: WriteCondition | None, algorithm: str,
    ) -> Copied:  # fmt: skip
        writes, guard, source = self._writes, self._writes.guard, reading.version
        checksums = kept_checksums(source)
        if algorithm and (algorithm not in checksums.values or checksums.type != "FULL_OBJECT"):
            running = new_checksum(algorithm)
            await _pour(reading, 0, reading.size, None, running)
            checksums = _spelled(algorithm, running)
            changes = replace(changes, checksums=checksums.values)
        dataset, facts = here(admission), as_strict(writes.sealed_facts(admission), source)
        data_format = _copied_format(admission, source, target)
        views = [] if facts.label == "none" else await guard.blocking(
            writes.views, dataset, admission.allow, data_format
        )

        def jobs(version_id: str) -> Sequence[NewJob]:
            return writes.jobs(dataset, version_id, data_format, views)

        row = await guard.blocking(
            partial(
                writes.vault.copy, source, target.key, facts, changes, reading.grant,
                written_by=principal.principal_id, run_id=admission.facts.run.run_id, record=admission.decision_id,
                data_format=data_format, jobs=jobs, views=views, expect=precondition(condition, principal),
            )
        )  # fmt: skip
        reading.charge_whole()
        await writes.committed(principal, admission, row)
        return Copied(
            etag=row.etag, last_modified=row.created_at, version_id=shown_version(dataset, row),
            source_version_id=reading.version_id, checksums=checksums, decision_id=admission.decision_id,
        )  # fmt: skip

    async def _written_anew(
        self, principal: Principal, reading: Reading, target: ObjectRef, changes: Changes,
        condition: WriteCondition | None, algorithm: str, request_id: str,
    ) -> Copied:  # fmt: skip
        kept = reading.checksums if not algorithm and reading.checksums.type == "FULL_OBJECT" else NO_CHECKSUMS
        async with self._writes.open_write(
            principal, target, content_type=changes.content_type or "", user_metadata=changes.user_metadata or {},
            condition=condition, request_id=request_id, tags=changes.tags,
        ) as writing:  # fmt: skip
            writing.no_weaker_than(reading.version)
            running = new_checksum(algorithm) if algorithm else None
            await _pour(reading, 0, reading.size, writing, running)
            checksums = _spelled(algorithm, running) if running is not None else kept
            written = await writing.commit(None, checksums)
        return Copied(
            etag=written.etag, last_modified=writing.committed_at, version_id=written.version_id,
            source_version_id=reading.version_id, checksums=written.checksums, decision_id=written.decision_id,
        )  # fmt: skip


def _copied_format(admission: Admission, source: VersionRow, target: ObjectRef) -> str:
    """The bytes stay, and so does their rendering, under their own name. A new one is the caller's word, and masked
    callers would list it: a key holds a raw row as well as a body does. (A view's content type is its own, and it has
    neither tags nor metadata.)"""
    return source.format if target.key == source.key else trusted_format(admission, source.format)


def _check(reading: Reading, check_source: CheckSource | None) -> None:
    if check_source is not None:
        check_source(SourceFacts(reading.etag, reading.last_modified))


async def _pour(
    reading: Reading, start: int, stop: int, into: OpenWrite | OpenPart | None, running: Checksum | None
) -> None:
    async for slab in reading.stream(start, stop):
        if running is not None:
            running.update(slab)
        if into is not None:
            await into.write(slab)


def _spelled(algorithm: str, running: Checksum | None) -> Checksums:
    if running is None:
        return NO_CHECKSUMS
    return Checksums({algorithm: spell_checksum(running.digest())}, "FULL_OBJECT")


