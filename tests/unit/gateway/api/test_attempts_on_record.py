"""Each refused attempt to attest is one record in the ledger: not none, whatever was wrong, and not two.

Through the API as a caller meets it. A refusal is an intent that was denied, an entry of the broker's, or a `session`
or `reattest` entry with `allow` false.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.decide.engine import EngineTimeout
from gateway.limits import RefusalLimit
from tests.fakes.broker import new_jwk
from tests.fakes.gateway_world import GATEWAY
from tests.fakes.ledger import ledger_down
from tests.unit.gateway.api.test_api_app import Api, Reply
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.identities import value_digest
from vault.attest.sample import sample_evidence
from vault.broker.attestations import CHALLENGE_MS

PURPOSE = "claims-risk-model"
SCOPE = ["claims"]


class Caller(Api):
    """The API with a trainer who holds a key, and a session of his."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        world = self.world
        world.catalog.create_dataset("payroll", "de", "personal", False, "0" * 32)
        self.other = world.person("other", PURPOSE, "trainer", kind="workload")
        self.people[self.other.access_key_id] = self.other
        self.jwk = world.jwk
        self.inside = world.attested()
        self.people[self.inside.access_key_id] = self.inside

    @property
    def session_id(self) -> str:
        assert self.inside.session is not None
        return self.inside.session.session_id

    def challenge(self, who: Any = None, scope: list[str] | None = None) -> str:
        scope = scope or SCOPE
        reply = self.ask("POST", "/v1/challenges", {"purpose": PURPOSE, "scope": scope}, who=who or self.world.trainer)
        assert reply.status == 201, reply.json
        return str(reply.json["nonce"])

    def proof(self, nonce: str | None = None, scope: list[str] | None = None, **binding: Any) -> dict[str, Any]:
        nonce = nonce or self.challenge(scope=scope)
        names = tuple(sorted(scope or SCOPE))
        bound = replace(ExpectedBinding(nonce, GATEWAY, key_thumbprint(self.jwk), PURPOSE, names), **binding)
        return {"nonce": nonce, "kind": "sample", "evidence": sample_evidence(bound), "key": self.jwk}

    def open(self, *, who: Any = None, raw: bytes | None = None, without: str = "", **changes: Any) -> Reply:
        scope = changes.get("scope", SCOPE)
        proof = {} if {"nonce", "kind", "evidence", "key"} <= set(changes) else self.proof(scope=scope)
        body = {**proof, "purpose": PURPOSE, "scope": SCOPE, **changes}
        body.pop(without, None)
        return self.ask("POST", "/v1/sessions", None if raw else body, raw=raw, who=who or self.world.trainer)

    def again(self, *, session: str | None = None, who: Any = None, **changes: Any) -> Reply:
        path = f"/v1/sessions/{session or self.session_id}/attest"
        return self.ask("POST", path, {**self.proof(), **changes}, who=who or self.world.trainer)

    def refusals(self, at: int) -> list[dict[str, Any]]:
        return [
            entry for entry in self.world.ledger.entries[at:]
            if entry["type"] == "broker-refusal"
            or (entry["type"] in {"session", "reattest"} and entry.get("allow") is False)
            or (entry["type"] == "intent" and not entry["decision"]["allow"])
        ]  # fmt: skip


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    made = Caller(tmp_path)
    yield made
    made.world.close()


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": "sample"}
    for _ in range(depth):
        document = {"deeper": document}
    return document


def deep_json(caller: Caller) -> bytes:
    """A body that is JSON to the letter, and no parser's."""
    head = json.dumps({"nonce": "0" * 64, "kind": "sample", "purpose": PURPOSE, "scope": SCOPE, "key": caller.jwk})
    return head[:-1].encode() + b', "evidence": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}"


def revoke_measurement(caller: Caller) -> None:
    caller.world.broker.revoke("measurement", value_digest("sample"))


def revoke_session(caller: Caller) -> None:
    caller.world.run(caller.world.sessions.revoke(caller.world.trainer, caller.session_id))


def used(caller: Caller) -> dict[str, Any]:
    proof = caller.proof()
    assert caller.open(**proof).status == 201
    return proof


def late(caller: Caller) -> dict[str, Any]:
    proof = caller.proof()
    caller.world.clock.advance(CHALLENGE_MS)
    return proof


