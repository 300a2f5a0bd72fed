"""A store in memory that really works, and fails where told: before the effect, after it, or by lying.

    store = MemoryStore()
    store.before = lambda call, key: …      raise there: nothing has happened
    store.after = lambda call, key: …       raise there: it has happened, and the caller does not learn it
    store.lie = lambda key, data: …         what readers are given instead of what was stored
"""

import itertools
import time
from collections.abc import Callable, Iterator

from vault.errors import Malformed, NotFound, Unavailable
from vault.store.exposure import Exposure
from vault.store.store import Location, Readable, StoredObject, check_key

Hook = Callable[[str, str], None]


def _nothing(_call: str, _key: str) -> None:
    return


class FailOn:
    """A hook that raises at the n-th call (from 1) of this name, or of any."""

    def __init__(self, call: str | None = None, nth: int = 1, reason: str = "store.io") -> None:
        self._call = call
        self._nth = nth
        self._reason = reason
        self.seen = 0

    def __call__(self, call: str, key: str) -> None:
        if self._call in {None, call}:
            self.seen += 1
            if self.seen == self._nth:
                raise Unavailable(self._reason, f"{call} {key}")


class MemoryWriter:
    def __init__(self, store: "MemoryStore", key: str) -> None:
        self._store = store
        self._key = key
        self._name = next(store.names)
        store.unfinished[self._name] = bytearray()
        store.begun[self._name] = time.time_ns() // 1_000_000

    def write(self, data: Readable) -> None:
        self._store.before("write", self._key)
        self._store.unfinished[self._name] += data
        self._store.after("write", self._key)

    def commit(self) -> StoredObject:
        self._store.before("commit", self._key)
        if self._name not in self._store.unfinished:
            raise Unavailable("store.io", "this write was ended before")
        data = bytes(self._store.unfinished.pop(self._name))
        self._store.objects[self._key] = data
        self._store.after("commit", self._key)
        return StoredObject(self._key, len(data))

    def abort(self) -> None:
        self._store.unfinished.pop(self._name, None)


class MemoryReader:
    def __init__(self, store: "MemoryStore", key: str, data: bytes) -> None:
        self._store = store
        self._key = key
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        self._store.before("read", self._key)
        found = self._data[offset : offset + length]
        if len(found) != length:
            raise Malformed("store.short", self._key)
        self._store.reads.append((self._key, offset, length))
        self._store.after("read", self._key)
        return found

    def read_into(self, offset: int, target: memoryview) -> int:
        target[:] = self.read_at(offset, len(target))
        return len(target)

    def close(self) -> None:
        self._store.closed += 1


class MemoryStore:
    def __init__(self, observed: str = "de") -> None:
        self.objects: dict[str, bytes] = {}
        self.unfinished: dict[int, bytearray] = {}
        self.begun: dict[int, int] = {}
        self.names = itertools.count()
        self.reads: list[tuple[str, int, int]] = []
        self.opened = 0
        self.closed = 0
        self.observed = observed
        self.exposed = Exposure("no", "no", "off")
        self.before: Hook = _nothing
        self.after: Hook = _nothing
        self.lie: Callable[[str, bytes], bytes] = lambda _key, data: data

    def open_write(self, key: str) -> MemoryWriter:
        self.before("open_write", check_key(key))
        return MemoryWriter(self, key)

    def put_bytes(self, key: str, data: Readable) -> None:
        writer = self.open_write(key)
        try:
            writer.write(data)
            writer.commit()
        except Unavailable:
            writer.abort()
            raise

    def open_read(self, key: str) -> MemoryReader:
        self.before("open_read", key)
        self.opened += 1
        return MemoryReader(self, key, self._found(key))

    def read_at(self, key: str, offset: int, length: int) -> bytes:
        return MemoryReader(self, key, self._found(key)).read_at(offset, length)

    def size(self, key: str) -> int:
        return len(self._found(key))

    def delete(self, key: str) -> None:
        self.before("delete", check_key(key))
        self.objects.pop(key, None)
        self.after("delete", key)

    def list(self, prefix: str = "") -> Iterator[str]:
        return iter([key for key in self.objects if key.startswith(prefix)])

    def location(self) -> Location:
        self.before("location", "")
        return Location(self.observed, "self-reported", "memory://")

    def exposure(self) -> Exposure:
        self.before("exposure", "")
        return self.exposed

    def clean(self, before_ms: int) -> int:
        old = [name for name, begun in self.begun.items() if begun < before_ms]
        for name in old:
            del self.begun[name]
        return sum(self.unfinished.pop(name, None) is not None for name in old)

    def _found(self, key: str) -> bytes:
        if check_key(key) not in self.objects:
            raise NotFound("store.missing", key)
        return self.lie(key, self.objects[key])
