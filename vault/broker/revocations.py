"""Who and what opens nothing any more: principals, platforms and measurements that a person revoked.

Two places say so. A mark in the broker's own directory is for good: clearing the catalog's row revives nothing. The row
tells brokers that share no directory with this one. Either is enough; a catalog that does not answer opens nothing.
"""

import re
from collections.abc import Mapping
from threading import Lock
from typing import Any

from vault.attest.identities import KINDS, What, revocable
from vault.broker.key_requests import Marks
from vault.broker.ports import BrokerCatalog, Clock
from vault.errors import Malformed, Refused

LOOK_MS = 2_000  # how long what was found is believed; a revocation told to this broker counts at once
_MAX_REMEMBERED = 4096
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Revocations:
    """Thread safe."""

    def __init__(self, catalog: BrokerCatalog, marks: Marks, clock: Clock) -> None:
        self._catalog = catalog
        self._marks = marks
        self._clock = clock
        self._lock = Lock()
        self._rows: tuple[frozenset[tuple[str, str]], int] = (frozenset(), 0)
        self._cleared: dict[tuple[str, bytes], int] = {}

    def revoke(self, what: str, value: str) -> None:
        """Durable on return. Malformed("broker.field") for anything but a kind and a digest."""
        if what not in KINDS or not _DIGEST.fullmatch(value):
            raise Malformed("broker.field", "subject, platform or measurement, and a SHA-256")
        self._marks.put(what, value)
        with self._lock:
            self._cleared.clear()

    def check(self, principal_id: str, claims: Mapping[str, Any]) -> None:
        """`Refused("session.revoked")` when anything of it was revoked."""
        found = self.found(principal_id, claims)
        if found is not None:
            raise Refused("session.revoked", f"its {found} was revoked")

    def check_session(self, principal_id: str, claims: Mapping[str, Any], seal: bytes) -> None:
        """The same for a row whose `seal` holds, which is what the answer is remembered by for LOOK_MS."""
        name, now = (principal_id, seal), self._clock()
        with self._lock:
            if self._cleared.get(name, 0) > now:
                return
        self.check(principal_id, claims)
        with self._lock:
            if len(self._cleared) >= _MAX_REMEMBERED:
                self._cleared.clear()
            self._cleared[name] = now + LOOK_MS

    def found(self, principal_id: str, claims: Mapping[str, Any]) -> What | None:
        """What of it was revoked, if anything."""
        named = revocable(principal_id, claims)
        rows = self._read()
        for what, value in sorted(named):
            if (what, value) in rows or self._marks.has(what, value):
                return what
        return None

    def _read(self) -> frozenset[tuple[str, str]]:
        now = self._clock()
        with self._lock:
            rows, until = self._rows
        if until > now:
            return rows
        rows = frozenset((row.what, row.value) for row in self._catalog.revocations())
        with self._lock:
            self._rows = (rows, now + LOOK_MS)
        return rows
