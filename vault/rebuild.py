"""A catalog written again from the store alone: records of datasets and group keys, then every manifest, authenticated.

Nothing in a store is believed because it is there. A record opens under the zone's own key, a manifest under the object
key that the provider's epoch key leads to; of a manifest's generations the highest that authenticates holds, of a key's
null versions the newest. Where a ledger is at hand, it says what was removed, and what should be there and is not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from vault.catalog.catalog import Catalog
from vault.catalog.rebuilding import Restored
from vault.catalog.rows import BodyRow, DatasetRow, KeyWrapRow, ManifestRow, VersionRow, ViewRow
from vault.envelope.manifest import MAX_STORED, Manifest, manifest_sha256, open_manifest, read_header
from vault.envelope.wrap import WrappedKey
from vault.errors import Malformed, Refused
from vault.keys.hierarchy import GROUP_LIMIT, KeyScope
from vault.records import StoredDataset, StoredGroup, StoredWraps, StoreRecords
from vault.store.store import Store

GENESIS = "0" * 32  # the record of rows whose ledger entry is not known
BATCH = 200
Progress = Callable[[str, int], None]


class Unwraps(Protocol):
    """`vault.keys.hierarchy.KeyRing`, over the catalog that is being written."""

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Commit:
    """A version as the ledger has it."""

    dataset_id: str
    object_hash: str
    sequence: int
    record: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger says. `sequences` and `contracts` by dataset id: the highest ever recorded."""

    commits: Mapping[str, Commit] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    sequences: Mapping[str, int] = field(default_factory=dict)
    contracts: Mapping[str, int] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    """Session ids."""
    distrusted: frozenset[tuple[str, str]] = frozenset()
    """What no session rests on any more: subject, platform or measurement, and a digest."""


@dataclass(slots=True)
class Report:
    """What was written, and what was not and why: (reason, name). `restored` counts by kind."""

    restored: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.refused and not self.missing


@dataclass(frozen=True, slots=True)
class _Found:
    store_key: str
    sha256: bytes
    length: int
    wrapped: WrappedKey
    manifest: Manifest


