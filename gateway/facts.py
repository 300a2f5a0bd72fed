"""What a decision is made on: rows read in one go, each with its seal checked, and never the caller's word.

`FactsReader.gather` is synchronous and runs on a bounded executor; it is the guard's step 3 (resolve).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gateway.binding import elsewhere
from gateway.decide import document
from gateway.decide.document import Action
from gateway.identity.principal import Principal
from gateway.known_sessions import KnownSessions
from gateway.seen import Seen
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow, RunIoRow, SessionRow, VersionRow, ZoneRow
from vault.errors import NotFound, Refused

ZONE_CACHE_MS = 5_000
PLACES = frozenset({"store", "key-provider"})  # whose observations every decision and receipt states


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run has read so far: the strictest label, and the zones all of it may lie in (None: nothing read)."""

    run_id: str
    label: Literal["personal", "none"]
    placement: tuple[str, ...] | None
    inputs: int


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """This zone as last observed; `closed` carries why."""

    name: str
    jurisdiction: str
    posture: Literal["development", "production"]
    state: Literal["open", "closed"]
    reason: str
    strength: str
    observed: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    zone: ZoneFacts
    dataset: DatasetRow | None
    contract: dict[str, Any] | None
    version: VersionRow | None
    session: SessionRow | None
    fresh: bool
    lapsed_ms: int
    run: RunFacts
    marker: VersionRow | None = None
    """The delete marker that stands where a version was asked for; `version` is None then."""
    named: bool = False  # by version id
    elsewhere: str = ""  # the rule a session breaks by where it is used from (gateway/binding.py)


@dataclass(frozen=True, slots=True)
class FactsPolicy:
    """The settings that facts depend on, all in milliseconds."""

    posture: Literal["development", "production"]
    jurisdiction: str
    freshness_ms: int
    run_window_ms: int
    zone_stale_ms: int


class FactsReader:
    def __init__(self, catalog: Catalog, zone: str, policy: FactsPolicy, clock: Callable[[], int]) -> None:
        self._catalog = catalog
        self._zone = zone
        self._policy = policy
        self._clock = clock
        self._seen = Seen()
        self._sessions = KnownSessions(catalog, clock, self._seen)
        self._zone_row: tuple[ZoneRow | None, int] = (None, 0)
        self._runs: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._closed: frozenset[str] = frozenset()

    def close_datasets(self, dataset_ids: frozenset[str]) -> None:
        """Refuse every decision about these until this process ends: their rows were put back to what they were."""
        self._closed = dataset_ids

    def gather(
        self,
        principal: Principal,
        dataset: str | None,
        key: str | None = None,
        version_id: str | None = None,
        *,
        run_labels: bool = False,
    ) -> Facts:
        """Read the rows one decision needs. `run_labels` reads the run's inputs afresh: a write depends on them.

        Raises vault errors: Refused("catalog.row-edited") when a row was changed behind the gateway's back,
        Refused("catalog.row-older") when it was put back to what it was before.
        """
        now = self._clock()
        row = self._dataset(dataset)
        version = marker = None
        if row is not None and key is not None and row.zone == self._zone:
            version = self._version(row.dataset_id, key, version_id)
            if version is not None and version.key != key:
                version = None
            if version is not None and version.delete_marker:
                marker, version = version, None
        session = self.session(principal.session.session_id) if principal.session else None
        age = now - session.attested_at if session else 0
        return Facts(
            zone=self.zone(),
            dataset=row,
            contract=(
                self._catalog.contract(row.dataset_id, row.contract_version)
                if row is not None and row.contract_version
                else None
            ),
            version=version,
            session=session,
            # Attested again near its end, a session ends all the same: streams that are open look here.
            fresh=session is not None
            and session.revoked_at is None
            and age <= self._policy.freshness_ms
            and now < session.expires_at,
            lapsed_ms=max(0, age - self._policy.freshness_ms),
            run=self._run(principal, labels=run_labels),
            marker=marker,
            named=version_id is not None,
            elsewhere=elsewhere(principal, session),
        )

    def session(self, session_id: str) -> SessionRow | None:
        """The session's row, at most 5 s old. None when there is none: nothing raw then."""
        return self._sessions.find(session_id)

    def forget_session(self, session_id: str) -> None:
        self._sessions.forget(session_id)

    def forget_revocations(self) -> None:
        self._sessions.forget_revocations()

    def zone(self) -> ZoneFacts:
        """The last residency verdict. Never observed, or not for a while, is closed."""
        now = self._clock()
        row, until = self._zone_row
        # Kept beyond its own time it would close a zone that was asked meanwhile.
        if until <= now or (row is not None and now - row.observed_at > self._policy.zone_stale_ms):
            row = self._observed()
            self._zone_row = (row, now + ZONE_CACHE_MS if row is not None else now)
        policy = self._policy
        if row is None:
            return ZoneFacts(
                self._zone, policy.jurisdiction, policy.posture, "closed", "not observed yet", "self-reported", ()
            )
        stale = now - row.observed_at > policy.zone_stale_ms
        observed = tuple(
            {name: str(item.get(name, "")) for name in ("what", "observed", "strength")}
            for item in row.observed if item.get("what") in PLACES
        )  # fmt: skip
        return ZoneFacts(
            row.name, policy.jurisdiction, policy.posture,
            "open" if row.state == "open" and not stale else "closed",
            "the last observation is too old" if stale else row.reason,
            row.strength, observed,
        )  # fmt: skip

    def _observed(self) -> ZoneRow | None:
        try:
            return self._catalog.zone_state(self._zone)
        except NotFound:
            return None

    def _dataset(self, name: str | None) -> DatasetRow | None:
        if name is None:
            return None
        try:
            found = self._catalog.dataset(name)
        except NotFound:
            return None
        if found.dataset_id in self._closed:
            raise Refused("catalog.row-older", "the ledger saw this dataset further than the catalog is")
        # Compared by id: a dataset may be dropped and its name be given to a new one.
        return self._seen.newest(
            "dataset", found.dataset_id, found, lambda: self._catalog.dataset(name), lambda row: row.contract_version
        )

    def _version(self, dataset_id: str, key: str, version_id: str | None) -> VersionRow | None:
        if version_id is None:
            return self._catalog.latest(dataset_id, key)
        if version_id == "null":
            # Not found here, it would be decided as absent and still be deleted: the catalog knows the name.
            return self._catalog.null_version(dataset_id, key)
        return self._catalog.version(dataset_id, version_id)

    def _run(self, principal: Principal, *, labels: bool) -> RunFacts:
        run_id = principal.session.run_id if principal.session else self._unnamed_run(principal)
        if not labels:
            return RunFacts(run_id, "none", None, 0)
        inputs = self._seen.newest(
            "run", run_id, self._inputs(run_id), lambda: self._inputs(run_id),
            lambda rows: sum(io.label == "personal" for io in rows),
        )  # fmt: skip
        placement: set[str] | None = None
        for io in inputs:
            if io.label == "personal":
                placement = set(io.placement) if placement is None else placement & set(io.placement)
        label: Literal["personal", "none"] = "personal" if any(io.label == "personal" for io in inputs) else "none"
        zones = tuple(sorted(placement)) if placement is not None else None
        return RunFacts(run_id, label, zones, len(inputs))

    def has_read(self, run_id: str, label: str) -> None:
        """The run was just noted to read something of this label: from now on its inputs must say so."""
        if label == "personal":
            self._seen.at_least("run", run_id, 1)

    def _inputs(self, run_id: str) -> list[RunIoRow]:
        return self._catalog.inputs(run_id)

    def _unnamed_run(self, principal: Principal) -> str:
        """Without a named run: whatever this principal and workload do within the window is one."""
        now = self._clock()
        name = (principal.principal_id, principal.purpose, principal.access_key_id)
        known = self._runs.get(name)
        if known is not None and known[1] > now:
            return known[0]
        run_id = self._catalog.ensure_run(
            principal.principal_id, principal.purpose, "", principal.access_key_id, self._policy.run_window_ms
        )
        if len(self._runs) > 10_000:
            self._runs.clear()
        self._runs[name] = (run_id, now + 60_000)
        return run_id


