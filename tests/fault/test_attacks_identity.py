"""Credentials of an identity provider, and names of principals, used to reach further than was said."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest, Denied
from gateway.identity.issuer_keys import MAX_AGE_MS, row_name
from gateway.identity.jwk import public_keys
from tests.fakes.gateway_world import GATEWAY
from tests.fakes.identity_provider import IdentityProvider, number
from tests.fakes.s3_client import signed
from tests.fakes.sts_world import HOST, Asked, StsWorld
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.identities import value_digest
from vault.attest.sample import sample_evidence

TRAINING = "claims-risk-model"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[StsWorld]:
    made = StsWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def provider(world: StsWorld) -> IdentityProvider:
    made = IdentityProvider()
    world.trusts(made.issuer(subjects=[{"subject": "ci", "principal": "both", "purposes": ["analytics"]}]))
    return made


def _caller(world: StsWorld, answer: Asked) -> Any:
    made = answer.credentials
    request = signed(
        "GET", "/", key=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"], region="de",
        host=HOST,
    )  # fmt: skip
    return world.run(world.verifier.authenticate(request.head())).principal


def test_a_challenge_of_the_principals_own_key_opens_nothing_for_its_identity_session(
    world: StsWorld, provider: IdentityProvider
) -> None:
    """A dashboard's token and a trainer's key are one principal's. Who holds the token and learns a nonce of the key's
    owner (a log, a proxy) attests a machine of his own with it, for a purpose that the provider's entry never named."""
    owner = world.catalog.create_principal(
        "both", "workload", ["trainer", "analyst"], "de", ["analytics", TRAINING], "0" * 32
    )
    inside = _caller(world, world.assume(provider.token(provider.claims(world.now))))
    assert inside.principal_id == owner.principal_id
    nonce = world.broker.challenge(owner.principal_id, TRAINING, ["claims"], GATEWAY).nonce
    bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(world.jwk), TRAINING, ("claims",))
    at = len(world.ledger.entries)
    with pytest.raises(Denied) as caught:
        world.run(world.sessions.open(
            inside, nonce=nonce, kind="sample", evidence=sample_evidence(bound), key=world.jwk, purpose=TRAINING,
            scope=["claims"], run=None, request_id="req",
        ))  # fmt: skip
    assert caught.value.rule == "session.from-session"
    assert [row[0] for row in world.rows("select kind from session")] == ["identity"]
    (entry,) = [entry for entry in world.ledger.entries[at:] if entry.get("allow") is False]
    assert entry["codes"] == ["session.from-session"]


def test_attesting_again_reaches_no_purpose_either(world: StsWorld, provider: IdentityProvider) -> None:
    """Nor may it refresh, and so move to its own address, a session of a purpose that it may not open."""
    owner = world.catalog.create_principal(
        "both", "workload", ["trainer", "analyst"], "de", ["analytics", TRAINING], "0" * 32
    )
    inside = _caller(world, world.assume(provider.token(provider.claims(world.now))))
    trainer = world.run(_acting(world, owner.principal_id))
    session = world.attested(trainer)
    assert session.session is not None
    nonce = world.broker.challenge(owner.principal_id, TRAINING, ["claims"], GATEWAY).nonce
    bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(world.jwk), TRAINING, ("claims",))
    with pytest.raises(Denied) as caught:
        world.run(world.sessions.reattest(
            inside, session.session.session_id, nonce=nonce, kind="sample", evidence=sample_evidence(bound),
            key=world.jwk,
        ))  # fmt: skip
    assert caught.value.rule == "session.from-session"


async def _acting(world: StsWorld, principal_id: str) -> Any:
    return replace(world.trainer, principal_id=principal_id, name="both", purpose=TRAINING)


