"""One object on its way in: sealed as it arrives, in constant memory, durable before anything names it.

    begin      key from the broker; both store names written down in the catalog as `writing`
    write …    seal, hash, store
    finish     body durable; still nothing visible
    commit     (`vault.committing`) the manifest durable, then one catalog transaction makes it visible
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, cast

from vault.catalog.catalog import Catalog
from vault.catalog.section import new_id
from vault.catalog.versions import NewManifest, NewVersion
from vault.envelope.body import BodySealer
from vault.envelope.context import BodyContext
from vault.envelope.derive import body_key, manifest_key
from vault.envelope.manifest import Manifest, ManifestBody, manifest_sha256, seal_manifest_under
from vault.envelope.wrap import WrappedKey
from vault.errors import Broken, VaultError
from vault.store.store import Readable, Store, StoreWriter


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed thing belongs: every context is made from it."""

    tenant: str
    zone: str
    dataset_id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What is written: version, view or delete marker, its id, the version it is or renders, its key."""

    kind: Literal["version", "view", "marker"]
    subject: str
    version_id: str
    key: str
    content_type: str
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    plan_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """What the commit says of a version besides what was sealed: by whom and in which run, which format it has, and
    the checksums that were verified over it (`checksum_type` FULL_OBJECT or COMPOSITE, "" where there are none)."""

    written_by: str = ""
    run_id: str = ""
    object_format: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision at completion says of a version: they enter the manifest and the catalog row."""

    label: str
    placement: tuple[str, ...]
    contract_version: int


@dataclass(frozen=True, slots=True)
class ManifestName:
    """A manifest's id and where its first generation will lie; written down before it is stored."""

    manifest_id: str
    store_key: str


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest that is durable in the store, as the catalog pins it."""

    manifest: NewManifest
    length: int


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """Bodies durable in the store, named by nothing yet; what it takes to seal the manifest over them."""

    place: Place
    subject: Subject
    facts: Facts
    bodies: tuple[ManifestBody, ...]
    etag: str
    name: ManifestName
    wrapped: WrappedKey
    manifest_key: Callable[[str], bytes] = field(repr=False)
    """The data key of a first generation by manifest id."""

    @property
    def size(self) -> int:
        return sum(each.plain_length for each in self.bodies)

    @property
    def key_class(self) -> str:
        return self.wrapped.key_class

    @property
    def written_down(self) -> tuple[str, ...]:
        """Ids of everything of it that may lie in the store."""
        return (*(each.body_id for each in self.bodies), self.name.manifest_id)

    def under(self, name: ManifestName) -> "SealedVersion":
        """The same bodies, to be named by another manifest."""
        return replace(self, name=name)

    def lengths(self, stored: StoredManifest) -> tuple[tuple[str, int], ...]:
        """(body id, sealed length) of bodies and manifest."""
        return (*((each.body_id, each.sealed_length) for each in self.bodies), (self.name.manifest_id, stored.length))

    def new_version(
        self, stored: StoredManifest, said: Said, record: str, written_at: int, null_version: bool
    ) -> NewVersion:
        return NewVersion(
            dataset_id=self.place.dataset_id, version_id=self.subject.subject, key=self.subject.key, size=self.size,
            etag=self.etag, content_type=self.subject.content_type, key_class=self.key_class,
            manifest=stored.manifest, bodies=self.lengths(stored), label=self.facts.label,
            placement=self.facts.placement, contract_version=self.facts.contract_version, written_by=said.written_by,
            run_id=said.run_id, record=record, format=said.object_format, checksums=dict(said.checksums),
            checksum_type=said.checksum_type, written_at=written_at, null_version=null_version,
        )  # fmt: skip


def store_key(kind: str, name: str) -> str:
    """`b/ab/abcdef…`: random, so a store's listing tells sizes and times and nothing else."""
    return f"{kind}/{name[:2]}/{name}"


Beside = Callable[[Callable[[], object]], Callable[[], object]]
"""Starts a call, perhaps on another thread; what it gives back waits for the end of it, or does it then."""


def at_once(call: Callable[[], object]) -> Callable[[], object]:
    """Nothing beside: the call is made when it is waited for."""
    return call


