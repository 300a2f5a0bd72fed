"""DELETE: a version taken away for good, or a delete marker, which is a version with a sealed manifest of its own."""

from vault.catalog.rows import DatasetRow
from vault.catalog.section import new_id
from vault.catalog.versions import Deleted, DeletePrecondition, NewMarker
from vault.committing import MAX_STAMPS, Commits
from vault.errors import Conflict, Unavailable, VaultError
from vault.writing import Facts, Said, SealedVersion, Subject, first_manifest_key, new_manifest_name, store_manifest


class Deletes(Commits):
    def delete(
        self, dataset: DatasetRow, key: str, *, by: str, run_id: str, record: str, version_id: str | None = None,
        expect: DeletePrecondition | None = None,
    ) -> Deleted:  # fmt: skip
        """When this returns, what is gone cannot come back from the store either, and a marker would.
        Conflict("precondition"): nothing happened."""
        self._here(dataset)
        if version_id is not None or dataset.versioning == "off":
            try:
                return self._deleted(dataset, key, by, run_id, record, version_id, None, expect)
            except Conflict as error:
                if error.reason != "version.marker":
                    raise
        for _ in range(MAX_STAMPS):
            sealed = self._marker(dataset, key)
            try:
                marker = self._store_marker(sealed, Said(by, run_id, "opaque"))
                done = self._deleted(dataset, key, by, run_id, record, None, marker, expect)
                if not done.delete_marker:
                    self._discard(sealed)
                return done
            except Conflict as error:
                self._discard(sealed)
                if error.reason != "version.stamp":
                    raise
            except VaultError:
                self._discard(sealed)
                raise
        raise Unavailable("version.contended", key)

    def _deleted(
        self, dataset: DatasetRow, key: str, by: str, run_id: str, record: str, version_id: str | None,
        marker: NewMarker | None, expect: DeletePrecondition | None,
    ) -> Deleted:  # fmt: skip
        done = self.catalog.put_delete(
            dataset.dataset_id, key, by, run_id, record, version_id=version_id, marker=marker, expect=expect,
            sealed_markers=True,
        )  # fmt: skip
        self._take_away(done.superseded)
        return done

    def _marker(self, dataset: DatasetRow, key: str) -> SealedVersion:
        """The name alone may be personal: it is sealed as the dataset's objects are."""
        key_class = "view" if dataset.label == "none" else "raw"
        version_id, name = new_id(), new_manifest_name()
        made = self._new_key(self._scope(dataset.dataset_id, key_class), version_id)
        self.catalog.add_bodies([(name.manifest_id, name.store_key, version_id)], dataset.dataset_id)
        return SealedVersion(
            place=self._place(dataset.dataset_id), subject=Subject("marker", version_id, version_id, key, ""),
            facts=Facts(dataset.label, (), dataset.contract_version), bodies=(), etag="", name=name,
            wrapped=made.wrapped, manifest_key=first_manifest_key(made.object_key),
        )  # fmt: skip

    def _store_marker(self, sealed: SealedVersion, said: Said) -> NewMarker:
        written_at, null_version = self._stamp(sealed)
        stored = store_manifest(self.store, sealed, said, written_at=written_at, null_version=null_version)
        return NewMarker(
            version_id=sealed.subject.subject, manifest=stored.manifest, length=stored.length,
            key_class=sealed.key_class, label=sealed.facts.label, written_at=written_at, null_version=null_version,
        )  # fmt: skip
