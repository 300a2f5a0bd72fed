"""Writing objects and views: seal first, make durable, then one commit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vault.catalog.rows import DatasetRow, VersionRow, ViewRow
from vault.catalog.section import NewJob, new_id
from vault.catalog.versions import NewView, Precondition
from vault.catalog.views import ReadyView
from vault.committing import Commits
from vault.errors import Broken, VaultError
from vault.store.store import Readable
from vault.writing import Facts, PutWriter, Said, SealedVersion, Subject, store_manifest


class Puts(Commits):
    def begin(
        self, dataset: DatasetRow, key: str, key_class: str, content_type: str, user_metadata: Mapping[str, str],
        tags: Mapping[str, str] | None = None,
    ) -> PutWriter:  # fmt: skip
        """`key_class`: raw, or view where the dataset holds no personal data. Abort what is not finished."""
        self._here(dataset)
        version_id = new_id()
        subject = Subject(
            "version", version_id, version_id, key, content_type, dict(user_metadata), tags=dict(tags or {})
        )
        return self._writer(dataset.dataset_id, key_class, subject)

    def commit(
        self, sealed: SealedVersion, *, written_by: str, run_id: str, record: str, object_format: str = "opaque",
        checksums: Mapping[str, str] | None = None, checksum_type: str = "", jobs: Sequence[NewJob] = (),
        views: Sequence[NewView] = (), expect: Precondition | None = None,
    ) -> VersionRow:  # fmt: skip
        """Durable and visible when it returns, and what it overwrote cannot come back. Conflict("precondition"),
        NotFound("dataset" | "key"): nothing of the write remains then."""
        said = Said(written_by, run_id, object_format, checksums or {}, checksum_type)
        return self._committed(
            sealed, said, record, lambda new: self.catalog.commit_version(new, jobs, views, expect), self._discard
        ).row

    def discard(self, sealed: SealedVersion) -> None:
        """A sealed write that the decision at completion refused."""
        self._discard(sealed)

    def begin_view(self, version: VersionRow, view: ViewRow, content_type: str) -> PutWriter:
        """A rendering of `version`, sealed under a key of its own in class view."""
        if view.version_id != version.version_id:
            raise Broken("view.version", view.view_id)
        subject = Subject("view", view.view_id, version.version_id, version.key, content_type, {}, view.plan_id)
        return self._writer(version.dataset_id, "view", subject)

    def commit_view(
        self, sealed: SealedVersion, record: str, *, columns: Sequence[Any] | None = None, builder: str | None = None
    ) -> ViewRow:
        """The first committed build wins; a later one is answered the winner's row and leaves nothing."""
        try:
            stored = store_manifest(self.store, sealed, Said(), written_at=self._clock(), null_version=False)
            ready = ReadyView(
                view_id=sealed.subject.subject, size=sealed.size, etag=sealed.etag,
                content_type=sealed.subject.content_type, manifest=stored.manifest, bodies=sealed.lengths(stored),
                columns=None if columns is None else tuple(columns),
            )  # fmt: skip
            return self.catalog.view_ready(ready, record, builder)
        except VaultError:
            self._discard(sealed)
            raise

    def put_view(
        self, version: VersionRow, view: ViewRow, chunks: Iterable[Readable], content_type: str, record: str, *,
        columns: Sequence[Any] | None = None, builder: str | None = None,
    ) -> ViewRow:  # fmt: skip
        """Seal what a build yields and commit it; a build that raises leaves nothing."""
        writer = self.begin_view(version, view, content_type)
        try:
            for chunk in chunks:
                writer.write(chunk)
            sealed = writer.finish(Facts(version.label, version.placement, version.contract_version))
        except BaseException:
            writer.abort()
            raise
        return self.commit_view(sealed, record, columns=columns, builder=builder)

    def _writer(self, dataset_id: str, key_class: str, subject: Subject) -> PutWriter:
        made = self._new_key(self._scope(dataset_id, key_class), subject.subject)
        return PutWriter(self.store, self.catalog, self._place(dataset_id), subject, made.object_key, made.wrapped)