def decision_input(
    principal: Principal,
    facts: Facts,
    *,
    action: Action,
    interface: Literal["s3", "api"],
    request_id: str,
    now: str,
    dataset: str | None = None,
    key: str | None = None,
    require_view: Literal["raw"] | None = None,
) -> dict[str, Any]:
    """The decision input (docs/spec/decision.md) of one request on these facts."""
    version, zone = facts.version, facts.zone
    if version is None and facts.named and action == "delete":
        version = facts.marker  # whoever removes a marker brings back what it hides
    return document.build_input(
        now=now,
        request=document.RequestFacts(
            request_id=request_id, action=action, interface=interface, tenant=principal.tenant,
            zone=facts.dataset.zone if facts.dataset else zone.name, dataset=dataset, key=key,
            version=version.version_id if version else None, require_view=require_view,
        ),
        principal=document.PrincipalFacts(
            principal_id=principal.principal_id, name=principal.name, kind=principal.kind,
            roles=sorted(principal.roles), jurisdiction=principal.jurisdiction, tenant=principal.tenant,
            purposes=sorted(principal.purposes),
        ),
        purpose=principal.purpose,
        session=_session_input(principal, facts),
        dataset=dataset_input(facts.dataset, facts.contract, zone) if facts.dataset else None,
        object=_object_input(version) if version else None,
        zone=document.ZoneFacts(
            name=zone.name, jurisdiction=zone.jurisdiction, posture=zone.posture, state=zone.state,
            strength=zone.strength,
        ),
        run=document.RunFacts(
            run_id=facts.run.run_id, label=facts.run.label, placement=facts.run.placement, inputs=facts.run.inputs
        ),
    )  # fmt: skip


def dataset_input(row: DatasetRow, contract: dict[str, Any] | None, zone: ZoneFacts) -> document.DatasetFacts:
    """The dataset as the doctrine sees it. A pointer to another zone has that zone's name as jurisdiction."""
    return document.DatasetFacts(
        dataset_id=row.dataset_id, name=row.name, zone=row.zone,
        jurisdiction=zone.jurisdiction if row.zone == zone.name else row.zone,
        synthetic=row.synthetic, label=_label(row.label), contract_version=row.contract_version, contract=contract,
    )  # fmt: skip


def _object_input(version: VersionRow) -> document.ObjectFacts:
    return document.ObjectFacts(
        label=_label(version.label), format=version.format,
        key_class="view" if version.key_class == "view" else "raw",
        placement=version.placement, written_by=version.written_by, run=version.run_id,
        declassified=version.record if version.label == "none" and version.key_class == "raw" else None,
    )  # fmt: skip


def _session_input(principal: Principal, facts: Facts) -> document.SessionFacts | None:
    if principal.session is None:
        return None
    row = facts.session
    return document.SessionFacts(
        session_id=principal.session.session_id,
        kind="attested" if principal.session.kind == "attested" else "identity",
        tier=row.tier if row else "none", fresh=facts.fresh, scope=principal.session.scope,
        run=principal.session.run_id, claims=dict(row.claims) if row else {},
    )  # fmt: skip


def _label(text: str) -> Literal["personal", "none"]:
    """Anything but an explicit "none" is personal."""
    return "none" if text == "none" else "personal"
