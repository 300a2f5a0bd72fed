"""What strangers and holders of tickets send to the key-broker endpoint to break it or what stands behind it."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.attest_kbs import TeeKeyPair, digest_of
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tpm import FakeTpm
from tests.fakes.broker import BrokerWorld
from tests.fakes.gateway_world import GATEWAY, GatewayWorld
from tests.fakes.kbs_client import PURPOSE, Guest, KbsEndpoint
from tests.unit.gateway.api.test_attempts_on_record import Caller
from tests.unit.vault.attest.kbs.test_kbs_evidence import azure_evidence
from vault.attest.azure.verify import AzurePolicy, AzureTrust, AzureVerifier
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.kbs.binding import nonce_hex, nonce_text
from vault.attest.kbs.init_data import MAX_BODY, MAX_HEAD, check_init_data
from vault.attest.sample import sample_evidence
from vault.attest.snp.policy import SnpPolicy
from vault.attest.verifier import Verifiers
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.errors import Refused


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[KbsEndpoint]:
    world = GatewayWorld(tmp_path)
    yield KbsEndpoint(world)
    world.close()


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    made = Caller(tmp_path)
    yield made
    made.world.close()


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["\ud800", "\0", "%00", "x" * 4000, "A" * 64, "0" * 63, 7, None, {"a": 1}])
@pytest.mark.parametrize("known", [True, False])
def test_a_token_of_nobody_is_looked_for_nowhere(endpoint: KbsEndpoint, name: object, known: bool) -> None:
    """What it calls itself goes into a query: a lone surrogate ends any driver, a NUL ends PostgreSQL's."""
    guest = Guest(endpoint, str(endpoint.ticket()["ticket"]) if known else None)
    token = f"{_part(json.dumps({'alg': 'ES256'}))}.{_part(json.dumps({'jti': name}))}.{_part('x' * 64)}"
    asked: list[str] = []
    find = endpoint.world.catalog.find_kbs_session
    endpoint.world.catalog.find_kbs_session = lambda one: asked.append(one) or find(one)  # type: ignore[assignment,func-returns-value,method-assign]
    reply = guest.resource(headers={"authorization": f"Bearer {token}"})
    assert (reply.status, reply.json["type"]) == (401, "urn:demesne:error:kbs.not-attested")
    assert asked in ([], [""])


@pytest.mark.parametrize("tail", ["a." * 100_000 + "a = 1", "[" + "a." * 100_000 + "a]", "\n".join(["[a]"] * 50_000)])
def test_init_data_costs_no_more_than_its_length(tail: str) -> None:
    """A machine that is genuine, and nobody's yet, must not hold up the process that opens keys. tomllib takes the
    square of a dotted name's parts in time and memory: 130,000 of them would be minutes and gigabytes."""
    body = f'algorithm = "sha256"\n{tail}'
    assert len(body) <= MAX_BODY
    began = time.process_time()
    with pytest.raises(Refused):
        check_init_data("snp", {"format": "toml", "body": body}, {"platform": {}})
    most = 'algorithm = "sha256"\n'
    most += "a." * ((MAX_HEAD - len(most)) // 2 - 3) + "a=1"
    with pytest.raises(Refused):
        check_init_data("snp", {"format": "toml", "body": most}, {"platform": {}})
    assert time.process_time() - began < 2


def test_a_nonce_serves_the_protocol_it_was_given_for_and_is_spent_by_the_other(endpoint: KbsEndpoint) -> None:
    """Theirs binds neither purpose nor scope nor gateway: a machine that attested there must not be shown here."""
    world = endpoint.world
    guest = Guest(endpoint, str(endpoint.ticket()["ticket"]))
    nonce = nonce_hex(guest.auth())
    bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(world.jwk), PURPOSE, ("claims",))
    error = world.refused(
        world.sessions.open(
            world.trainer, nonce=nonce, kind="sample", evidence=sample_evidence(bound), key=world.jwk, purpose=PURPOSE,
            scope=["claims"], run=None, request_id="r",
        )
    )  # fmt: skip
    assert error.rule == "attest.nonce"
    reply = guest.call("POST", "attest", guest.evidence(nonce_text(nonce)))
    assert (reply.status, reply.json["type"]) == (401, "urn:demesne:error:attest.nonce")

    ours = world.run(world.sessions.challenge(world.trainer, PURPOSE, ["claims"], "r"))["nonce"]
    guest.auth()
    reply = guest.call("POST", "attest", guest.evidence(nonce_text(ours)))
    assert (reply.status, reply.json["type"]) == (401, "urn:demesne:error:attest.nonce")
    assert world.rows("select 1 from session") == []


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/challenges", {}), ("/v1/kbs/tickets", {"ttl": 60}), ("/v1/sessions", None)]
)
def test_names_in_a_scope_are_as_long_as_names_are(caller: Caller, path: str, more: dict[str, Any] | None) -> None:
    """They go into the catalog, a ledger entry that is kept for ever, and every decision that follows."""
    rows = [caller.world.rows(f"select * from {table}") for table in ("challenge", "kbs_ticket", "session")]
    body: dict[str, Any] = {"purpose": PURPOSE, "scope": ["x" * 64], **(more or {})}
    if more is None:
        body |= {"nonce": "ab" * 32, "kind": "sample", "evidence": {}, "key": caller.jwk}
    at = len(caller.world.ledger.entries)
    reply = caller.ask("POST", path, body, who=caller.world.trainer)
    assert (reply.status, reply.json["code"]) == (400, "InvalidArgument")
    assert rows == [caller.world.rows(f"select * from {table}") for table in ("challenge", "kbs_ticket", "session")]
    assert len(json.dumps(caller.world.ledger.entries[at:])) < 2000


def test_runtime_data_of_another_handshake_is_refused_by_the_broker(tmp_path: Path) -> None:
    """The quote is of this handshake; what the hardware vouches for says another one's binding."""
    amd, tpm, world = FakeAmd(), FakeTpm(), BrokerWorld(tmp_path)
    trust = AzureTrust(snp=replace(amd.trust, certificates=tuple(amd.certificates[1:])))
    verifier = AzureVerifier(trust, AzurePolicy(snp=SnpPolicy(providers=None)))
    world.restarted(
        verifiers=Verifiers({"azure-vtpm": verifier}), policy=replace(world.parts.policy, posture="production")
    )

    def attest(user_data: bytes | None) -> KbsAttested:
        key = TeeKeyPair()
        nonce = world.broker.kbs_challenge(world.principal_id, world.purpose, ["claims"], GATEWAY).nonce
        digest = digest_of(nonce_text(nonce), key.jwk)
        made = azure_evidence(amd, tpm, digest, version=2, user_data=user_data or digest + bytes(16))
        given = KbsEvidence(nonce, "az-snp-vtpm", json.dumps(made), "", key.jwk)
        return world.broker.kbs_attest(given, world.principal_id, "192.0.2.7")

    assert attest(None).attested.claims["hardware"] is True
    at = len(world.refusals)
    with pytest.raises(Refused) as caught:
        attest(bytes(64))
    assert caught.value.reason == "attest.binding"
    assert [entry["reason"] for entry in world.refusals[at:]] == ["attest.binding"]