@pytest.mark.parametrize("decoy", ["trainer", None])
def test_a_decoy_takes_no_revocation_in_anothers_place(world: StsWorld, decoy: str | None) -> None:
    """Nothing keeps two principals from having one name, or one from being called by another's id: who revokes would
    hear "revoked", and the machine would go on."""
    who = world.trainer
    session = world.attested()
    assert session.session is not None
    # The catalog answers the row it finds first.
    made = world.catalog.create_principal(
        decoy or who.principal_id, "workload", ["trainer"], "de", [TRAINING], "0" * 32, principal_id="0" * 32
    )
    custodian = world.person("custodian", "custody", "custodian")
    revoke = world.revocations.revoke
    if decoy is None:
        world.run(revoke(custodian, "subject", who.principal_id, "stolen", "req"))
    else:
        at = len(world.catalog.revocations())
        with pytest.raises(BadRequest) as caught:
            world.run(revoke(custodian, "subject", who.name, "stolen", "req"))
        assert caught.value.rule == "revocation.ambiguous"
        assert len(world.catalog.revocations()) == at
        world.run(revoke(custodian, "subject", who.principal_id, "stolen", "req"))
    revoked = {row.value for row in world.catalog.revocations()}
    assert revoked == {value_digest(who.principal_id)}
    assert value_digest(made.principal_id) not in revoked
    found = world.facts.session(session.session.session_id)
    assert found is not None
    assert found.revoked_at is not None


@pytest.mark.parametrize(("ahead_ms", "counts"), [(30_000, True), (10 * 365 * 86_400_000, False)])
def test_keys_fetched_in_the_future_are_not_for_ever(world: StsWorld, ahead_ms: int, counts: bool) -> None:
    """A clock that was years ahead when keys were fetched, and was put right, must not make them good for years."""
    provider = IdentityProvider()
    subjects = [{"subject": "ci", "principal": "analyst", "purposes": ["analytics"]}]
    world.trusts(provider.issuer(jwks=None, jwks_url="https://id.example/keys", subjects=subjects))
    (issuer,) = world.issuers().all()
    world.clock.advance(ahead_ms)
    world.catalog.may_fetch_issuer_keys(row_name(issuer))
    world.catalog.keep_issuer_keys(row_name(issuer), json.dumps(provider.jwks), "0" * 32)
    world.clock.advance(-ahead_ms)
    answer = world.assume(provider.token(provider.claims(world.now)))
    assert (answer.status == 200) is counts, answer.parsed
    if counts:
        world.clock.advance(MAX_AGE_MS + ahead_ms - 1_000)
        assert world.assume(provider.token(provider.claims(world.now))).status == 200
        world.clock.advance(4_000)
        assert world.assume(provider.token(provider.claims(world.now))).status == 400


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_has_one_spelling(world: StsWorld, provider: IdentityProvider, part: int) -> None:
    """Bits that base64url leaves over are nobody's: two texts of one token are two in every list of those seen."""
    world.catalog.create_principal("both", "workload", ["analyst"], "de", ["analytics"], "0" * 32)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for filler in range(3):  # so that each part once has bits left over
        header = {"x5t": "a" * (filler + 1)}
        good = provider.token(provider.claims(world.now, filler="a" * filler), header=header)
        parts = good.split(".")
        if len(parts[part]) % 4 == 0:
            continue
        parts[part] = parts[part][:-1] + alphabet[alphabet.index(parts[part][-1]) + 1]
        answer = world.assume(".".join(parts))
        assert answer.code == "InvalidIdentityToken"
        assert "identity.malformed" in answer.message
        assert world.assume(good).status == 200


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "p2c", "p2s", "cty", "epk"])
def test_no_file_lets_a_token_say_how_it_is_verified(world: StsWorld, name: str) -> None:
    """An operator who lists what tokens were refused for must not have allowed that."""
    provider = IdentityProvider()
    subjects = [{"subject": "ci", "principal": "analyst", "purposes": ["analytics"]}]
    world.trusts(provider.issuer(subjects=subjects, headers=["rh", name]))
    assert world.assume(provider.token(provider.claims(world.now), header={"rh": "x"})).status == 200
    answer = world.assume(provider.token(provider.claims(world.now), header={name: "x"}))
    assert answer.code == "InvalidIdentityToken"
    assert "identity.header" in answer.message


def test_a_set_with_a_key_marked_by_cve_2017_15361_has_no_such_key() -> None:
    """Its modulus can be factored: whoever did that signs for everybody. A modulus of the marked form."""
    primes = [n for n in range(3, 168) if all(n % d for d in range(2, n))]
    product = math.prod(primes)
    modulus = pow(65537, 12345, product)
    modulus += product * ((1 << 2047) // product + 1)
    while not modulus & 1:
        modulus += product
    jwk = {"kty": "RSA", "kid": "1", "n": number(modulus), "e": "AQAB"}
    assert public_keys({"keys": [jwk]}) == ()
    assert len(public_keys({"keys": [jwk | {"n": number(modulus + 2)}]})) == 1
