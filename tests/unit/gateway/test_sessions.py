"""Attested sessions through the gateway: challenge, evidence, appraisal, sealed credentials, renewal, the end."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from gateway.decide.doctrine import APPRAISAL
from gateway.decide.engine import EngineTimeout
from gateway.errors import BadRequest, GatewayError
from gateway.identity.principal import Principal, SessionClaims
from gateway.identity.tokens import decode_claims, session_access_key_id, session_secret
from gateway.sessions import OpenedSession
from tests.fakes.doctrine import appraising
from tests.fakes.gateway_world import CSV, FRESHNESS_MS, GATEWAY, GatewayWorld
from tests.fakes.ledger import ledger_down
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import sample_evidence
from vault.keys.secrets import open_token

PURPOSE = "claims-risk-model"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.put("a.csv", CSV)
    yield made
    made.close()


class Job:
    """The other end: a job with a key pair of its own, as the SDK would be."""

    def __init__(self, world: GatewayWorld, who: Principal | None = None) -> None:
        self.world = world
        self.who = who or world.trainer
        self.key = ECKey.generate_key("P-256")
        self.jwk: dict[str, Any] = dict(self.key.as_dict(private=False))
        self.jwk = {name: self.jwk[name] for name in ("kty", "crv", "x", "y")}

    def challenge(self, purpose: str = PURPOSE, scope: tuple[str, ...] = ("claims",)) -> str:
        made = self.world.run(self.world.sessions.challenge(self.who, purpose, list(scope), "r"))
        assert made["gateway"] == GATEWAY
        return str(made["nonce"])

    def evidence(
        self, nonce: str, scope: tuple[str, ...] = ("claims",), binding: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(self.jwk), PURPOSE, tuple(sorted(scope)))
        return sample_evidence(replace(bound, **(binding or {})))

    def opening(self, nonce: str | None = None, **changes: Any) -> Any:
        used = nonce or self.challenge()
        given: dict[str, Any] = {
            "nonce": used, "kind": "sample", "evidence": self.evidence(used), "key": self.jwk, "purpose": PURPOSE,
            "scope": ["claims"], "run": None, "request_id": "r",
        }  # fmt: skip
        return self.world.sessions.open(self.who, **(given | changes))

    def opened(self, **changes: Any) -> OpenedSession:
        made: OpenedSession = self.world.run(self.opening(**changes))
        return made

    def credentials(self, session: OpenedSession) -> dict[str, str]:
        algorithms = ["ECDH-ES+A256KW", "A256GCM"]
        plain = jwe.decrypt_compact(session.credentials, self.key, algorithms=algorithms).plaintext
        assert plain is not None
        found: dict[str, str] = json.loads(plain)
        return found

    def principal(self, session: OpenedSession) -> Principal:
        """As the authenticator makes it from the session's token."""
        credentials = self.credentials(session)
        claims = decode_claims(open_token(self.world.hello.token_key, credentials["session_token"]))
        return replace(self.who, session=claims, access_key_id=credentials["access_key_id"], purpose=session.purpose)


def sessions(world: GatewayWorld) -> int:
    return len(world.rows("select 1 from session"))


def nothing_opened(world: GatewayWorld, call: Any) -> GatewayError:
    """Refused, with no session made and no run opened for one."""
    before = sessions(world)
    error = world.refused(call)
    assert sessions(world) == before
    assert error.remedy
    return error


def test_a_session_opens_raw_data_for_the_key_that_was_attested(world: GatewayWorld) -> None:
    job = Job(world)
    session = job.opened(run="nightly")
    credentials = job.credentials(session)
    assert credentials["access_key_id"] == session_access_key_id(session.session_id)
    assert credentials["secret_access_key"] == session_secret(world.hello.token_key, session.session_id)
    assert session.notice is not None
    assert "SAMPLE" in session.notice
    assert world.read(job.principal(session), "a.csv").body == CSV
    entry = [e for e in world.entries("session") if e["session"] == session.session_id][-1]
    assert (entry["tier"], entry["purpose"], entry["scope"], entry["run_name"], entry["run"]) == (
        "warning", PURPOSE, ["claims"], "nightly", session.run_id,
    )  # fmt: skip


