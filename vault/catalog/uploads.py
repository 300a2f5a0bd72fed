"""Multipart uploads: open until one transaction completes or aborts them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, or_

from vault.catalog.listing import after_prefix, rolled
from vault.catalog.mapping import PART, UPLOAD
from vault.catalog.rows import PartRow, UploadRow
from vault.catalog.section import NewJob, literal, same
from vault.catalog.tables import part, upload
from vault.catalog.versions import Committed, NewVersion, NewView, Precondition, Versions
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, NotFound

_BY_ID = UPLOAD.select.where(same(upload, "dataset_id", "upload_id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_PART = PART.select.where(same(part, "upload_id", "part_number"))
_PARTS = (
    PART.select.where(same(part, "upload_id"), part.c.part_number > bindparam("after"))
    .order_by(part.c.part_number)
    .limit(bindparam("limit"))
)
_OF_WHOM = UPLOAD.select.where(
    same(upload, "dataset_id", "principal_id"), upload.c.state == literal("open"), upload.c.key >= bindparam("prefix")
)
_IN_ORDER = (upload.c.key, upload.c.upload_id)
_OPEN = _OF_WHOM.where(
    or_(
        upload.c.key > bindparam("after_key"),
        and_(upload.c.key == bindparam("after_key"), upload.c.upload_id > bindparam("after_upload")),
    )
).order_by(*_IN_ORDER).limit(bindparam("limit"))
_STALE = UPLOAD.select.where(same(upload, "state"), upload.c.created_at < bindparam("before")).limit(bindparam("limit"))
_FORGET_PARTS = delete(part).where(part.c.tenant == bindparam("p_tenant"), part.c.upload_id == bindparam("p_upload"))
MAX_PARTS = 10_000
_BATCH = 256
_LAST = "\U0010ffff"
_GROUP_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class NewUpload:
    dataset_id: str
    upload_id: str
    key: str
    version_id: str
    principal_id: str
    run_id: str
    content_type: str
    sealed_metadata: bytes
    wrapped: dict[str, Any]
    upload_wrapped: bytes
    checksum_algorithm: str = ""
    checksum_type: str = ""

    def wraps(self) -> list[tuple[str, WrappedKey]]:
        """Both wraps of the object key by subject: of the version to be, and for this upload only."""
        group_id, key_class = self.wrapped["group_id"], self.wrapped["key_class"]
        of_upload = WrappedKey(group_id, key_class, self.upload_wrapped[_GROUP_ID_BYTES:])
        of_version = WrappedKey(group_id, key_class, base64.b64decode(self.wrapped["wrapped"]))
        return [(self.version_id, of_version), (f"{self.version_id}:{self.upload_id}", of_upload)]


@dataclass(frozen=True, slots=True)
class UploadPage:
    """Open uploads by (key, upload id); `limit` counted common prefixes too."""

    uploads: tuple[UploadRow, ...]
    common_prefixes: tuple[str, ...]
    truncated: bool


class Uploads(Versions):
    def create_upload(self, new: NewUpload) -> UploadRow:
        row = UploadRow(
            tenant=self.tenant, dataset_id=new.dataset_id, upload_id=new.upload_id, key=new.key,
            version_id=new.version_id, principal_id=new.principal_id, run_id=new.run_id, state="open",
            content_type=new.content_type, sealed_metadata=new.sealed_metadata, wrapped=new.wrapped,
            upload_wrapped=new.upload_wrapped, completed=None,
            checksum_algorithm=new.checksum_algorithm, checksum_type=new.checksum_type, created_at=self._clock(),
        )  # fmt: skip
        with self._database.write() as connection:
            self._locked_dataset(connection, new.dataset_id)
            self._insert(connection, UPLOAD, row)
            for subject, wrapped in new.wraps():
                self._hold_wrap(connection, new.dataset_id, subject, wrapped)
        return row

    def find_upload(self, dataset_id: str, upload_id: str) -> UploadRow | None:
        return self._find(UPLOAD, _BY_ID, dataset_id=dataset_id, upload_id=upload_id)

    def get_upload(self, dataset_id: str, upload_id: str) -> UploadRow:
        """NotFound("upload") for an unknown or aborted one; a completed one is answered, see its `completed`."""
        row = self.find_upload(dataset_id, upload_id)
        if row is None or row.state == "aborted":
            raise NotFound("upload", upload_id)
        return row

    def upload_page(
        self, dataset_id: str, principal_id: str, *, prefix: str = "", delimiter: str = "", after_key: str = "",
        after_upload: str = "", limit: int = 1000,
    ) -> UploadPage:  # fmt: skip
        """Open uploads of one principal after (`after_key`, `after_upload`), or after every upload of `after_key` where
        `after_upload` is empty."""
        uploads: list[UploadRow] = []
        prefixes: list[str] = []
        at, behind = after_key, after_upload or _LAST if after_key else ""
        if delimiter and after_key and rolled(after_key, prefix, delimiter) == after_key:
            at, behind = after_prefix(after_key) or _LAST, ""
        while True:
            wanted = min(_BATCH, limit - len(uploads) - len(prefixes) + 1)
            found = self._all(
                UPLOAD, _OPEN, dataset_id=dataset_id, principal_id=principal_id, prefix=prefix, after_key=at,
                after_upload=behind, limit=wanted,
            )  # fmt: skip
            for row in found:
                if not row.key.startswith(prefix):
                    return UploadPage(tuple(uploads), tuple(prefixes), False)
                group = rolled(row.key, prefix, delimiter)
                if group is not None and prefixes and prefixes[-1] == group:
                    continue
                if len(uploads) + len(prefixes) == limit:
                    return UploadPage(tuple(uploads), tuple(prefixes), True)
                if group is None:
                    uploads.append(row)
                else:
                    prefixes.append(group)
            if len(found) < wanted:
                return UploadPage(tuple(uploads), tuple(prefixes), False)
            at, behind = found[-1].key, found[-1].upload_id

    def stale_uploads(self, before: int, limit: int = 100) -> list[UploadRow]:
        """Open since before `before` (ms): the sweeper aborts them."""
        return self._all(UPLOAD, _STALE, state="open", before=before, limit=limit)

    def put_part(self, dataset_id: str, row: PartRow) -> None:
        """Its body must be durable in the store. A part sent again takes the place of the earlier one.
        NotFound("upload") unless the upload is still open."""
        with self._database.write() as connection:
            self._open_upload(connection, dataset_id, row.upload_id)
            self._hold(connection, row.body_id, row.sealed_length)
            found = self._within(connection, PART, _PART, upload_id=row.upload_id, part_number=row.part_number)
            if found is None:
                self._insert(connection, PART, row)
            else:
                self._orphan_one(connection, found.body_id)
                self._replace(connection, PART, row)

    def parts(self, upload_id: str, after: int = 0, limit: int = MAX_PARTS) -> list[PartRow]:
        return self._all(PART, _PARTS, upload_id=upload_id, after=after, limit=limit)

    def complete(
        self, upload_id: str, new: NewVersion, used: Sequence[PartRow], result: dict[str, Any],
        jobs: Sequence[NewJob] = (), views: Sequence[NewView] = (), expect: Precondition | None = None,
    ) -> Committed:  # fmt: skip
        """The commit of a multipart version: upload closed, parts used made live, others orphaned, all or nothing.
        Conflict("part.changed") when a part was sent again since the manifest was made; NotFound("upload") when the
        upload is not open any more: look at its `completed`."""
        with self._database.write() as connection:
            row = self._open_upload(connection, new.dataset_id, upload_id)
            params = {"tenant": self.tenant, "upload_id": upload_id, "after": 0, "limit": MAX_PARTS}
            stored: list[PartRow] = [PART.read(each, self._seal) for each in connection.execute(_PARTS, params)]
            current = {each.part_number: each.body_id for each in stored}
            wanted = {each.part_number: each.body_id for each in used}
            if any(current.get(number) != body_id for number, body_id in wanted.items()):
                raise Conflict("part.changed", upload_id)
            for number, body_id in current.items():
                if number not in wanted:
                    self._orphan_one(connection, body_id)
            done = self._commit_version(connection, new, jobs, views, expect)
            self._replace(connection, UPLOAD, _closed(replace(row, state="completed", completed=result)))
            self._drop_wrap(connection, f"{row.version_id}:{upload_id}")
            connection.execute(_FORGET_PARTS, {"p_tenant": self.tenant, "p_upload": upload_id})
        return done

    def abort(self, dataset_id: str, upload_id: str) -> None:
        """NotFound("upload") unless it is open."""
        with self._database.write() as connection:
            row = self._open_upload(connection, dataset_id, upload_id)
            self._replace(connection, UPLOAD, _closed(replace(row, state="aborted")))
            self._orphan_subject(connection, upload_id)
            self._drop_wrap(connection, row.version_id)
            connection.execute(_FORGET_PARTS, {"p_tenant": self.tenant, "p_upload": upload_id})

    def _open_upload(self, connection: Connection, dataset_id: str, upload_id: str) -> UploadRow:
        row = self._within(connection, UPLOAD, _BY_ID_LOCKED, dataset_id=dataset_id, upload_id=upload_id)
        if row is None or row.state != "open":
            raise NotFound("upload", upload_id)
        return row


def _closed(row: UploadRow) -> UploadRow:
    """Without the second wrap of its object key. The broker opens that one for an open upload and asks for no session:
    with the wrap still there, a row set to `open` again would open raw data to a front worker that was taken over."""
    return replace(row, upload_wrapped=b"")