class Rebuild:
    """`run()` once, offline: no other process writes to this zone meanwhile."""

    def __init__(
        self, store: Store, catalog: Catalog, keys: Unwraps, zone: str, *, evidence: Evidence | None = None,
        progress: Progress = lambda _what, _count: None,
    ) -> None:  # fmt: skip
        self._store = store
        self._catalog = catalog
        self._keys = keys
        self._zone = zone
        self._evidence = evidence
        self._progress = progress
        self._records = StoreRecords(store, catalog, zone)
        self._datasets: dict[str, DatasetRow] = {}
        self._last_commit = _last_commits(evidence or Evidence())
        self.report = Report()

    def run(self) -> Report:
        """Conflict("rebuild.not-empty") before anything is written; Unavailable where store or provider is."""
        self._catalog.must_be_empty()
        self._datasets_and_keys()
        manifests = self._newest_generations()
        views = [each for each in manifests if each.manifest.kind == "view"]
        versions = self._versions([each for each in manifests if each.manifest.kind != "view"])
        self._write(self._version_rows(versions))
        self._write(self._view_rows(views, {each.manifest.version_id: each for each in versions}))
        self._against_the_ledger({each.manifest.version_id for each in versions})
        return self.report

    def _datasets_and_keys(self) -> None:
        for name in self._listed("d"):
            found = self._record(name)
            if isinstance(found, StoredDataset) and self._not_rolled_back(found, name):
                self._catalog.restore_dataset(found.row, found.contracts, found.plans)
                self._datasets[found.row.dataset_id] = found.row
                self._count("datasets")
        for name in self._listed("g"):
            found = self._record(name)
            if isinstance(found, StoredGroup):
                self._catalog.restore_group(replace(found.row, objects=GROUP_LIMIT), found.epoch)
                self._count("key groups")
        for name in self._listed("w"):
            found = self._record(name)
            if isinstance(found, StoredWraps):
                self._catalog.restore_wraps(found.wraps)
                self._count("moved wraps", len(found.wraps))

    def _record(self, name: str) -> StoredDataset | StoredGroup | StoredWraps | None:
        try:
            return self._records.read(name)
        except Malformed as error:
            self.report.refused.append((error.reason, name))
            return None

    def _not_rolled_back(self, found: StoredDataset, name: str) -> bool:
        known = self._evidence.contracts.get(found.row.dataset_id, 0) if self._evidence else 0
        if found.row.contract_version < known:
            self.report.refused.append(("record.older", f"{name}: contract {found.row.contract_version} of {known}"))
            return False
        return True

    def _newest_generations(self) -> list[_Found]:
        newest: dict[str, _Found] = {}
        for name in self._listed("m"):
            found = self._authentic(name)
            if found is None:
                continue
            known = newest.get(found.manifest.manifest_id)
            if known is not None and known.sha256 == found.sha256:
                self.report.notes.append(("manifest.copied", name))
                continue
            if known is not None and known.manifest.generation == found.manifest.generation:
                self.report.refused.append(("manifest.two", name))
                continue
            if known is not None:
                older, found = sorted((known, found), key=lambda each: each.manifest.generation)
                # The one it follows waits for the sweeper; any other was put there.
                follows = found.manifest.previous_sha256 == older.sha256.hex()
                told = self.report.notes if follows else self.report.refused
                told.append(("manifest.older-generation", older.store_key))
            newest[found.manifest.manifest_id] = found
        return list(newest.values())

    def _authentic(self, name: str) -> _Found | None:
        try:
            return self._opened(name)
        except (Malformed, Refused) as error:  # NotFound is one: a body that is gone, a group nobody knows
            self.report.refused.append((error.reason, name))
            return None

    def _opened(self, name: str) -> _Found:
        size = self._store.size(name)
        if size > MAX_STORED:
            raise Malformed("manifest.length", str(size))
        stored = self._store.read_at(name, 0, size)
        header = read_header(stored)
        dataset = self._datasets.get(header.dataset_id)
        if (header.tenant, header.zone) != (self._catalog.tenant, self._zone) or dataset is None:
            raise Refused("manifest.place", "of no dataset that is here")
        scope = KeyScope(header.tenant, header.zone, header.dataset_id, header.wrapped_key.key_class)
        object_key = self._keys.unwrap(scope, header.subject, header.wrapped_key)
        manifest = open_manifest(stored, object_key, None)
        for each in manifest.bodies:
            if self._store.size(each.store_key) != each.sealed_length:
                raise Malformed("body.length", each.store_key)
        return _Found(name, manifest_sha256(stored), size, header.wrapped_key, manifest)

    def _versions(self, found: list[_Found]) -> list[_Found]:
        """In the order they were written, without what the ledger says was removed and null versions that were
        superseded."""
        removed = self._evidence.removed if self._evidence else frozenset()
        newest_null: dict[tuple[str, str], _Found] = {}
        kept: list[_Found] = []
        for each in sorted(found, key=lambda one: (one.manifest.written_at, one.manifest.version_id)):
            manifest = each.manifest
            if manifest.version_id in removed:
                self.report.refused.append(("version.removed", each.store_key))
            elif self._overtaken(manifest):
                self.report.refused.append(("version.overtaken", each.store_key))
            else:
                kept.append(each)
                if manifest.null_version:
                    newest_null[manifest.dataset_id, manifest.key] = each
        held = []
        for each in kept:
            manifest = each.manifest
            if manifest.null_version and newest_null[manifest.dataset_id, manifest.key] is not each:
                self.report.refused.append(("version.superseded", each.store_key))
            else:
                held.append(each)
        return held

    def _overtaken(self, manifest: Manifest) -> bool:
        """A null version that the ledger saw another version of the same object follow, which is not here: what is
        here was overwritten, and somebody put it back."""
        if self._evidence is None or not manifest.null_version:
            return False
        mine = self._evidence.commits.get(manifest.version_id)
        if mine is None:
            return False
        last = self._last_commit.get((mine.dataset_id, mine.object_hash), mine.sequence)
        return last > mine.sequence

    def _version_rows(self, versions: list[_Found]) -> Iterator[Restored]:
        latest = {(each.manifest.dataset_id, each.manifest.key): each for each in versions}
        sequence: dict[str, int] = defaultdict(int)
        commits = self._evidence.commits if self._evidence else {}
        for each in versions:
            manifest = each.manifest
            sequence[manifest.dataset_id] += 1
            known = commits.get(manifest.version_id)
            record = known.record if known else GENESIS
            row = _version_row(
                each, sequence[manifest.dataset_id], latest[manifest.dataset_id, manifest.key] is each, record
            )
            self._count("delete markers" if row.delete_marker else "versions")
            yield self._restored(each, row, record)
        for dataset_id, reached in sequence.items():
            said = self._evidence.sequences.get(dataset_id, 0) if self._evidence else 0
            self._catalog.restore_sequence(dataset_id, max(reached, said))

    def _view_rows(self, views: list[_Found], versions: Mapping[str, _Found]) -> Iterator[Restored]:
        taken: set[tuple[str, str]] = set()
        for each in sorted(views, key=lambda one: one.manifest.written_at):
            manifest = each.manifest
            if manifest.version_id not in versions:
                self.report.notes.append(("view.dangling", each.store_key))
                continue
            if (manifest.version_id, manifest.plan_id) in taken:
                self.report.notes.append(("view.second", each.store_key))
                continue
            taken.add((manifest.version_id, manifest.plan_id))
            self._count("views")
            yield self._restored(each, _view_row(each), GENESIS)

    def _restored(self, each: _Found, row: VersionRow | ViewRow, record: str) -> Restored:
        manifest, tenant = each.manifest, self._catalog.tenant
        subject, dataset_id, at = manifest.subject, manifest.dataset_id, manifest.written_at
        bodies = [
            BodyRow(tenant, one.body_id, dataset_id, one.store_key, "live", subject, one.sealed_length, at)
            for one in manifest.bodies
        ]
        own = BodyRow(tenant, manifest.manifest_id, dataset_id, each.store_key, "live", subject, each.length, at)
        pinned = ManifestRow(
            tenant, manifest.manifest_id, manifest.generation, dataset_id, subject, each.sha256, each.store_key, at,
            record,
        )  # fmt: skip
        wrap = KeyWrapRow(
            tenant=tenant, subject=subject, dataset_id=dataset_id, key_class=each.wrapped.key_class,
            group_id=each.wrapped.group_id, wrapped=each.wrapped.wrapped,
        )  # fmt: skip
        return Restored(row, pinned, (*bodies, own), wrap)

    def _write(self, rows: Iterable[Restored]) -> None:
        batch: list[Restored] = []
        for each in rows:
            batch.append(each)
            if len(batch) == BATCH:
                self._catalog.restore_rows(batch)
                batch = []
        self._catalog.restore_rows(batch)

    def _against_the_ledger(self, here: set[str]) -> None:
        """What was committed, never removed or overwritten, and is not here."""
        if self._evidence is None:
            self.report.notes.append(("ledger.none", "nothing says whether all of it is here"))
            return
        for version_id, commit in self._evidence.commits.items():
            if version_id in here or version_id in self._evidence.removed:
                continue
            if commit.dataset_id not in self._datasets:
                continue
            if commit.sequence == self._last_commit[commit.dataset_id, commit.object_hash]:
                self.report.missing.append(("version.missing", version_id))

    def _listed(self, kind: str) -> Iterator[str]:
        for count, name in enumerate(sorted(self._store.list(f"{kind}/")), 1):
            if count % BATCH == 0:
                self._progress(kind, count)
            yield name

    def _count(self, what: str, by: int = 1) -> None:
        self.report.restored[what] += by


