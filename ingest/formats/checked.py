"""What reading and checking a file yields, whatever its format."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingest.sources.files import SourceFile

READ = 1 << 20  # bytes at a time
SAMPLE = 1000  # values a column, spread over the whole file, for classification


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the contract names it. `type` is one of: string, integer, number, boolean, date, timestamp,
    binary, nested."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that does not parse: where it stands in the file (line from 1; bytes) and why. Holds no values."""

    line: int
    offset: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes to write: spans of the source file without its bad rows, their size and digests (hex)."""

    path: Path
    spans: tuple[tuple[int, int], ...]  # (start, stop), ascending
    size: int
    sha256: str
    md5: str

    def chunks(self) -> Iterator[bytes]:
        """The content from its beginning, at most 1 MiB at a time. A file that shrank yields less, and the
        gateway refuses it, because length and SHA-256 are signed."""
        with self.path.open("rb") as file:
            for start, stop in self.spans:
                file.seek(start)
                left = stop - start
                while left and (data := file.read(min(READ, left))):
                    left -= len(data)
                    yield data


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that was read to its end and can be written. `rows` are the good ones."""

    source: SourceFile
    columns: tuple[Column, ...]
    rows: int
    content: Content
    bad_rows: tuple[BadRow, ...] = ()
    samples: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # raw values: never in a repr


class Digests:
    """SHA-256, MD5 and length of what is fed in."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)  # S3's ETag and Content-MD5, not a defence
        self.size = 0

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        self._md5.update(data)
        self.size += len(data)

    def content(self, path: Path, spans: tuple[tuple[int, int], ...]) -> Content:
        return Content(path, spans, self.size, self._sha256.hexdigest(), self._md5.hexdigest())


def whole_file(path: Path) -> Content:
    """The file as it is. Raises OSError."""
    digests = Digests()
    with path.open("rb") as file:
        while data := file.read(READ):
            digests.update(data)
    return digests.content(path, ((0, digests.size),))
