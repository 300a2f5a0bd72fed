"""The one road to data. Every read of every interface passes these steps, in this order (design §4.1):

    1. authenticate   done before we are called: a `Principal` exists only if an authenticator made it
    2. name           one immutable `ObjectRef`; policy input, key context, record and store request use it
    3. resolve        catalog rows, each with its seal checked                         `FactsReader.gather`
    4. decide         the doctrine, for every read; anything but a well-formed Allow is a refusal
    5. record intent  durable before the first plaintext byte; no writable ledger, no data
    6. key            the broker checks the promised decision itself and unwraps, or not
    7. stream         verified chunks only; session re-checked every few MiB; failure aborts
    8. record outcome an intent without one counts as read whole

`gateway/reads.py` and `gateway/writes.py` hold what follows an admission; this file is the admission itself.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, ParamSpec, TypeVar

import structlog

from gateway.binding import elsewhere, refused_elsewhere
from gateway.decide.decision import Allow, Decision, Deny, deny
from gateway.decide.doctrine import Doctrine
from gateway.decide.document import Action, encode
from gateway.directory import Directory
from gateway.errors import Denied, GatewayError, NotFound, Unavailable
from gateway.facts import Facts, FactsReader, decision_input
from gateway.hops import Hops
from gateway.identity.principal import Principal
from gateway.limits import RefusalLimit
from gateway.ops.metrics import Metrics
from gateway.plans import view_given
from gateway.record import Recorder, Subject, rfc3339
from gateway.vault_answers import RETRY_SECONDS, translate
from lineage.errors import LineageError
from lineage.ledger.client import Ledger
from lineage.ledger.entry import encode_entry
from lineage.ledger.promise import Promise
from vault.errors import VaultError
from vault.keys.secrets import seal_blob

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Admission:
    """An allowed, recorded request: what steps 6 to 8 work on."""

    allow: Allow
    facts: Facts
    entry: bytes
    promise: Promise
    view: str
    """What the intent says was given: raw, open, writer, none or a plan id."""

    @property
    def decision_id(self) -> str:
        return self.allow.decision_id


class Guard:
    """Admits requests: resolve, decide, record. One per front worker."""

    def __init__(
        self,
        *,
        zone: str,
        facts: FactsReader,
        doctrine: Doctrine,
        ledger: Ledger,
        recorder: Recorder,
        directory: Directory,
        decision_key: bytes,
        freshness_grace_ms: int,
        executor: Executor,
        clock: Callable[[], int],
        metrics: Metrics,
        refusals: RefusalLimit | None = None,
    ) -> None:
        self.zone = zone
        self.facts = facts
        self.doctrine = doctrine
        self.ledger = ledger
        self.recorder = recorder
        self.clock = clock
        self.metrics = metrics
        self._directory = directory
        self._decision_key = decision_key
        self._grace_ms = freshness_grace_ms
        self.executor = executor
        self._refusals = refusals

    async def admit(
        self,
        principal: Principal,
        action: Action,
        *,
        request_id: str,
        interface: Literal["s3", "api"] = "s3",
        dataset: str | None = None,
        key: str | None = None,
        version_id: str | None = None,
        require_view: Literal["raw"] | None = None,
        run_labels: bool = False,
        absent_dataset: Literal["missing", "expected"] = "missing",
        anywhere: bool = False,
    ) -> Admission:
        """Steps 3 to 5. Raises Denied, NotFound or Unavailable after the refusal is on record. `anywhere`: a session
        may ask for this from where its credentials do not count."""
        if self._refusals is not None:
            self._refusals.check(principal)
        try:
            facts = await self.blocking(
                self.facts.gather, principal, dataset, key, version_id, run_labels=run_labels
            )
        except Denied as refusal:
            await self._record_integrity(refusal, dataset)
            raise
        if facts.elsewhere:
            self._seen_elsewhere(principal, facts.elsewhere)
        now = self.clock()
        document = decision_input(
            principal, facts, action=action, interface=interface, request_id=request_id, now=rfc3339(now),
            dataset=dataset, key=key, require_view=require_view,
        )  # fmt: skip
        decision = _floor(await self.doctrine.decide(document), principal, facts, action, anywhere=anywhere)
        encoded = encode(document)
        subject = Subject(
            action=action, interface=interface, dataset_id=facts.dataset.dataset_id if facts.dataset else None,
            dataset=dataset, key=key, version=facts.version.version_id if facts.version else version_id,
        )  # fmt: skip
        view = view_given(decision, facts.version) if isinstance(decision, Allow) else "none"
        entry = self.recorder.intent(
            decision, principal, subject, at=now, run=facts.run.run_id, document=encoded,
            residency=facts.zone.observed, view=view,
        )  # fmt: skip
        sealed = seal_blob(self._decision_key, encoded, decision.decision_id.encode())
        promise = await self.append(entry, sealed)
        self.metrics.decided(action, isinstance(decision, Allow))
        if isinstance(decision, Deny):
            if self._refusals is not None:
                self._refusals.refused(principal, elsewhere=bool(facts.elsewhere))
            raise self._refusal(decision, facts)
        self._check_here(decision, facts, dataset, absent_dataset)
        return Admission(decision, facts, encode_entry(entry), promise, view)

    def _seen_elsewhere(self, principal: Principal, rule: str) -> None:
        """Somebody else has these credentials. Counted apart, so that who stole them cannot use up the refusals of
        the machine that attested and shut it out."""
        log.warning("session used elsewhere", rule=rule, access_key_id=principal.access_key_id, source=principal.source)
        self.metrics.elsewhere(rule)
        if self._refusals is not None:
            self._refusals.check(principal, elsewhere=True)

    async def check_own(self, principal: Principal, request_id: str = "", *, anywhere: bool = False) -> None:
        """Before what a session may do about itself, or an identity about its principal's, without a decision. Denied
        and on record where its credentials do not count, and for an identity session that was revoked: who copied
        them must not end the machine's work."""
        session = principal.session
        if session is None:
            return
        row = await self.blocking(self.facts.session, session.session_id)
        revoked = session.kind == "identity" and (row is None or row.revoked_at is not None)
        if revoked or (elsewhere(principal, row) and not anywhere):
            await self.admit(principal, "session", request_id=request_id, interface="api")

    async def is_elsewhere(self, principal: Principal) -> bool:
        """Whether these are a session's credentials where they do not count."""
        if principal.session is None:
            return False
        return bool(elsewhere(principal, await self.blocking(self.facts.session, principal.session.session_id)))

    def check_refusals(self, principal: Principal, *, elsewhere: bool = False) -> None:
        """Raises Unavailable for a caller who was refused too often in the last minute: refusals fill the ledger.
        `elsewhere`: as `RefusalLimit` counts apart."""
        if self._refusals is not None:
            self._refusals.check(principal, elsewhere=elsewhere)

    def count_refusal(self, principal: Principal, *, elsewhere: bool = False) -> None:
        """Of one that was recorded elsewhere than in `admit`."""
        if self._refusals is not None:
            self._refusals.refused(principal, elsewhere=elsewhere)

    async def append(self, entry: dict[str, Any], sealed: bytes = b"") -> Promise:
        """Step 5. Raises Unavailable: without a durable record nothing is answered."""
        try:
            return await self.ledger.append(entry, sealed)
        except (LineageError, OSError) as error:
            self.metrics.unrecorded()
            raise Unavailable(
                "ServiceUnavailable",
                "The ledger does not take records, and nothing is served without one",
                rule="ledger.unavailable",
                remedy="try again; if it persists, tell the operator (readyz names the cause)",
                retry_after=RETRY_SECONDS,
            ) from error

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a synchronous vault call on the bounded executor, its failures translated once."""
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self.executor, Hops):
                return await self.executor.hop(loop, partial(call, *args, **kwargs))
            return await loop.run_in_executor(self.executor, partial(call, *args, **kwargs))
        except VaultError as error:
            raise translate(error) from error

    def _refusal(self, refused: Deny, facts: Facts) -> GatewayError:
        """A Deny as the caller sees it: first reason, decision id, what to do."""
        reason = refused.reason
        # The grace after a lapsed attestation is 503, so that clients retry while the agent re-attests; then 403.
        lapsing = reason.code == "ReattestationRequired" and facts.session is not None and (
            facts.session.revoked_at is None and facts.lapsed_ms <= self._grace_ms
        )
        if reason.code == "access.unknown-dataset":
            return no_such_dataset(refused.decision_id)
        if reason.code == "residency.other-zone":
            # Who would be refused wherever it lay is told nothing of it.
            known = "access.none" not in refused.codes
            return self._elsewhere(refused.decision_id, facts) if known else no_such_dataset(refused.decision_id)
        if refused.retry or lapsing:
            return Unavailable(
                "SlowDown" if lapsing else "ServiceUnavailable", reason.message, rule=reason.code,
                decision_id=refused.decision_id, remedy=reason.remedy, retry_after=RETRY_SECONDS,
            )  # fmt: skip
        code = reason.code if reason.code == "ReattestationRequired" else "AccessDenied"
        return Denied(code, reason.message, rule=reason.code, decision_id=refused.decision_id, remedy=reason.remedy)

    def _check_here(
        self, allow: Allow, facts: Facts, dataset: str | None, absent: Literal["missing", "expected"]
    ) -> None:
        """Another zone's dataset was decided and recorded here, and ends here: data is never proxied."""
        if dataset is None:
            return
        if facts.dataset is None:
            if absent == "missing":
                raise no_such_dataset(allow.decision_id)
            return
        if facts.dataset.zone == self.zone:
            return
        raise self._elsewhere(allow.decision_id, facts)

    def _elsewhere(self, decision_id: str, facts: Facts) -> GatewayError:
        """The right endpoint, for a caller who may know of the dataset; otherwise what an absent one answers."""
        home = self._directory.find(facts.dataset.zone) if facts.dataset else None
        if home is None:
            return no_such_dataset(decision_id)
        return Denied(
            "AccessDenied", f"This dataset lies in zone {home.name}", rule="residency.other-zone",
            decision_id=decision_id, remedy=f"ask {home.s3_endpoint} with a session of that zone",
        )  # fmt: skip

    async def _record_integrity(self, refusal: Denied, dataset: str | None) -> None:
        """A row that fails its seal is an event of its own; the decision never happened."""
        await self.append(
            self.recorder.event(
                "integrity", self.clock(), what="catalog-row", reason=refusal.rule or refusal.code, dataset=dataset
            )
        )


