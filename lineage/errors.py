"""The kinds of failure a lineage or ledger call can end in; every exception of this package is exactly one.

    LineageError
    ├── Malformed    an entry, promise, receipt or frame is not what the format allows
    ├── NotVerified  bytes parse, and do not prove what they claim; `reason` names the check
    ├── NotFound     nothing of that id or index is in the ledger (yet)
    ├── Unavailable  the sequencer or a transport did not answer in its budget; a retry may help
    └── Broken       an invariant of the log does not hold; the process must not go on

`reason` is a stable machine-readable name; `str(error)` is for the operator's log.
"""


class LineageError(Exception):
    """Base of everything this package raises on purpose."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Malformed(LineageError):
    """Bytes or documents that do not have the shape their format demands."""


class NotVerified(LineageError):
    """A signature, hash or proof does not hold."""


class NotFound(LineageError):
    """No such entry in the published part of the ledger."""


class Unavailable(LineageError):
    """The ledger or a transport cannot take this now. Nothing may be served on the strength of it."""


class Broken(LineageError):
    """The stored log contradicts itself or the disk failed; stop and look."""
