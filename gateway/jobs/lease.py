"""A job's lease, kept while a child works on it."""

from collections.abc import Callable

from vault.catalog.catalog import Catalog
from vault.catalog.rows import JobRow

LEASE_MS = 300_000
RENEW_MS = 2_000


class KeptLease:
    """Renews as the work shows signs of life. Conflict("job.fence") ends the build: somebody else has the job."""

    def __init__(self, catalog: Catalog, clock: Callable[[], int], job: JobRow, view_id: str | None) -> None:
        self._catalog = catalog
        self._clock = clock
        self._job = job
        self._view_id = view_id
        self._renewed = clock()
        self._percent = 0

    def progress(self, percent: int) -> None:
        """Told to the catalog with the next renewal: who waits for a view polls in seconds, not in rows."""
        self._percent = percent
        self.keep()

    def keep(self) -> None:
        now = self._clock()
        if now - self._renewed < RENEW_MS:
            return
        self._renewed = now
        self._job = self._catalog.renew(self._job, LEASE_MS)
        if self._view_id is not None:
            self._catalog.view_building(self._view_id, self._percent)
