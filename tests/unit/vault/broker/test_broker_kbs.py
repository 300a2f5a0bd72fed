"""Trustee's protocol at the broker: single use, bound, sealed as our own sessions, signed for what was verified."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.attest_kbs import TeeKeyPair, digest_of, sample_evidence, snp_evidence
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.broker import GATEWAY, BrokerWorld
from vault.attest.kbs.binding import nonce_text
from vault.attest.sample import SampleVerifier
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy
from vault.attest.tokens.jose import parse_keys, parse_token, verified
from vault.attest.verifier import Verifiers
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.errors import Malformed, Refused

SOURCE = "192.0.2.7"
AFFIRMED = {
    "tier": "affirming",
    "policy": "r1",
    "submods": {"cpu0": {"tier": "affirming", "vector": {"hardware": "affirming"}}},
}
TOKEN_ID = "ab" * 32


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@contextmanager
def refused(world: BrokerWorld, reason: str) -> Iterator[None]:
    recorded = len(world.refusals)
    with pytest.raises((Refused, Malformed)) as caught:
        yield
    assert caught.value.reason == reason
    assert [record["reason"] for record in world.refusals[recorded:]] == [reason]


class Guest:
    """A client of one handshake, for a principal or for nobody."""

    def __init__(self, world: BrokerWorld, *, ticket: bool = True, kind: str = "P-256") -> None:
        self.world = world
        self.principal = world.principal_id if ticket else ""
        self.key = TeeKeyPair(kind)
        scope, purpose = (["claims"], world.purpose) if ticket else ([], "")
        self.nonce = world.broker.kbs_challenge(self.principal, purpose, scope, GATEWAY).nonce

    def evidence(self, **changes: Any) -> KbsEvidence:
        digest = digest_of(nonce_text(self.nonce), self.key.jwk)
        made = KbsEvidence(self.nonce, "sample", json.dumps(sample_evidence(digest)), "", self.key.jwk)
        return replace(made, **changes)

    def attest(self, **changes: Any) -> KbsAttested:
        return self.world.broker.kbs_attest(self.evidence(**changes), self.principal, SOURCE)


@pytest.mark.parametrize("kind", ["P-256", "P-521", "RSA"])
def test_evidence_becomes_a_session_of_what_the_nonces_row_says(world: BrokerWorld, kind: str) -> None:
    made = Guest(world, kind=kind).attest().attested
    assert (made.purpose, made.scope, made.bound_source, made.bound_key) == (world.purpose, ("claims",), SOURCE, "")
    assert made.claims["synthetic_only"] is True
    assert made.expires_at == world.clock() + 3_600_000
    row = world.store(made)
    version = world.generate("ab" * 16).wrapped
    grant = world.grant("ab" * 16, row.session_id)
    assert world.broker.unwrap(world.scope(), "ab" * 16, version, grant)


def test_a_nonce_of_nobody_verifies_and_seals_nothing(world: BrokerWorld) -> None:
    made = Guest(world, ticket=False).attest()
    assert made.attested.seals == {}
    assert (made.attested.session_id, made.attested.scope, made.attested.purpose) == ("", (), "")
    assert world.broker.kbs_token(made.statement, made.seal, AFFIRMED, TOKEN_ID).count(".") == 2


@pytest.mark.parametrize(
    ("principal", "purpose", "scope"),
    [("", "p", ["d"]), ("a", "", ["d"]), ("a", "p", []), ("", "", ["d"]), ("a", "", []),
     ("a", "p", [f"d{n}" for n in range(257)])],
)  # fmt: skip
def test_a_nonce_of_half_a_row_is_not_made(world: BrokerWorld, principal: str, purpose: str, scope: list[str]) -> None:
    with refused(world, "attest.challenge"):
        world.broker.kbs_challenge(principal, purpose, scope, GATEWAY)
    assert world.catalog.challenges == {}


def test_a_nonce_works_once_and_is_spent_by_a_failure(world: BrokerWorld) -> None:
    guest = Guest(world)
    with refused(world, "attest.binding"):
        guest.attest(primary=json.dumps(sample_evidence(bytes(48))))
    with refused(world, "attest.nonce"):
        guest.attest()


def test_a_nonce_expires_after_two_minutes(world: BrokerWorld) -> None:
    guest = Guest(world)
    world.clock.advance(120_000)
    with refused(world, "attest.nonce"):
        guest.attest()


def test_a_nonce_serves_one_protocol(world: BrokerWorld) -> None:
    """The weaker binding must not open what the stronger was asked for, nor the other way round."""
    guest = Guest(world)
    ours = world.broker.challenge(world.principal_id, world.purpose, ["claims"], GATEWAY).nonce
    evidence = world.evidence(guest.nonce)
    with refused(world, "attest.nonce"):
        world.broker.attest(guest.nonce, "sample", evidence, world.jwk, world.principal_id)
    guest.nonce = ours
    with refused(world, "attest.nonce"):
        guest.attest()


def test_a_nonce_is_for_who_asked(world: BrokerWorld) -> None:
    for guest, who in ((Guest(world), ""), (Guest(world), "ee" * 16), (Guest(world, ticket=False), world.principal_id)):
        with refused(world, "attest.principal"):
            world.broker.kbs_attest(guest.evidence(), who, SOURCE)


def test_another_key_additional_text_or_kind_is_refused(world: BrokerWorld) -> None:
    with refused(world, "attest.binding"):
        Guest(world).attest(tee_pubkey=TeeKeyPair().jwk)
    with refused(world, "attest.key"):
        Guest(world).attest(tee_pubkey={"kty": "EC"})
    with refused(world, "attest.malformed"):
        Guest(world).attest(additional="{}")
    with refused(world, "attest.unknown-kind"):
        Guest(world).attest(tee="sgx")
    with refused(world, "attest.malformed"):
        Guest(world).attest(primary='{"svn":"1","svn":"1","report_data":""}')
    with refused(world, "attest.malformed"):
        Guest(world).attest(primary="[" * 200_000)
    with refused(world, "attest.host-data"):
        Guest(world).attest(init_data={"format": "toml", "body": 'algorithm = "sha384"'})


def test_sample_evidence_is_for_development(world: BrokerWorld) -> None:
    world.restarted(policy=replace(world.parts.policy, posture="production"))
    with refused(world, "attest.posture"):
        Guest(world).attest()


def test_a_genuine_report_taken_apart_is_a_session(world: BrokerWorld) -> None:
    amd = FakeAmd()
    verifiers = Verifiers({"sample": SampleVerifier(), "snp": SnpVerifier(amd.trust, SnpPolicy(providers=None))})
    world.restarted(verifiers=verifiers, policy=replace(world.parts.policy, posture="production"))
    guest = Guest(world)
    digest = digest_of(nonce_text(guest.nonce), guest.key.jwk)
    report = amd.report(report_data=digest + bytes(16))
    made = guest.attest(tee="snp", primary=json.dumps(snp_evidence(report, amd.certificates)))
    assert made.attested.claims["hardware"] is True
    with refused(world, "attest.binding"):
        Guest(world).attest(tee="snp", primary=json.dumps(snp_evidence(report, amd.certificates)))


# --- the token


def test_the_token_says_what_was_verified_under_the_brokers_key(world: BrokerWorld) -> None:
    guest = Guest(world)
    made = guest.attest()
    token = world.broker.kbs_token(made.statement, made.seal, AFFIRMED, TOKEN_ID)
    claims = verified(parse_token(token), parse_keys(dict(world.broker.kbs_key())), frozenset({"ES256"}))
    module = claims["submods"]["cpu0"]
    assert (claims["exp"] - claims["iat"], claims["jti"], module["ear.status"]) == (300, TOKEN_ID, "affirming")
    vector = module["ear.trustworthiness-vector"]
    assert (len(vector), vector["hardware"], vector["executables"]) == (8, 2, 0)
    evidence = module["ear.veraison.annotated-evidence"]
    assert evidence["runtime_data_claims"] == {"nonce": nonce_text(guest.nonce), "tee-pubkey": guest.key.jwk}
    assert evidence["sample"] == made.attested.claims


def test_nothing_is_signed_that_nobody_verified(world: BrokerWorld) -> None:
    made = Guest(world).attest()
    edited = made.statement.replace(b'"sample"', b'"snp"')
    assert edited != made.statement
    with refused(world, "attest.nonce"):
        world.broker.kbs_token(edited, made.seal, AFFIRMED, TOKEN_ID)
    with refused(world, "attest.nonce"):
        world.broker.kbs_token(made.statement, bytes(32), AFFIRMED, TOKEN_ID)
    world.clock.advance(60_001)
    with refused(world, "attest.expired"):
        world.broker.kbs_token(made.statement, made.seal, AFFIRMED, TOKEN_ID)


def module(tier: str = "affirming", **changes: Any) -> dict[str, Any]:
    return {"tier": tier, "vector": {}} | changes


@pytest.mark.parametrize(
    ("appraisal", "reason"),
    [
        (AFFIRMED | {"tier": "contraindicated"}, "attest.policy"),
        (AFFIRMED | {"tier": "none"}, "attest.policy"),
        (AFFIRMED | {"submods": {"cpu0": module(), "gpu0": module("contraindicated")}}, "attest.policy"),
        (AFFIRMED | {"submods": {}}, "attest.malformed"),
        (AFFIRMED | {"submods": {"gpu0": module()}}, "attest.malformed"),
        (AFFIRMED | {"submods": {"cpu0": module("trusted")}}, "attest.malformed"),
        (AFFIRMED | {"submods": {"cpu0": module(vector={"hardware": 2})}}, "attest.malformed"),
        (AFFIRMED | {"submods": {"cpu0": module(vector={"magic": "affirming"})}}, "attest.malformed"),
        (AFFIRMED | {"submods": {"cpu0": module(), "CPU 1": module()}}, "attest.malformed"),
        (AFFIRMED | {"tier": "perfect"}, "attest.malformed"),
        (AFFIRMED | {"policy": 7}, "attest.malformed"),
        (AFFIRMED | {"more": 1}, "attest.malformed"),
        ({}, "attest.malformed"),
    ],
)
def test_another_appraisal_is_not_signed(world: BrokerWorld, appraisal: dict[str, Any], reason: str) -> None:
    made = Guest(world).attest()
    with refused(world, reason):
        world.broker.kbs_token(made.statement, made.seal, appraisal, TOKEN_ID)
