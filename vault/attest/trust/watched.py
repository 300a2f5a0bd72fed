"""A file that is read again when it changed, and what state it is in: present, missing, expired or unreadable.

Missing, expired and unreadable are one to who decides (nothing is trusted) and three to who has to mend it.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from vault.attest.trust.document import MAX_FILE, Dated, wrong
from vault.errors import Malformed, Refused

CLOCK_SKEW_MS = 60_000
_T = TypeVar("_T")
_Key = tuple[int, ...]


class State(StrEnum):
    """How a trust file stands."""

    PRESENT = "present"
    MISSING = "missing"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[_T]):
    """A file as last read. `dated` None: it has no dates of its own."""

    name: str
    value: _T | None = None
    dated: Dated | None = None
    problem: str = field(default="")

    def state(self, now_ms: int) -> State:
        if self.problem:
            return State.UNREADABLE
        if self.value is None:
            return State.MISSING
        if self.dated is not None and now_ms >= self.dated.expires_ms:
            return State.EXPIRED
        return State.UNREADABLE if self._in_future(now_ms) else State.PRESENT

    def valid(self, now_ms: int) -> _T | None:
        """The value, None unless the file is present."""
        return self.value if self.state(now_ms) is State.PRESENT else None

    def said(self, now_ms: int) -> str:
        """What is wrong with the file and how to mend it, "" when nothing is."""
        if not self.problem and self._in_future(now_ms):
            return "issued: it lies in the future; correct it, or this machine's clock"
        return self.problem

    def _in_future(self, now_ms: int) -> bool:
        return self.dated is not None and self.dated.issued_ms > now_ms + CLOCK_SKEW_MS


class WatchedFile(Generic[_T]):
    """One file. `parse` answers a value and its dates, or raises Malformed or Refused; it is called once a change."""

    def __init__(self, path: Path, parse: Callable[[bytes], tuple[_T, Dated | None]], name: str = "") -> None:
        self._path = path
        self._parse = parse
        self._name = name or path.name
        self._key: _Key | None = None
        self._loaded: Loaded[_T] = Loaded(self._name)

    def look(self) -> Loaded[_T]:
        """The file as it is now. A stat unless it changed."""
        try:
            key: _Key | None = _key(self._path.stat())
        except FileNotFoundError:
            self._key, self._loaded = None, Loaded(self._name)
            return self._loaded
        except OSError as error:
            key = None
            self._loaded = Loaded(self._name, problem=_said(error))
        if key is not None and key != self._key:
            self._key, self._loaded = self._read()
        return self._loaded

    def _read(self) -> tuple[_Key | None, Loaded[_T]]:
        try:
            key, content = read_bounded(self._path)
            value, dated = self._parse(content)
        except OSError as error:
            return None, Loaded(self._name, problem=_said(error))
        except Malformed as error:
            return _key_now(self._path), Loaded(self._name, problem=error.detail or error.reason)
        except Refused as error:
            return _key_now(self._path), Loaded(self._name, problem=str(error))
        return key, Loaded(self._name, value, dated)


def read_bounded(path: Path) -> tuple[_Key, bytes]:
    """A regular file of at most 1 MiB that not everybody may write, read in one piece. Raises Malformed or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise wrong("", "not a regular file")
        if before.st_mode & stat.S_IWOTH:
            raise wrong("", "everybody may write it; take that away (chmod o-w)")
        content = file.read(MAX_FILE + 1)
        after = os.fstat(descriptor)
    if len(content) > MAX_FILE:
        raise wrong("", f"the file is longer than {MAX_FILE} bytes")
    # Not the time of the inode: a rename over the file just read changes it, and the content is whole.
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError("it changed while it was read; write a new file and rename it")
    return _key(before), content


def _key(found: os.stat_result) -> _Key:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _key_now(path: Path) -> _Key | None:
    try:
        return _key(path.stat())
    except OSError:
        return None


def _said(error: OSError) -> str:
    return error.strerror or str(error)
