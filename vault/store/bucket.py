"""One bucket of a store that is spoken to over HTTP, in the calls this vault makes: what a driver has to offer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vault.store.exposure import Exposure
from vault.store.store import Location


@dataclass(frozen=True, slots=True)
class Head:
    size: int
    etag: str | None


class Body(Protocol):
    """Bytes of one ranged answer as they come. Raises vault errors only."""

    def read(self, amount: int) -> bytes: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ranged:
    """An answer to a ranged GET: its body, and what its headers claim that it is."""

    body: Body
    content_range: str | None
    length: int | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    key: str
    upload_id: str
    begun_ms: int


class Bucket(Protocol):
    """One bucket in the calls this vault makes. Every method raises vault errors only, as `vault/store/store.py`."""

    def head(self, key: str) -> Head: ...
    def get(self, key: str, start: int, stop: int, etag: str | None) -> Ranged: ...
    def put(self, key: str, data: bytes) -> None: ...
    def begin(self, key: str) -> str: ...
    def part(self, key: str, upload_id: str, number: int, data: bytes) -> str: ...
    def complete(self, key: str, upload_id: str, parts: list[tuple[int, str]]) -> None: ...
    def abandon(self, key: str, upload_id: str) -> None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> Iterator[str]: ...
    def uploads(self) -> Iterator[Unfinished]: ...
    def location(self) -> Location: ...
    def exposure(self) -> Exposure: ...
