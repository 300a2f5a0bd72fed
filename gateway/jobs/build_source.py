"""A version opened for one job: what a sandbox is told of its bodies, and the sealed bytes it asks for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.enforce.protocol import SealedBody
from vault.catalog.rows import JobRow, VersionRow
from vault.envelope.context import BodyContext
from vault.envelope.derive import body_key
from vault.ground import Opened
from vault.objects import Vault
from vault.store.store import StoreReader


@dataclass(frozen=True, slots=True)
class BuildSource:
    """`bodies` hold the keys of this object's bodies and of nothing else: the object key stays here."""

    version: VersionRow
    opened: Opened
    bodies: tuple[SealedBody, ...]


def open_source(vault: Vault, job: JobRow) -> BuildSource | None:
    """The version a job names, opened under its lease and fence; None when it is gone. Raises VaultError."""
    version = vault.catalog.version(job.subject["dataset_id"], job.subject["version_id"])
    if version is None or version.delete_marker:
        return None
    opened = vault.build_source(version, job.job_id, job.fence)
    manifest = opened.manifest
    bodies = tuple(
        SealedBody(
            key=body_key(opened.object_key, body.body_id, body.part),
            context=BodyContext(
                manifest.tenant, manifest.zone, manifest.dataset_id, body.body_id, body.part
            ).encode(),
            sealed_length=body.sealed_length,
            plain_length=body.plain_length,
            commitment=body.commitment,
        )
        for body in manifest.bodies
    )
    return BuildSource(version, opened, bodies)


@contextmanager
def sealed_reads(
    vault: Vault, source: BuildSource, alive: Callable[[], None]
) -> Iterator[Callable[[int, int, int], bytes]]:
    """Sealed bytes by (body, offset, length). One body is held open, since reads come in runs; each read is a
    sign of life."""
    stored = source.opened.manifest.bodies
    held: dict[int, StoreReader] = {}

    def read(body: int, offset: int, length: int) -> bytes:
        alive()
        reader = held.get(body)
        if reader is None:
            for other in held.values():
                other.close()
            held.clear()
            reader = held[body] = vault.store.open_read(stored[body].store_key)
        return reader.read_at(offset, length)

    try:
        yield read
    finally:
        for reader in held.values():
            reader.close()
