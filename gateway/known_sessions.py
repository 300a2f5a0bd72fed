"""Session rows as a worker knows them, at most seconds old, with what was revoked since they were attested.

Each worker and each gateway of a zone reads for itself, so that a revocation told to one of them counts in all within
SESSION_CACHE_MS, without their speaking to each other.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

from gateway.seen import Seen
from vault.attest.identities import What, revocable
from vault.catalog.catalog import Catalog
from vault.catalog.rows import SessionRow

SESSION_CACHE_MS = 5_000
REVOCATION_CACHE_MS = 4_000
_MAX_KNOWN = 10_000


class KnownSessions:
    """Thread safe. `seen` remembers how new the newest row was, so that an older one put back is refused."""

    def __init__(self, catalog: Catalog, clock: Callable[[], int], seen: Seen) -> None:
        self._catalog = catalog
        self._clock = clock
        self._seen = seen
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[SessionRow | None, int]] = {}
        self._revoked: tuple[dict[tuple[str, str], int], int] = ({}, 0)
        self._named: dict[bytes, frozenset[tuple[What, str]]] = {}

    def find(self, session_id: str) -> SessionRow | None:
        """None when there is none: nothing raw then. Of one whose principal, platform or measurement was revoked,
        `revoked_at` says when."""
        now = self._clock()
        with self._lock:
            known = self._rows.get(session_id)
        if known is not None and known[1] > now:
            return self._as_of_now(known[0])
        row = self._seen.newest(
            "session", session_id, self._catalog.find_session(session_id),
            lambda: self._catalog.find_session(session_id), _age,
        )  # fmt: skip
        with self._lock:
            if len(self._rows) > _MAX_KNOWN:
                self._rows.clear()
            self._rows[session_id] = (row, now + SESSION_CACHE_MS)
        return self._as_of_now(row)

    def forget(self, session_id: str) -> None:
        with self._lock:
            self._rows.pop(session_id, None)

    def forget_revocations(self) -> None:
        """Something was revoked here: this worker need not wait to hear of it."""
        self._revoked = ({}, 0)

    def _as_of_now(self, row: SessionRow | None) -> SessionRow | None:
        if row is None or row.revoked_at is not None:
            return row
        revoked = self._revocations()
        if not revoked:
            return row
        at = min((revoked[name] for name in self._names(row) if name in revoked), default=None)
        return row if at is None else replace(row, revoked_at=at)

    def _revocations(self) -> dict[tuple[str, str], int]:
        now = self._clock()
        revoked, until = self._revoked  # one reference, set whole: no lock on the way of every read
        if until > now:
            return revoked
        revoked = {(row.what, row.value): row.at for row in self._catalog.revocations()}
        self._revoked = (revoked, now + REVOCATION_CACHE_MS)
        return revoked

    def _names(self, row: SessionRow) -> frozenset[tuple[What, str]]:
        """By the seal, which covers everything they are made from."""
        with self._lock:
            found = self._named.get(row.attestation_seal)
        if found is None:
            found = revocable(row.principal_id, row.claims)
            with self._lock:
                if len(self._named) > _MAX_KNOWN:
                    self._named.clear()
                self._named[row.attestation_seal] = found
        return found


def _age(row: SessionRow | None) -> int:
    """A session is attested ever later, and revoked for good."""
    if row is None:
        return 0
    return row.attested_at if row.revoked_at is None else 1 << 62
