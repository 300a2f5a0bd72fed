"""Asks store and key provider where they are, writes down what they answered, and closes the zone on drift."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.record import Recorder
from vault.catalog.catalog import Catalog
from vault.residency import Located, observe, verdict


class ResidencyCheck:
    """One round: observe, decide, record on change, write the zone row. A mismatch closes the zone (503)."""

    def __init__(
        self, catalog: Catalog, zone: str, jurisdiction: str, locations: Mapping[str, str],
        places: Sequence[Located],
        append: Callable[[dict[str, Any]], None], recorder: Recorder, clock: Callable[[], int],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._zone = zone
        self._jurisdiction = jurisdiction
        self._locations = {jurisdiction: jurisdiction, **locations}
        self._places = places
        self._append = append
        self._recorder = recorder
        self._clock = clock
        self._told: tuple[str, str, str] | None = None
        self._record = ""

    def __call__(self) -> None:
        observations = observe(self._places, self._jurisdiction, self._locations)
        found = verdict(observations)
        state = (found.state, found.reason, found.strength)
        entry = self._recorder.event(
            "residency", self._clock(), state=found.state, reason=found.reason, strength=found.strength,
            observed=[f"{o.what}={o.observed} ({o.strength})" for o in observations],
        )  # fmt: skip
        if state != self._told:
            self._append(entry)
            self._told, self._record = state, entry["id"]
        self._catalog.set_zone(
            self._zone, self._jurisdiction, state=found.state, reason=found.reason, strength=found.strength,
            observed=[o.as_document() for o in observations], record=self._record,
        )  # fmt: skip
