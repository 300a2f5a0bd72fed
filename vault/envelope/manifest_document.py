"""What a manifest says, and its one JSON form: closed schema, canonical, every value checked both ways.

The same checks run before sealing and after opening, so that nothing can be stored that a reader would refuse.
Source: `docs/spec/sealed-object.md` §6.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from vault.envelope.body import BodyPin
from vault.envelope.context import MAX_PART, check_id, check_name
from vault.envelope.derive import MAX_GENERATION
from vault.envelope.suite import SUITE, sealed_length
from vault.errors import Malformed
from vault.ref import MAX_KEY_BYTES

FORMAT = 2
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SAFE = (1 << 53) - 1
_MAX_TEXT = 8192
_MAX_TAGS = 50
_CHECKSUM_TYPES = frozenset({"", "FULL_OBJECT", "COMPOSITE"})


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """One body, in order: where it lies, which S3 part it was (0 when the object came in one piece), its lengths."""

    body_id: str
    store_key: str
    part: int
    plain_length: int
    sealed_length: int
    commitment: str
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def pin(self) -> BodyPin:
        """What an opener holds the stored bytes to."""
        return BodyPin(self.sealed_length, bytes.fromhex(self.commitment))


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which bodies, in order, are this key and version (kind "version"), or this view of it (kind "view"); or that the
    key is deleted as of this version (kind "marker", no bodies). Enough to write a catalog row again."""

    tenant: str
    zone: str
    dataset_id: str
    manifest_id: str
    generation: int
    subject: str
    kind: Literal["version", "view", "marker"]
    key: str
    version_id: str
    label: Literal["personal", "none"]
    placement: tuple[str, ...]
    contract_version: int
    content_type: str
    user_metadata: dict[str, str]
    size: int
    etag: str
    bodies: tuple[ManifestBody, ...]
    written_at: int
    null_version: bool
    object_format: str
    written_by: str
    run_id: str
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    plan_id: str = ""
    previous_sha256: str = ""
    format: int = FORMAT
    suite: str = SUITE


def canonical(document: dict[str, Any], part: str) -> bytes:
    """The one byte form: UTF-8, names sorted by code point, no space. Raises Malformed `manifest.<part>`."""
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (UnicodeEncodeError, ValueError, TypeError) as error:
        raise Malformed(f"manifest.{part}", "not canonical JSON") from error


def parse(raw: bytes, part: str) -> dict[str, Any]:
    """The object that `raw` is the canonical form of, else Malformed `manifest.<part>`.

    Re-encoding must give the same bytes: doubled names, escapes, spaces, floats and long integers all differ.
    """
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"manifest.{part}", "not JSON") from error
    if not isinstance(document, dict) or canonical(document, part) != raw:
        raise Malformed(f"manifest.{part}", "not a canonical JSON object")
    return document


def closed(document: dict[str, Any], schema: dict[str, type], part: str) -> None:
    """Raises Malformed `manifest.<part>` unless exactly the named fields are there, each exactly of its type."""
    if document.keys() != schema.keys():
        odd = ", ".join(sorted(document.keys() ^ schema.keys())[:5])
        raise Malformed(f"manifest.{part}", f"fields unknown or missing: {odd[:200]}")
    for name, kind in schema.items():
        # Exactly: True is an int to Python, and a reader in another language would not agree.
        if type(document[name]) is not kind:
            raise Malformed(f"manifest.{part}", f"{name} is not {kind.__name__}")


_BODY = {
    "body_id": str, "store_key": str, "part": int, "plain_length": int, "sealed_length": int, "commitment": str,
    "checksums": dict,
}  # fmt: skip
_DOCUMENT: dict[str, type] = {field.name: str for field in fields(Manifest)} | {
    "format": int, "generation": int, "contract_version": int, "size": int, "written_at": int, "null_version": bool,
    "placement": list, "bodies": list, "user_metadata": dict, "checksums": dict, "tags": dict,
}  # fmt: skip


def to_document(manifest: Manifest) -> bytes:
    """Canonical bytes of a manifest that `from_document` would accept; Malformed "manifest.document" otherwise."""
    document = asdict(manifest)
    document["placement"] = list(manifest.placement)
    document["bodies"] = [asdict(body) for body in manifest.bodies]
    raw = canonical(document, "document")
    from_document(raw)
    return raw


