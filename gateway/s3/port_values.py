"""Values that pass between the S3 dialect and the guard: what a caller asks, what it is answered. See ports.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """A precondition to be checked atomically with the commit, never before it only."""

    if_none_match: bool = False  # If-None-Match: *  (the key must not exist)
    if_match: str | None = None  # the ETag the key must have now, or "*": the key must exist
    if_none_match_etag: str | None = None  # the ETag the key must not have now; an absent key passes


@dataclass(frozen=True, slots=True)
class DeleteCondition:
    """Preconditions of a delete, checked atomically with it. None: not asked."""

    if_match: str | None = None  # "*" or the ETag the key must have now
    if_match_last_modified: int | None = None  # ms UTC, compared by the second
    if_match_size: int | None = None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a copy's conditions are held against: the source as the caller's view shows it."""

    etag: str
    last_modified: int


CheckSource: TypeAlias = Callable[[SourceFacts], None]  # raises PreconditionFailed


@dataclass(frozen=True, slots=True)
class Checksums:
    """Checksums of one object or part as S3 spells them: {"crc32": base64}; `type` is FULL_OBJECT, COMPOSITE or ""."""

    values: Mapping[str, str] = field(default_factory=dict)
    type: str = ""


NO_CHECKSUMS = Checksums()


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One part of an object that was uploaded in parts, in the order it has in the object."""

    number: int
    size: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """A part as CompleteMultipartUpload names it; checksums only where the caller gave them."""

    number: int
    etag: str
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenPart:
    etag: str
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished CopyObject or UploadPartCopy."""

    etag: str
    last_modified: int
    version_id: str | None = None  # of what was written; None where the dataset shows no versions
    source_version_id: str | None = None
    checksums: Checksums = NO_CHECKSUMS
    decision_id: str = ""


@dataclass(frozen=True, slots=True)
class Tags:
    tags: Mapping[str, str]
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """One row of ListObjectVersions. A delete marker has size 0 and no ETag; the null version's id is "null"."""

    key: str
    version_id: str
    is_latest: bool
    delete_marker: bool
    size: int
    etag: str
    last_modified: int
    checksums: Checksums = NO_CHECKSUMS


@dataclass(frozen=True, slots=True)
class VersionListing:
    """Keys in UTF-8 byte order, within a key the newest version first; prefixes share the limit."""

    versions: tuple[ListedVersion, ...]
    common_prefixes: tuple[str, ...]
    truncated: bool
    last_key: str | None
    last_version: str | None  # None when the last line was a prefix
    decision_id: str = ""
    view: str = ""
    promise: str = ""


@dataclass(frozen=True, slots=True)
class WriteDigests:
    """What the guard computed over the bytes it was given, for a last check before the commit."""

    size: int
    md5: bytes  # 16 bytes


@dataclass(frozen=True, slots=True)
class Written:
    """A committed write. `version_id` is None where the dataset shows no versions on S3."""

    etag: str
    version_id: str | None
    size: int
    checksums: Checksums = NO_CHECKSUMS
    decision_id: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    delete_marker: bool
    version_id: str | None = None
    decision_id: str = ""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One row of a listing, describing the caller's view of the object."""

    key: str
    size: int
    etag: str
    last_modified: int
    checksums: Checksums = NO_CHECKSUMS


@dataclass(frozen=True, slots=True)
class Listing:
    """One page in UTF-8 byte order; keys and common prefixes share the limit. `last` continues it (as `after`)."""

    objects: tuple[ListedObject, ...]
    common_prefixes: tuple[str, ...]
    truncated: bool
    last: str | None
    decision_id: str = ""
    view: str = ""
    promise: str = ""


@dataclass(frozen=True, slots=True)
class ListedPart:
    number: int
    size: int
    etag: str
    last_modified: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartListing:
    """Parts with number > `after`, ascending, at most `limit`."""

    parts: tuple[ListedPart, ...]
    truncated: bool
    checksum_algorithm: str = ""  # as CreateMultipartUpload named it, lower case; "" when it named none
    checksum_type: str = ""


@dataclass(frozen=True, slots=True)
class ListedUpload:
    key: str
    upload_id: str
    initiated: int


@dataclass(frozen=True, slots=True)
class UploadListing:
    """Open uploads in (key, upload_id) order after (`after_key`, `after_upload`), at most `limit`."""

    uploads: tuple[ListedUpload, ...]
    truncated: bool
    common_prefixes: tuple[str, ...] = ()
