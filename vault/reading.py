"""One object on its way out: every byte verified before it leaves, every length held to the manifest.

Order, each step closing the road when it fails: catalog row (its MAC) → manifest row → stored manifest against
the pinned hash → object key → manifest authenticated → its names against the row → store's length against the
manifest's → commitment → chunks.
"""

from collections.abc import Iterator
from contextlib import suppress
from threading import Lock, local

from vault.catalog.rows import VersionRow, ViewRow
from vault.envelope.body import BodyOpener
from vault.envelope.context import BodyContext
from vault.envelope.derive import body_key
from vault.envelope.manifest import Manifest, ManifestBody
from vault.envelope.suite import HEADER
from vault.errors import Broken, Malformed, VaultError
from vault.store.store import Store, StoreReader


def check_manifest(manifest: Manifest, row: VersionRow | ViewRow, tenant: str, zone: str, key: str) -> None:
    """Malformed("manifest.other") unless the manifest is exactly this row's: an authentic manifest of something
    else (another version, key, zone) is a swap."""
    if isinstance(row, ViewRow):
        kind, subject, plan_id = "view", row.view_id, row.plan_id
    else:
        kind, subject, plan_id = "version", row.version_id, ""
    expected = (
        tenant, zone, row.dataset_id, row.manifest_id, row.generation, kind, subject, row.version_id, key, plan_id,
        row.size, row.etag,
        *((row.created_at, row.is_null) if isinstance(row, VersionRow) else ()),
    )  # fmt: skip
    found = (
        manifest.tenant, manifest.zone, manifest.dataset_id, manifest.manifest_id, manifest.generation, manifest.kind,
        manifest.subject, manifest.version_id, manifest.key, manifest.plan_id, manifest.size, manifest.etag,
        *((manifest.written_at, manifest.null_version) if isinstance(row, VersionRow) else ()),
    )  # fmt: skip
    if expected != found:
        raise Malformed("manifest.other", subject)


class Scratch(local):
    """Where sealed bytes are read to: one buffer a thread for all readers. A slab is read and unsealed in one go by one
    thread, so nobody looks at it any more when the next one is read."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, length: int) -> memoryview:
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        return memoryview(self._buffer)[:length]


class OpenBody:
    """One stored body, opened: its length and commitment hold, its chunks are checked as they are read."""

    def __init__(
        self, store: Store, tenant: str, zone: str, dataset_id: str, body: ManifestBody, object_key: bytes,
        scratch: Scratch | None = None,
    ) -> None:  # fmt: skip
        """Malformed("truncated" | "length") where the store's length is not the manifest's, Malformed("commitment")."""
        self._reader: StoreReader = store.open_read(body.store_key)
        try:
            context = BodyContext(tenant, zone, dataset_id, body.body_id, body.part)
            self._opener = BodyOpener(
                body_key(object_key, body.body_id, body.part),
                context.encode(),
                self._reader.read_at(0, HEADER),
                self._reader.size,
                body.pin,
            )
        except BaseException:
            self._reader.close()
            raise
        self._scratch = scratch or Scratch()

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """Plaintext [start, stop) of this body, in slabs."""
        return self._opener.stream(start, stop, self._read)

    def close(self) -> None:
        self._reader.close()

    def _read(self, offset: int, length: int) -> memoryview:
        view = self._scratch.take(length)
        self._reader.read_into(offset, view)
        return view


class SealedReader:
    """An object opened for one answer. Not for several threads at once; `close` from any."""

    def __init__(self, store: Store, manifest: Manifest, object_key: bytes, scratch: Scratch | None = None) -> None:
        self.manifest = manifest
        self._scratch = scratch or Scratch()
        self._store = store
        self._key = object_key
        self._open: dict[int, OpenBody] = {}
        self._lock = Lock()
        self._closed = False
        starts, at = [], 0
        for body in manifest.bodies:
            starts.append(at)
            at += body.plain_length
        self._starts = starts

    @property
    def size(self) -> int:
        return self.manifest.size

    @property
    def content_type(self) -> str:
        return self.manifest.content_type

    @property
    def user_metadata(self) -> dict[str, str]:
        return dict(self.manifest.user_metadata)

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """Verified plaintext [start, stop). The first body is opened and checked before this returns, so that what
        is wrong from the beginning is an error answer and not a broken connection. A piece stays valid while held."""
        end = self.size if stop is None else stop
        if not 0 <= start <= end <= self.size:
            raise Broken("span", f"[{start}, {end}) of {self.size}")
        wanted = [
            (index, max(0, start - at), min(body.plain_length, end - at))
            for index, (at, body) in enumerate(zip(self._starts, self.manifest.bodies, strict=True))
            if at < end and at + body.plain_length > start
        ]
        # An empty answer too holds the store to the manifest.
        self._body(wanted[0][0] if wanted else 0)
        return self._pieces(wanted)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            bodies, self._open = list(self._open.values()), {}
        for body in bodies:
            with suppress(VaultError, OSError):
                body.close()

    def _pieces(self, wanted: list[tuple[int, int, int]]) -> Iterator[memoryview]:
        for index, start, stop in wanted:
            yield from self._body(index).stream(start, stop)
            if len(wanted) > 1:
                self._release(index)

    def _body(self, index: int) -> OpenBody:
        found = self._open.get(index)
        if found is None:
            where = self.manifest
            found = OpenBody(
                self._store, where.tenant, where.zone, where.dataset_id, where.bodies[index], self._key, self._scratch
            )
            with self._lock:
                if not self._closed:
                    self._open[index] = found
                    return found
            found.close()
            raise Broken("reader.closed")
        return found

    def _release(self, index: int) -> None:
        """10,000 parts must not hold 10,000 files open."""
        with self._lock:
            found = self._open.pop(index, None)
        if found is not None:
            found.close()
