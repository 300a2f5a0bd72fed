"""Multipart uploads: open, add parts, complete or abort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.catalog.rows import DatasetRow, PartRow, UploadRow, VersionRow
from vault.catalog.section import NewJob, new_id
from vault.catalog.uploads import NewUpload
from vault.catalog.versions import NewView, Precondition
from vault.committing import Commits
from vault.errors import Broken, Malformed
from vault.reading import OpenBody
from vault.uploads import (
    MAX_PART_NUMBER,
    PartWriter,
    choose_parts,
    manifest_bodies,
    multipart_etag,
    open_metadata,
    seal_metadata,
    wrapped_from_json,
    wrapped_to_json,
)
from vault.writing import Facts, Said, SealedVersion, Subject, first_manifest_key, new_manifest_name


@dataclass(frozen=True, slots=True)
class SealedUpload:
    """A completed multipart object, its parts durable, nothing of it visible yet."""

    upload: UploadRow
    sealed: SealedVersion
    parts: tuple[PartRow, ...]


class Multipart(Commits):
    def begin_upload(
        self, dataset: DatasetRow, key: str, key_class: str, content_type: str, user_metadata: Mapping[str, str], *,
        principal_id: str, run_id: str, tags: Mapping[str, str] | None = None, checksum_algorithm: str = "",
        checksum_type: str = "",
    ) -> UploadRow:  # fmt: skip
        self._here(dataset)
        version_id, upload_id = new_id(), new_id()
        made = self._new_key(self._scope(dataset.dataset_id, key_class), version_id, upload_id)
        if made.upload_wrapped is None:
            raise Broken("broker.upload-wrap")
        place = self._place(dataset.dataset_id)
        new = NewUpload(
            dataset_id=dataset.dataset_id, upload_id=upload_id, key=key, version_id=version_id,
            principal_id=principal_id, run_id=run_id, content_type=content_type,
            sealed_metadata=seal_metadata(place, made.object_key, upload_id, user_metadata, tags or {}),
            wrapped=wrapped_to_json(made.wrapped), upload_wrapped=made.upload_wrapped,
            checksum_algorithm=checksum_algorithm, checksum_type=checksum_type,
        )  # fmt: skip
        return self.catalog.create_upload(new)

    def begin_part(self, upload: UploadRow, part_number: int) -> PartWriter:
        """Malformed("part.number") outside 1 to 10 000. Abort what is not finished."""
        if not 1 <= part_number <= MAX_PART_NUMBER:
            raise Malformed("part.number", str(part_number))
        place = self._place(upload.dataset_id)
        return PartWriter(self.store, self.catalog, upload, place, part_number, self._upload_key(upload))

    def finish_upload(self, upload: UploadRow, listed: Sequence[tuple[int, str]], facts: Facts) -> SealedUpload:
        """Check the client's list of (part number, unquoted ETag); nothing visible yet.
        Raises as `vault.uploads.choose_parts`."""
        parts = choose_parts(self.catalog.parts(upload.upload_id), listed, self._min_part)
        place, key = self._place(upload.dataset_id), self._upload_key(upload)
        metadata, tags = open_metadata(place, key, upload.upload_id, upload.sealed_metadata)
        version_id = upload.version_id
        subject = Subject("version", version_id, version_id, upload.key, upload.content_type, metadata, tags=tags)
        name = new_manifest_name()
        self.catalog.add_bodies([(name.manifest_id, name.store_key, upload.upload_id)], upload.dataset_id)
        sealed = SealedVersion(
            place=place, subject=subject, facts=facts, bodies=manifest_bodies(parts), etag=multipart_etag(parts),
            name=name, wrapped=wrapped_from_json(upload.wrapped), manifest_key=first_manifest_key(key),
        )  # fmt: skip
        return SealedUpload(upload, sealed, tuple(parts))

    def upload_edges(self, done: SealedUpload, count: int) -> tuple[bytes, bytes]:
        """First and last `count` bytes of what is about to be committed: its format is told by them."""
        key = self._upload_key(done.upload)
        return self._edge(done, key, 0, count), self._edge(done, key, -1, count)

    def _edge(self, done: SealedUpload, key: bytes, index: int, count: int) -> bytes:
        part = done.sealed.bodies[index]
        place = done.sealed.place
        body = OpenBody(self.store, place.tenant, place.zone, place.dataset_id, part, key)
        start = 0 if index == 0 else max(0, part.plain_length - count)
        try:
            return b"".join(body.stream(start, min(part.plain_length, start + count)))
        finally:
            body.close()

    def commit_upload(
        self, done: SealedUpload, *, written_by: str, run_id: str, record: str, object_format: str = "opaque",
        checksums: Mapping[str, str] | None = None, checksum_type: str = "", jobs: Sequence[NewJob] = (),
        views: Sequence[NewView] = (), expect: Precondition | None = None, result: Mapping[str, Any] | None = None,
    ) -> VersionRow:  # fmt: skip
        """As `Vault.commit`; when it refuses, the upload stays open with its parts. NotFound("upload") when another
        Complete was first: `upload.completed` has its answer, `result` or {"etag", "version_id", "size"}."""
        upload_id, sealed = done.upload.upload_id, done.sealed
        answer = dict(result or {"etag": sealed.etag, "version_id": done.upload.version_id, "size": sealed.size})
        said = Said(written_by, run_id, object_format, checksums or {}, checksum_type)
        version = self._committed(
            sealed, said, record,
            lambda new: self.catalog.complete(upload_id, new, done.parts, answer, jobs, views, expect),
            self._discard_manifest,
        ).row  # fmt: skip
        self._upload_keys.forget_holder(self.tenant, upload_id)
        return version

    def discard_upload(self, done: SealedUpload) -> None:
        """A completion the decision refused: the manifest goes, upload and parts stay."""
        self._discard_manifest(done.sealed)

    def _discard_manifest(self, sealed: SealedVersion) -> None:
        self.catalog.orphan_bodies([sealed.name.manifest_id])

    def complete_upload(
        self, upload: UploadRow, listed: Sequence[tuple[int, str]], facts: Facts, **commit: Any
    ) -> VersionRow:
        """`finish_upload` and `commit_upload` in one, for callers with nothing to decide in between."""
        return self.commit_upload(self.finish_upload(upload, listed, facts), **commit)

    def abort_upload(self, upload: UploadRow) -> None:
        """NotFound("upload") unless it is open. The broker is told first: a wrap that was kept opens nothing then."""
        scope = self._scope(upload.dataset_id, wrapped_from_json(upload.wrapped).key_class)
        self._broker.end_upload(scope, upload.version_id, upload.upload_id)
        self.catalog.abort(upload.dataset_id, upload.upload_id)
        self._upload_keys.forget_holder(self.tenant, upload.upload_id)

    def _upload_key(self, upload: UploadRow) -> bytes:
        found = self._upload_keys.get(self.tenant, upload.upload_id, upload.version_id)
        if found is None:
            scope = self._scope(upload.dataset_id, wrapped_from_json(upload.wrapped).key_class)
            found = self._broker.unwrap_upload(scope, upload.version_id, upload.upload_id, upload.upload_wrapped)
            self._upload_keys.put(self.tenant, upload.upload_id, upload.version_id, found)
        return found
