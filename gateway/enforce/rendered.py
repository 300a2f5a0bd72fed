"""What a rendering takes and gives: the byte source, the byte sink, and the facts that come out beside the bytes."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.enforce.columns import Extents


class Source(Protocol):
    """Verified plaintext of one object, random access. `read_at` returns exactly `length` bytes or raises."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """`columns`: extents of the view; `source_columns`: of the object it was made from; `rows` in both."""

    rows: int
    columns: Extents = field(default_factory=list)
    source_columns: Extents = field(default_factory=list)


class SourceFile(io.RawIOBase):
    """A Source, from `start` on, as the file object pyarrow reads. Positions count from `start`."""

    def __init__(self, source: Source, start: int = 0) -> None:
        super().__init__()
        self._source = source
        self._start = start
        self._length = source.size - start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        return self._length

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._length - self._position)
        count = left if size is None or size < 0 else min(size, left)
        data = self._source.read_at(self._start + self._position, count) if count else b""
        self._position += count
        return data


class SinkFile(io.RawIOBase):
    """Bytes written go to `send`, in order. Remembers the last eight: a Parquet footer's length stands there."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send
        self._written = 0
        self.tail = b""

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        raw = bytes(data)
        if raw:
            self._send(raw)
            self._written += len(raw)
            self.tail = (self.tail + raw[-8:])[-8:]
        return len(raw)

    def tell(self) -> int:
        return self._written
