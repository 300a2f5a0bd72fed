"""The port every object store is behind. Keys are the vault's own random names; the bytes are sealed ones.

All calls are synchronous and safe from several threads; a reader or writer belongs to one. Errors:
NotFound("store.missing"), Unavailable("store.full" | "store.io" | "store.unreachable"), Malformed("store.short")
where fewer bytes come than were asked for, Refused("store.key") for a name this vault would never give.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vault.errors import Refused
from vault.store.exposure import Exposure

_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*(/[0-9A-Za-z][0-9A-Za-z_-]*)*")
_MAX_KEY = 96
Readable = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Location:
    """Where a store says it is. `observed` is its own word (a region, a jurisdiction); `strength` how much that is
    worth: none | self-reported | network | registered | attested; `target` names what was asked."""

    observed: str
    strength: str
    target: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    size: int


class StoreWriter(Protocol):
    """One object on its way in. Nothing of it is visible before `commit`, and nothing remains after `abort`."""

    def write(self, data: Readable) -> None:
        """Takes all of `data`, which may be reused once this returns."""

    def commit(self) -> StoredObject:
        """Durable and visible when this returns."""

    def abort(self) -> None:
        """May be called at any time, also twice; after `commit` it does nothing."""


class StoreReader(Protocol):
    """One object, as it was when opened. `size` is what the store itself says."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes, or Malformed("store.short")."""

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` from `offset` on; answers its length, or raises Malformed("store.short")."""

    def close(self) -> None: ...


class Store(Protocol):
    def open_write(self, key: str) -> StoreWriter: ...

    def put_bytes(self, key: str, data: Readable) -> None:
        """A small object at once; durable and visible when this returns."""

    def open_read(self, key: str) -> StoreReader: ...

    def read_at(self, key: str, offset: int, length: int) -> bytes: ...

    def size(self, key: str) -> int: ...

    def delete(self, key: str) -> None:
        """Gone when this returns; deleting what is not there is no error."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Every visible key beginning with `prefix`, in no promised order."""

    def location(self) -> Location:
        """Asked anew each time: a moved store must be noticed."""

    def exposure(self) -> Exposure:
        """How the bytes may leave that location: replication, public access, versions that stay. Asked anew too."""

    def clean(self, before_ms: int) -> int:
        """Remove what writers of dead processes left unfinished before then; answers how much."""


def check_key(key: str) -> str:
    """`key`, or Refused("store.key"): no dot, no empty segment, nothing a path or URL could read otherwise."""
    if len(key) > _MAX_KEY or not _KEY.fullmatch(key):
        raise Refused("store.key", repr(key))
    return key
