"""Where a connection to a key provider may go: the cases of a store, through the clients that ask providers."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.processes.providers import open_providers
from gateway.settings import Settings
from tests.unit.vault.endpoint.test_endpoint_ssrf import FORBIDDEN, ODD_URLS, PUBLIC, Resolver, Sockets, Trap, key_of
from vault.endpoint.address import Endpoint, parse_networks
from vault.endpoint.dialer import Dialer
from vault.errors import Refused, Unavailable
from vault.keys.aws_kms_client import KmsClient
from vault.keys.provider import KeyClass
from vault.keys.transit_api import TransitApi

HOST = "keys.example"
LOOPBACK = "127.0.0.0/8"
Ask = Callable[[Dialer, int], Any]
CREDENTIAL = "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n"


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    for each in made.kept:
        each.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["transit", "kms"])
def ask(request: pytest.FixtureRequest, tmp_path: Path, authority: trustme.CA) -> Ask:
    """One request by the provider's own client."""
    ca, credential = tmp_path / "ca.pem", tmp_path / "credential"
    authority.cert_pem.write_to_path(str(ca))
    credential.write_text("s.token" if request.param == "transit" else CREDENTIAL)

    def transit(dialer: Dialer, port: int) -> Any:
        url = f"https://{HOST}" if port == 443 else f"https://{HOST}:{port}"
        return TransitApi(url, credential, dialer=dialer, ca=ca, seconds=2.0).read("transit/keys/x")

    def kms(dialer: Dialer, port: int) -> Any:
        client = KmsClient(
            credential, region="eu-central-1", endpoint=f"https://{HOST}:{port}", dialer=dialer, ca=ca, seconds=2.0
        )
        return client.call("describe_key", KeyId="x")

    return transit if request.param == "transit" else kms


def dialer(sockets: Sockets, resolver: Resolver, networks: str = "") -> Dialer:
    return Dialer(
        "provider", [Endpoint("https", HOST, 443)], networks=parse_networks(networks), resolve=resolver,
        open_socket=sockets,
    )  # fmt: skip


def test_a_name_with_one_forbidden_address_opens_no_socket(ask: Ask, sockets: Sockets) -> None:
    """To make boto3's client costs a tenth of a second, so the three places among others take turns."""
    for number, (name, bad) in enumerate(FORBIDDEN.items()):
        found = ([bad], [bad, PUBLIC], [PUBLIC, bad])[number % 3]
        with pytest.raises(Unavailable, match=r"provider\.address"):
            ask(dialer(sockets, Resolver(found)), 443)
        assert sockets.opened == [], name


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
def test_no_declared_range_opens_a_metadata_service(ask: Ask, address: str, sockets: Sockets) -> None:
    with pytest.raises(Unavailable, match=r"provider\.address"):
        ask(dialer(sockets, Resolver([address]), "0.0.0.0/0, ::/0"), 443)
    assert sockets.opened == []


def test_only_the_declared_range_is_connected_to(ask: Ask, sockets: Sockets) -> None:
    for outside in ("10.2.0.1", PUBLIC, "127.0.0.1"):
        with pytest.raises(Unavailable, match=r"provider\.address"):
            ask(dialer(sockets, Resolver([outside]), "10.1.0.0/16"), 443)
    assert sockets.opened == []


def test_another_endpoint_is_not_connected_to(ask: Ask, sockets: Sockets) -> None:
    resolver = Resolver([PUBLIC])
    with pytest.raises(Unavailable, match=r"provider\.endpoint"):
        ask(dialer(sockets, resolver), 8443)
    assert (resolver.asked, sockets.opened) == (0, [])


def test_a_name_without_an_address_is_a_lost_connection(ask: Ask, sockets: Sockets) -> None:
    """By the name that providers have for it: it may be tried once more inside the budget."""
    with pytest.raises(Unavailable, match=r"provider\.connection"):
        ask(dialer(sockets, Resolver([])), 443)
    assert sockets.opened == []


def test_an_address_that_does_not_answer_is_a_timeout_and_one_that_refuses_a_lost_connection(ask: Ask) -> None:
    for error, reason in ((TimeoutError(), r"provider\.timeout"), (ConnectionRefusedError(), r"provider\.connection")):

        def fail(address: str, port: int, timeout: float | None, error: OSError = error) -> Any:
            raise error

        through = Dialer("provider", [Endpoint("https", HOST, 443)], resolve=Resolver([PUBLIC]), open_socket=fail)
        with pytest.raises(Unavailable, match=reason):
            ask(through, 443)


