"""What the S3 dialect asks of the guard, and nothing else. `gateway/guard.py` implements it; tests/fakes/guard.py too.

Conventions of every type here:
- ETags are carried without quotes; the dialect adds them. Times are int ms UTC.
- `user_metadata` keys are lower-case. A key that starts with ':' is a standard header kept with the object
  (":content-encoding", ":cache-control", ":content-disposition", ":content-language", ":expires"): no HTTP
  header name can contain ':', so user metadata can never collide with it.
- Refusals are `gateway.errors` exceptions; entering a context manager is where `open_*` raises them.
  `code` is an S3 code where one exists ("NoSuchBucket", "NoSuchKey", "NoSuchUpload", "EntityTooSmall",
  "InvalidPart", "InvalidPartOrder", "BucketNotEmpty", "BucketAlreadyOwnedByYou", "SlowDown", ...), else ours,
  which gateway/s3/errors.py shows as the S3 code of its kind with our code in the message.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from gateway.identity.principal import Principal
from gateway.s3.port_values import (
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
from vault.ref import DatasetRef, ObjectRef

__all__ = [
    "NO_CHECKSUMS",
    "Buffer",
    "Burst",
    "CheckSource",
    "Checksums",
    "CompletedPart",
    "Copied",
    "DeleteCondition",
    "Deleted",
    "Endable",
    "Guard",
    "ListedObject",
    "ListedPart",
    "ListedUpload",
    "ListedVersion",
    "Listing",
    "OpenPart",
    "OpenRead",
    "OpenWrite",
    "Outlet",
    "PartListing",
    "Pourable",
    "Push",
    "SourceFacts",
    "StoredPart",
    "Tags",
    "UploadListing",
    "VersionListing",
    "WriteCondition",
    "WriteDigests",
    "Written",
    "WrittenPart",
]

Push: TypeAlias = Callable[[memoryview], int]
"""Bytes taken of a view: fewer than all when the client is slow. Raises ConnectionError when it has gone."""
Burst: TypeAlias = Callable[[Push], Literal["more", "slow", "done"]]
"""Push what there is, on a sending thread; "slow" when a push took less, "more" after its share, "done" at the end."""


@runtime_checkable
class Pourable(Protocol):
    """A stream that can also be sent from threads, past the event loop. `hand_back` what `anext` gave first."""

    def hand_back(self, slab: Buffer) -> None: ...
    def burst(self, push: Push) -> Literal["more", "slow", "done"]: ...


@runtime_checkable
class Endable(Protocol):
    """A stream that may be ended while nobody asks it for anything. `cut` takes the connection from the client."""

    def on_end(self, cut: Callable[[], None]) -> None: ...


class Outlet(Protocol):
    """The server's road for large bodies, where it has one (scope extension "demesne.outlet")."""

    async def pour(self, burst: Burst, silence_seconds: float) -> None:
        """All of it is in the kernel when this returns. Raises what `burst` raises; ConnectionError: no client."""
        ...


class OpenRead(Protocol):
    """A decided, recorded read of one view of one version. All fields describe that view, never the raw object."""

    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def last_modified(self) -> int: ...
    @property
    def user_metadata(self) -> Mapping[str, str]: ...
    @property
    def version_id(self) -> str | None: ...
    @property
    def checksums(self) -> Checksums: ...
    @property
    def parts(self) -> Sequence[StoredPart]:
        """Of an object uploaded in parts and read as it was written (raw, open, writer); of a view always empty."""
        ...

    @property
    def tag_count(self) -> int: ...
    @property
    def view(self) -> str: ...
    @property
    def decision_id(self) -> str: ...
    @property
    def promise(self) -> str: ...

    def stream(self, start: int, stop: int) -> AsyncIterator[Buffer]:
        """Verified plaintext of [start, stop), in pieces of about 1 MiB, exactly stop - start bytes.

        A yielded buffer is never written to again by the producer: the transport may still hold it.
        Raises a GatewayError; after the first byte the dialect aborts the connection.
        """
        ...


