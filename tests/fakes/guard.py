"""A guard that lives in memory: real enough for stock S3 clients, and able to fail before or after each effect.

It decides nothing; `deny` and `view` say what the doctrine would have said. `outcomes` is what would be recorded.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.errors import BadRequest, Conflict, GatewayError, NotFound, PreconditionFailed, Unavailable
from gateway.identity.principal import Principal
from gateway.s3.ports import (
    Buffer,
    Deleted,
    ListedObject,
    ListedPart,
    ListedUpload,
    Listing,
    PartListing,
    UploadListing,
    WriteCondition,
    WriteDigests,
    Written,
)
from vault.ref import DatasetRef, ObjectRef

PIECE = 1 << 20
MIN_PART = 5 << 20
NOW = 1_790_000_000_000


@dataclass(frozen=True)
class Stored:
    body: bytes
    etag: str
    content_type: str
    user_metadata: dict[str, str]
    last_modified: int
    owner: str


@dataclass
class Upload:
    ref: ObjectRef
    content_type: str
    user_metadata: dict[str, str]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    answer: tuple[list[tuple[int, str]], Written] | None = None


@dataclass
class FakeOpenRead:
    guard: "FakeGuard"
    stored: Stored
    view: str
    decision_id: str
    promise: str = "promise-1"
    version_id: str | None = None
    sent: int = 0
    checksums: dict[str, str] = field(default_factory=dict)

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
    def __init__(self, guard: "FakeGuard", finish: Callable[[bytes], Written]) -> None:
        self._guard = guard
        self._finish = finish
        self._data = bytearray()
        self.committed = False

    async def write(self, data: Buffer) -> None:
        self._guard.largest_write = max(self._guard.largest_write, len(data))
        self._data += data

    async def commit(self, check: Callable[[WriteDigests], None] | None = None) -> Written:
        body = bytes(self._data)
        if check is not None:
            check(WriteDigests(len(body), hashlib.md5(body, usedforsecurity=False).digest()))
        if self._guard.fail_commit == "before":
            raise Unavailable("ServiceUnavailable", "the store is away")
        written = self._finish(body)
        self.committed = True
        if self._guard.fail_commit == "after":
            raise Unavailable("ServiceUnavailable", "the answer was lost")
        return written

    async def abort(self) -> None:
        self._data.clear()


class FakeOpenPart(FakeOpenWrite):
    async def commit(self, check: Callable[[WriteDigests], None] | None = None) -> str:  # type: ignore[override]
        return (await super().commit(check)).etag


class FakeGuard:
    """Fault hooks: `deny`, `fail_stream_at` + `stream_failure`, `end_stream_at`, `fail_commit` ("before" | "after")."""

    def __init__(self, region: str = "de-1") -> None:
        self.region = region
        self.datasets: dict[tuple[str, str], dict[str, Stored]] = {}
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

    def put(
        self, dataset: str, key: str, body: bytes, *, tenant: str = "acme", content_type: str = "text/plain"
    ) -> str:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        bucket = self.datasets.setdefault((tenant, dataset), {})
        bucket[key] = Stored(body, etag, content_type, {}, NOW, "owner")
        return etag

    def body(self, dataset: str, key: str, tenant: str = "acme") -> bytes | None:
        stored = self.datasets.get((tenant, dataset), {}).get(key)
        return stored.body if stored else None

    def _bucket(self, ref: DatasetRef) -> dict[str, Stored]:
        if self.deny is not None:
            raise self.deny
        bucket = self.datasets.get((ref.tenant, ref.dataset))
        if bucket is None:
            raise NotFound("NoSuchBucket", "the specified bucket does not exist")
        return bucket

    @asynccontextmanager
    async def open_read(
        self, principal: Principal, ref: ObjectRef, *, action: str, require_view: str | None, request_id: str
    ) -> AsyncIterator[FakeOpenRead]:
        self.required.append(require_view)
        stored = self._bucket(ref.dataset_ref).get(ref.key)
        if stored is None:
            raise NotFound("NoSuchKey", "the specified key does not exist")
        opened = FakeOpenRead(self, stored, self.view, secrets.token_hex(16))
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
    ) -> AsyncIterator[FakeOpenWrite]:
        self._bucket(ref.dataset_ref)

        def finish(body: bytes) -> Written:
            etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            return self._commit(ref, body, etag, content_type, user_metadata, condition)

        opened = FakeOpenWrite(self, finish)
        try:
            yield opened
        finally:
            status = "complete" if opened.committed else "aborted"
            self.outcomes.append(("write", ref.key, status, 0))

    def _commit(
        self,
        ref: ObjectRef,
        body: bytes,
        etag: str,
        content_type: str,
        user_metadata: Mapping[str, str],
        condition: WriteCondition | None,
    ) -> Written:
        bucket = self._bucket(ref.dataset_ref)
        current = bucket.get(ref.key)
        if condition is not None:
            if condition.if_none_match and current is not None:
                raise PreconditionFailed("PreconditionFailed", "the key exists")
            if condition.if_match is not None and current is None:
                raise NotFound("NoSuchKey", "the specified key does not exist")
            if condition.if_match is not None and current is not None and current.etag != condition.if_match:
                raise PreconditionFailed("PreconditionFailed", "the key has another ETag now")
        bucket[ref.key] = Stored(body, etag, content_type, dict(user_metadata), NOW, "owner")
        return Written(etag, None, len(body), {}, secrets.token_hex(16))

    async def delete(self, principal: Principal, ref: ObjectRef, request_id: str) -> Deleted:
        bucket = self._bucket(ref.dataset_ref)
        if ref.key not in bucket:
            raise NotFound("NoSuchKey", "the specified key does not exist")
        del bucket[ref.key]
        return Deleted(delete_marker=False)

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
        lines: list[str | ListedObject] = []
        for key in sorted(bucket, key=lambda name: name.encode("utf-8")):
            if not key.startswith(prefix) or key.encode("utf-8") <= after.encode("utf-8"):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                group = key[: cut + len(delimiter)]
                if group != after and (not lines or lines[-1] != group):
                    lines.append(group)
                continue
            stored = bucket[key]
            lines.append(ListedObject(key, len(stored.body), stored.etag, stored.last_modified, stored.owner))
        page = lines[:limit]
        last = page[-1] if page else None
        return Listing(
            tuple(line for line in page if isinstance(line, ListedObject)),
            tuple(line for line in page if isinstance(line, str)),
            len(lines) > limit,
            last.key if isinstance(last, ListedObject) else last,
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
        self.datasets[dataset.tenant, dataset.dataset] = {}

    async def delete_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None:
        if self._bucket(dataset):
            raise Conflict("BucketNotEmpty", "the bucket you tried to delete is not empty")
        del self.datasets[dataset.tenant, dataset.dataset]

    async def dataset_location(self, principal: Principal, dataset: DatasetRef) -> str:
        self._bucket(dataset)
        return self.region

    async def create_upload(
        self,
        principal: Principal,
        ref: ObjectRef,
        content_type: str,
        user_metadata: Mapping[str, str],
        request_id: str,
    ) -> str:
        self._bucket(ref.dataset_ref)
        upload_id = secrets.token_hex(16)
        self.uploads[upload_id] = Upload(ref, content_type, dict(user_metadata))
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
        upload = self._upload(ref, upload_id)

        def finish(body: bytes) -> Written:
            etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            upload.parts[part_number] = (body, etag)
            return Written(etag, None, len(body))

        yield FakeOpenPart(self, finish)

    async def complete_upload(
        self,
        principal: Principal,
        ref: ObjectRef,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        condition: WriteCondition | None,
        request_id: str,
    ) -> Written:
        upload = self._upload(ref, upload_id)
        if upload.answer is not None and upload.answer[0] == list(parts):
            return upload.answer[1]
        bodies = []
        for number, etag in parts:
            if number not in upload.parts or upload.parts[number][1] != etag:
                raise BadRequest("InvalidPart", "one or more of the specified parts could not be found")
            bodies.append(upload.parts[number][0])
        if any(len(body) < MIN_PART for body in bodies[:-1]):
            raise BadRequest("EntityTooSmall", "your proposed upload is smaller than the minimum allowed size")
        digests = b"".join(hashlib.md5(body, usedforsecurity=False).digest() for body in bodies)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(bodies)}"
        written = self._commit(ref, b"".join(bodies), etag, upload.content_type, upload.user_metadata, condition)
        upload.answer = (list(parts), written)
        return written

    async def abort_upload(self, principal: Principal, ref: ObjectRef, upload_id: str, request_id: str) -> None:
        self._upload(ref, upload_id)
        del self.uploads[upload_id]

    async def list_parts(
        self, principal: Principal, ref: ObjectRef, upload_id: str, *, after: int, limit: int
    ) -> PartListing:
        upload = self._upload(ref, upload_id)
        found = [ListedPart(n, len(b), e, NOW) for n, (b, e) in sorted(upload.parts.items()) if n > after]
        return PartListing(tuple(found[:limit]), len(found) > limit)

    async def list_uploads(
        self, principal: Principal, dataset: DatasetRef, *, prefix: str, after_key: str, after_upload: str, limit: int
    ) -> UploadListing:
        self._bucket(dataset)
        found = sorted(
            (upload.ref.key, upload_id)
            for upload_id, upload in self.uploads.items()
            if upload.ref.dataset_ref == dataset and upload.answer is None and upload.ref.key.startswith(prefix)
        )
        later = (
            [item for item in found if item > (after_key, after_upload)]
            if after_upload
            else [item for item in found if item[0] > after_key]
        )
        page = tuple(ListedUpload(key, upload_id, NOW) for key, upload_id in later[:limit])
        return UploadListing(page, len(later) > limit)
