"""What S3 says about keys, versions and delete markers, as a small model in memory. No ports, no coroutines.

`Bucket` is one dataset. Its rules are S3's: without versioning (and under suspension) a write replaces the null
version; with it every write adds one, and a delete without a version adds a marker.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import BadRequest, NotFound, PreconditionFailed
from gateway.s3.ports import NO_CHECKSUMS, Checksums, DeleteCondition, StoredPart, WriteCondition


@dataclass(frozen=True)
class Version:
    """One version of one key; a marker has no body. `sequence` grows with every write of the bucket."""

    body: bytes
    etag: str
    content_type: str
    user_metadata: Mapping[str, str]
    last_modified: int
    version_id: str = "null"
    sequence: int = 0
    marker: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    checksums: Checksums = NO_CHECKSUMS
    parts: tuple[StoredPart, ...] = ()


@dataclass
class Bucket:
    versioning: str = "off"  # off | enabled | suspended
    keys: dict[str, list[Version]] = field(default_factory=dict)  # newest first
    written: int = 0
    places: dict[tuple[str, str], int] = field(default_factory=dict)  # (key, version) -> its last sequence, for pages

    def next_version(self) -> tuple[str, int]:
        self.written += 1
        return (secrets.token_hex(16) if self.versioning == "enabled" else "null"), self.written

    def latest(self, key: str) -> Version | None:
        """The newest version, marker or not."""
        found = self.keys.get(key)
        return found[0] if found else None

    def current(self, key: str) -> Version | None:
        """What a GET without a version sees."""
        found = self.latest(key)
        return None if found is None or found.marker else found

    def add(self, key: str, version: Version) -> None:
        """Put a version on top; a null version replaces the null version that was there."""
        kept = [old for old in self.keys.get(key, []) if version.version_id != "null" or old.version_id != "null"]
        self.keys[key] = [version, *kept]
        self.places[key, version.version_id] = version.sequence

    def replace(self, key: str, old: Version, new: Version) -> None:
        self.keys[key] = [new if each is old else each for each in self.keys[key]]

    def remove(self, key: str, version_id: str) -> Version:
        for found in self.keys.get(key, []):
            if found.version_id == version_id:
                self.keys[key].remove(found)
                if not self.keys[key]:
                    del self.keys[key]
                return found
        raise NotFound("NoSuchVersion", "the specified version does not exist")

    def find(self, key: str, version_id: str | None) -> Version:
        """Raises NotFound "NoSuchKey" / "NoSuchVersion", or 405 for a marker that was named, with S3's headers."""
        if version_id is None:
            found = self.latest(key)
            if found is None:
                raise NotFound("NoSuchKey", "the specified key does not exist")
            if found.marker:
                raise NotFound("NoSuchKey", "the specified key does not exist", headers=_marker_headers(found))
            return found
        for found in self.keys.get(key, []):
            if found.version_id == version_id:
                if found.marker:
                    raise BadRequest(
                        "MethodNotAllowed", "a delete marker cannot be read", status=405, headers=_marker_headers(found)
                    )
                return found
        raise NotFound("NoSuchVersion", "the specified version does not exist")

    def shown(self, version_id: str) -> str | None:
        """The version id as an answer names it: a dataset that never had versions shows none."""
        return None if self.versioning == "off" else version_id

    def check_write(self, key: str, condition: WriteCondition | None) -> None:
        if condition is None:
            return
        current = self.current(key)
        if condition.if_none_match and current is not None:
            raise PreconditionFailed("PreconditionFailed", "the key exists")
        if condition.if_none_match_etag is not None and current and current.etag == condition.if_none_match_etag:
            raise PreconditionFailed("PreconditionFailed", "the key has that ETag")
        if condition.if_match is not None:
            if current is None:
                raise NotFound("NoSuchKey", "the specified key does not exist")
            if condition.if_match not in ("*", current.etag):
                raise PreconditionFailed("PreconditionFailed", "the key has another ETag now")

    def check_delete(self, key: str, version_id: str | None, condition: DeleteCondition | None) -> None:
        if condition is None:
            return
        found = self.latest(key)
        if version_id is not None:
            found = next((each for each in self.keys.get(key, []) if each.version_id == version_id), None)
        if found is None:
            raise NotFound("NoSuchKey", "the specified key does not exist")
        seconds = condition.if_match_last_modified
        if (
            (condition.if_match is not None and condition.if_match not in ("*", found.etag))
            or (seconds is not None and seconds // 1000 != found.last_modified // 1000)
            or (condition.if_match_size is not None and condition.if_match_size != len(found.body))
        ):
            raise PreconditionFailed("PreconditionFailed", "the object is another one now")

    def lines(self, prefix: str, *, every_version: bool) -> Iterator[tuple[str, Version]]:
        """Keys in UTF-8 byte order; within a key the newest first."""
        for key in sorted(self.keys, key=lambda name: name.encode("utf-8")):
            if key.startswith(prefix):
                if every_version:
                    yield from ((key, version) for version in self.keys[key])
                elif (current := self.current(key)) is not None:
                    yield key, current


def _marker_headers(marker: Version) -> dict[str, str]:
    return {"x-amz-delete-marker": "true", "x-amz-version-id": marker.version_id}


def group_of(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix a key falls into, or None when it stands for itself."""
    cut = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[: cut + len(delimiter)] if cut >= 0 else None


def grouped(keys: Sequence[str], prefix: str, delimiter: str, after: str) -> list[tuple[str, str | None]]:
    """(line, key): one line a key, or a prefix (key None) once for all its keys; a prefix equal to `after` is past."""
    out: list[tuple[str, str | None]] = []
    for key in keys:
        group = group_of(key, prefix, delimiter)
        if group is None:
            out.append((key, key))
        elif group != after and (not out or out[-1] != (group, None)):
            out.append((group, None))
    return out