def superseded_by_ledger(evidence: Evidence) -> set[str]:
    """Versions that a later commit of the same object may have taken the place of."""
    last = _last_commits(evidence)
    return {
        version_id for version_id, commit in evidence.commits.items()
        if last.get((commit.dataset_id, commit.object_hash), 0) > commit.sequence
    }  # fmt: skip


def _last_commits(evidence: Evidence) -> dict[tuple[str, str], int]:
    """By object (dataset id, keyed hash): the sequence of its last commit that nothing removed."""
    last: dict[tuple[str, str], int] = {}
    for version_id, commit in evidence.commits.items():
        if version_id not in evidence.removed:
            place = (commit.dataset_id, commit.object_hash)
            last[place] = max(last.get(place, 0), commit.sequence)
    return last


def _version_row(each: _Found, sequence: int, latest: bool, record: str) -> VersionRow:
    manifest = each.manifest
    marker = manifest.kind == "marker"
    checksums: dict[str, Any] = dict(manifest.checksums)
    if checksums:
        checksums["type"] = manifest.checksum_type
    return VersionRow(
        tenant=manifest.tenant, dataset_id=manifest.dataset_id, version_id=manifest.version_id, key=manifest.key,
        sequence=sequence, is_latest=latest, is_null=manifest.null_version, delete_marker=marker, state="live",
        size=manifest.size, etag=manifest.etag, checksums=checksums, content_type=manifest.content_type,
        format=manifest.object_format or "opaque", key_class=each.wrapped.key_class, label=manifest.label,
        placement=manifest.placement, contract_version=manifest.contract_version, manifest_id=manifest.manifest_id,
        generation=manifest.generation, written_by=manifest.written_by, run_id=manifest.run_id,
        created_at=manifest.written_at, record=record,
    )  # fmt: skip


def _view_row(each: _Found) -> ViewRow:
    manifest = each.manifest
    return ViewRow(
        tenant=manifest.tenant, view_id=manifest.subject, dataset_id=manifest.dataset_id,
        version_id=manifest.version_id, plan_id=manifest.plan_id, builder="rebuilt", state="ready", progress=100,
        reason="", size=manifest.size, etag=manifest.etag, content_type=manifest.content_type,
        manifest_id=manifest.manifest_id, generation=manifest.generation, created_at=manifest.written_at,
        ready_at=manifest.written_at, record=GENESIS,
    )  # fmt: skip
