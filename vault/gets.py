"""Opening objects and views, for a granted reader or for the builder that holds a job's lease."""

import json
from collections.abc import Callable

from vault.broker.types import Grant
from vault.catalog.rows import ManifestRow, VersionRow, ViewRow
from vault.envelope.manifest import MAX_STORED, manifest_sha256, open_manifest, read_header
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, Malformed, NotFound
from vault.ground import Ground, Opened
from vault.keys.hierarchy import KeyScope
from vault.reading import SealedReader, check_manifest

Unwrap = Callable[[KeyScope, str, WrappedKey], bytes]


class Gets(Ground):
    def open(self, row: VersionRow | ViewRow, key: str, grant: Grant) -> SealedReader:
        """`key`: the object's key as the request named it. Refused in the broker's words; Malformed where the bytes
        are not what the catalog pins; NotFound("view.building" | "version.marker") where there is nothing to open."""

        def unwrap(scope: KeyScope, subject: str, wrapped: WrappedKey) -> bytes:
            return self._broker.unwrap(scope, subject, wrapped, grant)

        opened = self._opened(row, key, holder(grant), unwrap)
        return SealedReader(self.store, opened.manifest, opened.object_key, self._scratch)

    def open_for_build(self, version: VersionRow, job_id: str, fence: int) -> SealedReader:
        """Verified plaintext of what a leased job renders. Nothing is cached."""
        opened = self.build_source(version, job_id, fence)
        return SealedReader(self.store, opened.manifest, opened.object_key, self._scratch)

    def build_source(self, version: VersionRow, job_id: str, fence: int) -> Opened:
        """Manifest and object key for the sandbox's parent: it hands over `body_key(object_key, body_id, part)` and
        serves sealed bytes by `store_key`; the sandbox opens them with `BodyOpener` and the manifest's pin."""

        def unwrap(scope: KeyScope, subject: str, wrapped: WrappedKey) -> bytes:
            return self._broker.builder_unwrap(scope, subject, wrapped, job_id, fence)

        return self._opened(version, version.key, None, unwrap)

    def forget_session(self, session_id: str) -> None:
        """A revoked session's cached keys go at once."""
        self._keys.forget_holder(self.tenant, session_id)
        self._described.forget_holder(self.tenant, session_id)

    def forget_keys(self) -> None:
        self._keys.clear()
        self._upload_keys.clear()
        self._described.clear()

    def _opened(self, row: VersionRow | ViewRow, key: str, held_by: str | None, unwrap: Unwrap) -> Opened:
        is_view = isinstance(row, ViewRow)
        subject = row.view_id if isinstance(row, ViewRow) else row.version_id
        closed = row.state != "ready" if isinstance(row, ViewRow) else row.delete_marker
        if closed or not row.manifest_id:
            raise NotFound("view.building" if is_view else "version.marker", subject)
        pinned = self.catalog.manifest(row.manifest_id, row.generation)
        if (pinned.subject, pinned.dataset_id) != (subject, row.dataset_id):
            raise Malformed("manifest.other", subject)
        found = None if held_by is None else self._keys.get(self.tenant, held_by, subject)
        if found is not None and found.sha256 == pinned.sha256:
            check_manifest(found.manifest, row, self.tenant, self.zone, key)
            return found
        key_class = "view" if isinstance(row, ViewRow) else row.key_class
        try:
            opened = self._load(pinned, key_class, unwrap)
        except NotFound as error:
            if error.reason == "store.missing" and self._superseded(row):
                raise Conflict("version.superseded", subject) from error
            raise
        check_manifest(opened.manifest, row, self.tenant, self.zone, key)
        if held_by is not None:
            self._keys.put(self.tenant, held_by, subject, opened)
        return opened

    def _superseded(self, row: VersionRow | ViewRow) -> bool:
        """Whether the row was overwritten or deleted since it was read: its manifest went with it, nothing is lost."""
        now = self.catalog.version(row.dataset_id, row.version_id)
        if now is None or isinstance(row, VersionRow):
            return now is None or now.generation != row.generation
        view = self.catalog.view(row.version_id, row.plan_id)
        return view is None or view.state != "ready"

    def _load(self, pinned: ManifestRow, key_class: str, unwrap: Unwrap) -> Opened:
        size = self.store.size(pinned.store_key)
        if size > MAX_STORED:
            raise Malformed("manifest.length", str(size))
        stored = self.store.read_at(pinned.store_key, 0, size)
        # The pin first: before it holds, not even the header line is read for a key.
        if manifest_sha256(stored) != pinned.sha256:
            raise Malformed("manifest.hash", "not the manifest the catalog pins")
        header = read_header(stored)
        if header.subject != pinned.subject or header.wrapped_key.key_class != key_class:
            raise Malformed("manifest.other", pinned.subject)
        object_key = unwrap(self._scope(pinned.dataset_id, key_class), pinned.subject, header.wrapped_key)
        return Opened(open_manifest(stored, object_key, pinned.sha256), pinned.sha256, object_key)


def holder(grant: Grant) -> str:
    """Who may use a cached key again: the session; without one, the same principal under the same view."""
    if grant.session_id is not None:
        return grant.session_id
    entry = json.loads(grant.entry)
    return f"{entry['principal']}/{entry['view']}"