def from_document(raw: bytes) -> Manifest:
    """The manifest that `raw` states. Raises Malformed "manifest.document" for anything outside the schema."""
    document = parse(raw, "document")
    closed(document, _DOCUMENT, "document")
    for name in document["placement"]:
        _need(type(name) is str, "placement")
    for member in ("user_metadata", "checksums", "tags"):
        _texts(document[member], member)
    bodies = []
    for item in document["bodies"]:
        _need(type(item) is dict, "bodies")
        closed(item, _BODY, "document")
        _texts(item["checksums"], "checksums")
        bodies.append(ManifestBody(**item))
    manifest = Manifest(**document | {"placement": tuple(document["placement"]), "bodies": tuple(bodies)})
    _check(manifest)
    return manifest


def _texts(given: dict[str, Any], member: str) -> None:
    for name, value in given.items():
        _need(type(value) is str and len(name) + len(value) <= _MAX_TEXT, member)


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise Malformed("manifest.document", what)


def _check(manifest: Manifest) -> None:
    try:
        check_name(manifest.tenant, "tenant")
        check_name(manifest.zone, "zone")
        check_name(manifest.subject, "subject")
        check_name(manifest.version_id, "version_id")
        check_id(manifest.dataset_id, "dataset_id")
        check_id(manifest.manifest_id, "manifest_id")
        for body in manifest.bodies:
            check_id(body.body_id, "body_id")
            check_name(body.store_key, "store_key")
        for zone in manifest.placement:
            check_name(zone, "placement")
        lengths = all(body.sealed_length == sealed_length(body.plain_length) for body in manifest.bodies)
    except Malformed as error:
        raise Malformed("manifest.document", str(error)) from error
    _need(manifest.format == FORMAT and manifest.suite == SUITE, "unknown format or suite")
    _need(1 <= manifest.generation <= MAX_GENERATION, "generation")
    _need(0 <= manifest.contract_version <= _MAX_SAFE, "contract_version")
    _need(manifest.label in {"personal", "none"}, "label")
    _need(manifest.placement == tuple(sorted(set(manifest.placement))), "placement is not a sorted set")
    _need(1 <= len(manifest.key.encode("utf-8")) <= MAX_KEY_BYTES, "key")
    _need(len(manifest.content_type) <= _MAX_TEXT, "content_type")
    _need(0 <= manifest.written_at <= _MAX_SAFE, "written_at")
    _need(all(len(text) <= 64 for text in (manifest.object_format, manifest.written_by, manifest.run_id)), "written by")
    _need(manifest.checksum_type in _CHECKSUM_TYPES, "checksum_type")
    _need(bool(manifest.checksums) == bool(manifest.checksum_type), "checksums and their type stand together")
    _need(len(manifest.tags) <= _MAX_TAGS, "tags")
    _need(not manifest.previous_sha256 or bool(_SHA256.fullmatch(manifest.previous_sha256)), "previous_sha256")
    _need((manifest.generation == 1) == (manifest.previous_sha256 == ""), "generation 1 and only it follows nothing")
    _check_kind(manifest)
    if manifest.kind == "marker":
        return
    _need(1 <= len(manifest.etag) <= 80, "etag")
    _need(lengths and 1 <= len(manifest.bodies) <= MAX_PART, "bodies")
    _need(sum(body.plain_length for body in manifest.bodies) == manifest.size <= _MAX_SAFE, "size")
    _need(all(_SHA256.fullmatch(body.commitment) for body in manifest.bodies), "commitment")
    parts = [body.part for body in manifest.bodies]
    _need(parts == [0] or (parts == sorted(set(parts)) and parts[0] >= 1 and parts[-1] <= MAX_PART), "parts")
    _need(len({body.body_id for body in manifest.bodies}) == len(parts), "a body twice")


def _check_kind(manifest: Manifest) -> None:
    if manifest.kind == "view":
        _need(manifest.subject != manifest.version_id and 1 <= len(manifest.plan_id) <= 64, "a view has a plan")
        _need(not (manifest.tags or manifest.null_version), "a view has no tags and is no version")
        return
    _need(manifest.kind in {"version", "marker"}, "kind")
    _need(manifest.subject == manifest.version_id and not manifest.plan_id, "a version names itself and no plan")
    if manifest.kind == "marker":
        said = (manifest.bodies, manifest.size, manifest.etag, manifest.content_type, manifest.user_metadata,
                manifest.checksums, manifest.tags, manifest.generation)  # fmt: skip
        _need(said == ((), 0, "", "", {}, {}, {}, 1), "a marker says nothing but that the key is deleted")
