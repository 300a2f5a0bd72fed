"""The canary scanner: are any of these values anywhere in these bytes, in any dress they could wear?

    findings = scan([directory, response_body], canaries)      # [] is the only good answer

Looks for each canary as UTF-8, UTF-16 (both orders), base64 (three alignments, both alphabets), hex (both
cases), unkeyed SHA-256, and all of them reversed, in the bytes as they are and again in what is inside: gzip,
zlib, Parquet (each page decompressed and, separately, each column decoded), Arrow IPC (each buffer, dictionaries
included).
Findings name the canary by number, never by value, so that a failing test does not print what it guards.

Many canaries are cheap: the first eight bytes of every pattern are looked up for every position at once.
"""

import base64
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fakes.parquet_pages import pages

_WINDOW = 8
_BLOCK = 8 << 20
_HASH_BITS = 24
_MULTIPLIER = np.uint64(0x9E37_79B9_7F4A_7C15)
_INFLATED = 256 << 20
SHORTEST = 4

_Windows = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]
Target = bytes | bytearray | memoryview | str | Path


@dataclass(frozen=True)
class Finding:
    """`place` says where (file, page, buffer, offset), `form` in which dress, `canary` which one, by number."""

    place: str
    form: str
    canary: int


class CanaryScanner:
    """Patterns of many canaries, built once, used on many targets."""

    def __init__(self, canaries: Iterable[str]) -> None:
        self._short: list[tuple[bytes, str, int]] = []
        by_prefix: dict[bytes, list[tuple[bytes, str, int]]] = {}
        for number, canary in enumerate(canaries):
            if len(canary.encode()) < SHORTEST:
                raise ValueError(f"canary {number} is too short to mean anything")
            for form, pattern in forms(canary):
                entry = (pattern, form, number)
                if len(pattern) < _WINDOW:
                    self._short.append(entry)
                else:
                    by_prefix.setdefault(pattern[:_WINDOW], []).append(entry)
        self._by_prefix = by_prefix
        self._prefixes = np.sort(np.frombuffer(b"".join(by_prefix), dtype="<u8"))
        self._present = np.zeros(1 << _HASH_BITS, dtype=bool)
        self._present[_hash(self._prefixes)] = True

    def scan(self, targets: "Target | Iterable[Target]") -> list[Finding]:
        """All findings in files, directories (recursively, every file), bytes and texts."""
        if isinstance(targets, bytes | bytearray | memoryview | str | Path):
            targets = [targets]
        found: list[Finding] = []
        for number, target in enumerate(targets):
            if isinstance(target, Path):
                files = sorted(p for p in target.rglob("*") if p.is_file()) if target.is_dir() else [target]
                for file in files:
                    found += self.scan_bytes(str(file), file.read_bytes())
                    # Names of files are bytes that leave, too.
                    found += self._raw(f"{file} (its name)", str(file).encode())
            else:
                data = target.encode() if isinstance(target, str) else bytes(target)
                found += self.scan_bytes(f"bytes {number}", data)
        return found

    def scan_bytes(self, place: str, data: bytes) -> list[Finding]:
        """Findings in `data` and in everything packed inside it that this scanner can open."""
        found = self._raw(place, data)
        for inner_place, inner in unpacked(place, data):
            found += self._raw(inner_place, inner)
        return found

    def _raw(self, place: str, data: bytes) -> list[Finding]:
        found = [
            Finding(f"{place} at {data.find(pattern)}", form, number)
            for pattern, form, number in self._short
            if pattern in data
        ]
        for start in range(0, max(1, len(data) - _WINDOW + 1), _BLOCK):
            found += self._block(place, data, start)
        return found

    def _block(self, place: str, data: bytes, start: int) -> list[Finding]:
        """Positions start … start+_BLOCK whose eight bytes begin a pattern; the rest of it is compared in `data`."""
        found: list[Finding] = []
        piece = data[start : start + _BLOCK + _WINDOW - 1]
        for shift in range(min(_WINDOW, len(piece) - _WINDOW + 1)):
            windows = np.frombuffer(piece, dtype="<u8", offset=shift, count=(len(piece) - shift) // _WINDOW)
            likely = np.flatnonzero(self._present[_hash(windows)])
            for index in likely[np.isin(windows[likely], self._prefixes, kind="sort")]:
                at = start + shift + int(index) * _WINDOW
                for pattern, form, number in self._by_prefix.get(data[at : at + _WINDOW], ()):
                    if data.startswith(pattern, at):
                        found.append(Finding(f"{place} at {at}", form, number))
        return found


def scan(targets: "Target | Iterable[Target]", canaries: Iterable[str]) -> list[Finding]:
    """Findings of `canaries` in paths, directories, bytes or texts. Make a CanaryScanner to scan more than once."""
    return CanaryScanner(canaries).scan(targets)


def forms(canary: str) -> list[tuple[str, bytes]]:
    """Every (dress, pattern) of a canary."""
    text = canary.encode()
    dressed = [
        ("utf-8", text),
        ("utf-16le", canary.encode("utf-16-le")),
        ("utf-16be", canary.encode("utf-16-be")),
        ("hex", text.hex().encode()),
        ("HEX", text.hex().upper().encode()),
        ("sha256", hashlib.sha256(text).hexdigest().encode()),
    ]
    for shift in range(3):
        plain = _base64_inside(text, shift)
        dressed.append((f"base64+{shift}", plain))
        if (url := plain.translate(bytes.maketrans(b"+/", b"-_"))) != plain:
            dressed.append((f"base64url+{shift}", url))
    reverse = [(f"{form} reversed", pattern[::-1]) for form, pattern in dressed]
    return [(form, pattern) for form, pattern in dressed + reverse if len(pattern) >= SHORTEST]


def _base64_inside(text: bytes, shift: int) -> bytes:
    """The characters of base64 that `text` alone decides when it starts at byte `shift` of a group of three."""
    encoded = base64.b64encode(bytes(shift) + text).rstrip(b"=")
    first = (0, 2, 3)[shift]
    last = len(encoded) - (1 if (shift + len(text)) % 3 else 0)
    return encoded[first:last]


def _hash(windows: _Windows) -> _Windows:
    return (windows * _MULTIPLIER) >> np.uint64(64 - _HASH_BITS)


def unpacked(place: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is inside: one level of gzip or zlib, then Parquet pages and columns, Arrow buffers."""
    inner = _inflated(data)
    if inner is not None:
        yield f"{place} inflated", inner
        yield from _columnar(f"{place} inflated", inner)
    yield from _columnar(place, data)


def _inflated(data: bytes) -> bytes | None:
    try:
        if data[:2] == b"\x1f\x8b":
            return gzip.GzipFile(fileobj=io.BytesIO(data)).read(_INFLATED)
        if data[:1] == b"\x78":
            return zlib.decompressobj().decompress(data, _INFLATED)
    except (OSError, EOFError, zlib.error):
        return None
    return None


def _columnar(place: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:4] == b"PAR1":
        for number, page in pages(data):
            yield f"{place} page {number}", page
        yield from _decoded(place, pq.ParquetFile(pa.BufferReader(data), arrow_extensions_enabled=False).iter_batches())
        return
    reader = _ipc(data)
    if reader is not None:
        yield from _decoded(place, reader)


def _ipc(data: bytes) -> "Iterable[pa.RecordBatch] | None":
    try:
        if data[:6] == b"ARROW1":
            file = pa.ipc.open_file(pa.BufferReader(data))
            return [file.get_batch(i) for i in range(file.num_record_batches)]
        if data[:4] == b"\xff\xff\xff\xff":
            return list(pa.ipc.open_stream(pa.BufferReader(data)))
    except (pa.ArrowException, OSError):
        return None
    return None


def _decoded(place: str, batches: "Iterable[pa.RecordBatch]") -> Iterator[tuple[str, bytes]]:
    for number, batch in enumerate(batches):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for index, buffer in enumerate(buffers(column)):
                yield f"{place} batch {number} column {name!r} buffer {index}", buffer.to_pybytes()


def buffers(array: pa.Array) -> Sequence[pa.Buffer]:
    """Every buffer of an array whole, whatever its offset, length or validity hide; dictionaries included."""
    found = [buffer for buffer in array.buffers() if buffer is not None]
    if pa.types.is_dictionary(array.type):
        found += buffers(array.dictionary)
    elif pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            found += buffers(array.field(index))
    elif pa.types.is_map(array.type):
        found += [*buffers(array.keys), *buffers(array.items)]
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        found += buffers(array.values)
    return found
