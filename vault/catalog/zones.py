"""Where the zone was found to be, and whether it may serve."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vault.catalog.mapping import OBSERVATION, ZONE
from vault.catalog.rows import ObservationRow, ZoneRow
from vault.catalog.section import Section, new_id, same
from vault.catalog.tables import ledger_home, residency_observation, zone
from vault.errors import Conflict, NotFound, Refused

_ZONE = ZONE.select.where(same(zone, "name"))
_LEDGER = select(ledger_home.c.place).where(same(ledger_home, "zone"))
_MOVE = (
    update(ledger_home)
    .where(
        ledger_home.c.tenant == bindparam("l_tenant"),
        ledger_home.c.zone == bindparam("l_zone"),
        ledger_home.c.place == bindparam("l_old"),
    )
    .values(place=bindparam("l_new"))
)
_OBSERVATIONS = (
    OBSERVATION.select.where(same(residency_observation, "zone"))
    .order_by(residency_observation.c.at.desc(), residency_observation.c.observation_id)
    .limit(bindparam("limit"))
)


class Zones(Section):
    def zone_state(self, name: str) -> ZoneRow:
        """NotFound("zone") before the first observation: a zone nobody looked at is not open."""
        row = self._find(ZONE, _ZONE, name=name)
        if row is None:
            raise NotFound("zone", name)
        return row

    def set_zone(
        self, name: str, jurisdiction: str, *, state: str, reason: str, strength: str,
        observed: Iterable[Mapping[str, Any]], record: str,
    ) -> ZoneRow:  # fmt: skip
        """Write what the last look showed and keep each observation of it. `state` open | closed.
        Each observation: what, target, observed, strength, matches."""
        if state not in {"open", "closed"}:
            raise Refused("zone.state", state)
        now = self._clock()
        facts = tuple(dict(each) for each in observed)
        row = ZoneRow(self.tenant, name, jurisdiction, state, reason, strength, facts, now, record)
        with self._database.write() as connection:
            known = connection.execute(_ZONE, {"tenant": self.tenant, "name": name}).first()
            (self._insert if known is None else self._replace)(connection, ZONE, row)
            for each in facts:
                self._insert(connection, OBSERVATION, ObservationRow(
                    tenant=self.tenant, observation_id=new_id(), zone=name, what=each["what"], target=each["target"],
                    observed=each["observed"], strength=each["strength"], matches=each["matches"], at=now,
                ))  # fmt: skip
        return row

    def ledger_place(self, name: str) -> str | None:
        """Where the zone's ledger lies; None before anybody said it."""
        found = self._database.first(_LEDGER, {"tenant": self.tenant, "zone": name})
        return None if found is None else str(found[0])

    def move_ledger(self, name: str, old: str, new: str) -> None:
        """The zone's ledger lies in `new` now. Conflict("ledger.elsewhere") when it was not in `old`."""
        given = {"l_tenant": self.tenant, "l_zone": name, "l_old": old}
        with self._database.write() as connection:
            if connection.execute(_MOVE, given | {"l_new": new}).rowcount != 1:
                raise Conflict("ledger.elsewhere", f"this zone's ledger is not {old}")

    def claim_ledger(self, name: str, place: str) -> None:
        """Say where the zone's ledger lies; the first word counts. Conflict("ledger.elsewhere") when it lies in another
        place: two ledgers of one zone, signed by one key, would each be denied by the other."""
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        given = {"tenant": self.tenant, "zone": name, "place": place}
        with self._database.write() as connection:
            connection.execute(make(ledger_home).on_conflict_do_nothing(), given)
            known = connection.execute(_LEDGER, {"tenant": self.tenant, "zone": name}).scalar_one()
        if known != place:
            raise Conflict("ledger.elsewhere", f"this zone's ledger is {known}, not {place}")

    def observations(self, name: str, limit: int = 100) -> list[ObservationRow]:
        """Newest first."""
        return self._all(OBSERVATION, _OBSERVATIONS, zone=name, limit=limit)
