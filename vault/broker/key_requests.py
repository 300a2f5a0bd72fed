"""The broker's own mark on orders about keys: nobody else can make one, approve one, or bring an ended one back.

The row lies in a catalog that front workers write. What decides whether a key is destroyed (the order, who asked, who
approved, when it may run, how far it is) is sealed here with a key that never leaves the broker. An older genuine row
put back by SQL carries its seal too; against that each cancelled request leaves a mark in the broker's own directory.
(One that was done may be done again: every step of it finds its work done.)
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import rfc8785

from vault.errors import Refused


class RequestFacts(Protocol):
    """A `key_request` row (`vault.catalog.rows.KeyRequestRow`)."""

    @property
    def tenant(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def dataset_id(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def document(self) -> Mapping[str, Any]: ...
    @property
    def request_sha256(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def requested_by(self) -> str: ...
    @property
    def approved_by(self) -> str: ...
    @property
    def approval(self) -> str: ...
    @property
    def created_at(self) -> int: ...
    @property
    def expires_at(self) -> int: ...
    @property
    def execute_at(self) -> int: ...
    @property
    def step(self) -> str: ...
    @property
    def plan(self) -> Mapping[str, Any]: ...
    @property
    def result(self) -> Mapping[str, Any]: ...
    @property
    def progress(self) -> Mapping[str, Any]: ...
    @property
    def updated_at(self) -> int: ...
    @property
    def broker_seal(self) -> bytes: ...


R = TypeVar("R", bound=RequestFacts)
_SEALED = (
    "tenant", "request_id", "dataset_id", "action", "document", "request_sha256", "state", "requested_by",
    "approved_by", "approval", "created_at", "expires_at", "execute_at", "step", "plan", "result",
)  # fmt: skip
PENDING, APPROVED, RUNNING, WAITING, DONE, CANCELLED = (
    "pending-approval", "approved", "running", "waiting", "done", "cancelled",
)  # fmt: skip
ENDED = frozenset({DONE, CANCELLED})


class Marks(Protocol):
    """Names that are set once and for good, where only the broker writes."""

    def has(self, kind: str, name: str) -> bool: ...

    def put(self, kind: str, name: str) -> None:
        """Durable on return."""


class MemoryMarks:
    """For tests, and for one process that is never restarted."""

    def __init__(self) -> None:
        self._names: set[tuple[str, str]] = set()

    def has(self, kind: str, name: str) -> bool:
        return (kind, name) in self._names

    def put(self, kind: str, name: str) -> None:
        self._names.add((kind, name))


class RequestSeal:
    """HMAC-SHA-256 over "demesne/key-request-row/1" NUL zone NUL JCS(columns but progress, updated_at and seal)."""

    def __init__(self, key: bytes, *, zone: str, marks: Marks) -> None:
        self._key = key
        self._zone = zone
        self._marks = marks

    def sealed(self, row: R) -> R:
        """The row with its seal. A cancelled one is marked first, so that its approval is worth nothing after."""
        if row.state == CANCELLED:
            self._marks.put("ended", row.request_id)
        return replace(row, broker_seal=self._mac(row))  # type: ignore[type-var]

    def check(self, row: RequestFacts) -> None:
        """`Refused("key.request-seal")` for a row the broker did not write, or an older one of a cancelled request."""
        if not hmac.compare_digest(self._mac(row), bytes(row.broker_seal)):
            raise Refused("key.request-seal", "the row is not what the broker wrote")
        if row.state not in ENDED and self._marks.has("ended", row.request_id):
            raise Refused("key.request-ended", "this request was cancelled")

    def _mac(self, row: RequestFacts) -> bytes:
        columns = {name: getattr(row, name) for name in _SEALED}
        for name in ("document", "plan", "result"):
            columns[name] = dict(columns[name])
        message = b"demesne/key-request-row/1\x00" + self._zone.encode() + b"\x00" + rfc8785.dumps(columns)
        return hmac.new(self._key, message, hashlib.sha256).digest()