def test_credentials_are_opened_by_no_other_key(world: GatewayWorld) -> None:
    session = Job(world).opened()
    with pytest.raises(Exception):  # noqa: B017 - whatever the library calls it
        Job(world).credentials(session)
    assert session_secret(world.hello.token_key, session.session_id) not in session.credentials


def test_a_nonce_serves_once(world: GatewayWorld) -> None:
    job = Job(world)
    nonce = job.challenge()
    job.opened(nonce=nonce)
    error = nothing_opened(world, job.opening(nonce=nonce))
    assert (error.status, error.code, error.rule) == (403, "AttestationRefused", "attest.nonce")
    assert world.entries("broker-refusal")[-1]["reason"] == "attest.nonce"


def test_a_nonce_is_spent_by_a_failed_try(world: GatewayWorld) -> None:
    job = Job(world)
    nonce = job.challenge()
    wrong = job.evidence(nonce) | {"report_data": "0" * 128}
    assert nothing_opened(world, job.opening(nonce=nonce, evidence=wrong)).rule == "attest.binding"
    assert nothing_opened(world, job.opening(nonce=nonce)).rule == "attest.nonce"


def test_a_late_answer(world: GatewayWorld) -> None:
    job = Job(world)
    nonce = job.challenge()
    world.clock.advance(120_001)
    assert nothing_opened(world, job.opening(nonce=nonce)).rule == "attest.nonce"


def test_anothers_challenge(world: GatewayWorld) -> None:
    other = world.person("other", PURPOSE, "trainer", kind="workload")
    nonce = Job(world, other).challenge()
    assert nothing_opened(world, Job(world).opening(nonce=nonce)).rule == "attest.principal"


@pytest.mark.parametrize(
    "changes",
    [{"nonce": "0" * 64}, {"gateway": "main/fr"}, {"purpose": "fraud-model"}, {"scope": ("claims", "payroll")}],
    ids=["nonce", "gateway", "purpose", "scope"],
)
def test_evidence_bound_to_anything_else(world: GatewayWorld, changes: dict[str, Any]) -> None:
    job = Job(world)
    nonce = job.challenge()
    error = nothing_opened(world, job.opening(nonce=nonce, evidence=job.evidence(nonce, binding=changes)))
    assert (error.code, error.rule) == ("AttestationRefused", "attest.binding")


def test_evidence_for_another_key(world: GatewayWorld) -> None:
    job, thief = Job(world), Job(world)
    nonce = job.challenge()
    error = nothing_opened(world, job.opening(nonce=nonce, key=thief.jwk))
    assert error.rule == "attest.binding"


def test_the_requests_own_words_are_not_evidence(world: GatewayWorld) -> None:
    """A challenge for one scope must not open a session that says another."""
    job = Job(world)
    for scope in (["claims", "open-data"], ["open-data"]):
        error = nothing_opened(world, job.opening(scope=scope))
        assert (error.status, error.rule) == (403, "attest.binding")
        assert world.entries("session")[-1]["allow"] is False


@pytest.mark.parametrize("purpose", ["marketing", "no-such-purpose", "analytics"])
def test_a_purpose_that_was_not_granted_gets_no_challenge(world: GatewayWorld, purpose: str) -> None:
    with world.unchanged():
        error = world.refused(world.sessions.challenge(world.trainer, purpose, ["claims"], "r"))
    assert error.status == 403
    assert world.intent(error.decision_id)["purpose"] == purpose


def test_who_may_not_train_gets_no_challenge(world: GatewayWorld) -> None:
    with world.unchanged():
        assert world.refused(world.sessions.challenge(world.analyst, "analytics", ["claims"], "r")).status == 403


def test_a_scope_of_nothing_is_the_callers_mistake(world: GatewayWorld) -> None:
    error = world.refused(world.sessions.challenge(world.trainer, PURPOSE, [], "r"))
    assert (error.status, error.code) == (400, "InvalidArgument")


@pytest.mark.parametrize("name", ["real-data", "nowhere"])
def test_sample_evidence_is_for_synthetic_datasets(world: GatewayWorld, name: str) -> None:
    world.catalog.create_dataset("real-data", "de", "personal", False, "0" * 32)
    job, scope = Job(world), ("claims", name)
    nonce = job.challenge(scope=scope)
    call = job.opening(nonce=nonce, evidence=job.evidence(nonce, scope=scope), scope=list(scope))
    error = nothing_opened(world, call)
    assert (error.status, error.code) == (403, "AttestationRefused")
    entry = world.entries("session")[-1]
    assert (entry["tier"], entry["allow"]) == ("contraindicated", False)
    assert error.decision_id == entry["id"]


