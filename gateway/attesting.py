"""What every attempt to attest goes through, whichever protocol it came by: evidence to the broker, claims to the
doctrine, and one record of each refusal.

An attempt can be refused in four places: by the request's form, by the doctrine's decision on the purpose (an intent),
by the broker (which records for itself, since a front worker need not be believed), and by the appraisal. `Attempt`
knows who has recorded; whatever nobody has, it records. Two records of one refusal would count one attack twice, none
would not count it at all.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.decide.decision import Appraisal
from gateway.decide.doctrine import DoctrineUnavailable
from gateway.decide.document import build_appraisal
from gateway.errors import BadRequest, Denied, GatewayError, Unavailable
from gateway.guard import Guard
from gateway.identity.principal import Principal
from vault.broker.sessions import OPENING_TIERS
from vault.broker.types import Attested, KeyBroker
from vault.catalog.catalog import Catalog
from vault.errors import Malformed, Refused
from vault.errors import NotFound as RowNotFound

References = Callable[[], Sequence[Mapping[str, Any]]]
MAX_DEPTH = 32
_WHOLE = 1 << 53
_NOT_REFUSED = frozenset({"ledger.unavailable", "limit.refusals"})  # no record can be made; or summed up instead


@dataclass
class Attempt:
    """What the record of a refusal says besides its rule."""

    session: str | None = None
    tier: str = "none"
    codes: list[str] = field(default_factory=list)
    submods: list[str] = field(default_factory=list)


class Attesting:
    """One per front worker."""

    def __init__(
        self, guard: Guard, catalog: Catalog, broker: KeyBroker, *, posture: str, references: References = tuple
    ) -> None:
        """`references`: the reference values in force now, as the trust directory has them (none by default)."""
        self._references = references
        self._guard = guard
        self._catalog = catalog
        self._broker = broker
        self._posture = posture

    @asynccontextmanager
    async def attempt(self, what: str, principal: Principal, session: str | None = None) -> AsyncIterator[Attempt]:
        """`what` is the type of the record: session or reattest. Raises Unavailable for a caller who was refused too
        often; every other refusal inside is on record, once, before it goes on."""
        made, elsewhere, entry = Attempt(session), False, None
        try:
            # Counted apart: who copied a session's credentials must not use up the refusals of the machine.
            elsewhere = await self._guard.is_elsewhere(principal)
            self._guard.check_refusals(principal, elsewhere=elsewhere)
            yield made
        except GatewayError as refusal:
            if refusal.rule not in _NOT_REFUSED and not refusal.on_record:
                codes = made.codes or [refusal.rule or refusal.code]
                parts = {"submods": made.submods} if made.submods else {}
                entry = await self.record(
                    what, principal, session=made.session, tier=made.tier, allow=False, codes=codes, **parts
                )
            # A decision was counted as it was made.
            if refusal.rule not in _NOT_REFUSED and refusal.decision_id is None:
                self._guard.count_refusal(principal, elsewhere=elsewhere)
                refusal.decision_id = entry  # so that who is refused can name the entry to whoever looks it up
            raise

    async def refused_form(self, what: str, principal: Principal, session: str | None, error: GatewayError) -> None:
        """Record an attempt whose body was not what the API takes. Raises Unavailable."""
        async with self.attempt(what, principal, session):
            raise error

    async def brokered(self, call: Any, *arguments: Any, **named: Any) -> Any:
        """A call of the broker; its refusals are marked as recorded there."""
        try:
            return await self._guard.blocking(call, *arguments, **named)
        except GatewayError as refusal:
            cause = refusal.__cause__
            refusal.on_record = isinstance(cause, Refused | Malformed) and cause.reason != "broker.size"
            raise

    async def attest(
        self, principal: Principal, nonce: str, kind: str, evidence: dict[str, Any], key: dict[str, Any],
        session_id: str | None, additional: Sequence[dict[str, Any]], *, bind_key: bool = False,
    ) -> Attested:  # fmt: skip
        """Verified and sealed, or Denied "AttestationRefused" with the broker's rule. The credentials are bound to
        the address this came from, or to the attested key."""
        for document in (evidence, *additional, key):
            check_document(document)
        try:
            attested: Attested = await self.brokered(
                self._broker.attest, nonce, kind, evidence, key, principal.principal_id, session_id, additional,
                source=principal.source, bind_key=bind_key,
            )  # fmt: skip
        except Denied as refusal:
            refused = Denied(
                "AttestationRefused", "The evidence was refused", rule=refusal.rule,
                remedy="ask for a new challenge and attest again; `demesne attest inspect` explains evidence",
            )  # fmt: skip
            refused.on_record = refusal.on_record
            raise refused from refusal
        return attested

    async def appraise(self, attempt: Attempt, attested: Attested, scope: Sequence[str]) -> str:
        """The doctrine's tier of these claims for these datasets, if it opens anything; Denied otherwise."""
        return (await self.appraisal(attempt, attested, scope)).tier

    async def appraisal(self, attempt: Attempt, attested: Attested, scope: Sequence[str]) -> Appraisal:
        """The same with what it is made of."""
        attempt.session = attested.session_id
        try:
            document = build_appraisal(
                attested.claims, posture=self._posture, purpose=attested.purpose,
                dataset_scope=await self._guard.blocking(self._scope_facts, scope),
                reference=await self._guard.blocking(self._references),
            )  # fmt: skip
        except ValueError as error:
            raise _malformed("claims hold numbers that two engines read differently") from error
        try:
            appraisal = await self._guard.doctrine.appraise(document)
        except DoctrineUnavailable as error:
            raise Unavailable("ServiceUnavailable", "The doctrine did not appraise the evidence", rule=error.code,
                              remedy="try again", retry_after=1) from error  # fmt: skip
        attempt.submods = appraisal.as_record()
        if appraisal.tier in OPENING_TIERS:
            return appraisal
        attempt.tier, attempt.codes = appraisal.tier, [reason.code for reason in appraisal.reasons]
        reason = appraisal.reasons[0] if appraisal.reasons else None
        raise Denied(
            "AttestationRefused", reason.message if reason else "This machine is not one the doctrine trusts",
            rule=reason.code if reason else "attestation.tier",
            remedy=reason.remedy if reason else "ask the compliance team which platforms are trusted",
        )  # fmt: skip

    async def record(self, what: str, principal: Principal, **fields: Any) -> str:
        """The entry's id, once it is durable."""
        recorder = self._guard.recorder
        who = recorder.principal(principal.principal_id)
        entry = recorder.event(what, self._guard.clock(), principal=who, **fields)
        await self._guard.append(entry)
        return str(entry["id"])

    def _scope_facts(self, scope: Sequence[str]) -> list[dict[str, Any]]:
        found = []
        for name in sorted(set(scope)):
            try:
                row = self._catalog.dataset(name)
            except RowNotFound:
                found.append({"name": name, "synthetic": False, "label": "personal"})
            else:
                found.append({"name": name, "synthetic": row.synthetic, "label": row.label})
        return found


def check_document(document: Mapping[str, Any]) -> None:
    """BadRequest "attest.malformed" for what has no one spelling: floats, huge integers, nesting beyond MAX_DEPTH.

    The broker's wire refuses the same, and would have to hang up to say so.
    """
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below.extend(value)  # names as well: one that is no Unicode has no bytes either
                below.extend(value.values())
            elif isinstance(value, list | tuple):
                below.extend(value)
            elif isinstance(value, float) or (isinstance(value, int) and abs(value) >= _WHOLE):
                raise _malformed("numbers are integers below 2^53")
            elif isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                raise _malformed("text is not Unicode")
        if not below:
            return
        level = below
    raise _malformed(f"nested deeper than {MAX_DEPTH}")


def _malformed(why: str) -> BadRequest:
    return BadRequest(
        "InvalidArgument", f"evidence: {why}", rule="attest.malformed", remedy="send evidence as the SDK spells it"
    )