def _floor(decision: Decision, principal: Principal, facts: Facts, action: Action, *, anywhere: bool) -> Decision:
    """Rules below the doctrine, which none of its tables can lift."""
    # All that a session does but asking to attest again, which is how a machine that moved says where it is now.
    if facts.elsewhere and not anywhere:
        return refused_elsewhere(decision, facts.elsewhere)
    session = principal.session
    ended = facts.session is None or facts.session.revoked_at is not None
    # Nothing of an identity lapses as an attestation does: without this it would go on to its end. `session` is what
    # the doctrine lets an attested one do that lapsed; one that was revoked comes back by nothing.
    if session is not None and ended and (session.kind == "identity" or action == "session"):
        return deny(
            decision.decision_id, decision.revision, "session.revoked", "This session was revoked",
            "attest anew, or assume the role again with a token of an identity that is not revoked",
        )  # fmt: skip
    # A presigned link is a bearer of everything it opens, and travels in logs, mails and referrers.
    if isinstance(decision, Allow) and decision.view == "raw" and principal.authenticator == "presigned":
        return deny(
            decision.decision_id, decision.revision, "access.presigned-raw",
            "Raw personal data is not handed out over presigned links", "sign the request itself",
        )  # fmt: skip
    return decision


def no_such_dataset(decision_id: str) -> NotFound:
    """One answer for absent, and for present but not the caller's to know of."""
    return NotFound(
        "NoSuchBucket", "No dataset of that name is here for you", decision_id=decision_id,
        remedy="check the name and the zone's endpoint; `demesne dataset list` shows what you may see",
    )  # fmt: skip
