"""What a job says of its own run: a name, parents, outputs, model digests. Kept apart from what was observed.

Nothing is decided by it: not the run, not its labels, not who may read what it wrote. The words lie in the catalog,
where they can be erased; the ledger has their hash, so that nobody changes them unseen (docs/spec/lineage.md §6).
"""

import hashlib
import json
import secrets
from dataclasses import replace
from typing import Any

from gateway.errors import Conflict, NotFound
from gateway.guard import Guard
from gateway.identity.principal import Principal
from gateway.record import rfc3339
from vault.catalog.catalog import Catalog
from vault.catalog.rows import RunRow
from vault.catalog.statement_rows import RunStatementRow
from vault.errors import NotFound as RowNotFound

MOST = 1000  # statements of one run: a job that talks in a loop fills nothing


class Statements:
    """Takes the words of jobs about their runs."""

    def __init__(self, guard: Guard, catalog: Catalog) -> None:
        self._guard = guard
        self._catalog = catalog

    async def state(self, principal: Principal, run_id: str, said: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Record `said` of a run of the caller's. Raises NotFound for anybody else's, Conflict beyond the most, and
        what the doctrine says when the principal may not act for the run's purpose any more."""
        run = await self._own(principal, run_id)
        acting = replace(principal, purpose=run.purpose)
        await self._guard.admit(acting, "session", request_id=request_id, interface="api")
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        now = self._guard.clock()
        row = RunStatementRow(self._catalog.tenant, secrets.token_hex(16), run_id, text, now)
        # The words first: an entry whose words are missing would read as words that were changed.
        if not await self._guard.blocking(self._catalog.add_statement, row, MOST):
            raise Conflict(
                "TooManyStatements", f"{MOST} statements of one run are the most", rule="run.statements",
                remedy="say less often, or open a session with a new run name",
            )  # fmt: skip
        recorder = self._guard.recorder
        await self._guard.append(recorder.event(
            "run-statement", now, principal=recorder.principal(principal.principal_id), purpose=run.purpose,
            session=principal.session.session_id if principal.session else None, run=run_id,
            statement=row.statement_id, sha256=hashlib.sha256(text.encode()).hexdigest(),
        ))  # fmt: skip
        return {"statement_id": row.statement_id, "run_id": run_id, "at": rfc3339(now)}

    async def _own(self, principal: Principal, run_id: str) -> RunRow:
        """A principal's runs are its own; a session's credentials reach the session's run alone."""
        run = await self._guard.blocking(self._find, run_id)
        own = run is not None and run.principal_id == principal.principal_id
        if run is None or not own or (principal.session is not None and principal.session.run_id != run_id):
            raise NotFound("NoSuchRun", "No run of that id is yours", remedy="use the session's run_id")
        return run

    def _find(self, run_id: str) -> RunRow | None:
        try:
            return self._catalog.run(run_id)
        except RowNotFound:
            return None