def test_an_unknown_kind_of_evidence(world: GatewayWorld) -> None:
    assert nothing_opened(world, Job(world).opening(kind="sgx")).rule == "attest.unknown-kind"


def test_a_doctrine_that_does_not_appraise(world: GatewayWorld) -> None:
    answer = world.engine.answer

    async def failing(path: str, document: Any) -> Any:
        if path == APPRAISAL:
            raise EngineTimeout("late")
        return answer(path, document)

    world.engine.evaluate = failing  # type: ignore[method-assign]
    error = nothing_opened(world, Job(world).opening())
    assert (error.status, error.rule) == (503, "doctrine.timeout")


def test_no_ledger_no_session(world: GatewayWorld) -> None:
    job = Job(world)
    nonce = job.challenge()

    def no_sessions(when: str, entry: Any) -> None:
        if entry["type"] == "session":
            ledger_down(when, entry)

    world.ledger.fault = no_sessions
    assert nothing_opened(world, job.opening(nonce=nonce)).rule == "ledger.unavailable"


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "RSA"}, {"crv": "P-384"}, {"d": "secret"}, {"x": None}, {"x": "AA"}, {"y": "!!"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_key_that_is_none(world: GatewayWorld, change: dict[str, Any]) -> None:
    """Looked at before the nonce is spent."""
    job = Job(world)
    nonce = job.challenge()
    bad = {name: value for name, value in (job.jwk | change).items() if value is not None}
    error = nothing_opened(world, job.opening(nonce=nonce, key=bad))
    assert isinstance(error, BadRequest)
    assert error.code == "InvalidKey"
    assert world.rows("select consumed_at from challenge where nonce = ?", nonce) == [(None,)]


# --- runs


def test_unnamed_sessions_of_the_same_software_are_one_run_and_named_ones_their_own(world: GatewayWorld) -> None:
    first, second = Job(world).opened(), Job(world).opened()
    named, again = Job(world).opened(run="train"), Job(world).opened(run="train")
    assert first.run_id == second.run_id
    assert named.run_id == again.run_id != first.run_id


# --- renewal


def reattest(job: Job, session: OpenedSession, **changes: Any) -> Any:
    nonce = changes.pop("nonce", None) or job.challenge()
    given: dict[str, Any] = {"nonce": nonce, "kind": "sample", "evidence": job.evidence(nonce), "key": job.jwk}
    return job.world.sessions.reattest(job.who, session.session_id, **(given | changes))


def test_freshness_starts_anew(world: GatewayWorld) -> None:
    job = Job(world)
    session = job.opened()
    who = job.principal(session)
    world.clock.advance(FRESHNESS_MS + 10)
    world.open_zone()
    assert world.read(who, "a.csv").body == b""
    world.run(reattest(job, session))
    assert world.read(who, "a.csv").body == CSV
    assert world.entries("reattest")[-1]["session"] == session.session_id


def test_a_renewal_by_another_key_or_for_a_revoked_session(world: GatewayWorld) -> None:
    job, thief = Job(world), Job(world)
    session = job.opened()
    row = world.catalog.session(session.session_id)
    error = world.refused(reattest(thief, session))
    assert (error.status, error.rule) == (403, "attest.key")
    assert world.catalog.session(session.session_id) == row
    world.run(world.sessions.revoke(world.trainer, session.session_id))
    assert world.refused(reattest(job, session)).rule == "session.revoked"
    assert world.read(job.principal(session), "a.csv").body == b""


@pytest.mark.parametrize("says", [appraising("contraindicated"), None], ids=["contraindicated", "silent"])
def test_what_the_doctrine_trusts_no_more_ends_at_the_renewal(world: GatewayWorld, says: dict[str, Any] | None) -> None:
    """Not when its last attestation lapses; a doctrine that says nothing ends nobody."""
    answer, job = world.engine.answer, Job(world)
    session = job.opened()

    async def other(path: str, document: Any) -> Any:
        if path == APPRAISAL and says is None:
            raise EngineTimeout("late")
        return says if path == APPRAISAL else answer(path, document)

    world.engine.evaluate = other  # type: ignore[method-assign]
    assert world.refused(reattest(job, session)).status == (503 if says is None else 403)
    assert (world.catalog.session(session.session_id).revoked_at is None) == (says is None)
    assert world.read(job.principal(session), "a.csv").body == (CSV if says is None else b"")
    entries = [e for e in world.entries("reattest") if e["session"] == session.session_id]
    assert [entry["allow"] for entry in entries] == [False]


def test_a_renewal_with_other_software(world: GatewayWorld) -> None:
    job = Job(world)
    session = job.opened()
    nonce = job.challenge()
    other = job.evidence(nonce) | {"measurement": "something-else"}
    assert world.refused(reattest(job, session, nonce=nonce, evidence=other)).rule == "attest.weaker"


def test_anothers_session_is_not_there(world: GatewayWorld) -> None:
    other = Job(world, world.person("other", PURPOSE, "trainer", kind="workload"))
    session = Job(world).opened()
    for call in (reattest(other, session), world.sessions.revoke(other.who, session.session_id)):
        error = world.refused(call)
        assert (error.status, error.code) == (404, "NoSuchSession")
    assert world.catalog.session(session.session_id).revoked_at is None


# --- what a session's own credentials may do


def test_stolen_credentials_open_no_further_session(world: GatewayWorld) -> None:
    job = Job(world)
    who = job.principal(job.opened())
    thief = Job(world, who)
    nonce = thief.challenge()  # for exactly what the session is: how a job renews itself
    error = nothing_opened(world, thief.opening(nonce=nonce))
    assert (error.status, error.rule) == (403, "session.from-session")
    for purpose, scope in ((PURPOSE, ["claims", "open-data"]), ("fraud-model", ["claims"])):
        assert world.refused(world.sessions.challenge(who, purpose, scope, "r")).rule == "session.from-session"


def test_a_revoked_session_gets_no_challenge(world: GatewayWorld) -> None:
    job = Job(world)
    session = job.opened()
    who = job.principal(session)
    world.run(world.sessions.revoke(world.trainer, session.session_id))
    assert world.refused(world.sessions.challenge(who, PURPOSE, ["claims"], "r")).rule == "session.from-session"


def test_a_session_ends_itself_and_no_other(world: GatewayWorld) -> None:
    job, other = Job(world), Job(world)
    mine, theirs = job.opened(), other.opened()
    who = job.principal(mine)
    assert world.read(who, "a.csv").body == CSV  # row and key are remembered here now, and must be forgotten at once
    assert world.refused(world.sessions.revoke(who, theirs.session_id)).code == "NoSuchSession"
    world.run(world.sessions.revoke(who, mine.session_id))
    assert world.entries("revocation")[-1]["session"] == mine.session_id
    assert world.read(who, "a.csv").refusal.code == "ReattestationRequired"
    assert world.read(other.principal(theirs), "a.csv").body == CSV


def test_a_steward_ends_anybodys_session(world: GatewayWorld) -> None:
    session = Job(world).opened()
    world.run(world.sessions.revoke(world.steward, session.session_id))
    assert world.catalog.session(session.session_id).revoked_at is not None


def test_a_revocation_that_cannot_be_recorded_is_not_done(world: GatewayWorld) -> None:
    session = Job(world).opened()
    world.ledger.fault = ledger_down
    with world.unchanged():
        assert world.refused(world.sessions.revoke(world.trainer, session.session_id)).status == 503


def test_a_token_for_more_than_its_row_opens_nothing(world: GatewayWorld) -> None:
    """Were the token key lost: claims are what the doctrine sees, the row is what the broker sees."""
    job = Job(world)
    session = job.opened()
    who = job.principal(session)
    assert who.session is not None
    world.catalog.create_dataset("other-data", "de", "personal", True, "0" * 32)
    world.contract("other-data")
    world.put("a.csv", CSV, dataset="other-data")
    wider: SessionClaims = replace(who.session, scope=("claims", "other-data"))
    answer = world.read(replace(who, session=wider), "a.csv", dataset="other-data")
    assert answer.body == b""
    assert answer.refusal.status == 403
