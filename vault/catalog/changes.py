"""What a commit is given and what it answers: preconditions, new versions, markers and generations.

`vault.catalog.versions` does it; everything here is a value.
"""

from dataclasses import dataclass, field

from vault.catalog.rows import ManifestRow, VersionRow
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, NotFound, Refused


def _may_be_compared(found: VersionRow, by: str) -> None:
    """Refused("version.not-author") before anything is compared. Whoever may replace an object but not read it would
    learn what it holds, a guess at a time: an ETag is the digest of the plaintext."""
    if by and not found.delete_marker and found.label != "none" and found.written_by != by:
        raise Refused("version.not-author")


@dataclass(frozen=True, slots=True)
class Precondition:
    """S3's conditional writes, decided inside the commit. ETags unquoted, or "*". `by` is who asks: a principal id."""

    if_match: str | None = None
    if_none_match: str | None = None
    by: str = ""

    def check(self, latest: VersionRow | None) -> None:
        """Conflict("precondition") or, for If-Match on a key that is not there, NotFound("key")."""
        present = latest is not None and not latest.delete_marker
        if latest is not None and not {self.if_match, self.if_none_match} <= {None, "*"}:
            _may_be_compared(latest, self.by)
        if latest is not None and present and self.if_none_match in {"*", latest.etag}:
            raise Conflict("precondition", "If-None-Match")
        if self.if_match is None:
            return
        if latest is None or not present:
            raise NotFound("key", "If-Match")
        if self.if_match not in {"*", latest.etag}:
            raise Conflict("precondition", "If-Match")


@dataclass(frozen=True, slots=True)
class DeletePrecondition:
    """S3's conditional delete, decided inside the delete. `if_match` "*" or an unquoted ETag; times in ms, compared
    by the second, as HTTP dates are. `by` as above."""

    if_match: str | None = None
    last_modified: int | None = None
    size: int | None = None
    by: str = ""

    def check(self, found: VersionRow) -> None:
        """Conflict("precondition") unless the version that would go is the one that was meant."""
        if self.if_match not in {None, "*"} or self.last_modified is not None or self.size is not None:
            _may_be_compared(found, self.by)
        if self.if_match not in {None, "*", found.etag}:
            raise Conflict("precondition", "If-Match")
        if self.last_modified is not None and self.last_modified // 1000 != found.created_at // 1000:
            raise Conflict("precondition", "last modified")
        if self.size not in {None, found.size}:
            raise Conflict("precondition", "size")


@dataclass(frozen=True, slots=True)
class NewManifest:
    """`wrapped` is the key its header holds: the catalog writes down whose it is, so that its group can be left."""

    manifest_id: str
    generation: int
    sha256: bytes
    store_key: str
    wrapped: WrappedKey | None = None


@dataclass(frozen=True, slots=True)
class NewView:
    """A view to be built; its job is queued in the same transaction, as `view:<view_id>`."""

    plan_id: str
    builder: str


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a sealed write commits. `bodies`: (body id, sealed length), the stored manifest's own among them."""

    dataset_id: str
    version_id: str
    key: str
    size: int
    etag: str
    content_type: str
    key_class: str
    manifest: NewManifest
    bodies: tuple[tuple[str, int], ...]
    label: str
    placement: tuple[str, ...]
    contract_version: int
    written_by: str
    run_id: str
    record: str
    format: str = "opaque"
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str = ""
    written_at: int | None = None  # as its manifest says; None: what a commit of now would say
    null_version: bool | None = None


@dataclass(frozen=True, slots=True)
class NewMarker:
    """A delete marker whose manifest is durable in the store; `length` of the stored manifest in bytes."""

    version_id: str
    manifest: NewManifest
    length: int
    key_class: str
    label: str
    written_at: int
    null_version: bool


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """The next manifest of a version, durable in the store under body id `body_id`; `label` where it changes that."""

    manifest: ManifestRow
    body_id: str
    length: int
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """`superseded`: store keys of manifests that nothing may find any more; who committed deletes them."""

    row: VersionRow
    superseded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deleted:
    """`delete_marker`: one was set, its id in `version_id`; otherwise `removed` is what is gone, if anything was.
    `superseded` as in `Committed`."""

    delete_marker: bool
    version_id: str | None
    removed: VersionRow | None
    superseded: tuple[str, ...] = ()
    sequence: int | None = None  # of the change; None where nothing changed
    marker_id: str | None = None