class OpenWrite(Protocol):
    """A decided write. Leaving the context without `commit` aborts it: nothing becomes visible."""

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. The caller may reuse the buffer after this returns."""
        ...

    async def commit(
        self, check: Callable[[WriteDigests], None] | None = None, checksums: Checksums = NO_CHECKSUMS
    ) -> Written:
        """Make it durable, run `check` (it raises to refuse), then the one catalog commit that makes it visible.

        `checksums` were verified by the dialect over these very bytes; they are kept and shown with the object.
        """
        ...

    async def abort(self) -> None: ...


class OpenPart(Protocol):
    """A part of a multipart upload; as OpenWrite, but committing answers the part's ETag."""

    async def write(self, data: Buffer) -> None: ...
    async def commit(
        self, check: Callable[[WriteDigests], None] | None = None, checksums: Checksums = NO_CHECKSUMS
    ) -> WrittenPart: ...
    async def abort(self) -> None: ...


class Guard(Protocol):
    """The one road to data (design §4), as the S3 dialect sees it. Only `open_*` are not coroutines."""

    def open_read(
        self, principal: Principal, ref: ObjectRef, *, action: str, require_view: str | None, request_id: str
    ) -> AbstractAsyncContextManager[OpenRead]:
        """`action` is "read" or "head". `ref.version_id` is None (the latest), "null" or an id.

        A latest delete marker is NotFound("NoSuchKey") with headers x-amz-delete-marker and x-amz-version-id; a marker
        named by id is BadRequest("MethodNotAllowed", 405) with the same headers. Leaving the context records the
        outcome: complete, or aborted if it raised."""
        ...

    def open_write(
        self,
        principal: Principal,
        ref: ObjectRef,
        *,
        content_type: str,
        user_metadata: Mapping[str, str],
        condition: WriteCondition | None,
        request_id: str,
        tags: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[OpenWrite]: ...

    async def delete(
        self, principal: Principal, ref: ObjectRef, request_id: str, condition: DeleteCondition | None = None
    ) -> Deleted:
        """Without a version: a marker where versions are kept, else gone. With one: exactly that version, for good."""
        ...

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
        """None for metadata (with content type) or tags: the source's own. Inside a dataset no byte is re-encrypted.

        `checksum_algorithm` "" keeps the source's checksums; another name has them computed. Copying an object onto
        itself without changing anything is the dialect's to refuse.
        """
        ...

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
        """`span` is [start, stop) of the source as the caller sees it; outside it: BadRequest("InvalidRange", 416)."""
        ...

    async def get_tags(self, principal: Principal, ref: ObjectRef, request_id: str) -> Tags: ...
    async def put_tags(self, principal: Principal, ref: ObjectRef, tags: Mapping[str, str], request_id: str) -> Tags:
        """All tags at once; {} removes them. The dialect has checked S3's limits."""
        ...

    async def get_versioning(self, principal: Principal, dataset: DatasetRef) -> str:
        """off | enabled | suspended"""
        ...

    async def set_versioning(self, principal: Principal, dataset: DatasetRef, state: str, request_id: str) -> None: ...

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
        """What follows (`after_key`, `after_version`); `after_version` "" means after every version of that key."""
        ...

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
        """Keys > `after` (byte order; "" = from the start), 1 <= limit <= 1000; limit counts keys and prefixes alike.

        With a delimiter, a common prefix appears when it holds a key > `after`, unless it equals `after`: then it was
        the last line of the page before and is skipped whole. `last` is the last key or prefix of this page.
        """
        ...

    async def list_datasets(self, principal: Principal) -> Sequence[tuple[str, int]]: ...
    async def head_dataset(self, principal: Principal, dataset: DatasetRef) -> None: ...
    async def create_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None: ...
    async def delete_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None: ...
    async def dataset_location(self, principal: Principal, dataset: DatasetRef) -> str: ...

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
    ) -> str: ...

    def open_part(
        self, principal: Principal, ref: ObjectRef, upload_id: str, part_number: int, request_id: str
    ) -> AbstractAsyncContextManager[OpenPart]: ...

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
        """Parts ascending by number. `checksums` and `size` are what the caller says of the whole object: verified.

        Repeating a successful completion with the same parts succeeds with its answer.
        """
        ...

    async def abort_upload(self, principal: Principal, ref: ObjectRef, upload_id: str, request_id: str) -> None: ...

    async def list_parts(
        self, principal: Principal, ref: ObjectRef, upload_id: str, *, after: int, limit: int
    ) -> PartListing: ...

    async def list_uploads(
        self,
        principal: Principal,
        dataset: DatasetRef,
        *,
        prefix: str,
        after_key: str,
        after_upload: str,
        limit: int,
        delimiter: str = "",
    ) -> UploadListing: ...
