"""What a version says of itself, read and written without its object key: tags and labels are manifest generations.

The broker gives the keys of single manifests for a promised decision (`manifest_keys`); with them names are read and
written, and no body opens. So who may write an object without reading it can tag it, and its bytes stay shut.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal, cast

from vault.broker.types import Grant
from vault.catalog.rows import ManifestRow, VersionRow
from vault.catalog.section import NewJob, new_id
from vault.catalog.versions import NewGeneration, NewView
from vault.committing import Commits
from vault.envelope.manifest import (
    MAX_STORED,
    Manifest,
    manifest_sha256,
    open_manifest_under,
    read_header,
    seal_manifest_under,
)
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, Malformed, NotFound, VaultError
from vault.gets import holder
from vault.reading import check_manifest
from vault.writing import store_key

AGAIN = 16
"""Tries against others who write generations of the same version at the same moment."""


class Generations(Commits):
    def describe(self, row: VersionRow, key: str, grant: Grant) -> Manifest:
        """What was written, for a caller who is not given its bytes. As `Vault.open`, without an object key."""
        pinned = self._pinned(row)
        held_by = holder(grant)
        found = self._described.get(self.tenant, held_by, row.version_id)
        if found is None or found[0] != pinned.sha256:
            stored, wrapped = self._stored_manifest(row, pinned)
            released = self._broker.manifest_keys(
                self._scope(row.dataset_id, row.key_class), row.version_id, wrapped, grant,
                [(row.manifest_id, row.generation)],
            )  # fmt: skip
            found = pinned.sha256, open_manifest_under(stored, released.keys[0], pinned.sha256)
            self._described.put(self.tenant, held_by, row.version_id, found)
        check_manifest(found[1], row, self.tenant, self.zone, key)
        return found[1]

    def tag(self, row: VersionRow, tags: Mapping[str, str], grant: Grant, record: str) -> VersionRow:
        """All tags at once. NotFound("version") when it is gone."""
        return self._generation(row, grant, record, lambda manifest: replace(manifest, tags=dict(tags)))

    def relabel(
        self, row: VersionRow, label: str, grant: Grant, record: str, *, jobs: Sequence[NewJob] = (),
        views: Sequence[NewView] = (),
    ) -> VersionRow:  # fmt: skip
        """A named declassification, or its contrary, in manifest and row; views it makes needful are queued with it."""
        said = cast("Literal['personal', 'none']", label)
        return self._generation(
            row, grant, record, lambda manifest: replace(manifest, label=said), label=label, jobs=jobs, views=views
        )

    def _generation(
        self, row: VersionRow, grant: Grant, record: str, change: Callable[[Manifest], Manifest], *,
        label: str | None = None, jobs: Sequence[NewJob] = (), views: Sequence[NewView] = (),
    ) -> VersionRow:  # fmt: skip
        """The next generation, durable, then the commit that pins it. Who was overtaken does it again on what is there
        then: the last one stays."""
        for _ in range(AGAIN):
            try:
                body_id, made, length = self._next(row, grant, change)
            except NotFound as error:
                if error.reason != "store.missing":
                    raise
                row = self._now(row)  # deleted meanwhile: `_now` says so
                continue
            new = NewGeneration(made, body_id, length, label)
            try:
                done = self.catalog.next_generation(row, new, record, jobs=jobs, views=views)
            except VaultError as error:
                self.catalog.orphan_bodies([body_id])
                with suppress(VaultError):  # the sweeper comes by as well
                    self.store.delete(made.store_key)
                if not isinstance(error, Conflict) or error.reason not in {"version.generation", "body.gone"}:
                    raise
                row = self._now(row)
                continue
            self._take_away(done.superseded)
            return done.row
        raise Conflict("version.generation", row.version_id)

    def _next(
        self, row: VersionRow, grant: Grant, change: Callable[[Manifest], Manifest]
    ) -> tuple[str, ManifestRow, int]:
        pinned = self._pinned(row)
        stored, wrapped = self._stored_manifest(row, pinned)
        following = row.generation + 1
        released = self._broker.manifest_keys(
            self._scope(row.dataset_id, row.key_class), row.version_id, wrapped, grant,
            [(row.manifest_id, row.generation), (row.manifest_id, following)],
        )  # fmt: skip
        old = open_manifest_under(stored, released.keys[0], pinned.sha256)
        check_manifest(old, row, self.tenant, self.zone, row.key)
        new = replace(change(old), generation=following, previous_sha256=pinned.sha256.hex())
        raw = seal_manifest_under(new, released.keys[1], wrapped)
        body_id, name = new_id(), store_key("m", new_id())
        self.catalog.add_bodies([(body_id, name, row.version_id)], row.dataset_id)
        try:
            self.store.put_bytes(name, raw)
        except VaultError:
            self.catalog.orphan_bodies([body_id])
            raise
        return body_id, replace(pinned, generation=following, sha256=manifest_sha256(raw), store_key=name), len(raw)

    def _now(self, row: VersionRow) -> VersionRow:
        now = self.catalog.version(row.dataset_id, row.version_id)
        if now is None:
            raise NotFound("version", row.version_id)
        return now

    def _pinned(self, row: VersionRow) -> ManifestRow:
        if row.delete_marker or not row.manifest_id:
            raise NotFound("version.marker", row.version_id)
        pinned = self.catalog.manifest(row.manifest_id, row.generation)
        if (pinned.subject, pinned.dataset_id) != (row.version_id, row.dataset_id):
            raise Malformed("manifest.other", row.version_id)
        return pinned

    def _stored_manifest(self, row: VersionRow, pinned: ManifestRow) -> tuple[bytes, WrappedKey]:
        """The stored bytes, held to the pin before anything of them is read, and the wrap in their header."""
        size = self.store.size(pinned.store_key)
        if size > MAX_STORED:
            raise Malformed("manifest.length", str(size))
        stored = self.store.read_at(pinned.store_key, 0, size)
        if manifest_sha256(stored) != pinned.sha256:
            raise Malformed("manifest.hash", "not the manifest the catalog pins")
        header = read_header(stored)
        if header.subject != row.version_id or header.wrapped_key.key_class != row.key_class:
            raise Malformed("manifest.other", row.version_id)
        return stored, header.wrapped_key
