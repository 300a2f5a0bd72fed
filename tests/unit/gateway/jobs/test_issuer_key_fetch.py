"""Issuers' keys from an HTTPS server that lies: one fetch a minute at most, old ones kept for a day, then closed."""

import asyncio
import gzip
import json
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.issuer_keys import IssuerKeys, row_name
from gateway.identity.issuers import Issuer, Issuers, parse_issuers
from gateway.identity.web_identity import WebIdentities
from gateway.identity.web_token import TokenRefused
from gateway.jobs.issuer_keys import KeyFetcher, fetch_keys
from gateway.record import Recorder
from lineage.ledger.entry import encode_entry
from tests.fakes.clock import Clock
from tests.fakes.identity_provider import IdentityProvider, b64, issuers_file, rsa_jwk
from tests.fakes.issuer_server import (
    Answer,
    IssuerServer,
    by_path,
    dribbled,
    held,
    raw,
    redirect,
    says,
    status,
    without_end,
)
from tests.fakes.vault_world import new_catalog
from vault.catalog.catalog import Catalog
from vault.errors import Refused, Unavailable

DEADLINE = 1.0


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(tmp_path: Path, clock: Clock) -> Iterator[Catalog]:
    made = new_catalog(tmp_path, clock)
    yield made
    made.close()


@pytest.fixture(scope="module")
def provider() -> IdentityProvider:
    return IdentityProvider()


def entry(provider: IdentityProvider, server: IssuerServer, **members: Any) -> dict[str, Any]:
    usual = {"jwks": None, "jwks_url": f"{server.url}/keys", "ca": str(server.ca), "networks": server.networks}
    return provider.issuer(**(usual | members))


def issuers_of(*entries: dict[str, Any]) -> Issuers:
    return parse_issuers(issuers_file(*entries))[0]


def only(issuers: Issuers) -> Issuer:
    (issuer,) = issuers.all()
    return issuer


class Replica:
    """One gateway of the zone: a jobs process that fetches, and a front worker that verifies."""

    def __init__(self, issuers: Issuers, catalog: Catalog, clock: Clock) -> None:
        self.entries: list[dict[str, Any]] = []
        self.clock = clock
        self.fetcher = KeyFetcher(
            lambda: issuers, catalog, self._append, Recorder("main", "de", b"k" * 32), clock, deadline=DEADLINE
        )

        async def blocking(call: Callable[..., Any], *args: Any) -> Any:
            return call(*args)

        self.keys = IssuerKeys(catalog, blocking, clock)
        self.issuers = issuers
        self.identities = WebIdentities(lambda: issuers, self.keys, clock)

    def _append(self, recorded: dict[str, Any]) -> None:
        encode_entry(recorded)  # a closed shape: what the ledger would refuse is refused here
        self.entries.append(recorded)

    def says(self, token: str) -> str:
        """ "taken", or STS's code and our rule."""
        (said,) = self.all_say([token])
        return said

    def all_say(self, tokens: Iterable[str]) -> set[str]:
        return asyncio.run(self._say(tokens))

    async def _say(self, tokens: Iterable[str]) -> set[str]:
        said = set()
        for token in tokens:
            try:
                await self.identities.identify(token)
                said.add("taken")
            except TokenRefused as refusal:
                said.add(f"{refusal.code} {refusal.rule}")
        return said