def no_doctrine(caller: Caller, *, before: dict[str, Any]) -> Reply:
    engine = caller.world.engine
    decide = engine.evaluate

    async def away(path: str, document: Any) -> Any:
        if "apprais" in path:
            raise EngineTimeout("too late")
        return await decide(path, document)

    engine.evaluate = away  # type: ignore[method-assign]
    return caller.open(**before)


Case = tuple[Callable[[Caller], Any], Callable[[Caller, Any], Reply], int, str]
NOTHING: Callable[[Caller], Any] = lambda _: None  # noqa: E731
CASES: dict[str, Case] = {
    # --- the form of the request
    "a field is missing": (NOTHING, lambda c, _: c.open(without="evidence"), 400, "InvalidArgument"),
    "a field is unknown": (NOTHING, lambda c, _: c.open(nonsense=1), 400, "InvalidArgument"),
    "no JSON": (NOTHING, lambda c, _: c.open(raw=b"{"), 400, "InvalidArgument"),
    "JSON deeper than a parser": (NOTHING, lambda c, _: c.open(raw=deep_json(c)), 400, "InvalidArgument"),
    "a nonce that is none": (NOTHING, lambda c, _: c.open(nonce="x"), 400, "InvalidArgument"),
    "a challenge without a scope": (
        NOTHING, lambda c, _: c.ask("POST", "/v1/challenges", {"purpose": PURPOSE}, who=c.world.trainer), 400,
        "InvalidArgument"),
    "a challenge over nothing": (
        NOTHING, lambda c, _: c.ask("POST", "/v1/challenges", {"purpose": PURPOSE, "scope": []}, who=c.world.trainer),
        400, "attest.challenge"),
    "evidence with a float": (NOTHING, lambda c, _: c.open(evidence={"kind": "sample", "v": 1.5}), 400,
                              "attest.malformed"),
    "evidence with a huge number": (NOTHING, lambda c, _: c.open(evidence={"v": 1 << 60}), 400, "attest.malformed"),
    "evidence too deep": (NOTHING, lambda c, _: c.open(evidence=nested(40)), 400, "attest.malformed"),
    "additional evidence with a float": (
        NOTHING, lambda c, _: c.open(additional=[{"kind": "nvgpu", "evidence": {"v": 0.5}}]), 400, "attest.malformed"),
    "a private key": (NOTHING, lambda c, _: c.open(key={**c.jwk, "d": "AAAA"}), 400, "attest.key"),
    "a key of another curve": (NOTHING, lambda c, _: c.open(key={**c.jwk, "crv": "P-384"}), 400, "attest.key"),
    "a point off the curve": (NOTHING, lambda c, _: c.open(key={**c.jwk, "y": c.jwk["x"]}), 400, "attest.key"),
    # --- who asks, for what
    "a purpose not granted": (
        NOTHING, lambda c, _: c.ask("POST", "/v1/challenges", {"purpose": "fraud-model", "scope": SCOPE},
                                    who=c.world.trainer), 403, "purpose.not-granted"),
    "a purpose not granted at the opening": (NOTHING, lambda c, _: c.open(purpose="fraud-model"), 403,
                                             "purpose.not-granted"),
    "a role that attests nothing": (NOTHING, lambda c, _: c.open(who=c.world.analyst), 403, ""),
    "another principal's challenge": (lambda c: c.proof(), lambda c, p: c.open(who=c.other, **p), 403,
                                      "attest.principal"),
    "a session that opens another": (lambda c: c.proof(), lambda c, p: c.open(who=c.inside, **p), 403,
                                     "session.from-session"),
    "a session that asks for another scope": (
        NOTHING, lambda c, _: c.ask("POST", "/v1/challenges", {"purpose": PURPOSE, "scope": ["payroll"]},
                                    who=c.inside), 403, "session.from-session"),
    # --- the evidence
    "an unknown nonce": (NOTHING, lambda c, _: c.open(nonce="ab" * 32), 403, "attest.nonce"),
    "a nonce used before": (used, lambda c, p: c.open(**p), 403, "attest.nonce"),
    "a nonce too old": (late, lambda c, p: c.open(**p), 403, "attest.nonce"),
    "an unknown kind": (NOTHING, lambda c, _: c.open(kind="sgx"), 403, "attest.unknown-kind"),
    "an unknown version": (NOTHING, lambda c, _: c.open(evidence={**c.proof()["evidence"], "version": 2}), 403,
                           "attest.unknown-version"),
    "malformed evidence": (NOTHING, lambda c, _: c.open(evidence={"kind": "sample"}), 403, "attest.malformed"),
    "an unknown kind of device": (
        NOTHING, lambda c, _: c.open(additional=[{"kind": "nvgpu", "evidence": {}}]), 403, ""),
    "evidence over something else": (lambda c: c.proof(purpose="x"), lambda c, p: c.open(**p), 403, "attest.binding"),
    "another key than attested": (NOTHING, lambda c, _: c.open(key=new_jwk()), 403, "attest.binding"),
    "a revoked measurement": (revoke_measurement, lambda c, _: c.open(), 403, "attest.revoked"),
    "a wider scope than attested": (lambda c: c.proof(), lambda c, p: c.open(scope=["claims", "open-data"], **p), 403,
                                    "attest.binding"),
    # --- the appraisal
    "a tier that opens nothing": (NOTHING, lambda c, _: c.open(scope=["payroll"]), 403, "attestation.sample-scope"),
    "a doctrine that does not answer": (lambda c: c.proof(), lambda c, p: no_doctrine(c, before=p), 503, ""),
    # --- again
    "again without a field": (NOTHING, lambda c, _: c.again(kind=None), 400, "InvalidArgument"),
    "again, another's session": (NOTHING, lambda c, _: c.again(who=c.other), 404, "session.unknown"),
    "again, no such session": (NOTHING, lambda c, _: c.again(session="0" * 32), 404, "session.unknown"),
    "again, a revoked session": (revoke_session, lambda c, _: c.again(), 403, "session.revoked"),
    "again, another key": (NOTHING, lambda c, _: c.again(key=new_jwk()), 403, ""),
    "again, an unknown nonce": (NOTHING, lambda c, _: c.again(nonce="ab" * 32), 403, "attest.nonce"),
    "again, another measurement": (
        NOTHING, lambda c, _: c.again(evidence={**(p := c.proof())["evidence"], "measurement": "other"},
                                      nonce=p["nonce"]), 403, "attest.weaker"),
    "again, with a float": (NOTHING, lambda c, _: c.again(evidence={"v": 1.5}), 400, "attest.malformed"),
    "again, from a session that is another": (
        lambda c: c.people.setdefault("DSESX", replace(c.world.attested(), access_key_id="DSESX")),
        lambda c, who: c.again(who=who), 404, "session.unknown"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_record_of_each_refused_attempt(caller: Caller, name: str) -> None:
    before, attempt, status, rule = CASES[name]
    made = before(caller)
    sessions, at = len(caller.world.rows("select 1 from session")), len(caller.world.ledger.entries)
    reply = attempt(caller, made)
    assert reply.status == status, reply.json
    assert "credentials" not in reply.json
    if rule:
        assert rule in {reply.json["rule"], reply.json["code"]}, reply.json
    recorded = caller.refusals(at)
    assert len(recorded) == 1, recorded
    assert len(caller.world.rows("select 1 from session")) == sessions
    [entry] = recorded
    said = [entry["reason"]] if "reason" in entry else entry.get("codes") or entry["decision"]["codes"]
    assert said[0] in {reply.json["rule"], reply.json["code"]} | set(said[:1] if status == 503 else ())


def test_a_good_attempt_is_no_refusal(caller: Caller) -> None:
    at = len(caller.world.ledger.entries)
    assert caller.open().status == 201
    assert caller.again().status == 200
    assert caller.refusals(at) == []
    assert [e["type"] for e in caller.world.ledger.entries[at:] if e["type"] in {"session", "reattest"}] == [
        "session", "reattest",
    ]  # fmt: skip


def test_without_a_ledger_nothing_is_said_and_nothing_issued(caller: Caller) -> None:
    proof = caller.proof()
    caller.world.ledger.fault = ledger_down
    reply = caller.open(**proof)
    assert (reply.status, reply.json["rule"]) == (503, "ledger.unavailable")


def test_refused_attempts_are_limited_as_all_refusals(caller: Caller) -> None:
    """A valid key must not fill the ledger with evidence that is none."""
    caller.world.guard._refusals = RefusalLimit(3)
    at = len(caller.world.ledger.entries)
    replies = [caller.open(evidence={"v": 1.5}, nonce="0" * 64, kind="sample", key=caller.jwk) for _ in range(5)]
    assert [reply.status for reply in replies] == [400, 400, 400, 503, 503]
    assert {reply.json["rule"] for reply in replies[3:]} == {"limit.refusals"}
    assert len(caller.refusals(at)) == 3
