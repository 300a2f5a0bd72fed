"""OpenLineage events as JSON Lines in a file, synced before they count as sent."""

import os
from pathlib import Path

from lineage.errors import Unavailable
from lineage.ledger.durable import write_all


class FileTransport:
    """Appends; a line torn by a crash or a full disk is removed before the next is written."""

    def __init__(self, path: str | Path, *, name: str = "file") -> None:
        self.name = name
        self._path = Path(path)

    def send(self, events: list[str]) -> None:
        data = "".join(event + "\n" for event in events).encode()
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable("transport.file", error.strerror or "") from error
        try:
            end = _end_of_last_line(handle)
            os.lseek(handle, end, os.SEEK_SET)
            os.ftruncate(handle, end)
            try:
                write_all(handle, data)
                os.fsync(handle)
            except OSError as error:
                os.ftruncate(handle, end)
                raise Unavailable("transport.file", error.strerror or "") from error
        finally:
            os.close(handle)


def _end_of_last_line(handle: int) -> int:
    end = os.lseek(handle, 0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - 65536)
        found = os.pread(handle, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