def token(provider: IdentityProvider, clock: Clock, **header: Any) -> str:
    return provider.token(provider.claims(clock() // 1000), header=header)


def test_keys_are_fetched_before_anybody_asks(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    server.answer = says(provider.jwks)
    replica = Replica(issuers_of(entry(provider, server)), catalog, clock)
    assert replica.says(token(provider, clock)) == "IDPCommunicationError identity.no-keys"
    replica.fetcher()
    clock.advance(2_000)
    assert replica.says(token(provider, clock)) == "taken"
    assert server.requests == ["/keys"]
    (recorded,) = replica.entries
    assert (recorded["type"], recorded["issuer"], recorded["keys"]) == ("issuer-keys", "ci", 2)


def test_a_new_key_is_there_a_minute_after_the_last_fetch_and_the_old_ones_serve_meanwhile(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    server.answer = says(provider.jwks)
    replica = Replica(issuers_of(entry(provider, server)), catalog, clock)
    replica.fetcher()
    rotated = IdentityProvider(provider.iss, generation=1)
    server.answer = says({"keys": rotated.jwks["keys"] + provider.jwks["keys"]})
    clock.advance(10_000)
    assert replica.says(token(rotated, clock)) == "InvalidIdentityToken identity.key"  # no fetch may be, for 50 s
    replica.fetcher()
    assert len(server.requests) == 1
    assert replica.says(token(provider, clock)) == "taken"
    clock.advance(51_000)
    assert replica.says(token(rotated, clock)) == "IDPCommunicationError identity.key"  # clients try this again
    replica.fetcher()
    clock.advance(2_000)
    assert (replica.says(token(rotated, clock)), replica.says(token(provider, clock))) == ("taken", "taken")
    assert len(server.requests) == 2


def test_a_withdrawn_key_is_out_after_a_quarter_of_an_hour(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    server.answer = says(provider.jwks)
    replica = Replica(issuers_of(entry(provider, server)), catalog, clock)
    replica.fetcher()
    rotated = IdentityProvider(provider.iss, generation=1)
    server.answer = says(rotated.jwks)
    clock.advance(901_000)
    assert replica.says(token(provider, clock)) == "taken"
    replica.fetcher()
    clock.advance(2_000)
    assert replica.says(token(provider, clock)) == "InvalidIdentityToken identity.key"
    assert [recorded["type"] for recorded in replica.entries] == ["issuer-keys"] * 2


def test_ten_thousand_unknown_kids_at_two_replicas_are_one_fetch_a_minute(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    """CVE-2026-48524, and its second half: a failed fetch leaves the cache as it was."""
    server.answer = says(provider.jwks)
    issuers = issuers_of(entry(provider, server))
    replicas = [Replica(issuers, catalog, clock), Replica(issuers, catalog, clock)]
    replicas[0].fetcher()
    server.answer = status(500)
    _, claims, signature = token(provider, clock).split(".")
    for second in range(200):
        heads = (b64(json.dumps({"alg": "RS256", "kid": f"k{second}.{number}"}).encode()) for number in range(50))
        replica = replicas[second % 2]
        assert replica.all_say(f"{head}.{claims}.{signature}" for head in heads) <= {
            "InvalidIdentityToken identity.key", "IDPCommunicationError identity.key",
        }  # fmt: skip
        clock.advance(1_000)
        replica.fetcher()
    assert 2 <= len(server.requests) <= 1 + 200 // 60 + 1
    assert replicas[1].says(token(provider, clock)) == "taken"


def test_one_fetch_serves_all_replicas_and_restarts(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    server.answer = says(provider.jwks)
    issuers = issuers_of(entry(provider, server))
    for _ in range(5):
        replica = Replica(issuers, catalog, clock)
        replica.fetcher()
        clock.advance(2_000)
        assert replica.says(token(provider, clock)) == "taken"
    assert len(server.requests) == 1


def test_old_keys_serve_a_day_without_their_issuer_and_then_nothing_does(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    server.answer = says(provider.jwks)
    replica = Replica(issuers_of(entry(provider, server)), catalog, clock)
    replica.fetcher()
    server.answer = status(503)
    for hours in range(1, 24):
        clock.advance(3_600_000)
        replica.fetcher()
        assert replica.says(token(provider, clock)) == "taken", hours
    clock.advance(3_601_000)
    replica.fetcher()
    clock.advance(2_000)
    assert replica.says(token(provider, clock)) == "InvalidIdentityToken identity.no-keys"
    server.answer = says(provider.jwks)
    clock.advance(60_000)
    replica.fetcher()
    clock.advance(2_000)
    assert replica.says(token(provider, clock)) == "taken"
    assert len(replica.entries) == 1  # the same set is no news


def test_readiness_tells_of_keys_before_they_are_too_old(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    server.answer = says(provider.jwks)
    replica = Replica(issuers_of(entry(provider, server)), catalog, clock)
    assert replica.keys.states(replica.issuers.all()) == {"issuer-keys": "expired"}
    replica.fetcher()
    assert replica.keys.states(replica.issuers.all()) == {"issuer-keys": "present"}
    server.answer = status(500)
    for milliseconds, state in ((2_699_999, "present"), (1, "late"), (83_700_000, "late"), (1, "expired")):
        clock.advance(milliseconds)
        replica.fetcher()
        assert replica.keys.states(replica.issuers.all()) == {"issuer-keys": state}
    assert replica.keys.states(issuers_of(provider.issuer()).all()) == {}


def test_another_url_is_another_set(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    """Keys fetched for what the file said before are not believed for what it says now."""
    server.answer = says(provider.jwks)
    Replica(issuers_of(entry(provider, server)), catalog, clock).fetcher()
    moved = Replica(issuers_of(entry(provider, server, jwks_url=f"{server.url}/other")), catalog, clock)
    assert moved.says(token(provider, clock)) == "IDPCommunicationError identity.no-keys"


def test_a_row_that_somebody_wrote_is_refused(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock, tmp_path: Path
) -> None:
    """Who can write the catalog could otherwise publish a key of his own and be anybody."""
    server.answer = says(provider.jwks)
    issuers = issuers_of(entry(provider, server))
    Replica(issuers, catalog, clock).fetcher()
    thief = IdentityProvider(provider.iss, generation=1)
    with sqlite3.connect(next(tmp_path.glob("*.sqlite3"))) as database:
        database.execute("update jwks set document = ?", (json.dumps(thief.jwks),))
    database.close()
    replica = Replica(issuers, catalog, clock)
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        replica.says(token(thief, clock))


# --- what a server may say


def fetch(issuer: Issuer) -> tuple[str, Any]:
    return fetch_keys(issuer, DEADLINE)


LIES: dict[str, tuple[Answer, str]] = {
    "500": (status(500), "issuer.status"),
    "204": (raw(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"), "issuer.status"),
    "206": (status(206), "issuer.status"),
    "304": (raw(b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n"), "issuer.status"),
    "redirect": (redirect("http://169.254.169.254/latest/meta-data/"), "issuer.status"),
    "redirect 307": (redirect("/keys", 307), "issuer.status"),
    "redirect 303": (redirect("/keys", 303), "issuer.status"),
    "200 MB": (without_end(), "issuer.size"),
    "200 MB, stated": (without_end(stated=200 << 20), "issuer.size"),
    "a login page": (says(b"<html>Sign in</html>", kind="text/html"), "issuer.content"),
    "nothing": (says(b""), "issuer.content"),
    "a list": (says([]), "issuer.content"),
    "a member twice": (says(b'{"keys":[],"keys":[]}'), "issuer.content"),
    "deeply nested": (says(b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "issuer.content"),
    "no keys": (says({"keys": []}), "issuer.keys"),
    "no set": (says({"jwks": []}), "issuer.keys"),
    "a secret": (says({"keys": [{"kty": "oct", "k": "AA", "kid": "a"}]}), "issuer.keys"),
    "a thousand keys": (says({"keys": [{"kty": "RSA", "kid": str(n)} for n in range(1000)]}), "issuer.keys"),
    "truncated": (raw(b'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"keys":['), "issuer.unreachable"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH\r\n"), "issuer.unreachable"),
    "headers without end": (raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000), "issuer.unreachable"),
    "a header of 1 MiB": (raw(b"HTTP/1.1 200 OK\r\na: " + b"b" * (1 << 20) + b"\r\n\r\n"), "issuer.unreachable"),
    "a slow head": (dribbled(b"HTTP/1.1 200 OK\r\n" * 100), "issuer.slow"),
    "a slow body": (dribbled(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + b" " * 9999, 0.02), "issuer.slow"),
    "no end": (held(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(IdentityProvider().jwks).encode()), "issuer.slow"),
    "a bad chunk": (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "issuer.unreachable"),
}  # fmt: skip


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_changes_nothing_and_costs_little(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock, lie: str
) -> None:
    server.answer = says(provider.jwks)
    issuers = issuers_of(entry(provider, server))
    replica = Replica(issuers, catalog, clock)
    replica.fetcher()
    before = catalog.issuer_keys(row_name(only(issuers)))
    server.answer, reason = LIES[lie]
    began = time.monotonic()
    tracemalloc.start()
    with pytest.raises(Unavailable) as caught:
        fetch(only(issuers))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.reason == reason, caught.value
    assert time.monotonic() - began < DEADLINE + 2
    assert peak < 24 << 20
    clock.advance(901_000)
    replica.fetcher()
    after = catalog.issuer_keys(row_name(only(issuers)))
    assert before is not None
    assert after is not None
    assert (after.document, after.fetched_at) == (before.document, before.fetched_at)
    assert after.tried_at > before.tried_at
    assert replica.says(token(provider, clock)) == "taken"


def test_a_compressed_answer_is_not_unpacked(server: IssuerServer, provider: IdentityProvider) -> None:
    bomb = gzip.compress(b" " * (100 << 20))
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n".encode()
    server.answer = raw(head + bomb)
    with pytest.raises(Unavailable, match=r"issuer\.encoding"):
        fetch(only(issuers_of(entry(provider, server))))


def test_a_server_that_never_speaks(server: IssuerServer, provider: IdentityProvider) -> None:
    server.hangs = True
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"issuer\.(slow|unreachable)"):
        fetch(only(issuers_of(entry(provider, server))))
    assert time.monotonic() - began < DEADLINE + 2


def test_the_address_must_be_public_or_declared(server: IssuerServer, provider: IdentityProvider) -> None:
    """localhost without a declared range, and with another one: no connection, however honest the server is."""
    server.answer = says(provider.jwks)
    for networks in ([], ["10.0.0.0/8"]):
        with pytest.raises(Unavailable, match=r"issuer\.address"):
            fetch(only(issuers_of(entry(provider, server, networks=networks))))
    metadata = entry(provider, server, jwks_url="https://169.254.169.254/keys", networks=["169.254.0.0/16"])
    with pytest.raises(Unavailable, match=r"issuer\.address"):
        fetch(only(issuers_of(metadata)))
    assert server.connections == 0


def test_the_certificate_must_be_the_hosts_and_of_the_authority(provider: IdentityProvider) -> None:
    with IssuerServer(name="other.example") as stranger:
        stranger.answer = says(provider.jwks)
        with pytest.raises(Unavailable, match=r"issuer\.unreachable"):
            fetch(only(issuers_of(entry(provider, stranger))))
        assert stranger.requests == []
    with IssuerServer() as unknown:
        unknown.answer = says(provider.jwks)
        with pytest.raises(Unavailable, match=r"issuer\.unreachable"):
            fetch(only(issuers_of(entry(provider, unknown, ca=None))))
        with pytest.raises(Unavailable, match=r"issuer\.pin"):
            fetch(only(issuers_of(entry(provider, unknown, pins=["ab" * 32]))))
        assert unknown.requests == []


def test_no_proxy_of_the_environment_is_asked(
    server: IssuerServer, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = says(provider.jwks)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert len(fetch(only(issuers_of(entry(provider, server))))[1]) == 2


# --- discovery


def discovered(provider: IdentityProvider, server: IssuerServer, **metadata: Any) -> Issuer:
    iss = f"{server.url}/realms/a"
    said = {"issuer": iss, "jwks_uri": f"{server.url}/realms/a/keys"} | metadata
    server.answer = by_path({
        "/realms/a/.well-known/openid-configuration": says(said), "/realms/a/keys": says(provider.jwks),
        "/moved": says(provider.jwks),
    })  # fmt: skip
    return only(issuers_of(entry(provider, server, jwks_url=None, discovery=True, issuer=iss)))


def test_discovery_finds_the_keys(server: IssuerServer, provider: IdentityProvider) -> None:
    document, keys = fetch(discovered(provider, server))
    assert len(keys) == 2
    assert json.loads(document) == provider.jwks
    assert server.requests == ["/realms/a/.well-known/openid-configuration", "/realms/a/keys"]
    assert len(fetch(discovered(provider, server, jwks_uri=f"{server.url}/moved"))[1]) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"}, {"issuer": None}, {"jwks_uri": None}, {"jwks_uri": 7}, {"jwks_uri": ""},
        {"jwks_uri": "https://evil.example/keys"}, {"jwks_uri": "http://localhost/keys"},
        {"jwks_uri": "https://169.254.169.254/"}, {"jwks_uri": "https://localhost/keys"},
        {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "https://user@localhost/keys"},
    ],
    ids=str,
)  # fmt: skip
def test_discovery_leads_nowhere_else(
    server: IssuerServer, provider: IdentityProvider, metadata: dict[str, Any]
) -> None:
    with pytest.raises(Unavailable, match=r"issuer\.discovery"):
        fetch(discovered(provider, server, **metadata))
    assert server.requests == ["/realms/a/.well-known/openid-configuration"]


def test_a_bundle_of_a_trust_domain(
    server: IssuerServer, provider: IdentityProvider, catalog: Catalog, clock: Clock
) -> None:
    bundle = {"keys": [rsa_jwk(provider.rsa, "j", use="jwt-svid"), rsa_jwk(provider.rsa, "x", use="x509-svid")]}
    server.answer = says(bundle | {"spiffe_sequence": 3})
    issuer = entry(
        provider, server, kind="spiffe", issuer=None, trust_domain="prod.example",
        subjects=[{"subject": "spiffe://prod.example/etl", "principal": "analyst", "purposes": ["analytics"]}],
    )  # fmt: skip
    replica = Replica(issuers_of(issuer), catalog, clock)
    replica.fetcher()
    svid = provider.claims(clock() // 1000, iss=None, sub="spiffe://prod.example/etl")
    assert replica.says(provider.token(svid, header={"kid": "j"})) == "taken"
    assert replica.says(provider.token(svid, header={"kid": "x"})) == "InvalidIdentityToken identity.key"


def test_pinned_issuers_are_never_asked(provider: IdentityProvider, catalog: Catalog, clock: Clock) -> None:
    replica = Replica(issuers_of(provider.issuer()), catalog, clock)
    replica.fetcher()
    assert replica.says(token(provider, clock)) == "taken"
    assert replica.says(token(provider, clock, kid="other")) == "InvalidIdentityToken identity.key"
    assert replica.entries == []
