"""Linux's configfs-tsm as a program sees it: attributes, generations, buffered writes, errors, short reads.

Takes the place of `os` in `demesne.evidence.tsm`. What the kernel does (drivers/virt/coco/tsm.c, fs/configfs/file.c):
binary attributes are buffered and take effect when closed, and errors of that go nowhere; more than 64 bytes of inblob
is EFBIG; each write moves the generation; a report is made when it is first read after a write.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

ROOT = "/sys/kernel/config/tsm/report"
Made = tuple[bytes, bytes]  # outblob, auxblob


@dataclass
class Entry:
    """One directory under report/."""

    inblob: bytes = b""
    privlevel: int = 0
    written: int = 0
    read: int = 0
    made: Made | None = None


@dataclass
class Opened:
    entry: Entry
    name: str
    content: bytes | None = None  # of reads: what the first one fetched
    at: int = 0
    buffer: bytes = b""


class FakeTsm:
    """`make(inblob, privlevel)` is the firmware; `faults[what]` are errors to answer, one a call, then it works."""

    def __init__(self, make: Callable[[bytes, int], Made], provider: str = "sev_guest", floor: int = 0) -> None:
        self.entries: dict[str, Entry] = {}
        self.faults: dict[str, list[int]] = {}
        self.meanwhile: list[Callable[[Entry], None]] = []  # each before one making of a report, by somebody else
        self.longest_read = 1 << 20
        self.waits: list[float] = []
        self.lost_writes = 0  # of inblob, at close
        self.without: set[str] = set()  # attributes that this kernel does not show
        self._make = make
        self._provider = provider
        self._floor = floor
        self._open: dict[int, Opened] = {}
        self._next = 1000

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def mkdir(self, path: str, /) -> None:
        self._fault("mkdir", path)
        parent, _, name = path.rpartition("/")
        if parent != ROOT:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if name in self.entries:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self.entries[name] = Entry()

    def rmdir(self, path: str, /) -> None:
        name = path.rpartition("/")[2]
        if self.entries.pop(name, None) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def open(self, path: str, flags: int, /) -> int:
        directory, _, name = path.rpartition("/")
        entry = self.entries.get(directory.rpartition("/")[2])
        writable = name in {"inblob", "privlevel"}
        readable = name in {"outblob", "auxblob", "generation", "provider", "privlevel_floor"}
        if entry is None or name in self.without or not (writable or readable):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if writable != bool(flags & os.O_WRONLY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        self._next += 1
        self._open[self._next] = Opened(entry, name)
        return self._next

    def read(self, fd: int, length: int, /) -> bytes:
        opened = self._open[fd]
        if opened.content is None:
            opened.content = self._content(opened)
        piece = opened.content[opened.at : opened.at + min(length, self.longest_read)]
        opened.at += len(piece)
        return piece

    def write(self, fd: int, data: bytes, /) -> int:
        opened = self._open[fd]
        self._fault(opened.name, opened.name)
        if opened.name == "privlevel":
            level = int(data)
            if not self._floor <= level <= 3:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            opened.entry.privlevel = level
            opened.entry.written += 1
            return len(data)
        if len(opened.buffer) + len(data) > 64:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        opened.buffer += data
        return len(data)

    def close(self, fd: int, /) -> None:
        opened = self._open.pop(fd)
        if opened.name == "inblob" and opened.buffer:
            if self.lost_writes:
                self.lost_writes -= 1
                return
            opened.entry.inblob = opened.buffer
            opened.entry.written += 1

    @property
    def descriptors(self) -> int:
        """How many are open."""
        return len(self._open)

    def _content(self, opened: Opened) -> bytes:
        entry, name = opened.entry, opened.name
        if name == "generation":
            return b"%d\n" % entry.written
        if name == "provider":
            return self._provider.encode() + b"\n"
        if name == "privlevel_floor":
            return b"%d\n" % self._floor
        if name == "outblob" and self.meanwhile:
            self.meanwhile.pop(0)(entry)
        self._fault(name, name)
        if not entry.inblob:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if entry.made is None or entry.read != entry.written:
            entry.made = self._make(entry.inblob, entry.privlevel)
            entry.read = entry.written
        return entry.made[name == "auxblob"]

    def _fault(self, what: str, path: str) -> None:
        if queue := self.faults.get(what):
            code = queue.pop(0)
            raise OSError(code, os.strerror(code), path)


def another_writes(content: bytes = b"\x66" * 64) -> Callable[[Entry], None]:
    """Somebody else who writes the same entry, as the kernel lets him."""

    def write(entry: Entry) -> None:
        entry.inblob = content
        entry.written += 1

    return write


@dataclass
class Firmware:
    """Calls that were made of it."""

    make: Callable[[bytes, int], Made]
    asked: list[tuple[bytes, int]] = field(default_factory=list)

    def __call__(self, inblob: bytes, privlevel: int) -> Made:
        self.asked.append((inblob, privlevel))
        return self.make(inblob, privlevel)
