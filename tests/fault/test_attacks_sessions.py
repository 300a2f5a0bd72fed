"""Stolen session credentials, and evidence shown for other things than it was made for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.identity.principal import Principal
from tests.fakes.gateway_world import GATEWAY, GatewayWorld
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import sample_evidence


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.catalog.create_dataset("models", "de", "personal", True, "0" * 32)
    made.trainer = replace(made.trainer, purposes=frozenset({"claims-risk-model", "fraud-model"}))
    yield made
    made.close()


def proved(world: GatewayWorld, who: Principal, purpose: str, scope: list[str]) -> dict[str, Any]:
    """A challenge asked of the gateway, and good evidence for exactly that challenge."""
    given = world.run(world.sessions.challenge(who, purpose, scope, "req"))
    bound = ExpectedBinding(given["nonce"], GATEWAY, key_thumbprint(world.jwk), purpose, tuple(sorted(scope)))
    return {"nonce": given["nonce"], "kind": "sample", "evidence": sample_evidence(bound), "key": world.jwk}


def opened(world: GatewayWorld, who: Principal, purpose: str, scope: list[str], **proof: Any) -> GatewayError:
    """The refusal of opening a session; asserts that none was made and that the refusal is on record."""
    at = len(world.ledger.entries)
    with world.unchanged("challenge"):
        error = world.refused(
            world.sessions.open(who, purpose=purpose, scope=scope, run=None, request_id="req", **proof)
        )
    assert any(entry.get("allow") is False for entry in world.entries("session", at))
    return error


@pytest.mark.parametrize(
    ("purpose", "scope"),
    [("claims-risk-model", ["models"]), ("fraud-model", ["claims", "models"]), ("fraud-model", ["claims"])],
)
def test_evidence_opens_no_session_of_another_purpose_or_scope(
    world: GatewayWorld, purpose: str, scope: list[str]
) -> None:
    """The token would carry the wider words, and lists, sizes and writes never ask the broker."""
    proof = proved(world, world.trainer, "fraud-model", ["models"])
    assert opened(world, world.trainer, purpose, scope, **proof).rule == "attest.binding"


def test_a_session_opens_no_session(world: GatewayWorld) -> None:
    """Who steals credentials would turn an hour of one purpose into as many hours of any."""
    thief = world.attested()
    proof = proved(world, world.trainer, "claims-risk-model", ["claims"])
    assert opened(world, thief, "claims-risk-model", ["claims"], **proof).rule == "session.from-session"


@pytest.mark.parametrize(("purpose", "scope"), [("fraud-model", ["claims"]), ("claims-risk-model", ["models"])])
def test_a_session_gets_no_challenge_for_anything_else(world: GatewayWorld, purpose: str, scope: list[str]) -> None:
    thief = world.attested()
    with world.unchanged():
        refusal = world.refused(world.sessions.challenge(thief, purpose, scope, "req"))
    assert refusal.rule == "session.from-session"


def test_a_session_attests_itself_again_and_no_other(world: GatewayWorld) -> None:
    mine, other = world.attested(), world.attested()
    assert mine.session is not None
    assert other.session is not None
    proof = proved(world, mine, "claims-risk-model", ["claims"])
    world.refused(world.sessions.reattest(mine, other.session.session_id, **proof))
    assert world.run(world.sessions.reattest(mine, mine.session.session_id, **proof))["fresh_seconds"] > 0
    world.refused(world.sessions.revoke(mine, other.session.session_id))


def test_a_revoked_session_does_nothing_more(world: GatewayWorld) -> None:
    thief = world.attested()
    assert thief.session is not None
    world.run(world.sessions.revoke(world.trainer, thief.session.session_id))
    refusal = world.refused(world.sessions.challenge(thief, "claims-risk-model", ["claims"], "req"))
    assert refusal.rule == "session.from-session"
    for action in ("list-datasets", "ledger", "lineage"):
        refused = world.refused(world.guard.admit(thief, action, request_id="req", interface="api"))
        assert refused.rule == "ReattestationRequired"
    assert world.read(thief, "a.csv").refusal.rule == "ReattestationRequired"
