"""What must hold before the broker opens an object key. One list; each number stands again at its code.

    1  the entry is one canonical ledger intent, and nothing else
    2  the ledger's key promised exactly these bytes
    3  the promise is at most 30 s old: a decision is used when it is made, not kept
    4  the intent allows reading, here (tenant, zone), this dataset and version, in this view
       raw keys    5  the session is the one the broker sealed: attested, not revoked (itself, its principal, platform
                      or measurement), fresh, of this principal, this purpose, and the dataset by that name lies in
                      its scope
                   6  claims that only open synthetic data: development posture and a dataset flagged synthetic
       view keys   5v the view is of this version and of the plan that the intent names
       manifest keys alone: of 4 that action and version are right, and the dataset is the one that is named; what such
       a key opens is what the catalog's rows say anyway, and names. A wrap for a copy: 4 to 6 as for reading.
    7  the provider, under the credential of the class, opens the epoch's wrap (`vault.keys.hierarchy`)

Each check raises `Refused`; none answers a bool. What a compromised front worker could still do is listed in
docs/spec/keys.md §7.
"""

import hmac
from dataclasses import dataclass

from vault.broker.entry import Intent, parse_intent
from vault.broker.key_requests import Marks, MemoryMarks
from vault.broker.ports import (
    BrokerCatalog,
    Clock,
    DatasetFacts,
    JobFacts,
    PromiseFacts,
    SessionFacts,
    VerifyPromise,
)
from vault.broker.revocations import Revocations
from vault.broker.sessions import OPENING_TIERS, SessionSeal
from vault.broker.types import Grant
from vault.errors import NotFound, Refused, VaultError
from vault.keys.hierarchy import KeyScope
from vault.keys.provider import KeyClass
from vault.keys.secrets import record_hash

PROMISE_MAX_AGE_MS = 30_000
CLOCK_SLACK_MS = 2_000  # ledger and broker may sit on two hosts of one zone
_READING = frozenset({"read", "head"})  # HEAD opens the manifest, which is sealed under the object key
_DESCRIBING = _READING | {"write", "declassify"}  # tags and labels are in the manifest, and so are written there
_JOB_KINDS = frozenset({"view", "describe"})


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """The settings that bound a release. `posture` is development | production."""

    tenant: str
    zone: str
    posture: str
    freshness_ms: int


