"""Work to be done by any replica: a lease with a fence that rises each time it is taken."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, or_, update
from sqlalchemy.dialects import postgresql, sqlite

from vault.catalog.mapping import JOB, to_json
from vault.catalog.rows import JobRow
from vault.catalog.section import NewJob, Section, literal, new_id, same
from vault.catalog.tables import job
from vault.errors import Conflict, NotFound

MAX_ATTEMPTS = 5
_BY_ID = JOB.select.where(same(job, "job_id"))
_READY = (
    JOB.select.where(
        same(job),
        job.c.kind.in_(bindparam("kinds", expanding=True)),
        or_(
            job.c.state == literal("queued"),
            (job.c.state == literal("leased")) & (job.c.lease_until < bindparam("now")),
        ),
    )
    .order_by(job.c.created_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_HELD = (
    job.c.tenant == bindparam("j_tenant"),
    job.c.job_id == bindparam("j_id"),
    job.c.fence == bindparam("j_fence"),
    job.c.state == literal("leased"),
)


class Jobs(Section):
    def enqueue(self, kind: str, subject: dict[str, Any], job_id: str = "") -> str:
        """Queue work; a `job_id` that is already there changes nothing. Answers the id."""
        with self._database.write() as connection:
            return self._enqueue(connection, NewJob(kind, subject, job_id))

    def find_job(self, job_id: str) -> JobRow | None:
        return self._find(JOB, _BY_ID, job_id=job_id)

    def lease(self, kinds: Sequence[str], holder: str, ms: int) -> JobRow | None:
        """Take the oldest ready job of these kinds for `ms`; None when there is none."""
        now = self._clock()
        with self._database.write() as connection:
            found = self._within(connection, JOB, _READY, kinds=list(kinds), now=now)
            if found is None:
                return None
            taken = replace(
                found, state="leased", fence=found.fence + 1, holder=holder, lease_until=now + ms,
                attempts=found.attempts + 1,
            )  # fmt: skip
            self._replace(connection, JOB, taken)
        return taken

    def renew(self, leased: JobRow, ms: int) -> JobRow:
        """Conflict("job.fence") when the lease is no longer this holder's."""
        until = self._clock() + ms
        self._change(leased, {"lease_until": until})
        return replace(leased, lease_until=until)

    def finish(self, leased: JobRow, fence: int | None = None) -> None:
        """Conflict("job.fence") for a late holder: another one has the job now."""
        self._change(leased, {"state": "done", "lease_until": 0}, fence)

    def fail(self, leased: JobRow, reason: str, *, retry: bool = True, delay_ms: int = 1000) -> None:
        """Give it back with a delay that doubles, or end it after `MAX_ATTEMPTS`. `reason` holds no data values."""
        if retry and leased.attempts < MAX_ATTEMPTS:
            # A leased row whose lease has run out is ready: that is the delay.
            until = self._clock() + delay_ms * 2 ** (leased.attempts - 1)
            self._change(leased, {"reason": reason, "lease_until": until, "fence": leased.fence + 1})
        else:
            self._change(leased, {"state": "failed", "reason": reason, "lease_until": 0})

    def retry_job(self, job_id: str) -> None:
        """Queue a failed or finished job again, as new; its fence goes on rising."""
        with self._database.write() as connection:
            found = self._within(connection, JOB, _BY_ID, job_id=job_id)
            if found is None:
                raise NotFound("job", job_id)
            if found.state in {"failed", "done"}:
                self._replace(connection, JOB, replace(found, state="queued", attempts=0, reason=""))

    def _change(self, leased: JobRow, values: dict[str, Any], fence: int | None = None) -> None:
        params = {"j_tenant": self.tenant, "j_id": leased.job_id, "j_fence": leased.fence if fence is None else fence}
        with self._database.write() as connection:
            if connection.execute(update(job).where(*_HELD).values(values), params).rowcount != 1:
                raise Conflict("job.fence", leased.job_id)

    def _enqueue(self, connection: Connection, new: NewJob) -> str:
        job_id = new.job_id or new_id()
        values = {
            "tenant": self.tenant, "job_id": job_id, "kind": new.kind, "subject": to_json(new.subject),
            "state": "queued", "fence": 0, "holder": "", "lease_until": 0, "attempts": 0, "reason": "",
            "created_at": self._clock(),
        }  # fmt: skip
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        connection.execute(make(job).on_conflict_do_nothing(), values)
        return job_id


