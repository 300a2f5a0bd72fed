"""Plain files: the embedded store. Written beside, synced, renamed, directory synced; so a crash shows all or nothing.

    <root>/.location.json      where this store says it is: written once, by whoever set it up (self-reported)
    <root>/.unfinished/<name>  writes under way
    <root>/<key>               objects, 0600
"""

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Self

from vault.errors import Conflict, Malformed, NotFound, Unavailable
from vault.store.exposure import Exposure
from vault.store.store import Location, Readable, StoredObject, check_key

MARKER = ".location.json"
UNFINISHED = ".unfinished"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAX_MARKER = 4096


def _raise(error: OSError, key: str) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise NotFound("store.missing", key) from error
    raise Unavailable("store.full" if error.errno in _FULL else "store.io", f"{key}: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: Readable) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


class FileWriter:
    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._key = check_key(key)
        self._path: Path | None = root / UNFINISHED / secrets.token_hex(16)
        self._size = 0
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as error:  # the place for writes is gone: a mount that is away, not an absent object
            raise Unavailable("store.unmarked", str(root)) from error
        except OSError as error:
            _raise(error, key)

    def write(self, data: Readable) -> None:
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            self.abort()
            _raise(error, self._key)
        self._size += len(data)

    def commit(self) -> StoredObject:
        if self._path is None:
            raise Unavailable("store.io", "this write was ended before")
        target = self._root / self._key
        try:
            # An fsync that fails is final: the kernel may have dropped the pages, a second one would say nothing.
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            _make_directories(self._root, target.parent)
            self._path.rename(target)
            self._path = None
            _sync_directory(target.parent)
        except OSError as error:
            self.abort()
            _raise(error, self._key)
        return StoredObject(self._key, self._size)

    def abort(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if self._path is not None:
            path, self._path = self._path, None
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _make_directories(root: Path, directory: Path) -> None:
    """Each new directory is synced into its parent: a durable file in a lost directory is lost."""
    if directory.is_dir():
        return
    if directory != root:
        _make_directories(root, directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(0o700)
        _sync_directory(directory.parent)


class FileReader:
    """Keeps the file open: an object deleted meanwhile is read to its end."""

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        self._descriptor = -1
        try:
            # Not blocking: a pipe that somebody put here would be opened until somebody writes to it.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            status = os.fstat(self._descriptor)
        except OSError as error:
            self.close()
            if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link, a socket: of this key alone, the store is well
                raise Malformed("store.not-a-file", key) from error
            _raise(error, key)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise Malformed("store.not-a-file", key)
        self.size = status.st_size

    def read_at(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, target: memoryview) -> int:
        done = 0
        try:
            while done < len(target):
                count = os.preadv(self._descriptor, [target[done:]], offset + done)
                if count == 0:
                    raise Malformed("store.short", f"{self._key}: {done} of {len(target)} bytes at {offset}")
                done += count
        except OSError as error:
            _raise(error, self._key)
        return done

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class FileStore:
    """Raises Unavailable("store.unmarked") where `root` was never set up: an empty mount point is not a store."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.location()

    @classmethod
    def initialise(cls, root: Path, observed: str) -> Self:
        """Set up `root` as a store that lies in `observed`; once done, the same again is no error.
        Conflict("store.location") when its marker says another place: data does not move by a setting."""
        try:
            (root / UNFINISHED).mkdir(0o700, parents=True, exist_ok=True)
            marker = root / MARKER
            if not marker.exists():
                draft = root / UNFINISHED / secrets.token_hex(16)
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    _write_all(descriptor, json.dumps({"format": 1, "observed": observed}).encode())
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                draft.rename(marker)
                _sync_directory(root)
        except OSError as error:
            _raise(error, MARKER)
        store = cls(root)
        found = store.location().observed
        if found != observed:
            raise Conflict("store.location", f"the marker says {found!r}, not {observed!r}")
        return store

    def open_write(self, key: str) -> FileWriter:
        return FileWriter(self._root, key)

    def put_bytes(self, key: str, data: Readable) -> None:
        writer = self.open_write(key)
        writer.write(data)
        writer.commit()

    def open_read(self, key: str) -> FileReader:
        return FileReader(self._root / check_key(key), key)

    def read_at(self, key: str, offset: int, length: int) -> bytes:
        reader = self.open_read(key)
        try:
            return reader.read_at(offset, length)
        finally:
            reader.close()

    def size(self, key: str) -> int:
        try:
            return (self._root / check_key(key)).stat(follow_symlinks=False).st_size
        except OSError as error:
            _raise(error, key)

    def delete(self, key: str) -> None:
        path = self._root / check_key(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _sync_directory(path.parent)
        except OSError as error:
            _raise(error, key)

    def list(self, prefix: str = "") -> Iterator[str]:
        # A prefix that names a directory is listed at that directory's cost, not the store's.
        within = self._root / prefix.rpartition("/")[0]
        for directory, inner, names in os.walk(within):
            inner[:] = [name for name in inner if not name.startswith(".")]
            for name in names:
                key = (Path(directory) / name).relative_to(self._root).as_posix()
                if not key.startswith(".") and key.startswith(prefix):
                    yield key

    def location(self) -> Location:
        path = self._root / MARKER
        try:
            with path.open("rb") as file:
                document = json.loads(file.read(_MAX_MARKER))
            observed = document["observed"]
        except FileNotFoundError as error:
            raise Unavailable("store.unmarked", str(self._root)) from error
        except OSError as error:
            _raise(error, MARKER)
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed("store.marker", str(path)) from error
        if not isinstance(observed, str):
            raise Malformed("store.marker", str(path))
        return Location(observed=observed, strength="self-reported", target=f"file://{self._root}")

    def exposure(self) -> Exposure:
        """Public: a folder that every user of the host may write to. What a file system below mirrors, nobody says."""
        try:
            open_to_all = any(path.stat().st_mode & stat.S_IWOTH for path in (self._root, self._root / UNFINISHED))
        except OSError as error:
            _raise(error, MARKER)
        return Exposure("no", "yes" if open_to_all else "no", "off", unasked=("replication",))

    def clean(self, before_ms: int) -> int:
        removed = 0
        try:
            for path in (self._root / UNFINISHED).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime * 1000 < before_ms:
                        path.unlink()
                        removed += 1
        except OSError as error:
            _raise(error, UNFINISHED)
        return removed
