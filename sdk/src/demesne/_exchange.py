"""The attested session's protocol without sockets, clocks or files: typed steps go out, what came of them comes back.

Each method of `Exchange` is a generator. Whoever drives it carries out the step it yields and sends in the result:

    Ask(call)            -> Answer(status, headers, body)
    ProveDevices(nonce)  -> [{"kind", "evidence"}, …] of GPUs and switches; [] where there are none
    ProveMachine(bytes)  -> the machine's evidence over these 64 bytes, a document with "kind"

and gets the method's value in the end. `run` (threads) and `run_async` (asyncio) are the two drivers; the protocol is
written once, here. An exception of a step ends the exchange.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from demesne import _wire
from demesne._wire import Call, Challenge, Document, Proof
from demesne.binding import additional_digest, device_nonce, report_data
from demesne.credentials import Credentials
from demesne.errors import Invalid, NotConfigured, NotFound, Refused
from demesne.session_key import SessionKey
from demesne.settings import S3_ENDPOINT, Zone

T = TypeVar("T")
RENEW_SECONDS = 20 * 60  # below this AWS SDKs re-fetch on every request (measured), so a new session is opened


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this to the gateway."""

    call: Call


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        return _wire.read_answer(self.status, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class ProveDevices:
    """Ask each device for evidence over this nonce (32 bytes)."""

    nonce: bytes


@dataclass(frozen=True, slots=True)
class ProveMachine:
    """Ask the machine for evidence over `report_data` (64 bytes)."""

    report_data: bytes


Step = Ask | ProveDevices | ProveMachine
Steps = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Facts:
    """One state of a session; replaced whole, so that a reader never sees half of two."""

    session_id: str
    run_id: str
    purpose: str
    fresh_seconds: int
    credentials: Credentials
    notice: str | None = None
    client_certificate: str | None = None
    previous: "Facts | None" = None
    """The session before it, while clients may still hold its credentials."""


class Exchange:
    """One session's exchange with the gateway, again and again with one key."""

    def __init__(
        self, *, key: SessionKey, purpose: str, scope: Sequence[str], run: str | None = None, bind: str | None = None
    ) -> None:
        self._key = key
        self._purpose = purpose
        self._scope = tuple(sorted(set(scope)))
        self._run = run
        self._bind = bind

    def open(self) -> Steps[Facts]:
        """A new session. Raises Refused, Unavailable, Malformed."""
        proof = yield from self._prove()
        answer: Answer = yield Ask(
            _wire.open_call(proof, purpose=self._purpose, scope=self._scope, run=self._run, bind=self._bind)
        )
        opened = _wire.read_opened(answer.document())
        return Facts(
            opened.session_id, opened.run_id, opened.purpose, opened.fresh_seconds, self._key.unseal(opened.sealed),
            opened.notice, opened.client_certificate,
        )  # fmt: skip

    def renew(self, facts: Facts, now: datetime) -> Steps[Facts]:
        """Re-attest, or open a successor of the same run when the credentials come to their end or the gateway knows
        the session no more."""
        if facts.credentials.seconds_left(now) < RENEW_SECONDS:
            successor = yield from self.open()
            renewed = replace(successor, previous=replace(facts, previous=None))
        else:
            try:
                fresh = yield from self._reattest(facts)
            except NotFound:
                return (yield from self.open())
            renewed = replace(facts, fresh_seconds=fresh)
        return (yield from self._keep_previous(renewed, now))

    def _keep_previous(self, facts: Facts, now: datetime) -> Steps[Facts]:
        """Some clients keep credentials until five minutes before their end, some to the end: until then the session
        they are of is kept fresh too, or those clients would be refused while everything is in order."""
        old = facts.previous
        if old is None:
            return facts
        if old.credentials.seconds_left(now) <= 0:
            return replace(facts, previous=None)
        try:
            yield from self._reattest(old)
        except (NotFound, Refused):
            return replace(facts, previous=None)
        return facts

    def _reattest(self, facts: Facts) -> Steps[int]:
        proof = yield from self._prove()
        answer: Answer = yield Ask(_wire.reattest_call(facts.session_id, proof))
        return _wire.read_refreshed(answer.document())

    def end(self, facts: Facts) -> Steps[None]:
        """Revoke the session, and the one before it. One that the gateway knows no more is ended already."""
        for each in (facts, facts.previous):
            if each is not None:
                answer: Answer = yield Ask(_wire.end_call(each.session_id))
                if answer.status != 404:
                    answer.document()

    def state(self, facts: Facts, statement: Document) -> Steps[Document]:
        """Say something of the session's run."""
        answer: Answer = yield Ask(_wire.statement_call(facts.run_id, statement))
        said: Document = answer.document()
        return said

    def _prove(self) -> Steps[Proof]:
        asked: Answer = yield Ask(_wire.challenge_call(self._purpose, self._scope))
        challenge = _wire.read_challenge(asked.document())
        # Devices first: the machine's own evidence commits to what they said.
        devices: list[Document] = yield ProveDevices(device_nonce(**self._bound(challenge)))
        digest = additional_digest(devices)
        evidence: Document = yield ProveMachine(report_data(**self._bound(challenge), additional=digest))
        return Proof(challenge.nonce, evidence, self._key.public, tuple(devices))

    def _bound(self, challenge: Challenge) -> dict[str, Any]:
        return {
            "nonce": challenge.nonce, "gateway": challenge.gateway, "thumbprint": self._key.thumbprint,
            "purpose": self._purpose, "scope": self._scope,
        }  # fmt: skip


def locate(zone: Zone) -> Steps[Zone]:
    """The zone with its S3 endpoint, asked of the gateway when nobody said it. Raises NotConfigured."""
    if zone.s3_endpoint:
        return zone
    answer: Answer = yield Ask(_wire.call("GET", "/v1/zones"))
    for entry in _wire.entries(answer.document(), "zones"):
        if entry.get("name") in {zone.name, zone.region} and entry.get("s3_endpoint"):
            found = str(entry["s3_endpoint"]).rstrip("/")
            return replace(zone, name=str(entry["name"]), s3_endpoint=found)
    raise NotConfigured("endpoint.s3", "the gateway does not name its S3 endpoint", remedy=f"set {S3_ENDPOINT}")


def known_scope(*, only_synthetic: bool) -> Steps[tuple[str, ...]]:
    """Names of all datasets this principal may know of. Raises Invalid when there are none."""
    answer: Answer = yield Ask(_wire.call("GET", "/v1/datasets"))
    entries = _wire.entries(answer.document(), "datasets")
    names = tuple(sorted(str(e["name"]) for e in entries if not only_synthetic or e.get("synthetic", True)))
    if not names:
        raise Invalid("scope.empty", "there is no dataset this session could open", remedy="pass scope=[name, …]")
    return names


def run(steps: Steps[T], carry_out: Callable[[Step], Any]) -> T:
    """Drive to the end with a blocking `carry_out`."""
    try:
        step = next(steps)
        while True:
            step = steps.send(carry_out(step))
    except StopIteration as end:
        value: T = end.value
        return value


async def run_async(steps: Steps[T], carry_out: Callable[[Step], Awaitable[Any]]) -> T:
    """The same with an awaitable one."""
    try:
        step = next(steps)
        while True:
            step = steps.send(await carry_out(step))
    except StopIteration as end:
        value: T = end.value
        return value
