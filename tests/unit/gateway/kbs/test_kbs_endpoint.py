"""Trustee's protocol at the gateway: the whole road to raw rows, and every way in which it does not lead there."""

import asyncio
import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.decide.doctrine import DECISION
from gateway.identity.tokens import session_secret
from tests.fakes.attest_kbs import (
    CREDENTIALS,
    TeeKeyPair,
    attestation,
    digest_of,
    request,
    sample_evidence,
    snp_evidence,
)
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.doctrine import refusing
from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.fakes.kbs_client import PURPOSE, SOURCE, Guest, KbsEndpoint, Reply
from tests.fakes.ledger import ledger_down, no_fault
from vault.attest.identities import value_digest
from vault.attest.sample import SampleVerifier
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy
from vault.attest.verifier import Verifiers


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    made.put("a.csv", CSV)
    yield made
    made.close()


@pytest.fixture
def endpoint(world: GatewayWorld) -> KbsEndpoint:
    return KbsEndpoint(world)


@pytest.fixture
def ticket(endpoint: KbsEndpoint) -> str:
    return str(endpoint.ticket()["ticket"])


def sessions(world: GatewayWorld) -> int:
    return len(world.rows("select 1 from session"))


def refusals(world: GatewayWorld) -> list[str]:
    """The rule of each refused attempt on record, whoever recorded it."""
    found: list[str] = []
    for entry in world.ledger.entries:
        if entry["type"] == "broker-refusal":
            found.append(entry["reason"])
        elif entry["type"] == "session" and entry.get("allow") is False:
            found += entry["codes"]
        elif entry["type"] == "intent" and not entry["decision"]["allow"]:
            found.append(entry["decision"]["codes"][0])
    return found


def rejected(
    endpoint: KbsEndpoint, call: Callable[[], Reply], rule: str, status: int = 401, *, recorded: bool = True
) -> Reply:
    """Refused as clients expect it, on record once (or counted, of a stranger), and no session came of it."""
    world = endpoint.world
    before, known, counted = sessions(world), len(refusals(world)), len(endpoint.counted)
    reply = call()
    document = reply.json
    assert (reply.status, document["type"]) == (status, f"urn:demesne:error:{rule}"), document
    assert reply.headers["content-type"] == "application/problem+json"
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["detail"]
    assert "set-cookie" not in reply.headers
    assert sessions(world) == before
    new = refusals(world)[known:]
    assert (new, endpoint.counted[counted:]) == (([rule], []) if recorded else ([], [rule]))
    return reply


# --- the road


@pytest.mark.parametrize("kind", ["P-256", "P-521", "RSA"])
def test_credentials_of_a_handshake_open_raw_rows(endpoint: KbsEndpoint, ticket: str, kind: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket, kind=kind)
    guest.attested()
    credentials = guest.credentials()
    assert set(credentials) == {"access_key_id", "secret_access_key", "session_token", "expiration"}
    session_id = credentials["access_key_id"].removeprefix("DSES").lower()
    assert credentials["secret_access_key"] == session_secret(world.hello.token_key, session_id)
    assert world.read(guest.principal(credentials), "a.csv").body == CSV
    (entry,) = [entry for entry in world.entries("session") if entry["session"] == session_id]
    assert (entry["purpose"], entry["scope"], entry["tier"]) == (PURPOSE, ["claims"], "warning")


def test_the_challenge_is_what_clients_expect(endpoint: KbsEndpoint, ticket: str) -> None:
    reply = Guest(endpoint, ticket).call("POST", "auth", request("sample"), headers={})
    assert reply.status == 200
    assert reply.json["extra-params"] == ""
    assert len(base64.b64decode(reply.json["nonce"])) == 32
    name, _, rest = reply.headers["set-cookie"].partition("=")
    assert (name, len(rest.partition(";")[0])) == ("kbs-session-id", 32)
    assert rest.partition("; ")[2] == f"Path=/v1/kbs/{ticket}/kbs/v0; Max-Age=300; HttpOnly; SameSite=Strict; Secure"
    assert reply.headers["cache-control"] == "no-store"


