"""Every call by which this process makes something last, counted; and an end by SIGKILL at the one that is named.

The calls are found where they are made, not guessed: the operating system's own (files store, ledger, local keys), the
catalog's BEGIN and COMMIT, and each changing request to an S3 store. A call is met `before` its effect, `after` it, or,
where bytes are written, `torn`: half of them were.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from botocore.client import BaseClient
from sqlalchemy import Connection

SYSTEM = ("write", "pwrite", "fsync", "fdatasync", "rename", "replace", "unlink", "mkdir", "ftruncate", "link")
CHANGES = frozenset({
    "PutObject", "DeleteObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload",
    "AbortMultipartUpload", "CopyObject",
})  # fmt: skip
MODES = ("before", "after", "torn")
TORN = frozenset({"write", "pwrite"})
_system: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in SYSTEM}


def say(pipe: int, line: bytes) -> None:
    """To the parent, past the counting; short enough that it arrives whole or not at all."""
    _system["write"](pipe, line + b"\n")


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("outlived SIGKILL")


@dataclass
class Points:
    """`arm(n, mode)`: die at the n-th point from now on (from 1). `seen`: the names of those met since `arm`."""

    seen: list[str] = field(default_factory=list)
    _at: int = 0
    _mode: str = "before"

    def arm(self, at: int, mode: str) -> None:
        """0 counts and kills nobody."""
        self.seen.clear()
        self._at, self._mode = at, mode

    def around(self, name: str, call: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        self.seen.append(name)
        if self._at == 0 or len(self.seen) != self._at:
            return call()
        if self._mode == "torn" and half is not None:
            half()
            die()
        if self._mode == "before":
            die()
        call()
        die()

    def install(self) -> None:
        """For the rest of this process. Only ever called in a child that was forked to die."""
        for name in SYSTEM:
            setattr(os, name, self._counted(name, _system[name]))
        self._catalog()
        self._requests()

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            half = None
            if name in TORN:
                cut = memoryview(args[1])[: len(args[1]) // 2]

                def half() -> Any:
                    return original(args[0], cut, *args[2:])

            return self.around(name, lambda: original(*args, **kwargs), half)

        return counted

    def _catalog(self) -> None:
        original = Connection.exec_driver_sql

        def counted(connection: Connection, statement: str, *args: Any, **kwargs: Any) -> Any:
            if not statement.startswith(("BEGIN", "COMMIT")):
                return original(connection, statement, *args, **kwargs)
            return self.around(
                statement.split(maxsplit=1)[0].lower(), lambda: original(connection, statement, *args, **kwargs)
            )

        setattr(Connection, "exec_driver_sql", counted)  # noqa: B010 - mypy forbids the plain assignment

    def _requests(self) -> None:
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def counted(client: Any, operation: str, parameters: Any) -> Any:
            if operation not in CHANGES:
                return original(client, operation, parameters)
            return self.around(f"store {operation}", lambda: original(client, operation, parameters))

        setattr(BaseClient, "_make_api_call", counted)  # noqa: B010
