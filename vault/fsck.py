"""Catalog, store and ledger held against each other. Reports; repairs what can be repaired without guessing.

Nothing is ever repaired by believing less: a row without its seal, a body that is gone, a dataset behind its ledger are
reported and stay. What is repaired is bookkeeping: records written again, views queued again, orphans handed to the
sweeper.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vault.catalog.catalog import Catalog
from vault.catalog.rows import KeyWrapRow, ManifestRow, VersionRow, ViewRow
from vault.catalog.versions import view_job
from vault.envelope.manifest import MAX_STORED, manifest_sha256, open_manifest, read_header
from vault.envelope.wrap import WrappedKey
from vault.errors import Malformed, NotFound, Refused
from vault.keys.hierarchy import KeyScope
from vault.reading import OpenBody, check_manifest
from vault.rebuild import Evidence, superseded_by_ledger
from vault.records import StoreRecords
from vault.store.store import Store

UNNAMED_GRACE_MS = 7 * 86_400_000
EVERY = 500
Progress = Callable[[str, int], None]


class Opens(Protocol):
    """`vault.keys.hierarchy.KeyRing`: only who holds the provider's credentials can look into bodies."""

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` names the rule, `name` the row or store key. `repaired`: it is no more."""

    code: str
    name: str
    repaired: bool = False


@dataclass(slots=True)
class Checked:
    findings: list[Finding] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)

    @property
    def remaining(self) -> list[Finding]:
        return [each for each in self.findings if not each.repaired]


class Fsck:
    """`run()` reads while the zone serves; with `repair` no other process should be writing."""

    def __init__(
        self, store: Store, catalog: Catalog, zone: str, *, evidence: Evidence | None = None, keys: Opens | None = None,
        repair: bool = False, progress: Progress = lambda _what, _count: None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`keys`: deep, every body is read and authenticated; nothing of its plaintext leaves this object. `settle`
        waits until what a serving zone was just writing is written: a record lies in the store before its row says so.
        """
        self._store = store
        self._catalog = catalog
        self._zone = zone
        self._evidence = evidence
        self._keys = keys
        self._repair = repair
        self._progress = progress
        self._settle = settle
        self._records = StoreRecords(store, catalog, zone)
        self._ahead: list[str] = []
        self.checked = Checked()

    def run(self) -> Checked:
        for look in (
            self._rows, self._manifests, self._versions, self._wraps, self._bodies, self._views, self._newer_records,
            self._kept_records, self._unnamed, self._ledger,
        ):  # fmt: skip
            self.checked.findings.extend(look())
        if self._keys is not None:
            self.checked.findings.extend(self._deep(self._keys))
        return self.checked

    def _rows(self) -> Iterator[Finding]:
        for table, name in self._catalog.edited_rows():
            yield Finding("row.edited", f"{table} {name}")
        for dataset_id, _key in self._catalog.keys_without_latest():
            yield Finding("key.latest", dataset_id)  # the key itself may be personal

    def _manifests(self) -> Iterator[Finding]:
        living = {row.manifest_id: row.generation for row in self._catalog.every_version()} | {
            row.manifest_id: row.generation for row in self._catalog.every_view() if row.state == "ready"
        }
        for row in self._catalog.every_manifest():
            if living.get(row.manifest_id) != row.generation:
                continue
            self._seen("manifests")
            try:
                if manifest_sha256(self._stored(row)) != row.sha256:
                    yield Finding("manifest.hash", row.store_key)
            except (NotFound, Malformed) as error:
                yield Finding(error.reason.replace("store.", "manifest."), row.store_key)

    def _versions(self) -> Iterator[Finding]:
        for row in self._catalog.every_version():
            self._seen("versions")
            try:
                if row.manifest_id:
                    self._catalog.manifest(row.manifest_id, row.generation)
                else:
                    yield Finding("version.unsealed-marker", row.version_id)
            except (NotFound, Refused):
                yield Finding("version.manifest", row.version_id)

    def _wraps(self) -> Iterator[Finding]:
        """A shredding moves the survivors that `key_wrap` names. Who is not among them would be lost with the erased;
        the manifest's header, under its pinned hash, has the wrap that is missing."""
        for row in list(self._catalog.without_wrap()):
            found = self._wrap_of(row) if self._repair else None
            subject = row.view_id if isinstance(row, ViewRow) else row.version_id
            yield Finding("wrap.missing", subject, found is not None and self._catalog.restore_wrap(found))

    def _wrap_of(self, row: VersionRow | ViewRow) -> KeyWrapRow | None:
        try:
            pinned = self._catalog.manifest(row.manifest_id, row.generation)
            stored = self._stored(pinned)
            header = read_header(stored)
        except (NotFound, Malformed, Refused):
            return None
        if manifest_sha256(stored) != pinned.sha256:
            return None
        wrap = header.wrapped_key
        return KeyWrapRow(
            self._catalog.tenant, header.subject, row.dataset_id, wrap.key_class, wrap.group_id, wrap.wrapped
        )

    def _newer_records(self) -> Iterator[Finding]:
        """An older catalog was put back. Its own word must not be written over the only one that leads to the keys of
        those who survived an erasure since."""
        ahead = [name for name in self._records.listed("g") if self._is_ahead(name)]
        if ahead:
            self._settle()
        self._ahead = [name for name in ahead if self._is_ahead(name)]
        if self._ahead and self._repair:
            self._records.adopt()
        for name in self._ahead:
            yield Finding("record.newer", name, self._repair)

    def _bodies(self) -> Iterator[Finding]:
        for row in self._catalog.every_body():
            if row.state not in {"live", "held"}:
                continue
            self._seen("bodies")
            try:
                if self._store.size(row.store_key) != row.sealed_length:
                    yield Finding("body.length", row.store_key)
            except NotFound:
                yield Finding("body.missing", row.store_key)
        for row in self._catalog.unreferenced_bodies():
            if self._repair:
                self._catalog.orphan_unreferenced(row.body_id)
            yield Finding("body.unreferenced", row.store_key, self._repair)

    def _views(self) -> Iterator[Finding]:
        for row in list(self._catalog.views_without_job()):
            if self._repair:
                again = view_job(row)
                self._catalog.enqueue(again.kind, again.subject, f"{again.job_id}-fsck-{self._catalog.now()}")
            yield Finding("view.not-queued", row.view_id, self._repair)

    def _is_ahead(self, name: str) -> bool:
        try:
            return self._records.newer_group(name)
        except (NotFound, Malformed):
            return False  # told of with the other records

    def _kept_records(self) -> Iterator[Finding]:
        suspect = set()
        for name, sha256 in self._records.expected():
            self._seen("records")
            if self._wrong_record(name, sha256):
                suspect.add(name)
        if not suspect:
            return
        self._settle()
        for name, sha256 in list(self._records.expected()):
            code = self._wrong_record(name, sha256) if name in suspect else ""
            if code:
                if self._repair:
                    self._records.rewrite(name)
                yield Finding(code, name, self._repair)

    def _wrong_record(self, name: str, sha256: bytes) -> str:
        """The finding's code; empty where the record is as the catalog has it, or was told of as being ahead."""
        if name in self._ahead:
            return ""
        try:
            return "" if self._records.sha256(name) == sha256 else "record.older"
        except NotFound:
            return "record.missing"
        except Malformed:
            return "record.edited"

    def _unnamed(self) -> Iterator[Finding]:
        """Listed one shard at a time; what is not named is left for a rebuild to find for a week."""
        for kind in "bm":
            for shard in range(256):
                found = self._catalog.unnamed(self._store.list(f"{kind}/{shard:02x}/"))
                if found and self._repair:
                    self._catalog.note_unnamed(found, self._catalog.now() + UNNAMED_GRACE_MS)
                for name in found:
                    yield Finding("store.unnamed", name, self._repair)

    def _ledger(self) -> Iterator[Finding]:
        if self._evidence is None:
            yield Finding("ledger.none", "nothing says whether the catalog is the newest")
            return
        yield from behind(self._catalog, self._evidence)
        here = {row.version_id for row in self._catalog.every_version()}
        for version_id in here & self._evidence.removed:
            yield Finding("version.returned", version_id)
        datasets = {row.dataset_id for row in self._catalog.every_dataset()}
        explained = here | superseded_by_ledger(self._evidence) | self._evidence.removed
        for version_id, commit in self._evidence.commits.items():
            expected = commit.dataset_id in datasets and version_id not in explained
            if expected and self._lost(commit.dataset_id, version_id):
                yield Finding("version.lost", version_id)

    def _lost(self, dataset_id: str, version_id: str) -> bool:
        """Not there at all: one that was buried is, and an edited row is told of by its seal."""
        try:
            return self._catalog.known_version(dataset_id, version_id) is None
        except Refused:
            return False

    def _deep(self, keys: Opens) -> Iterator[Finding]:
        for row in self._catalog.every_version():
            if not row.delete_marker and row.manifest_id:
                yield from self._read(keys, row, row.key, row.version_id, row.key_class)
        for view in self._catalog.every_view():
            version = self._catalog.version(view.dataset_id, view.version_id) if view.state == "ready" else None
            if version is not None:
                yield from self._read(keys, view, version.key, view.view_id, "view")

    def _read(
        self, keys: Opens, row: VersionRow | ViewRow, key: str, subject: str, key_class: str
    ) -> Iterator[Finding]:
        """Every chunk of every body is authenticated and dropped."""
        self._seen("objects read")
        try:
            pinned = self._catalog.manifest(row.manifest_id, row.generation)
            stored = self._stored(pinned)
            scope = KeyScope(self._catalog.tenant, self._zone, row.dataset_id, key_class)
            object_key = keys.unwrap(scope, subject, read_header(stored).wrapped_key)
            manifest = open_manifest(stored, object_key, pinned.sha256)
            check_manifest(manifest, row, self._catalog.tenant, self._zone, key)
            for each in manifest.bodies:
                body = OpenBody(
                    self._store, manifest.tenant, manifest.zone, manifest.dataset_id, each, object_key
                )
                try:
                    for _ in body.stream(0, each.plain_length):
                        pass
                finally:
                    body.close()
        except (Malformed, Refused) as error:
            yield Finding(f"deep.{error.reason}", subject)

    def _stored(self, row: ManifestRow) -> bytes:
        size = self._store.size(row.store_key)
        if size > MAX_STORED:
            raise Malformed("manifest.length", row.store_key)
        return self._store.read_at(row.store_key, 0, size)

    def _seen(self, what: str) -> None:
        self.checked.looked_at[what] += 1
        if self.checked.looked_at[what] % EVERY == 0:
            self._progress(what, self.checked.looked_at[what])


def behind(catalog: Catalog, evidence: Evidence) -> Iterator[Finding]:
    """Datasets that the ledger saw further than the catalog is: somebody rolled a row, or all of it, back."""
    for row in catalog.every_dataset():
        if evidence.sequences.get(row.dataset_id, 0) > row.sequence:
            yield Finding("dataset.rolled-back", row.dataset_id)
        if evidence.contracts.get(row.dataset_id, 0) > row.contract_version:
            yield Finding("contract.rolled-back", row.dataset_id)
