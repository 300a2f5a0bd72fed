"""A copy inside a dataset: a new version's manifest over the same bodies. No byte is read or sealed again.

The broker wraps the object key for the new version and gives the key of its manifest; the catalog counts who names a
body, so that it goes when the last one went.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vault.broker.types import Grant
from vault.catalog.rows import ManifestRow, VersionRow
from vault.catalog.section import NewJob, new_id
from vault.catalog.versions import NewView, Precondition
from vault.envelope.manifest import open_manifest_under
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, NotFound, Refused
from vault.generations import Generations
from vault.reading import check_manifest
from vault.writing import Facts, Said, SealedVersion, Subject, new_manifest_name


@dataclass(frozen=True, slots=True)
class Changes:
    """What a copy says differently; None: as the source does."""

    content_type: str | None = None
    user_metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    checksums: Mapping[str, str] | None = None  # of the whole object (FULL_OBJECT)


class Copies(Generations):
    def copy(
        self, source: VersionRow, target_key: str, facts: Facts, changes: Changes, grant: Grant, *, written_by: str,
        run_id: str, record: str, data_format: str | None = None,
        jobs: Callable[[str], Sequence[NewJob]] = lambda _: (), views: Sequence[NewView] = (),
        expect: Precondition | None = None,
    ) -> VersionRow:  # fmt: skip
        """Durable and visible when it returns. `grant`: of the promised read of `source`; `jobs` by new version id.
        `data_format`: what the copy may be masked as, where not what its source is.
        Conflict("precondition" | "copy.source-gone"), NotFound("dataset" | "key" | "version.marker")."""
        if facts.label == "personal" and source.key_class == "view":
            raise Refused("copy.class", "what may be personal is not sealed in the class that all readers open")
        sealed = self._copied(source, target_key, facts, changes, grant)
        said = Said(
            written_by, run_id, source.format if data_format is None else data_format,
            *((changes.checksums, "FULL_OBJECT") if changes.checksums else _kept(source)),
        )  # fmt: skip
        shared = [body.body_id for body in sealed.bodies]
        queued = jobs(sealed.subject.version_id)
        return self._committed(
            sealed, said, record,
            lambda new: self.catalog.commit_copy(new, source, shared, queued, views, expect), self._discard_name,
        ).row  # fmt: skip

    def _copied(
        self, source: VersionRow, target_key: str, facts: Facts, changes: Changes, grant: Grant
    ) -> SealedVersion:
        pinned = self._pinned(source)
        stored, wrapped = self._source_manifest(source, pinned)
        scope, version_id, name = self._scope(source.dataset_id, source.key_class), new_id(), new_manifest_name()

        def released(manifest_id: str) -> tuple[bytes, bytes, WrappedKey]:
            wanted = [(source.manifest_id, source.generation), (manifest_id, 1)]
            found = self._broker.manifest_keys(scope, source.version_id, wrapped, grant, wanted, version_id)
            if found.wrapped is None:
                raise Refused("broker.copy", "no wrap for the copy")
            return found.keys[0], found.keys[1], found.wrapped

        source_key, manifest_key, new_wrap = released(name.manifest_id)
        manifest = open_manifest_under(stored, source_key, pinned.sha256)
        check_manifest(manifest, source, self.tenant, self.zone, source.key)
        self.catalog.add_bodies([(name.manifest_id, name.store_key, version_id)], source.dataset_id)
        content_type = manifest.content_type if changes.content_type is None else changes.content_type
        metadata = manifest.user_metadata if changes.user_metadata is None else changes.user_metadata
        tags = manifest.tags if changes.tags is None else changes.tags
        return SealedVersion(
            place=self._place(source.dataset_id),
            subject=Subject(
                "version", version_id, version_id, target_key, content_type, dict(metadata), tags=dict(tags)
            ),
            facts=facts, bodies=manifest.bodies, etag=manifest.etag, name=name, wrapped=new_wrap,
            manifest_key=lambda wanted: manifest_key if wanted == name.manifest_id else released(wanted)[1],
        )  # fmt: skip

    def _source_manifest(self, source: VersionRow, pinned: ManifestRow) -> tuple[bytes, WrappedKey]:
        """Of a source that was overwritten, deleted or tagged since its row was read, the manifest went with it:
        nothing of ours is lost."""
        try:
            return self._stored_manifest(source, pinned)
        except NotFound as error:
            now = self.catalog.version(source.dataset_id, source.version_id)
            if error.reason == "store.missing" and (now is None or now.generation != source.generation):
                raise Conflict("copy.source-gone", source.version_id) from error
            raise

    def _discard_name(self, sealed: SealedVersion) -> None:
        self.catalog.orphan_bodies([sealed.name.manifest_id])


def _kept(source: VersionRow) -> tuple[dict[str, str], str]:
    values = dict(source.checksums)
    kind = values.pop("type", "")
    return values, kind
