"""A guard that lives in memory: an executable model of S3's semantics, able to fail before or after each effect.

It decides nothing; `deny` and `view` say what the doctrine would have said. `outcomes` is what would be recorded.
The rules of versions and conditions are in object_model.py, multipart uploads in upload_model.py.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from gateway.errors import BadRequest, Conflict, GatewayError, NotFound, Unavailable
from gateway.identity.checksums import new_checksum, spell_checksum
from gateway.identity.principal import Principal
from gateway.s3.ports import (
    NO_CHECKSUMS,
    Buffer,
    CheckSource,
    Checksums,
    CompletedPart,
    Copied,
    DeleteCondition,
    Deleted,
    ListedObject,
    ListedPart,
    ListedUpload,
    ListedVersion,
    Listing,
    PartListing,
    SourceFacts,
    StoredPart,
    Tags,
    UploadListing,
    VersionListing,
    WriteCondition,
    WriteDigests,
    Written,
    WrittenPart,
)
from tests.fakes.object_model import Bucket, Version, grouped
from tests.fakes.upload_model import Upload
from vault.ref import DatasetRef, ObjectRef

PIECE = 1 << 20
NOW = 1_790_000_000_000
WHOLE_VIEWS = ("raw", "open", "writer")  # views that show an object as it was written, parts and all


@dataclass
class FakeOpenRead:
    guard: "FakeGuard"
    stored: Version
    view: str
    decision_id: str
    promise: str = "promise-1"
    version_id: str | None = None
    sent: int = 0

    @property
    def size(self) -> int:
        return len(self.stored.body)

    @property
    def etag(self) -> str:
        return self.stored.etag

    @property
    def content_type(self) -> str:
        return self.stored.content_type

    @property
    def last_modified(self) -> int:
        return self.stored.last_modified

    @property
    def user_metadata(self) -> Mapping[str, str]:
        return self.stored.user_metadata

    @property
    def checksums(self) -> Checksums:
        return self.stored.checksums

    @property
    def parts(self) -> Sequence[StoredPart]:
        return self.stored.parts if self.view in WHOLE_VIEWS else ()

    @property
    def tag_count(self) -> int:
        return len(self.stored.tags)

    async def stream(self, start: int, stop: int) -> AsyncIterator[Buffer]:
        at = start
        while at < stop:
            if self.guard.fail_stream_at is not None and self.sent >= self.guard.fail_stream_at:
                raise self.guard.stream_failure
            if self.guard.end_stream_at is not None and self.sent >= self.guard.end_stream_at:
                return
            piece = self.stored.body[at : min(at + PIECE, stop)]
            self.sent += len(piece)
            yield piece
            at += len(piece)


class FakeOpenWrite:
    def __init__(self, guard: "FakeGuard", finish: Callable[[bytes, Checksums], Written]) -> None:
        self._guard = guard
        self._finish = finish
        self._data = bytearray()
        self.committed = False

    async def write(self, data: Buffer) -> None:
        self._guard.largest_write = max(self._guard.largest_write, len(data))
        self._data += data

    async def commit(
        self, check: Callable[[WriteDigests], None] | None = None, checksums: Checksums = NO_CHECKSUMS
    ) -> Written:
        body = bytes(self._data)
        if check is not None:
            check(WriteDigests(len(body), hashlib.md5(body, usedforsecurity=False).digest()))
        with self._guard.effect():
            written = self._finish(body, checksums)
            self.committed = True
        return written

    async def abort(self) -> None:
        self._data.clear()


class FakeOpenPart:
    """A part: the same write, another answer."""

    def __init__(self, guard: "FakeGuard", upload: Upload, number: int) -> None:
        self._inner = FakeOpenWrite(guard, lambda body, sums: self._keep(upload, number, body, sums))
        self._now = guard.clock

    def _keep(self, upload: Upload, number: int, body: bytes, checksums: Checksums) -> Written:
        upload.check_part(checksums)
        etag = upload.put_part(number, body, checksums.values, self._now())
        return Written(etag, None, len(body), checksums)

    async def write(self, data: Buffer) -> None:
        await self._inner.write(data)

    async def commit(
        self, check: Callable[[WriteDigests], None] | None = None, checksums: Checksums = NO_CHECKSUMS
    ) -> WrittenPart:
        written = await self._inner.commit(check, checksums)
        return WrittenPart(written.etag, written.checksums.values)

    async def abort(self) -> None:
        await self._inner.abort()


class FakeGuard:
    """Fault hooks: `deny`, `fail_stream_at` + `stream_failure`, `end_stream_at`, `fail_commit` ("before" | "after").

    `fail_commit` holds for every effect: writes, parts, copies, deletes, tags, versioning.
    """

    def __init__(self, region: str = "de-1", clock: Callable[[], int] = lambda: NOW) -> None:
        self.region = region
        self.clock = clock
        self.datasets: dict[tuple[str, str], Bucket] = {}
        self.uploads: dict[str, Upload] = {}
        self.view = "masked"
        self.deny: GatewayError | None = None
        self.fail_stream_at: int | None = None
        self.end_stream_at: int | None = None
        self.stream_failure: Exception = Unavailable("integrity.body", "the stored bytes do not verify")
        self.fail_commit: str | None = None
        self.outcomes: list[tuple[str, str, str, int]] = []  # action, key, complete | aborted, bytes
        self.required: list[str | None] = []
        self.largest_write = 0

    # For tests: state made and seen without the dialect.

    def create(self, dataset: str, *, tenant: str = "acme", versioning: str = "off") -> Bucket:
        bucket = self.datasets[tenant, dataset] = Bucket(versioning)
        return bucket

    def put(
        self, dataset: str, key: str, body: bytes, *, tenant: str = "acme", content_type: str = "text/plain"
    ) -> str:
        bucket = self.datasets.setdefault((tenant, dataset), Bucket())
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._add(bucket, key, Version(body, etag, content_type, {}, self.clock()))
        return etag

    def keys(self, dataset: str, tenant: str = "acme") -> list[str]:
        return [key for key, _ in self.datasets[tenant, dataset].lines("", every_version=False)]

    def version(self, dataset: str, key: str, tenant: str = "acme") -> Version | None:
        bucket = self.datasets.get((tenant, dataset))
        return bucket.current(key) if bucket else None

    def body(self, dataset: str, key: str, tenant: str = "acme") -> bytes | None:
        found = self.version(dataset, key, tenant)
        return found.body if found else None

    @contextmanager
    def effect(self) -> Iterator[None]:
        """One change of state, with the faults a test may ask for on either side of it."""
        if self.fail_commit == "before":
            raise Unavailable("ServiceUnavailable", "the store is away")
        yield
        if self.fail_commit == "after":
            raise Unavailable("ServiceUnavailable", "the answer was lost")

    def _bucket(self, ref: DatasetRef) -> Bucket:
        if self.deny is not None:
            raise self.deny
        bucket = self.datasets.get((ref.tenant, ref.dataset))
        if bucket is None:
            raise NotFound("NoSuchBucket", "the specified bucket does not exist")
        return bucket

    def _add(self, bucket: Bucket, key: str, version: Version) -> Version:
        version_id, sequence = bucket.next_version()
        version = replace(version, version_id=version_id, sequence=sequence)
        bucket.add(key, version)
        return version

    def _commit(self, ref: ObjectRef, version: Version, condition: WriteCondition | None) -> Written:
        bucket = self._bucket(ref.dataset_ref)
        bucket.check_write(ref.key, condition)
        kept = self._add(bucket, ref.key, version)
        shown = bucket.shown(kept.version_id)
        return Written(kept.etag, shown, len(kept.body), kept.checksums, secrets.token_hex(16))

    # Reads and writes.

    @asynccontextmanager
    async def open_read(
        self, principal: Principal, ref: ObjectRef, *, action: str, require_view: str | None, request_id: str
    ) -> AsyncIterator[FakeOpenRead]:
        self.required.append(require_view)
        bucket = self._bucket(ref.dataset_ref)
        found = bucket.find(ref.key, ref.version_id)
        shown = bucket.shown(found.version_id)
        opened = FakeOpenRead(self, found, self.view, secrets.token_hex(16), version_id=shown)
        status = "aborted"
        try:
            yield opened
            status = "complete"
        finally:
            self.outcomes.append((action, ref.key, status, opened.sent))

    @asynccontextmanager
    async def open_write(
        self,
        principal: Principal,
        ref: ObjectRef,
        *,
        content_type: str,
        user_metadata: Mapping[str, str],
        condition: WriteCondition | None,
        request_id: str,
        tags: Mapping[str, str] | None = None,
    ) -> AsyncIterator[FakeOpenWrite]:
        self._bucket(ref.dataset_ref)

        def finish(body: bytes, checksums: Checksums) -> Written:
            etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            version = Version(
                body, etag, content_type, dict(user_metadata), self.clock(),
                tags=dict(tags or {}), checksums=checksums,
            )  # fmt: skip
            return self._commit(ref, version, condition)

        opened = FakeOpenWrite(self, finish)
        try:
            yield opened
        finally:
            status = "complete" if opened.committed else "aborted"
            self.outcomes.append(("write", ref.key, status, 0))

    async def delete(
        self, principal: Principal, ref: ObjectRef, request_id: str, condition: DeleteCondition | None = None
    ) -> Deleted:
        bucket = self._bucket(ref.dataset_ref)
        bucket.check_delete(ref.key, ref.version_id, condition)
        with self.effect():
            if ref.version_id is not None:
                gone = bucket.remove(ref.key, ref.version_id)
                return Deleted(gone.marker, ref.version_id)
            if bucket.versioning == "off":
                if bucket.latest(ref.key) is None:
                    raise NotFound("NoSuchKey", "the specified key does not exist")
                bucket.remove(ref.key, "null")
                return Deleted(delete_marker=False)
            marker = self._add(bucket, ref.key, Version(b"", "", "", {}, self.clock(), marker=True))
            return Deleted(delete_marker=True, version_id=marker.version_id)

    # Copies.

    def _source(self, source: ObjectRef, check_source: CheckSource | None) -> tuple[Version, str | None]:
        bucket = self._bucket(source.dataset_ref)
        found = bucket.find(source.key, source.version_id)
        if check_source is not None:
            check_source(SourceFacts(found.etag, found.last_modified))
        return found, bucket.shown(found.version_id)

    async def copy_object(
        self,
        principal: Principal,
        source: ObjectRef,
        target: ObjectRef,
        *,
        content_type: str | None,
        user_metadata: Mapping[str, str] | None,
        tags: Mapping[str, str] | None,
        check_source: CheckSource | None,
        condition: WriteCondition | None,
        checksum_algorithm: str,
        request_id: str,
    ) -> Copied:
        self._bucket(target.dataset_ref)
        found, source_version = self._source(source, check_source)
        etag = hashlib.md5(found.body, usedforsecurity=False).hexdigest()
        checksums = found.checksums
        if not checksum_algorithm and checksums.type == "COMPOSITE":  # a copy is one body
            checksum_algorithm = next(iter(checksums.values))
        if checksum_algorithm:
            checksums = Checksums({checksum_algorithm: checksum_of(checksum_algorithm, found.body)}, "FULL_OBJECT")
        version = Version(
            found.body,
            etag,
            content_type if user_metadata is not None and content_type else found.content_type,
            dict(found.user_metadata if user_metadata is None else user_metadata),
            self.clock(),
            tags=dict(found.tags if tags is None else tags),
            checksums=checksums,
        )
        with self.effect():
            written = self._commit(target, version, condition)
        return Copied(
            written.etag, version.last_modified, written.version_id, source_version, checksums, secrets.token_hex(16)
        )

    async def copy_part(
        self,
        principal: Principal,
        source: ObjectRef,
        span: tuple[int, int] | None,
        target: ObjectRef,
        upload_id: str,
        part_number: int,
        *,
        check_source: CheckSource | None,
        request_id: str,
    ) -> Copied:
        upload = self._upload(target, upload_id)
        found, source_version = self._source(source, check_source)
        start, stop = span or (0, len(found.body))
        if stop > len(found.body):
            raise BadRequest("InvalidRange", f"the source has {len(found.body)} bytes", status=416)
        body, algorithm = found.body[start:stop], upload.checksum_algorithm
        values = {algorithm: checksum_of(algorithm, body)} if algorithm else {}
        with self.effect():
            etag = upload.put_part(part_number, body, values, self.clock())
        return Copied(etag, self.clock(), None, source_version, Checksums(values, "FULL_OBJECT" if values else ""))

    # Tags and versions.

    async def get_tags(self, principal: Principal, ref: ObjectRef, request_id: str) -> Tags:
        bucket = self._bucket(ref.dataset_ref)
        found = bucket.find(ref.key, ref.version_id)
        return Tags(found.tags, bucket.shown(found.version_id))

    async def put_tags(self, principal: Principal, ref: ObjectRef, tags: Mapping[str, str], request_id: str) -> Tags:
        bucket = self._bucket(ref.dataset_ref)
        found = bucket.find(ref.key, ref.version_id)
        with self.effect():
            bucket.replace(ref.key, found, replace(found, tags=dict(tags)))
        return Tags(dict(tags), bucket.shown(found.version_id))

    async def get_versioning(self, principal: Principal, dataset: DatasetRef) -> str:
        return self._bucket(dataset).versioning

    async def set_versioning(self, principal: Principal, dataset: DatasetRef, state: str, request_id: str) -> None:
        bucket = self._bucket(dataset)
        with self.effect():
            bucket.versioning = state

    # Listings.

    async def list_versions(
        self,
        principal: Principal,
        dataset: DatasetRef,
        *,
        prefix: str,
        delimiter: str,
        after_key: str,
        after_version: str,
        limit: int,
        request_id: str,
    ) -> VersionListing:
        bucket = self._bucket(dataset)
        place = bucket.places.get((after_key, after_version), 0)
        rows = [
            (key, version)
            for key, version in bucket.lines(prefix, every_version=True)
            if key.encode() > after_key.encode() or (key == after_key and version.sequence < place)
        ]
        lines: list[ListedVersion | str] = []
        for line, key in grouped(sorted({key for key, _ in rows}, key=str.encode), prefix, delimiter, after_key):
            if key is None:
                lines.append(line)
            else:
                lines += [self._listed_version(bucket, key, version) for name, version in rows if name == key]
        page = lines[:limit]
        last = page[-1] if page else None
        return VersionListing(
            tuple(line for line in page if isinstance(line, ListedVersion)),
            tuple(line for line in page if isinstance(line, str)),
            len(lines) > limit,
            last.key if isinstance(last, ListedVersion) else last,
            last.version_id if isinstance(last, ListedVersion) else None,
            secrets.token_hex(16),
            self.view,
        )

    def _listed_version(self, bucket: Bucket, key: str, version: Version) -> ListedVersion:
        return ListedVersion(
            key, version.version_id, version is bucket.latest(key), version.marker, len(version.body), version.etag,
            version.last_modified, version.checksums,
        )  # fmt: skip

    async def list_objects(
        self,
        principal: Principal,
        dataset: DatasetRef,
        *,
        prefix: str,
        delimiter: str,
        after: str,
        limit: int,
        request_id: str,
    ) -> Listing:
        bucket = self._bucket(dataset)
        current = {
            key: version
            for key, version in bucket.lines(prefix, every_version=False)
            if key.encode("utf-8") > after.encode("utf-8")
        }
        lines = grouped(list(current), prefix, delimiter, after)
        page = lines[:limit]
        return Listing(
            tuple(
                ListedObject(key, len(v.body), v.etag, v.last_modified, v.checksums)
                for key, v in ((key, current[key]) for _, key in page if key is not None)
            ),
            tuple(line for line, key in page if key is None),
            len(lines) > limit,
            page[-1][0] if page else None,
            secrets.token_hex(16),
            self.view,
        )

    async def list_datasets(self, principal: Principal) -> Sequence[tuple[str, int]]:
        return [(name, NOW) for tenant, name in self.datasets if tenant == principal.tenant]

    async def head_dataset(self, principal: Principal, dataset: DatasetRef) -> None:
        self._bucket(dataset)

    async def create_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None:
        if self.deny is not None:
            raise self.deny
        if (dataset.tenant, dataset.dataset) in self.datasets:
            raise Conflict("BucketAlreadyOwnedByYou", "the bucket exists and you own it")
        self.datasets[dataset.tenant, dataset.dataset] = Bucket()

    async def delete_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None:
        if self._bucket(dataset).keys:
            raise Conflict("BucketNotEmpty", "the bucket you tried to delete is not empty")
        del self.datasets[dataset.tenant, dataset.dataset]

    async def dataset_location(self, principal: Principal, dataset: DatasetRef) -> str:
        self._bucket(dataset)
        return self.region

    # Multipart.

    async def create_upload(
        self,
        principal: Principal,
        ref: ObjectRef,
        content_type: str,
        user_metadata: Mapping[str, str],
        request_id: str,
        tags: Mapping[str, str] | None = None,
        checksum_algorithm: str = "",
        checksum_type: str = "",
    ) -> str:
        self._bucket(ref.dataset_ref)
        upload_id = secrets.token_hex(16)
        self.uploads[upload_id] = Upload(
            ref, content_type, dict(user_metadata), self.clock(), dict(tags or {}), checksum_algorithm, checksum_type
        )
        return upload_id

    def _upload(self, ref: ObjectRef, upload_id: str) -> Upload:
        self._bucket(ref.dataset_ref)
        upload = self.uploads.get(upload_id)
        if upload is None or upload.ref != ref:
            raise NotFound("NoSuchUpload", "the specified upload does not exist")
        return upload

    @asynccontextmanager
    async def open_part(
        self, principal: Principal, ref: ObjectRef, upload_id: str, part_number: int, request_id: str
    ) -> AsyncIterator[FakeOpenPart]:
        yield FakeOpenPart(self, self._upload(ref, upload_id), part_number)

    async def complete_upload(
        self,
        principal: Principal,
        ref: ObjectRef,
        upload_id: str,
        parts: Sequence[CompletedPart],
        condition: WriteCondition | None,
        request_id: str,
        checksums: Checksums = NO_CHECKSUMS,
        size: int | None = None,
    ) -> Written:
        upload = self._upload(ref, upload_id)
        if (answer := upload.repeated(parts)) is not None:
            return answer
        body, etag, stored, found = upload.assemble(parts, checksums, size)
        version = Version(
            body, etag, upload.content_type, upload.user_metadata, self.clock(),
            tags=upload.tags, checksums=found, parts=stored,
        )  # fmt: skip
        with self.effect():
            written = self._commit(ref, version, condition)
            upload.close(parts, written)
        return written

    async def abort_upload(self, principal: Principal, ref: ObjectRef, upload_id: str, request_id: str) -> None:
        self._upload(ref, upload_id)
        del self.uploads[upload_id]

    async def list_parts(
        self, principal: Principal, ref: ObjectRef, upload_id: str, *, after: int, limit: int
    ) -> PartListing:
        upload = self._upload(ref, upload_id)
        found = [
            ListedPart(number, len(part.body), part.etag, part.last_modified, part.checksums)
            for number, part in sorted(upload.parts.items())
            if number > after
        ]
        return PartListing(tuple(found[:limit]), len(found) > limit, upload.checksum_algorithm, upload.checksum_type)

    async def list_uploads(
        self, principal: Principal, dataset: DatasetRef, *, prefix: str, after_key: str, after_upload: str, limit: int,
        delimiter: str = "",
    ) -> UploadListing:  # fmt: skip
        self._bucket(dataset)
        rows = sorted(
            (upload.ref.key, upload_id, upload.initiated)
            for upload_id, upload in self.uploads.items()
            if upload.ref.dataset_ref == dataset and upload.answer is None and upload.ref.key.startswith(prefix)
        )
        rows = [
            row
            for row in rows
            if row[0] > after_key or (row[0] == after_key and after_upload and row[1] > after_upload)
        ]
        lines: list[ListedUpload | str] = []
        for line, key in grouped(sorted({row[0] for row in rows}), prefix, delimiter, after_key):
            lines += [line] if key is None else [ListedUpload(*row) for row in rows if row[0] == key]
        page = lines[:limit]
        return UploadListing(
            tuple(line for line in page if isinstance(line, ListedUpload)),
            len(lines) > limit,
            tuple(line for line in page if isinstance(line, str)),
        )


def checksum_of(algorithm: str, body: bytes) -> str:
    running = new_checksum(algorithm)
    running.update(body)
    return spell_checksum(running.digest())
