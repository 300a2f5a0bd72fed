"""Credentials where they do not count, or count no more: what their holder could still do to the machine they were
copied from, and to other sessions of its principal."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Denied
from gateway.identity.principal import Principal
from gateway.limits import RefusalLimit
from gateway.statements import Statements
from tests.fakes.gateway_world import CSV, GATEWAY, GatewayWorld
from tests.fakes.identity_provider import IdentityProvider
from tests.fakes.sts_world import StsWorld
from tests.unit.gateway.s3.test_sts import TRAINING, caller, token
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import sample_evidence

HERE, THERE = "10.0.0.7", "10.0.0.8"
PURPOSE = "claims-risk-model"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.put("a.csv", CSV)
    yield made
    made.close()


@pytest.fixture
def provider() -> IdentityProvider:
    return IdentityProvider()


@pytest.fixture
def sts(tmp_path: Path, provider: IdentityProvider) -> Iterator[StsWorld]:
    made = StsWorld(tmp_path)
    made.trusts(provider.issuer(subjects=[{"subject": "train", "principal": "trainer", "purposes": [PURPOSE]}]))
    yield made
    made.close()


def session_of(who: Principal) -> str:
    assert who.session is not None
    return who.session.session_id


def denied_on_record(world: GatewayWorld, call: Any, rule: str) -> None:
    at = len(world.ledger.entries)
    with world.unchanged():
        assert world.refused(call).rule == rule
    [entry] = world.entries("intent", at)
    assert (entry["decision"]["allow"], entry["decision"]["codes"]) == (False, [rule])


@pytest.mark.parametrize("bind_key", [False, True], ids=["address", "certificate"])
def test_a_thief_can_neither_end_a_session_nor_look_at_it(world: GatewayWorld, bind_key: bool) -> None:
    """The machine goes on: it would be for the thief to end its work by one DELETE. What he may see names chip and
    measurement."""
    who = world.attested(source=HERE, bind_key=bind_key)
    thief = replace(who, source=THERE, client_key="")
    rule = "session.other-key" if bind_key else "session.other-source"
    denied_on_record(world, world.sessions.revoke(thief, session_of(who), "r"), rule)
    denied_on_record(world, world.revocations.session(thief, session_of(who), "r"), rule)
    denied_on_record(world, world.revocations.sessions(thief, "r", everybody=False), rule)
    assert world.read(who, "a.csv").body == CSV
    assert world.run(world.revocations.session(who, session_of(who), "r"))["session_id"] == session_of(who)
    world.run(world.sessions.revoke(who, session_of(who), "r"))
    assert world.read(who, "a.csv").refusal.rule == "ReattestationRequired"


def test_a_thief_says_nothing_about_the_run(world: GatewayWorld) -> None:
    who = world.attested(source=HERE)
    assert who.session is not None
    statements = Statements(world.guard, world.catalog)
    said = {"status": "completed", "outputs": ["s3://elsewhere"]}
    thief = replace(who, source=THERE)
    denied_on_record(world, statements.state(thief, who.session.run_id, said, "r"), "session.other-source")
    world.run(statements.state(who, who.session.run_id, said, "r"))
    world.run(world.sessions.revoke(world.trainer, session_of(who)))
    denied_on_record(world, statements.state(who, who.session.run_id, said, "r"), "session.revoked")


def test_attempts_to_attest_from_elsewhere_use_up_no_refusals_of_the_machine(world: GatewayWorld) -> None:
    """Each costs the thief nothing; at the bound the machine itself would hear 503 to everything."""
    world.guard._refusals = RefusalLimit(5)
    who = world.attested(source=HERE)
    thief = replace(who, source=THERE)
    rules = [
        world.refused(world.sessions.reattest(
            thief, session_of(who), nonce="0" * 64, kind="sample", evidence={}, key=world.jwk)).rule
        for _ in range(8)
    ]  # fmt: skip
    assert rules == ["attest.nonce"] * 5 + ["limit.refusals"] * 3
    assert world.read(who, "a.csv").body == CSV
    for _ in range(3):
        world.refused(world.sessions.challenge(thief, "another-purpose", ["claims"], "r"))
    assert world.read(who, "a.csv").body == CSV


def test_a_revoked_identity_session_ends_and_sees_no_other(sts: StsWorld, provider: IdentityProvider) -> None:
    """A bearer that was stolen and revoked must not take the principal's attested sessions along."""
    thief = caller(sts, sts.assume(token(sts, provider, sub="train"), RoleArn=TRAINING))
    machine = sts.attested()
    assert sts.run(sts.revocations.sessions(thief, "r", everybody=False))
    sts.catalog.revoke_session(session_of(thief))
    sts.clock.advance(6_000)
    denied_on_record(sts, sts.sessions.revoke(thief, session_of(machine), "r"), "session.revoked")
    denied_on_record(sts, sts.revocations.sessions(thief, "r", everybody=False), "session.revoked")
    denied_on_record(sts, sts.revocations.session(thief, session_of(machine), "r"), "session.revoked")
    bound = ExpectedBinding("0" * 64, GATEWAY, key_thumbprint(sts.jwk), PURPOSE, ("claims",))
    refused = sts.refused(sts.sessions.reattest(
        thief, session_of(machine), nonce="0" * 64, kind="sample", evidence=sample_evidence(bound), key=sts.jwk
    ))  # fmt: skip
    assert refused.rule == "session.revoked"
    row = sts.catalog.session(session_of(machine))
    assert row.revoked_at is None


def test_a_nonce_of_another_purpose_opens_nothing_for_an_identity(sts: StsWorld, provider: IdentityProvider) -> None:
    """Its own challenge is for what its provider's entry names. One of the same principal's for more, asked for with
    copied session credentials, must not be climbed over by."""
    sts.catalog.create_principal("both", "workload", ["trainer", "analyst"], "de", ["analytics", PURPOSE], "0" * 32)
    sts.trusts(provider.issuer(subjects=[{"subject": "ci", "principal": "both", "purposes": ["analytics"]}]))
    looks = caller(sts, sts.assume(token(sts, provider)))
    trains = replace(looks, session=None, purpose=PURPOSE)
    nonce = sts.run(sts.sessions.challenge(trains, PURPOSE, ["claims"], "r"))["nonce"]
    bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(sts.jwk), PURPOSE, ("claims",))
    at = len(sts.ledger.entries)
    with sts.unchanged("challenge"), pytest.raises(Denied) as caught:
        sts.run(sts.sessions.open(
            looks, nonce=nonce, kind="sample", evidence=sample_evidence(bound), key=sts.jwk, purpose=PURPOSE,
            scope=["claims"], run=None, request_id="r",
        ))  # fmt: skip
    assert caught.value.rule == "session.from-session"
    assert [entry["allow"] for entry in sts.entries("session", at)] == [False]
