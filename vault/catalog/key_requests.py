"""Orders about keys, and the certificates of what was erased. The broker writes and seals the first, the jobs process
signs the second; nothing else may."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, exists, literal_column, update

from vault.catalog.key_request_rows import ErasureRow, KeyRequestRow
from vault.catalog.mapping import ERASURE, KEY_REQUEST, to_json
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import erasure, key_request
from vault.errors import Conflict, NotFound

_BY_ID = KEY_REQUEST.select.where(same(key_request, "request_id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_OF_DATASET = (
    KEY_REQUEST.select.where(same(key_request, "dataset_id"))
    .order_by(key_request.c.created_at.desc(), key_request.c.request_id)
    .limit(bindparam("limit"))
)
_IN_STATES = (
    KEY_REQUEST.select.where(same(key_request), key_request.c.state.in_(bindparam("states", expanding=True)))
    .order_by(key_request.c.created_at, key_request.c.request_id)
    .limit(bindparam("limit"))
)
_PROGRESS = (
    update(key_request)
    .where(key_request.c.tenant == bindparam("r_tenant"), key_request.c.request_id == bindparam("r_id"))
    .values(progress=bindparam("r_progress"), updated_at=bindparam("r_now"))
)
_CERTIFIED = exists(literal_column("1")).where(
    erasure.c.tenant == key_request.c.tenant, erasure.c.request_id == key_request.c.request_id,
    erasure.c.state == literal("destroyed"),
)  # fmt: skip
_UNCERTIFIED = KEY_REQUEST.select.where(
    same(key_request), key_request.c.state == literal("done"), key_request.c.action == literal("shred"), ~_CERTIFIED
).order_by(key_request.c.created_at)
_ERASURE = ERASURE.select.where(same(erasure, "request_id"))
_ERASURES = ERASURE.select.where(same(erasure, "dataset_id")).order_by(erasure.c.created_at.desc())
_PENDING = ERASURE.select.where(same(erasure, "state")).order_by(erasure.c.created_at)


class KeyRequests(Section):
    def new_key_request(self, **columns: Any) -> KeyRequestRow:
        """A row of this tenant, not written yet."""
        return KeyRequestRow(tenant=self.tenant, **columns)

    def add_key_request(self, row: KeyRequestRow) -> KeyRequestRow:
        """Sent twice it is one request: the first row is answered."""
        with self._database.write() as connection:
            found = self._within(connection, KEY_REQUEST, _BY_ID, request_id=row.request_id)
            if found is None:
                self._insert(connection, KEY_REQUEST, row)
        return found or row

    def find_key_request(self, request_id: str) -> KeyRequestRow | None:
        return self._find(KEY_REQUEST, _BY_ID, request_id=request_id)

    def key_requests(self, dataset_id: str, limit: int = 100) -> list[KeyRequestRow]:
        """Newest first."""
        return self._all(KEY_REQUEST, _OF_DATASET, dataset_id=dataset_id, limit=limit)

    def key_requests_in(self, states: Sequence[str], limit: int = 100) -> list[KeyRequestRow]:
        """Oldest first."""
        return self._all(KEY_REQUEST, _IN_STATES, states=list(states), limit=limit)

    def change_key_request(self, before: KeyRequestRow, after: KeyRequestRow) -> KeyRequestRow:
        """Conflict("key.request-state") unless the row is still exactly `before` in state, step and seal: of two that
        act on one row, one wins."""
        with self._database.write() as connection:
            found = self._within(connection, KEY_REQUEST, _BY_ID_LOCKED, request_id=before.request_id)
            if found is None:
                raise NotFound("key.request", before.request_id)
            if (found.state, found.step, found.broker_seal) != (before.state, before.step, before.broker_seal):
                raise Conflict("key.request-state", found.state)
            self._replace(connection, KEY_REQUEST, replace(after, updated_at=self._clock()))
        return after

    def key_progress(self, request_id: str, progress: Mapping[str, Any]) -> None:
        """Shown to people, decides nothing."""
        params = {"r_tenant": self.tenant, "r_id": request_id, "r_progress": to_json(dict(progress)),
                  "r_now": self._clock()}  # fmt: skip
        with self._database.write() as connection:
            connection.execute(_PROGRESS, params)

    def put_erasure(self, row: ErasureRow) -> None:
        """A certificate, or the one that takes the place of `pending` once the provider has destroyed the keys."""
        with self._database.write() as connection:
            found = self._within(connection, ERASURE, _ERASURE, request_id=row.request_id)
            (self._insert if found is None else self._replace)(connection, ERASURE, row)

    def uncertified(self) -> list[KeyRequestRow]:
        """Shreddings that are done and have no certificate that says so."""
        return self._all(KEY_REQUEST, _UNCERTIFIED)

    def find_erasure(self, request_id: str) -> ErasureRow | None:
        return self._find(ERASURE, _ERASURE, request_id=request_id)

    def erasures(self, dataset_id: str) -> list[ErasureRow]:
        return self._all(ERASURE, _ERASURES, dataset_id=dataset_id)

    def pending_erasures(self) -> list[ErasureRow]:
        """The provider has not destroyed their keys yet."""
        return self._all(ERASURE, _PENDING, state="pending")
