"""Challenges and attestation: single use, bound to who asked, sealed, never weaker."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.broker import GATEWAY, BrokerWorld, new_jwk
from vault.attest.binding import Binding, ExpectedBinding
from vault.attest.claims import Claims
from vault.attest.verifier import Verifiers
from vault.errors import Malformed, Refused


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@contextmanager
def refused(world: BrokerWorld, reason: str) -> Iterator[None]:
    """Refused as `reason`, recorded once, and no session came of it."""
    sessions, recorded = dict(world.catalog.sessions), len(world.refusals)
    with pytest.raises((Refused, Malformed)) as caught:
        yield
    assert caught.value.reason == reason
    assert world.catalog.sessions == sessions
    assert [record["reason"] for record in world.refusals[recorded:]] == [reason]


def issue(world: BrokerWorld, scope: tuple[str, ...] = ("claims",)) -> str:
    return world.broker.challenge(world.principal_id, world.purpose, list(scope), GATEWAY).nonce


def present(world: BrokerWorld, nonce: str, evidence: dict[str, Any], **changes: Any) -> None:
    call: dict[str, Any] = {
        "nonce": nonce,
        "kind": "sample",
        "evidence": evidence,
        "public_jwk": world.jwk,
        "principal_id": world.principal_id,
    }
    world.broker.attest(**{**call, **changes})


def test_challenge_is_32_random_bytes_for_two_minutes(world: BrokerWorld) -> None:
    first = world.broker.challenge(world.principal_id, world.purpose, ["b", "a", "b"], GATEWAY)
    second = world.broker.challenge(world.principal_id, world.purpose, ["a"], GATEWAY)
    assert len(bytes.fromhex(first.nonce)) == 32
    assert first.nonce != second.nonce
    assert first.expires_at == world.clock() + 120_000
    assert world.catalog.challenges[first.nonce].scope == ("a", "b")


@pytest.mark.parametrize("scope", [[], [f"d{n}" for n in range(257)]])
def test_challenge_for_no_or_too_many_datasets_is_refused(world: BrokerWorld, scope: list[str]) -> None:
    with refused(world, "attest.challenge"):
        world.broker.challenge(world.principal_id, world.purpose, scope, GATEWAY)
    assert world.catalog.challenges == {}


def test_honest_evidence_becomes_a_sealed_attestation(world: BrokerWorld) -> None:
    attested = world.attest()
    assert attested.claims == {
        "kind": "sample", "tee": "none", "measurement": "sample",
        "debug": True, "hardware": False, "synthetic_only": True,
    }  # fmt: skip
    assert attested.attested_at == world.clock()
    assert attested.expires_at == world.clock() + 3_600_000
    assert {tier: len(seal) for tier, seal in attested.seals.items()} == {"affirming": 32, "warning": 32}
    assert len(set(attested.seals.values())) == 2


def test_nonce_works_once(world: BrokerWorld) -> None:
    nonce = issue(world)
    evidence = world.evidence(nonce)
    present(world, nonce, evidence)
    with refused(world, "attest.nonce"):
        present(world, nonce, evidence)


def test_nonce_is_spent_by_a_failed_attempt(world: BrokerWorld) -> None:
    nonce = issue(world)
    evidence = world.evidence(nonce)
    with refused(world, "attest.binding"):
        present(world, nonce, {**evidence, "report_data": "00" * 64})
    with refused(world, "attest.nonce"):
        present(world, nonce, evidence)


def test_nonce_is_spent_before_the_verifier_runs(world: BrokerWorld) -> None:
    seen: list[bool] = []

    class Watching:
        def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
            assert isinstance(expected, ExpectedBinding)
            seen.append(expected.nonce in world.catalog.challenges)
            raise Refused("attest.signature")

    world.restarted(verifiers=Verifiers({"sample": Watching()}))
    nonce = issue(world)
    with refused(world, "attest.signature"):
        present(world, nonce, {})
    assert seen == [False]


def test_nonce_expires_after_two_minutes(world: BrokerWorld) -> None:
    nonce = issue(world)
    evidence = world.evidence(nonce)
    world.clock.advance(120_000)
    with refused(world, "attest.nonce"):
        present(world, nonce, evidence)


def test_unknown_nonce_is_refused(world: BrokerWorld) -> None:
    evidence = world.evidence(issue(world))
    with refused(world, "attest.nonce"):
        present(world, secrets.token_hex(32), evidence)


def test_challenge_of_another_principal_is_refused(world: BrokerWorld) -> None:
    nonce = issue(world)
    with refused(world, "attest.principal"):
        present(world, nonce, world.evidence(nonce), principal_id="0" * 32)


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "00" * 32},
        {"gateway": "fr.example"},
        {"purpose": "marketing"},
        {"scope": ("claims", "models")},
        {"scope": ()},
        {"key_thumbprint": "A" * 43},
    ],
)
def test_evidence_over_any_other_binding_is_refused(world: BrokerWorld, change: dict[str, Any]) -> None:
    nonce = issue(world)
    with refused(world, "attest.binding"):
        present(world, nonce, world.evidence(nonce, **change))


def test_evidence_for_one_key_does_not_serve_another(world: BrokerWorld) -> None:
    nonce = issue(world)
    with refused(world, "attest.binding"):
        present(world, nonce, world.evidence(nonce), public_jwk=new_jwk())


def test_unknown_kind_is_refused(world: BrokerWorld) -> None:
    nonce = issue(world)
    with refused(world, "attest.unknown-kind"):
        present(world, nonce, world.evidence(nonce), kind="tdx")


def test_no_verifier_admits_nothing(world: BrokerWorld) -> None:
    world.restarted(verifiers=Verifiers({}))
    nonce = issue(world)
    with refused(world, "attest.no-trust"):
        present(world, nonce, world.evidence(nonce))


def test_production_posture_refuses_sample_evidence_even_with_its_verifier_admitted(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, posture="production")
    nonce = issue(world)
    with refused(world, "attest.posture"):
        present(world, nonce, world.evidence(nonce))


# --- re-attestation


def test_reattestation_renews_the_same_session(world: BrokerWorld) -> None:
    session = world.attested_session()
    world.clock.advance(600_000)
    again = world.attest(session.session_id)
    assert again.session_id == session.session_id
    assert again.attested_at == session.attested_at + 600_000
    assert again.seals["warning"] != session.attestation_seal
    assert again.expires_at == session.expires_at  # it ends when it was to end


def reattest(world: BrokerWorld, session_id: str, **changes: Any) -> None:
    nonce = issue(world)
    jwk = changes.pop("public_jwk", world.jwk)
    present(world, nonce, world.evidence(nonce, jwk), session_id=session_id, public_jwk=jwk, **changes)


def test_reattestation_with_another_key_is_refused(world: BrokerWorld) -> None:
    session = world.attested_session()
    with refused(world, "attest.key"):
        reattest(world, session.session_id, public_jwk=new_jwk())


@pytest.mark.parametrize("change", [{"purpose": "marketing"}, {"principal_id": "1" * 32}])
def test_reattestation_of_a_session_of_somebody_or_something_else_is_refused(
    world: BrokerWorld, change: dict[str, str]
) -> None:
    session = world.attested_session()
    world.purpose = change.get("purpose", world.purpose)
    world.principal_id = change.get("principal_id", world.principal_id)
    with refused(world, "attest.session"):
        reattest(world, session.session_id)


def test_reattestation_may_not_widen_the_scope(world: BrokerWorld) -> None:
    session = world.attested_session()
    nonce = issue(world, ("claims", "models"))
    with refused(world, "attest.session"):
        present(world, nonce, world.evidence(nonce), session_id=session.session_id)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"revoked_at": 1}, "session.revoked"),
        ({"expires_at": 1}, "session.seal"),
        ({"expires_at": 2**52}, "session.seal"),
        ({"tier": "affirming"}, "session.seal"),
        ({"claims": {}}, "session.seal"),
        ({"kind": "identity"}, "session.seal"),
    ],
)
def test_dead_or_edited_session_is_not_revived(world: BrokerWorld, change: dict[str, Any], reason: str) -> None:
    session = world.attested_session()
    world.edit_session(session, **change)
    with refused(world, reason):
        reattest(world, session.session_id)


def test_expired_session_is_not_revived(world: BrokerWorld) -> None:
    session = world.attested_session()
    world.clock.advance(3_600_000)
    with refused(world, "session.expired"):
        reattest(world, session.session_id)


def test_unknown_session_is_not_made_by_naming_it(world: BrokerWorld) -> None:
    with refused(world, "attest.session"):
        reattest(world, "0" * 32)


class Fixed:
    """A verifier that answers what it was made with."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        return self.claims


STRONG = Claims("tdx", "tdx", "m1", debug=False, hardware=True, synthetic_only=False)


@pytest.mark.parametrize(
    "weaker",
    [
        replace(STRONG, measurement="m2"),
        replace(STRONG, tee="sgx"),
        replace(STRONG, debug=True),
        replace(STRONG, hardware=False),
        replace(STRONG, synthetic_only=True),
    ],
)
def test_reattestation_may_not_weaken_the_claims(world: BrokerWorld, weaker: Claims) -> None:
    verifier = Fixed(STRONG)
    world.restarted(verifiers=Verifiers({"tdx": verifier}))
    first = world.broker.attest(issue(world), "tdx", {}, world.jwk, world.principal_id)
    world.store(first)
    verifier.claims = weaker
    with refused(world, "attest.weaker"):
        world.broker.attest(issue(world), "tdx", {}, world.jwk, world.principal_id, first.session_id)


def test_claims_of_another_kind_than_asked_for_are_refused(world: BrokerWorld) -> None:
    world.restarted(verifiers=Verifiers({"sample": Fixed(STRONG)}))
    nonce = issue(world)
    with refused(world, "attest.malformed"):
        present(world, nonce, {})
