"""A duty: something done again and again. Shared ones by one replica at a time, under a leased row with a rising fence.

When the holder dies its lease runs out and another replica takes over; a late holder finds its fence gone.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from lineage.errors import LineageError
from vault.catalog.catalog import Catalog
from vault.catalog.rows import JobRow
from vault.errors import Conflict, VaultError

# What a zone knows of its residency is too old after three intervals: a holder that was killed must be followed
# before that, or every crash of the jobs process would close the zone.
LEASE_FACTOR = 2
_MIN_LEASE_MS = 5_000
_TAKEOVER_SECONDS = 1.0  # how often a replica without the lease looks whether it is free
log = structlog.get_logger("jobs")


@dataclass(frozen=True)
class Duty:
    """`step` does one round and must be safe to repeat; `interval` seconds lie between rounds. One that is not `shared`
    is every replica's own and needs no lease."""

    kind: str
    interval: float
    step: Callable[[], None]
    shared: bool = True


class DutyThread(threading.Thread):
    """Runs one duty while it holds the lease."""

    def __init__(self, duty: Duty, catalog: Catalog, holder: str, stop: threading.Event) -> None:
        super().__init__(name=f"duty-{duty.kind}", daemon=True)
        self._duty = duty
        self._catalog = catalog
        self._holder = holder
        # Not `_stop`: threading.Thread has a method of that name.
        self._ending = stop
        self._lease_ms = max(_MIN_LEASE_MS, int(duty.interval * 1000 * LEASE_FACTOR))

    def run(self) -> None:
        leased: JobRow | None = None
        while not self._ending.is_set():
            ours = not self._duty.shared
            try:
                if self._duty.shared:
                    leased = self._hold(leased)
                    ours = leased is not None
                if ours:
                    self._duty.step()
            except (VaultError, LineageError) as error:
                log.warning("duty waits", kind=self._duty.kind, reason=error.reason)
            except Exception:  # the outermost handler of this thread: the duty must go on being tried
                log.exception("duty failed", kind=self._duty.kind)
            interval = self._duty.interval
            self._ending.wait(interval if ours else min(interval, _TAKEOVER_SECONDS))
        if leased is not None:
            self._give_back(leased)

    def _hold(self, leased: JobRow | None) -> JobRow | None:
        if leased is not None:
            try:
                return self._catalog.renew(leased, self._lease_ms)
            except Conflict:
                return None
        self._catalog.enqueue(self._duty.kind, {}, job_id=f"duty:{self._duty.kind}")
        return self._catalog.lease([self._duty.kind], self._holder, self._lease_ms)

    def _give_back(self, leased: JobRow) -> None:
        try:
            self._catalog.renew(leased, 0)
        except VaultError as error:
            log.info("lease not given back", kind=self._duty.kind, reason=error.reason)