def test_a_second_attestation_in_a_handshake_is_answered_with_the_same_token(
    endpoint: KbsEndpoint, ticket: str
) -> None:
    """And with another key: what the first was encrypted to stays what it is encrypted to."""
    guest = Guest(endpoint, ticket)
    token, first = guest.attested(), guest.key
    before = sessions(endpoint.world)
    guest.key = TeeKeyPair()
    again = guest.call("POST", "attest", guest.evidence(base64.b64encode(bytes(32)).decode()))
    assert (again.status, again.json["token"]) == (200, token)
    assert sessions(endpoint.world) == before
    sealed = guest.resource().json
    with pytest.raises(Exception):  # noqa: B017 - whatever the library calls it
        guest.key.opened(sealed)
    assert json.loads(first.opened(sealed))["access_key_id"]


def test_the_token_is_a_bearer_of_the_same_resource(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    token = guest.attested()
    reply = guest.resource(headers={"authorization": f"Bearer {token}"})
    assert json.loads(guest.key.opened(reply.json))["access_key_id"] == guest.credentials()["access_key_id"]


def test_any_worker_goes_on_where_another_began(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    nonce = guest.auth()
    guest.endpoint = KbsEndpoint(endpoint.world)
    assert guest.call("POST", "attest", guest.evidence(nonce)).status == 200
    guest.endpoint = endpoint
    assert guest.credentials()


def test_without_a_ticket_the_nonce_names_nobody(endpoint: KbsEndpoint) -> None:
    """Sample evidence is for synthetic datasets, and a stranger names none: refused by the doctrine, and counted."""
    guest = Guest(endpoint)
    nonce = guest.auth()
    assert endpoint.world.rows("select principal_id, purpose, scope, profile from challenge") == [("", "", "[]", "kbs")]
    rejected(
        endpoint,
        lambda: guest.call("POST", "attest", guest.evidence(nonce)),
        "attestation.sample-scope",
        recorded=False,
    )
    rejected(endpoint, guest.resource, "kbs.not-attested", recorded=False)


# --- must reject


REQUESTS: list[tuple[Any, str]] = [
    (request("sample", version="0.1.1"), "kbs.version"),
    (request("sample", version="0.4.1"), "kbs.version"),
    (request("sample", version=0.4), "kbs.version"),
    ({"tee": "sample"}, "kbs.version"),
    (request("sample") | {"more": 1}, "attest.malformed"),
    ({"version": "0.4.0", "tee": "sample"}, "attest.malformed"),
    (request("sgx"), "attest.unknown-kind"),
    (request("nvidia"), "attest.unknown-kind"),
    (request("nobody's"), "attest.unknown-kind"),
    (request("sample") | {"tee": ["sample"]}, "attest.unknown-kind"),
    (request("sample", **{"extra-params": {"supported-hash-algorithms": ["sm3"]}}), "attest.algorithm"),
    (request("sample", **{"extra-params": {"supported-hash-algorithms": "sha384"}}), "attest.algorithm"),
    ([], "attest.malformed"),
]


@pytest.mark.parametrize("known", [True, False])
def test_another_request_is_refused(endpoint: KbsEndpoint, ticket: str, known: bool) -> None:
    guest = Guest(endpoint, ticket if known else None)
    for body, rule in REQUESTS:
        rejected(endpoint, partial(guest.call, "POST", "auth", body), rule, recorded=known)


DEEP = b'{"init-data":' + b"[" * 15_000
TWICE = b'{"version":"0.4.0","version":"0.4.0","tee":"sample","extra-params":""}'


@pytest.mark.parametrize("path", ["auth", "attest"])
def test_what_is_no_json_object_is_refused(endpoint: KbsEndpoint, ticket: str, path: str) -> None:
    guest = Guest(endpoint, ticket)
    for raw in (b"", b"{", b"\xff\xfe", DEEP, TWICE, b'{"version":NaN}', b"[]", b'"0.4.0"'):
        rejected(endpoint, partial(guest.call, "POST", path, raw=raw), "attest.malformed")


@pytest.mark.parametrize(("path", "most"), [("auth", 16 * 1024), ("attest", 1 << 20)])
def test_a_long_body_is_refused_unread(endpoint: KbsEndpoint, ticket: str, path: str, most: int) -> None:
    guest = Guest(endpoint, ticket)
    rejected(endpoint, lambda: guest.call("POST", path, raw=b" " * (most + 1)), "kbs.body", 413)
    for said in ("500000000", "9" * 40, "-1", "1e3"):
        rejected(endpoint, partial(guest.call, "POST", path, headers={"content-length": said}), "kbs.body", 413)
    # A body that does not say how long it is.
    rejected(
        endpoint,
        lambda: guest.call("POST", path, raw=b" " * (most + 1), headers={"content-length": "1"}),
        "kbs.body",
        413,
    )


def test_a_header_of_500_mb_never_gets_here(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    reply = guest.call("GET", "resource/a/b/c", headers={"authorization": "Bearer " + "x" * 70_000})
    assert reply.status == 401


INIT_DATA = {"format": "toml", "body": 'algorithm = "sha384"'}
ADDITIONAL = '{"nvidia":{"device_evidence_list":[]}}'


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Guest, str], dict[str, Any]]:
    def make(guest: Guest, nonce: str) -> dict[str, Any]:
        body = guest.evidence(nonce)
        change(body)
        return body

    return make


def other_nonce(guest: Guest, nonce: str) -> dict[str, Any]:
    return guest.evidence(base64.b64encode(bytes(32)).decode())


def nonce_of_another(guest: Guest, nonce: str) -> dict[str, Any]:
    """A good nonce, of a handshake that another began."""
    other = Guest(guest.endpoint, guest.base.split("/")[3])
    return guest.evidence(other.auth())


def second_key(guest: Guest, nonce: str) -> dict[str, Any]:
    return attestation(nonce, TeeKeyPair().jwk, sample_evidence(digest_of(nonce, guest.key.jwk)))


def with_more(guest: Guest, nonce: str) -> dict[str, Any]:
    return attestation(
        nonce, guest.key.jwk, sample_evidence(digest_of(nonce, guest.key.jwk, ADDITIONAL)), ADDITIONAL + " "
    )


EVIDENCE: list[tuple[Callable[[Guest, str], dict[str, Any]], str]] = [
        (other_nonce, "attest.nonce"),
        (nonce_of_another, "attest.nonce"),
        (changed(lambda body: body["runtime-data"].update(nonce="")), "attest.nonce"),
        (changed(lambda body: body["runtime-data"].update(nonce=7)), "attest.nonce"),
        (second_key, "attest.binding"),
        (with_more, "attest.malformed"),
        (changed(lambda body: body["tee-evidence"].update(additional_evidence='{"sample":{}}')), "attest.unknown-kind"),
        (changed(lambda body: body["tee-evidence"].update(additional_evidence=None)), "attest.malformed"),
        (changed(lambda body: body["tee-evidence"].update(additional_evidence="\ud800")), "attest.malformed"),
        (changed(lambda body: body["tee-evidence"].update(primary_evidence=[])), "attest.malformed"),
        (changed(lambda body: body["tee-evidence"].update(primary_evidence={})), "attest.malformed"),
        (changed(lambda body: body["tee-evidence"]["primary_evidence"].update(more=1)), "attest.malformed"),
        (changed(lambda body: body["tee-evidence"].update(more=1)), "attest.malformed"),
        (changed(lambda body: body["runtime-data"].update({"tee-pubkey": {}})), "attest.key"),
        (changed(lambda body: body["runtime-data"].update({"tee-pubkey": None})), "attest.malformed"),
        (changed(lambda body: body["runtime-data"]["tee-pubkey"].update(d="AAAA")), "attest.key"),
        (changed(lambda body: body["runtime-data"].update(more=1)), "attest.malformed"),
        (changed(lambda body: body.update(more=1)), "attest.malformed"),
        (changed(lambda body: body.pop("runtime-data")), "attest.malformed"),
        (changed(lambda body: body.update({"init-data": "x"})), "attest.malformed"),
        (changed(lambda body: body.update({"init-data": INIT_DATA})), "attest.host-data"),
    ]  # fmt: skip


def test_other_evidence_is_refused(endpoint: KbsEndpoint, ticket: str) -> None:
    for make, rule in EVIDENCE:
        guest = Guest(endpoint, ticket)
        body = make(guest, guest.auth())
        rejected(endpoint, partial(guest.call, "POST", "attest", body), rule)
        rejected(endpoint, guest.resource, "kbs.not-attested")


def test_evidence_that_failed_has_spent_its_handshake(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    nonce = guest.auth()
    bad = attestation(nonce, guest.key.jwk, sample_evidence(bytes(48)))
    rejected(endpoint, lambda: guest.call("POST", "attest", bad), "attest.binding")
    rejected(endpoint, lambda: guest.call("POST", "attest", guest.evidence(nonce)), "attest.nonce")


def test_a_handshake_is_of_who_began_it(endpoint: KbsEndpoint, ticket: str) -> None:
    """Its cookie is worth nothing under another ticket, or none: to attest with, or to ask for what it opened."""
    world = endpoint.world
    other = str(endpoint.ticket(world.trainer)["ticket"])
    guest = Guest(endpoint, ticket)
    token = guest.attested()
    for base in (f"/v1/kbs/{other}/kbs/v0", "/kbs/v0"):
        thief = Guest(endpoint)
        thief.base, thief.cookie = base, guest.cookie
        known = base != "/kbs/v0"
        rejected(endpoint, thief.resource, "kbs.not-attested", recorded=known)
        bearer = {"authorization": f"Bearer {token}"}
        rejected(endpoint, partial(thief.resource, headers=bearer), "kbs.not-attested", recorded=known)
        evidence = guest.evidence(base64.b64encode(bytes(32)).decode())
        rejected(
            endpoint,
            partial(thief.call, "POST", "attest", evidence),
            "kbs.not-attested",
            recorded=known,
        )


COOKIES = [
    ("", "kbs.cookie"),
    ("kbs-session-id=", "kbs.cookie"),
    ("kbs-session-id=" + "g" * 32, "kbs.cookie"),
    ("kbs-session-id=" + "0" * 33, "kbs.cookie"),
    ("kbs-session-id=" + "0" * 32 + "; kbs-session-id=" + "1" * 32, "kbs.cookie"),
    ("kbs-session-id=" + "0" * 32, "kbs.not-attested"),
    ("other=1", "kbs.cookie"),
]


def test_another_cookie_is_refused(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    body = guest.evidence(guest.auth())
    for cookie, rule in COOKIES:
        headers = {"cookie": cookie} if cookie else {}
        rejected(endpoint, partial(guest.call, "POST", "attest", body, headers=headers), rule)


def test_a_handshake_ends_after_five_minutes_and_its_nonce_after_two(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    nonce = guest.auth()
    world.clock.advance(120_000)
    rejected(endpoint, lambda: guest.call("POST", "attest", guest.evidence(nonce)), "attest.nonce")
    token = guest.attested()
    world.clock.advance(299_000)
    world.open_zone()
    assert guest.resource().status == 200
    world.clock.advance(1_000)
    again = guest.evidence(base64.b64encode(bytes(32)).decode())
    rejected(endpoint, guest.resource, "kbs.not-attested")
    rejected(endpoint, lambda: guest.resource(headers={"authorization": f"Bearer {token}"}), "kbs.not-attested")
    rejected(endpoint, lambda: guest.call("POST", "attest", again), "kbs.not-attested")


def edited_token(token: str, **changes: Any) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | changes
    again = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{again}.{signature}"


def test_another_token_is_refused(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    token = guest.attested()
    for scheme in ("Basic", "DPoP", ""):
        headers = {"authorization": f"{scheme} {token}"}
        rejected(endpoint, partial(guest.resource, headers=headers), "kbs.token")
    none = ".".join([base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode(), token.split(".")[1], ""])
    for text in (
        "",
        "a.b.c",
        none,
        token[:-4],
        token + "A",
        edited_token(token, exp=2**33),
        edited_token(token, jti=""),
    ):
        headers = {"authorization": f"Bearer {text}"}
        rejected(endpoint, partial(guest.resource, headers=headers), "kbs.not-attested")


def test_an_unknown_resource_is_404_to_the_attested_and_401_to_others(endpoint: KbsEndpoint, ticket: str) -> None:
    guest, ways = Guest(endpoint, ticket), ("demesne/session/other", "a/b/c", "default/session/credentials")
    for way in ways:
        rejected(endpoint, partial(guest.resource, way), "kbs.not-attested")
    guest.attested()
    for way in ways:
        rejected(endpoint, partial(guest.resource, way), "kbs.resource", 404)


def test_other_paths_and_methods_are_refused(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    for path in ("", "resource", "resource/a/b", "resource/a/b/c/d", "attestation-policy", "auth/", "../keys"):
        rejected(endpoint, partial(guest.call, "POST", path), "kbs.path", 404)
    for method, path in (("GET", "auth"), ("PUT", "attest"), ("POST", f"resource/{CREDENTIALS}"), ("DELETE", "auth")):
        rejected(endpoint, partial(guest.call, method, path), "kbs.path", 405)
    rejected(endpoint, lambda: guest.resource(query=b"a=b"), "kbs.path", 405)


def test_the_clear_is_no_place_for_a_ticket(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    plain = {"scheme": "http", "headers": {}}
    rejected(endpoint, lambda: guest.call("POST", "auth", request("sample"), **plain), "kbs.plain", recorded=False)
    assert guest.call("POST", "auth", request("sample"), **plain, source="127.0.0.1").status == 200


# --- tickets


def test_a_ticket_is_recorded_and_only_its_hash_kept(endpoint: KbsEndpoint) -> None:
    granted = endpoint.ticket(ttl=60)
    assert granted["path"] == f"/v1/kbs/{granted['ticket']}"
    (row,) = endpoint.world.rows("select * from kbs_ticket")
    assert granted["ticket"] not in str(row)
    (entry,) = endpoint.world.entries("ticket")
    assert (entry["ticket"], entry["state"], entry["purpose"], entry["scope"]) == (
        granted["ticket_id"], "granted", PURPOSE, ["claims"],
    )  # fmt: skip
    assert entry["id"] in row


def test_a_ticket_of_another_purpose_or_from_a_session_is_not_granted(endpoint: KbsEndpoint) -> None:
    world = endpoint.world
    for who, purpose, scope in (
        (world.trainer, "stewardship", ["claims"]), (world.attested(), PURPOSE, ["claims"]),
        (world.trainer, PURPOSE, []), (world.trainer, PURPOSE, [f"d{n}" for n in range(65)]),
    ):  # fmt: skip
        before = len(refusals(world))
        world.refused(endpoint.service.tickets.grant(who, purpose, scope, 3600, "r"))
        assert len(refusals(world)) == before + 1
    assert world.rows("select 1 from kbs_ticket") == []


def test_a_ticket_ends(endpoint: KbsEndpoint) -> None:
    guest = Guest(endpoint, str(endpoint.ticket(ttl=60)["ticket"]))
    guest.attested()
    endpoint.world.clock.advance(60_000)
    for call in (guest.resource, lambda: guest.call("POST", "auth", request("sample"))):
        rejected(endpoint, call, "kbs.ticket", recorded=False)


def test_a_revoked_ticket_opens_nothing_more(endpoint: KbsEndpoint) -> None:
    world, granted = endpoint.world, endpoint.ticket()
    guest = Guest(endpoint, str(granted["ticket"]))
    guest.attested()
    revoke = endpoint.service.tickets.revoke
    assert world.refused(revoke(world.analyst, granted["ticket_id"], "r")).status in {403, 404}
    assert world.refused(revoke(world.trainer, "00" * 32, "r")).status == 404
    assert guest.resource().status == 200
    world.run(revoke(world.trainer, granted["ticket_id"], "r"))
    for call in (guest.resource, lambda: guest.call("POST", "auth", request("sample"))):
        rejected(endpoint, call, "kbs.ticket", recorded=False)
    assert [entry["state"] for entry in world.entries("ticket")] == ["granted", "revoked"]


def test_a_ticket_of_another_tenant_or_of_nobody_is_none(endpoint: KbsEndpoint, ticket: str) -> None:
    world = endpoint.world
    stranger = Guest(endpoint, "A" * 43)
    rejected(endpoint, lambda: stranger.call("POST", "auth", request("sample")), "kbs.ticket", recorded=False)
    with sqlite3.connect(world.path) as edited:
        edited.execute("update kbs_ticket set tenant = 'other'")
    guest = Guest(endpoint, ticket)
    rejected(endpoint, lambda: guest.call("POST", "auth", request("sample")), "kbs.ticket", recorded=False)


def test_a_ticket_that_was_edited_is_none(endpoint: KbsEndpoint, ticket: str) -> None:
    """Whoever writes the catalog and has no key of it makes nobody attest as another, or for longer."""
    world = endpoint.world
    with sqlite3.connect(world.path) as edited:
        edited.execute("update kbs_ticket set principal_id = ?", (world.steward.principal_id,))
    reply = Guest(endpoint, ticket).call("POST", "auth", request("sample"))
    assert reply.status in {401, 503}
    assert world.rows("select 1 from challenge") == []


def test_a_principal_who_is_gone_gets_nothing(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    guest.attested()
    with sqlite3.connect(world.path) as edited:
        edited.execute("delete from principal where principal_id = ?", (world.trainer.principal_id,))
    for call in (guest.resource, lambda: guest.call("POST", "auth", request("sample"))):
        rejected(endpoint, call, "kbs.ticket", recorded=False)


def test_a_revoked_principal_gets_nothing(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    guest.attested()
    value = value_digest(world.trainer.principal_id)
    world.catalog.add_revocation("subject", value, reason="left", by_principal="s")
    for call in (guest.resource, lambda: guest.call("POST", "auth", request("sample"))):
        rejected(endpoint, call, "kbs.ticket", recorded=False)


def test_a_session_whose_measurement_was_revoked_is_no_resource(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    guest.attested()
    value = value_digest("trustee-sample-1")
    world.catalog.add_revocation("measurement", value, reason="bad build", by_principal="s")
    world.guard.facts.forget_revocations()
    rejected(endpoint, guest.resource, "session.revoked")
    nonce = guest.auth()
    world.clock.advance(5_000)
    rejected(endpoint, lambda: guest.call("POST", "attest", guest.evidence(nonce)), "attest.revoked")


# --- the rows are no authority


def test_a_handshake_that_was_edited_gives_nothing(endpoint: KbsEndpoint, ticket: str) -> None:
    """The key and the session are those of the token that the broker signed, whatever the row says."""
    world, guest, thief = endpoint.world, Guest(endpoint, ticket), Guest(endpoint, ticket)
    guest.attested()
    thief.attested()
    mine, theirs = (sha(one.cookie) for one in (thief, guest))
    with sqlite3.connect(world.path) as edited:
        edited.execute("update kbs_session set public_key = ?", (json.dumps(thief.key.jwk),))
        edited.execute(
            "update kbs_session set session_id = (select session_id from kbs_session where cookie_sha256 = ?)",
            (theirs,),
        )
    assert thief.credentials()["access_key_id"] != guest.credentials()["access_key_id"]
    with sqlite3.connect(world.path) as edited:
        edited.execute(
            "update kbs_session set token = (select token from kbs_session where cookie_sha256 = ?) "
            "where cookie_sha256 = ?", (theirs, mine),
        )  # fmt: skip
    rejected(endpoint, thief.resource, "kbs.not-attested")


def test_a_session_of_another_key_is_no_resource(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    guest.attested()
    with sqlite3.connect(endpoint.world.path) as edited:
        edited.execute("update session set key_thumbprint = ?", ("A" * 43,))
    rejected(endpoint, guest.resource, "kbs.not-attested")


def sha(cookie: str) -> str:
    return hashlib.sha256(cookie.partition("=")[2].encode()).hexdigest()


def test_a_revoked_session_is_no_resource(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    guest.attested()
    session_id = guest.credentials()["access_key_id"].removeprefix("DSES").lower()
    world.run(world.sessions.revoke(world.trainer, session_id))
    rejected(endpoint, guest.resource, "session.revoked")


def test_each_release_is_decided(endpoint: KbsEndpoint, ticket: str) -> None:
    """What the doctrine allowed when the machine attested it may refuse a minute later."""
    world, guest = endpoint.world, Guest(endpoint, ticket)
    guest.attested()
    answer = world.engine.answer

    async def refusing_now(path: str, document: Any) -> Any:
        if path == DECISION and document["request"]["action"] == "session":
            return refusing("purpose.not-granted")
        return answer(path, document)

    world.engine.evaluate = refusing_now  # type: ignore[method-assign]
    rejected(endpoint, guest.resource, "purpose.not-granted")


# --- strangers and crowds


def test_strangers_are_slowed_down_and_summed_up(world: GatewayWorld) -> None:
    endpoint = KbsEndpoint(world, each=3, together=5)
    first, second = Guest(endpoint), Guest(endpoint, source="192.0.2.77")
    for _ in range(3):
        first.auth()
    reply = first.call("POST", "auth", request("sample"))
    assert (reply.status, reply.headers["retry-after"]) == (503, "20")
    for _ in range(2):
        second.auth()
    assert second.call("POST", "auth", request("sample")).status == 503
    assert endpoint.counted == ["limit.arrivals"] * 2
    endpoint.seconds += 60
    first.auth()
    assert len(world.rows("select 1 from kbs_session")) == 6


def test_no_ticket_is_slowed_down_by_strangers(world: GatewayWorld) -> None:
    endpoint = KbsEndpoint(world, each=1, together=1)
    Guest(endpoint).auth()
    assert Guest(endpoint).call("POST", "auth", request("sample")).status == 503
    Guest(endpoint, str(endpoint.ticket()["ticket"])).attested()


def test_the_credentials_count_where_the_machine_attested(endpoint: KbsEndpoint, ticket: str) -> None:
    guest = Guest(endpoint, ticket)
    guest.attested()
    here = guest.principal(guest.credentials())
    assert here.source == SOURCE
    (row,) = endpoint.world.rows("select bound_source from session")
    assert row == (SOURCE,)


# --- when parts fail


def test_no_ledger_no_token(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    nonce = guest.auth()
    world.ledger.fault = ledger_down
    reply = guest.call("POST", "attest", guest.evidence(nonce))
    world.ledger.fault = no_fault
    assert (reply.status, reply.json["type"]) == (503, "urn:demesne:error:ledger.unavailable")
    assert sessions(world) == 0
    assert guest.resource().status == 401


def test_of_two_attestations_at_once_one_is_answered(endpoint: KbsEndpoint, ticket: str) -> None:
    world, guest = endpoint.world, Guest(endpoint, ticket)
    body = guest.evidence(guest.auth())

    async def both() -> list[int]:
        calls = (
            endpoint.asked("POST", f"{guest.base}/attest", body, headers={"cookie": guest.cookie}) for _ in range(2)
        )
        return sorted(reply.status for reply in await asyncio.gather(*calls))

    assert world.run(both()) in ([200, 401], [200, 200])  # who comes late enough gets the same token
    assert sessions(world) == 1
    assert guest.credentials()


# --- hardware, and what is not made for these clients


def admit(world: GatewayWorld, **verifiers: Any) -> None:
    """The broker of this world admits these kinds from now on, as its trust directory would say."""
    parts = world.broker._attestations._parts
    object.__setattr__(parts, "verifiers", Verifiers({"sample": SampleVerifier(), **verifiers}))


def snp_attestation(guest: Guest, amd: FakeAmd, nonce: str) -> dict[str, Any]:
    report = amd.report(report_data=digest_of(nonce, guest.key.jwk) + bytes(16))
    return attestation(nonce, guest.key.jwk, snp_evidence(report, amd.certificates))


def test_a_genuine_report_taken_apart_is_a_session_that_reads_raw(endpoint: KbsEndpoint, ticket: str) -> None:
    world, amd, guest = endpoint.world, FakeAmd(), Guest(endpoint, ticket)
    admit(world, snp=SnpVerifier(amd.trust, SnpPolicy(providers=None)))
    reply = guest.call("POST", "attest", snp_attestation(guest, amd, guest.auth("snp")))
    assert reply.status == 200, reply.body
    assert world.read(guest.principal(guest.credentials()), "a.csv").body == CSV
    (row,) = world.rows("select claims from session")
    assert json.loads(row[0])["hardware"] is True


def test_a_report_made_for_another_handshake_is_refused(endpoint: KbsEndpoint, ticket: str) -> None:
    world, amd, guest = endpoint.world, FakeAmd(), Guest(endpoint, ticket)
    admit(world, snp=SnpVerifier(amd.trust, SnpPolicy(providers=None)))
    relayed = snp_attestation(guest, amd, guest.auth("snp"))
    nonce = guest.auth("snp")
    relayed["runtime-data"]["nonce"] = nonce
    rejected(endpoint, lambda: guest.call("POST", "attest", relayed), "attest.binding")
    # A kind that the handshake was not begun for.
    sample = guest.evidence(guest.auth("snp"))
    rejected(endpoint, lambda: guest.call("POST", "attest", sample), "attest.malformed")


def test_a_stranger_with_genuine_hardware_gets_a_token_and_no_session(endpoint: KbsEndpoint) -> None:
    world, amd, guest = endpoint.world, FakeAmd(), Guest(endpoint)
    admit(world, snp=SnpVerifier(amd.trust, SnpPolicy(providers=None)))
    reply = guest.call("POST", "attest", snp_attestation(guest, amd, guest.auth("snp")))
    assert reply.status == 200, reply.body
    claims = json.loads(base64.urlsafe_b64decode(reply.json["token"].split(".")[1] + "=="))
    assert claims["submods"]["cpu0"]["ear.status"] in {"affirming", "warning"}
    assert "demesne.session" not in claims
    assert sessions(world) == 0
    rejected(endpoint, guest.resource, "kbs.no-ticket", recorded=False)