class ReleaseChecks:
    """The numbered checks over one catalog. Holds no key but the two that verify."""

    def __init__(
        self,
        *,
        policy: ReleasePolicy,
        catalog: BrokerCatalog,
        verify_promise: VerifyPromise,
        session_seal: SessionSeal,
        record_hash_key: bytes,
        clock: Clock,
        marks: Marks | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self._policy = policy
        self._catalog = catalog
        self._verify_promise = verify_promise
        self._session_seal = session_seal
        self._record_hash_key = record_hash_key
        self._clock = clock
        self._marks = marks or MemoryMarks()
        self._revocations = revocations or Revocations(catalog, self._marks, clock)

    def check_place(self, scope: KeyScope) -> None:
        """Every method: the scope is of the tenant and zone this broker serves."""
        if (scope.tenant, scope.zone) != (self._policy.tenant, self._policy.zone):
            raise Refused("broker.place", "another tenant or zone")

    def check_release(self, scope: KeyScope, subject: str, grant: Grant) -> Intent:
        """Checks 1 to 6; check 7 is the unwrapping itself."""
        self.check_place(scope)
        intent = parse_intent(grant.entry)  # 1
        self._check_promise(grant)  # 2, 3
        self._check_intent(intent, scope, grant)  # 4
        if scope.key_class == KeyClass.RAW:
            self._check_raw(intent, subject)  # 5, 6
        else:
            self._check_view(intent, subject)  # 5v
        return intent

    def check_manifest_release(self, scope: KeyScope, subject: str, grant: Grant, *, copying: bool) -> Intent:
        """For manifest keys of one version; `copying`: and a wrap of its object key for another version."""
        if copying:
            intent = self.check_release(scope, subject, grant)
            if intent.action != "read":
                raise Refused("broker.action", "only who may read copies")
        else:
            self.check_place(scope)
            intent = parse_intent(grant.entry)  # 1
            self._check_promise(grant)  # 2, 3
            self._check_decision(intent, scope, grant, _DESCRIBING)  # 4
            self._dataset(intent)
        if intent.version != subject:  # of views there is nothing to write again
            raise Refused("broker.entry-version", "the entry is about another version")
        return intent

    def check_job(self, scope: KeyScope, subject: str, job_id: str, fence: int) -> JobFacts:
        """The builder's way: the job is leased with this fence and names this very version."""
        self.check_place(scope)
        job = self.check_lease(job_id, fence)
        named = (job.subject.get("dataset_id"), job.subject.get("version_id"))
        if job.kind not in _JOB_KINDS or named != (scope.dataset_id, subject):
            raise Refused("broker.job", "the job is not about this version")
        return job

    def check_lease(self, job_id: str, fence: int) -> JobFacts:
        """The job is leased now, with this fence: a late holder is refused."""
        job = self._catalog.find_job(job_id)
        if job is None:
            raise NotFound("broker.job", "no such job")
        if job.state != "leased" or job.lease_until <= self._clock():
            raise Refused("broker.job", "not leased")
        if job.fence != fence:
            raise Refused("broker.fence", "the lease went to another holder")
        return job

    def check_session_row(self, row: SessionFacts) -> None:
        """The session's row is sealed, attested, neither revoked nor expired. Freshness is not part of this."""
        self._session_seal.check(row)
        if row.kind != "attested":
            raise Refused("session.kind", "not an attested session")
        if row.revoked_at is not None or self._marks.has("revoked", row.session_id):
            raise Refused("session.revoked")
        self._revocations.check_session(row.principal_id, row.claims, row.attestation_seal)
        if row.expires_at <= self._clock():
            raise Refused("session.expired")

    def _check_promise(self, grant: Grant) -> None:
        try:
            facts: PromiseFacts = self._verify_promise(grant.promise, grant.entry)  # 2
        except (VaultError, ValueError) as error:
            raise Refused("broker.promise", "the ledger did not promise this entry") from error
        age = self._clock() - facts.at_ms  # 3
        if not -CLOCK_SLACK_MS <= age <= PROMISE_MAX_AGE_MS:
            raise Refused("broker.promise-age", f"{age} ms; at most {PROMISE_MAX_AGE_MS}")

    def _check_intent(self, intent: Intent, scope: KeyScope, grant: Grant) -> None:
        self._check_decision(intent, scope, grant, _READING)  # 4
        if (intent.view == "raw") != (scope.key_class == KeyClass.RAW):
            raise Refused("broker.view", "a decision for one view opens no key of another")

    def _check_decision(self, intent: Intent, scope: KeyScope, grant: Grant, actions: frozenset[str]) -> None:
        if not intent.allow:  # 4
            raise Refused("broker.denied", "the decision was Deny")
        if intent.action not in actions:
            raise Refused("broker.action", "not an action that this key is for")
        if (intent.tenant, intent.zone, intent.dataset_id) != (scope.tenant, scope.zone, scope.dataset_id):
            raise Refused("broker.entry-scope", "the entry is about another tenant, zone or dataset")
        if intent.session_id != grant.session_id:
            raise Refused("broker.entry-session", "the entry is of another session")

    def _check_raw(self, intent: Intent, subject: str) -> None:
        if intent.version != subject:  # 4
            raise Refused("broker.entry-version", "the entry is about another version")
        dataset = self._dataset(intent)
        row = self._session(intent)  # 5
        if intent.dataset not in row.scope:
            raise Refused("session.scope", "the dataset is outside the attested scope")
        if row.claims.get("synthetic_only") is not False or row.claims.get("hardware") is not True:  # 6
            self._check_synthetic(dataset)

    def _session(self, intent: Intent) -> SessionFacts:
        row = None if intent.session_id is None else self._catalog.find_session(intent.session_id)
        if row is None:
            raise Refused("session.none", "raw keys are for attested sessions")
        if row.session_id != intent.session_id:
            raise Refused("session.seal", "the catalog answered another session")
        self.check_session_row(row)
        if row.tier not in OPENING_TIERS:
            raise Refused("session.tier", "the appraisal admits no raw data")
        age = self._clock() - row.attested_at
        if not -CLOCK_SLACK_MS <= age <= self._policy.freshness_ms:
            raise Refused("session.stale", f"attested {age} ms ago; at most {self._policy.freshness_ms}")
        principal = record_hash(self._record_hash_key, "principal", row.principal_id)
        if not hmac.compare_digest(principal.encode(), intent.principal_hash.encode()):
            raise Refused("session.principal", "the entry is of another principal")
        if row.purpose != intent.purpose:
            raise Refused("session.purpose", "the entry is for another purpose")
        return row

    def _dataset(self, intent: Intent) -> DatasetFacts:
        dataset = self._catalog.find_dataset(intent.dataset_id)
        if dataset is None or dataset.dataset_id != intent.dataset_id or dataset.state != "active":
            raise NotFound("broker.dataset")
        # The scope lists names, keys belong to ids: without this a name inside the scope would open any id.
        if (dataset.name, dataset.zone) != (intent.dataset, self._policy.zone):
            raise Refused("broker.entry-dataset", "the entry calls the dataset by another name or zone")
        return dataset

    def _check_synthetic(self, dataset: DatasetFacts) -> None:
        if self._policy.posture != "development":
            raise Refused("attest.posture", "such claims open nothing in this posture")
        if dataset.synthetic is not True:
            raise Refused("attest.synthetic-only", "such claims open synthetic datasets only")

    def _check_view(self, intent: Intent, subject: str) -> None:
        if intent.view == "open":  # 5v: an object that holds no personal data, sealed as its own view
            if intent.version != subject:
                raise Refused("broker.entry-version", "the entry is about another version")
            return
        row = self._catalog.find_view(subject)
        if row is None:
            raise NotFound("broker.view")
        named = (row.view_id, row.dataset_id, row.version_id, row.plan_id)
        if named != (subject, intent.dataset_id, intent.version, intent.view):
            raise Refused("broker.entry-version", "the view is of another version or plan")
