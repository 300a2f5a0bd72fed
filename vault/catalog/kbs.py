"""Key-broker clients: tickets that say for whom and what they may attest, and their handshakes.

Neither opens anything: raw data hangs on the session's row and the broker's seal over it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, delete, update

from vault.catalog.attestation_rows import KbsSessionRow, KbsTicketRow
from vault.catalog.mapping import KBS_SESSION, KBS_TICKET, to_json
from vault.catalog.section import Section, literal, same
from vault.catalog.tables import kbs_session, kbs_ticket
from vault.errors import Conflict, NotFound

_KEPT_MS = 3_600_000  # after their end, for questions about them
_TICKET = KBS_TICKET.select.where(same(kbs_ticket, "ticket_sha256"))
_TICKET_LOCKED = _TICKET.with_for_update()
_SESSION = KBS_SESSION.select.where(same(kbs_session, "cookie_sha256"))
_SWEEP_TICKETS = delete(kbs_ticket).where(
    kbs_ticket.c.tenant == bindparam("k_tenant"), kbs_ticket.c.expires_at < bindparam("k_now")
)
_SWEEP_SESSIONS = delete(kbs_session).where(
    kbs_session.c.tenant == bindparam("k_tenant"), kbs_session.c.expires_at < bindparam("k_now")
)
# Once. The nonce, which is spent before, lets only one come here.
_SETTLE = update(kbs_session).where(
    kbs_session.c.tenant == bindparam("k_tenant"),
    kbs_session.c.cookie_sha256 == bindparam("k_cookie"),
    kbs_session.c.state == literal("asked"),
)


class KbsClients(Section):
    def insert_kbs_ticket(self, row: KbsTicketRow) -> None:
        """And forget those that ran out."""
        with self._database.write() as connection:
            connection.execute(_SWEEP_TICKETS, {"k_tenant": self.tenant, "k_now": self._clock() - _KEPT_MS})
            self._insert(connection, KBS_TICKET, row)

    def find_kbs_ticket(self, ticket_sha256: str) -> KbsTicketRow | None:
        """Expired and revoked ones are answered: look at the row."""
        return self._find(KBS_TICKET, _TICKET, ticket_sha256=ticket_sha256)

    def revoke_kbs_ticket(self, ticket_sha256: str) -> KbsTicketRow:
        """For good; revoking twice is once. NotFound("kbs.ticket")."""
        with self._database.write() as connection:
            row = self._within(connection, KBS_TICKET, _TICKET_LOCKED, ticket_sha256=ticket_sha256)
            if row is None:
                raise NotFound("kbs.ticket")
            if row.revoked_at is None:
                row = replace(row, revoked_at=self._clock())
                self._replace(connection, KBS_TICKET, row)
        return row

    def insert_kbs_session(self, row: KbsSessionRow) -> None:
        """A handshake that was asked for; and forget those that ran out."""
        with self._database.write() as connection:
            connection.execute(_SWEEP_SESSIONS, {"k_tenant": self.tenant, "k_now": self._clock()})
            self._insert(connection, KBS_SESSION, row)

    def find_kbs_session(self, cookie_sha256: str) -> KbsSessionRow | None:
        return self._find(KBS_SESSION, _SESSION, cookie_sha256=cookie_sha256)

    def attested_kbs_session(
        self, cookie_sha256: str, *, public_key: Mapping[str, Any], session_id: str, token: str
    ) -> None:
        """From asked to attested, once. Conflict("kbs.state") when it was so before."""
        values = {
            "state": "attested", "public_key": to_json(dict(public_key)), "session_id": session_id, "token": token,
        }  # fmt: skip
        params = {"k_tenant": self.tenant, "k_cookie": cookie_sha256}
        with self._database.write() as connection:
            if connection.execute(_SETTLE.values(values), params).rowcount != 1:
                raise Conflict("kbs.state")