def test_rebinding_between_two_connections_opens_no_second_socket(
    ask: Ask, authority: trustme.CA, sockets: Sockets
) -> None:
    """The name server gives a declared address first and a public one ever after."""
    trap = Trap(authority, HOST, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    resolver = Resolver(["127.0.0.1"], [PUBLIC])
    through = Dialer("provider", [Endpoint("https", HOST, trap.port)], networks=parse_networks(LOOPBACK),
                     resolve=resolver)  # fmt: skip
    with pytest.raises(Exception, match=r"missing|404"):
        ask(through, trap.port)
    assert (trap.connections, trap.names, resolver.asked) == (1, [HOST], 1)
    with pytest.raises(Unavailable, match=r"provider\.address"):
        ask(through, trap.port)
    trap.close()
    assert trap.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(ask: Ask, authority: trustme.CA, status: int) -> None:
    answer = f"HTTP/1.1 {status} Elsewhere\r\nlocation: https://{PUBLIC}/\r\ncontent-length: 0\r\nconnection: close"
    trap = Trap(authority, HOST, answer.encode() + b"\r\n\r\n")
    resolver = Resolver(["127.0.0.1"])
    through = Dialer("provider", [Endpoint("https", HOST, trap.port)], networks=parse_networks(LOOPBACK),
                     resolve=resolver)  # fmt: skip
    with pytest.raises(Unavailable, match=r"provider\.redirect"):
        ask(through, trap.port)
    trap.close()
    assert (trap.connections, resolver.asked) == (1, 1)


def test_another_key_gets_no_credential(ask: Ask, authority: trustme.CA) -> None:
    """A certificate of the right authority and name, with a key that was not declared."""
    trap = Trap(authority, HOST, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    for pins, reason in (["0" * 64], r"provider\.pin"), ([key_of(trap)], r"missing|404"):
        through = Dialer("provider", [Endpoint("https", HOST, trap.port)], networks=parse_networks(LOOPBACK),
                         pins=pins, resolve=Resolver(["127.0.0.1"]))  # fmt: skip
        with pytest.raises(Exception, match=reason):
            ask(through, trap.port)
        assert bool(trap.requests) == (pins != ["0" * 64])
    trap.close()


PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY")


def test_a_proxy_of_the_environment_is_not_asked(ask: Ask, sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"provider\.address"):
        ask(dialer(sockets, Resolver(["10.0.0.1"])), 443)
    assert sockets.opened == []


# --- what a deployment sets

SCHEMES = ("vault+https://{host}/transit?location=de", "awskms://eu-central-1?endpoint=https://{host}")


def settings(tmp_path: Path, provider: str, **more: str) -> Settings:
    for name in ("raw", "view"):
        (tmp_path / name).write_text("s.token" if provider.startswith("vault") else CREDENTIAL)
    given: dict[str, Any] = {
        "zone": "de", "jurisdiction": "de", "state_dir": tmp_path, "key_provider": provider,
        "key_credential_raw": tmp_path / "raw", "key_credential_view": tmp_path / "view", **more,
    }  # fmt: skip
    return Settings(**given)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_private_address_is_reached_only_where_the_deployment_declares_it(
    tmp_path: Path, scheme: str, authority: trustme.CA
) -> None:
    trap = Trap(authority, "127.0.0.1", b"")
    url = scheme.format(host=f"127.0.0.1:{trap.port}")
    for networks in ("", "10.0.0.0/8"):
        with pytest.raises(Unavailable, match=r"provider\.address"):
            open_providers(settings(tmp_path, url, key_networks=networks), seconds=2)[KeyClass.RAW].status("e1")
    time.sleep(0.05)
    assert trap.connections == 0
    with pytest.raises(Unavailable, match=r"provider\.tls"):  # reached, and of an authority that nobody named
        open_providers(settings(tmp_path, url, key_networks=LOOPBACK), seconds=2)[KeyClass.RAW].status("e1")
    trap.close()
    assert trap.connections == 1


@pytest.mark.parametrize("url", ["vault+http://127.0.0.1:9/transit", "awskms://eu-central-1?endpoint=http://127.0.0.1:9"])
def test_without_tls_only_to_declared_ranges(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unavailable, match=r"provider\.plain-http"):
        open_providers(settings(tmp_path, url), seconds=2)[KeyClass.RAW].status("e1")
    with pytest.raises(Unavailable, match=r"provider\.connection"):
        open_providers(settings(tmp_path, url, key_networks=LOOPBACK), seconds=2)[KeyClass.RAW].status("e1")


PLAIN_HERE = {"no scheme", "path", "query"}  # the host is put where one belongs; path and query are ours


@pytest.mark.parametrize("name", ODD_URLS)
def test_a_host_has_one_spelling(tmp_path: Path, name: str) -> None:
    host = ODD_URLS[name].removeprefix("https://").removesuffix("/")
    for scheme in SCHEMES:
        if name in PLAIN_HERE or ("%" in host and scheme.startswith("awskms")):
            continue  # in a query of ours it is decoded once: what is left is the plain spelling
        with pytest.raises(Refused, match=r"endpoint\.url|provider\.url"):
            open_providers(settings(tmp_path, scheme.format(host=host)))


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"key_networks": "10.0.0.0/33"}, "endpoint.networks"), ({"key_pins": "ab"}, "endpoint.pins"),
     ({"key_pins": "g" * 64}, "endpoint.pins")],
)  # fmt: skip
def test_a_range_or_pin_that_does_not_parse_is_refused(tmp_path: Path, given: dict[str, str], reason: str) -> None:
    for scheme in SCHEMES:
        with pytest.raises(Refused) as caught:
            open_providers(settings(tmp_path, scheme.format(host=HOST), **given))
        assert caught.value.reason == reason
