"""Multipart: each part is a body of its own; completion is a manifest over the parts the client lists.

The object key is made with the upload and wrapped twice: as it will stand in the manifest, and once more so that
it opens for this upload only, and only while its row is open. Front workers hold it no longer than a minute.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vault.catalog.catalog import Catalog
from vault.catalog.rows import PartRow, UploadRow
from vault.catalog.section import new_id
from vault.envelope.body import BodyOpener, BodySealer
from vault.envelope.context import BodyContext
from vault.envelope.derive import body_key
from vault.envelope.manifest import ManifestBody
from vault.envelope.suite import HEADER
from vault.envelope.wrap import WrappedKey
from vault.errors import Broken, Malformed, VaultError
from vault.store.store import Readable, Store
from vault.writing import Beside, Place, SealedBody, at_once, store_key

MIN_PART = 5 << 20
"""Bytes that every part but the last must have, as in S3."""
MAX_PART_NUMBER = 10_000
MAX_PART_BYTES = 5 << 30


def wrapped_to_json(wrapped: WrappedKey) -> dict[str, Any]:
    return {
        "group_id": wrapped.group_id,
        "key_class": wrapped.key_class,
        "wrapped": base64.b64encode(wrapped.wrapped).decode(),
    }


def wrapped_from_json(document: Mapping[str, Any]) -> WrappedKey:
    return WrappedKey(document["group_id"], document["key_class"], base64.b64decode(document["wrapped"]))


def _metadata_context(place: Place, upload_id: str) -> bytes:
    return BodyContext(place.tenant, place.zone, place.dataset_id, upload_id, 0).encode()


def seal_metadata(
    place: Place, object_key: bytes, upload_id: str, metadata: Mapping[str, str], tags: Mapping[str, str]
) -> bytes:
    """User metadata and tags wait for the manifest sealed: names and values are data too."""
    sealer = BodySealer(body_key(object_key, upload_id, 0), _metadata_context(place, upload_id))
    waiting = {"metadata": dict(metadata), "tags": dict(tags)}
    plain = json.dumps(waiting, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return b"".join((sealer.header, sealer.update(plain), sealer.finalize()))


def open_metadata(
    place: Place, object_key: bytes, upload_id: str, sealed: bytes
) -> tuple[dict[str, str], dict[str, str]]:
    """User metadata and tags. Raises Malformed as `BodyOpener` does."""
    opener = BodyOpener(
        body_key(object_key, upload_id, 0), _metadata_context(place, upload_id), sealed[:HEADER], len(sealed)
    )
    plain = b"".join(opener.stream(0, opener.plain_length, lambda at, length: sealed[at : at + length]))
    found = json.loads(plain)
    if not isinstance(found, dict) or set(found) != {"metadata", "tags"}:
        raise Malformed("upload.metadata")
    return found["metadata"], found["tags"]


class PartWriter:
    """One UploadPart. `finish` makes the part durable and the upload's; the ETag is the MD5 in hex."""

    def __init__(self, store: Store, catalog: Catalog, upload: UploadRow, place: Place, part: int, key: bytes) -> None:
        self._catalog = catalog
        self._upload = upload
        self._ended = False
        body_id = new_id()
        self._stored_as = store_key("b", new_id())
        catalog.add_bodies([(body_id, self._stored_as, upload.upload_id)], place.dataset_id)
        self._body = SealedBody(store, place, key, body_id, part, self._stored_as)

    @property
    def size(self) -> int:
        return self._body.size

    @property
    def md5(self) -> bytes:
        return self._body.md5

    def write(self, data: Readable, beside: Beside = at_once) -> None:
        if self._ended:
            raise Broken("part.ended")
        if self._body.size + len(data) > MAX_PART_BYTES:
            self.abort()
            raise Malformed("part.large", f"more than {MAX_PART_BYTES} bytes")
        try:
            self._body.write(data, beside)
        except VaultError:
            self.abort()
            raise

    def finish(self, checksums: Mapping[str, str] | None = None) -> PartRow:
        """NotFound("upload") when the upload ended meanwhile; the part then leaves nothing."""
        if self._ended:
            raise Broken("part.ended")
        try:
            body = self._body.finish()
            row = PartRow(
                tenant=self._upload.tenant, upload_id=self._upload.upload_id, part_number=self._body.part,
                body_id=body.body_id, size=body.plain_length, md5=self._body.md5, checksums=dict(checksums or {}),
                commitment=self._body.commitment, store_key=body.store_key, sealed_length=body.sealed_length,
                created_at=self._catalog.now(),
            )  # fmt: skip
            self._catalog.put_part(self._upload.dataset_id, row)
        except VaultError:
            self.abort()
            raise
        self._ended = True
        return row

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._body.abort()
        self._catalog.orphan_bodies([self._body.body_id])


def choose_parts(
    stored: Sequence[PartRow], listed: Sequence[tuple[int, str]], min_part: int = MIN_PART
) -> list[PartRow]:
    """The parts a Complete names, by (number, unquoted ETag). Malformed("parts.empty" | "parts.order" |
    "parts.unknown" | "parts.small")."""
    if not listed:
        raise Malformed("parts.empty")
    numbers = [number for number, _ in listed]
    if numbers != sorted(set(numbers)):
        raise Malformed("parts.order", "part numbers must rise")
    by_number = {row.part_number: row for row in stored}
    chosen: list[PartRow] = []
    for number, etag in listed:
        row = by_number.get(number)
        if row is None or row.md5.hex() != etag:
            raise Malformed("parts.unknown", f"part {number}")
        chosen.append(row)
    if any(row.size < min_part for row in chosen[:-1]):
        raise Malformed("parts.small", f"every part but the last has at least {min_part} bytes")
    return chosen


def multipart_etag(parts: Sequence[PartRow]) -> str:
    """MD5 of the parts' MD5s, and how many: what S3 clients expect to see."""
    joined = hashlib.md5(b"".join(row.md5 for row in parts), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(parts)}"


def manifest_bodies(parts: Sequence[PartRow]) -> tuple[ManifestBody, ...]:
    return tuple(
        ManifestBody(
            body_id=row.body_id, store_key=row.store_key, part=row.part_number, plain_length=row.size,
            sealed_length=row.sealed_length, commitment=row.commitment.hex(), checksums=dict(row.checksums),
        )
        for row in parts
    )  # fmt: skip