class SealedBody:
    """One body being sealed into the store. Its name must be in the catalog before this is made."""

    def __init__(self, store: Store, place: Place, object_key: bytes, body_id: str, part: int, stored_as: str) -> None:
        context = BodyContext(place.tenant, place.zone, place.dataset_id, body_id, part).encode()
        self._sealer = BodySealer(body_key(object_key, body_id, part), context)
        self._writer: StoreWriter = store.open_write(stored_as)
        self._stored_as = stored_as
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.body_id = body_id
        self.part = part
        self.size = 0
        try:
            self._writer.write(self._sealer.header)
        except BaseException:
            self._writer.abort()
            raise

    @property
    def commitment(self) -> bytes:
        return self._sealer.commitment

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    def write(self, data: Readable, beside: Beside = at_once) -> None:
        """`beside` may hash on another thread meanwhile: MD5 takes longer than sealing and storing together."""
        hashed = beside(partial(self._md5.update, data))
        try:
            self.size += len(data)
            sealed = self._sealer.update(data)
            if len(sealed):
                self._writer.write(sealed)
        finally:
            hashed()  # also when the store failed: `data` is the caller's again

    def finish(self) -> ManifestBody:
        """Durable when this returns."""
        self._writer.write(self._sealer.finalize())
        stored = self._writer.commit()
        return ManifestBody(
            body_id=self.body_id, store_key=self._stored_as, part=self.part, plain_length=self.size,
            sealed_length=stored.size, commitment=self.commitment.hex(),
        )  # fmt: skip

    def abort(self) -> None:
        self._writer.abort()


def first_manifest_key(object_key: bytes) -> Callable[[str], bytes]:
    """For who holds the object key itself."""
    return lambda manifest_id: manifest_key(object_key, manifest_id, 1)


def new_manifest_name() -> ManifestName:
    """The id in the manifest and the name in the store are two random values: one does not tell the other."""
    return ManifestName(new_id(), store_key("m", new_id()))


def store_manifest(
    store: Store, sealed: SealedVersion, said: Said, *, written_at: int, null_version: bool
) -> StoredManifest:
    """Seal the first generation over durable bodies and store it durably."""
    place, subject, facts, name = sealed.place, sealed.subject, sealed.facts, sealed.name
    manifest = Manifest(
        tenant=place.tenant, zone=place.zone, dataset_id=place.dataset_id, manifest_id=name.manifest_id, generation=1,
        subject=subject.subject, kind=subject.kind, key=subject.key, version_id=subject.version_id,
        label=cast("Literal['personal', 'none']", facts.label), placement=tuple(sorted(set(facts.placement))),
        contract_version=facts.contract_version, content_type=subject.content_type,
        user_metadata=dict(subject.user_metadata), size=sealed.size, etag=sealed.etag, bodies=sealed.bodies,
        written_at=written_at, null_version=null_version, object_format=said.object_format,
        written_by=said.written_by, run_id=said.run_id, checksums=dict(said.checksums),
        checksum_type=said.checksum_type, tags=dict(subject.tags), plan_id=subject.plan_id,
    )  # fmt: skip
    raw = seal_manifest_under(manifest, sealed.manifest_key(name.manifest_id), sealed.wrapped)
    store.put_bytes(name.store_key, raw)
    made = NewManifest(name.manifest_id, 1, manifest_sha256(raw), name.store_key, sealed.wrapped)
    return StoredManifest(made, len(raw))


class PutWriter:
    """One PUT, or one view being built. Not for several threads at once."""

    def __init__(
        self, store: Store, catalog: Catalog, place: Place, subject: Subject, object_key: bytes, wrapped: WrappedKey
    ) -> None:
        self._catalog = catalog
        self._place = place
        self._subject = subject
        self._key = object_key
        self._wrapped = wrapped
        self._name = new_manifest_name()
        self._ended = False
        body_id, stored_as = new_id(), store_key("b", new_id())
        self._written_down = (body_id, self._name.manifest_id)
        catalog.add_bodies(
            [(body_id, stored_as, subject.subject), (self._name.manifest_id, self._name.store_key, subject.subject)],
            place.dataset_id,
        )
        self._body = SealedBody(store, place, object_key, body_id, 0, stored_as)

    @property
    def version_id(self) -> str:
        """Of the version written, or of the one the view renders."""
        return self._subject.version_id

    @property
    def size(self) -> int:
        return self._body.size

    @property
    def md5(self) -> bytes:
        return self._body.md5

    def write(self, data: Readable, beside: Beside = at_once) -> None:
        """`data` may be reused once this returns. A store that fails ends this writer."""
        if self._ended:
            raise Broken("put.ended")
        try:
            self._body.write(data, beside)
        except VaultError:
            self.abort()
            raise

    def finish(self, facts: Facts, etag: str | None = None) -> SealedVersion:
        """The body durable; nothing visible until `Vault.commit`. `etag` defaults to the MD5 in hex."""
        if self._ended:
            raise Broken("put.ended")
        try:
            body = self._body.finish()
        except VaultError:
            self.abort()
            raise
        self._ended = True
        return SealedVersion(
            place=self._place, subject=self._subject, facts=facts, bodies=(body,), etag=etag or self._body.md5.hex(),
            name=self._name, wrapped=self._wrapped, manifest_key=first_manifest_key(self._key),
        )  # fmt: skip

    def abort(self) -> None:
        """Leave nothing: the store forgets at once, the names wait for the sweeper. Safe to call twice."""
        if self._ended:
            return
        self._ended = True
        self._body.abort()
        self._catalog.orphan_bodies(self._written_down)
