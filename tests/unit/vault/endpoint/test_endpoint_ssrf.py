"""Where an outgoing connection may go (reliability §7 R): each case ends with no socket opened but one that may be."""

import ipaddress
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trustme
from urllib3 import PoolManager, Retry
from urllib3.util.ssl_ import create_urllib3_context

from vault.endpoint.address import Endpoint, address_of, parse_endpoint, parse_networks, why_not
from vault.endpoint.dialer import Dialer, key_hash
from vault.endpoint.pools import dialled_pools
from vault.errors import Refused, Unavailable

PUBLIC = "93.184.215.14"
HOST = "store.example"


class Resolver:
    """Answers its lists in turn, the last one for ever; a rebinding name server is two lists."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = answers
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return answer


class Sockets:
    """Counts what is opened, and to where; opens one half of a pair."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.kept: list[socket.socket] = []

    def __call__(self, address: str, port: int, timeout: float | None) -> socket.socket:
        self.opened.append(address)
        one, other = socket.socketpair()
        self.kept += [one, other]
        return one


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    for each in made.kept:
        each.close()


def dialer(sockets: Sockets, resolver: Resolver, networks: str = "") -> Dialer:
    return Dialer(
        "store", [Endpoint("https", HOST, 443)], networks=parse_networks(networks), resolve=resolver,
        open_socket=sockets,
    )  # fmt: skip


ODD_URLS = {
    "decimal host": "https://2130706433/",
    "octal host": "https://0177.0.0.1/",
    "octal whole": "https://017700000001/",
    "hexadecimal host": "https://0x7f000001/",
    "hexadecimal part": "https://0x7f.0.0.1/",
    "short host": "https://127.1/",
    "number in the last label": "https://store.1/",
    "user": "https://user@store.example/",
    "user that looks like the host": "https://store.example@169.254.169.254/",
    "user and password": "https://user:secret@store.example/",
    "trailing dot": "https://store.example./",
    "trailing dot of an address": "https://127.0.0.1./",
    "percent-encoded": "https://%31%32%37.0.0.1/",
    "full-width digits": "https://１２７.0.0.1/",
    "circled letters": "https://ⓛocalhost/",
    "backslash": "https://store.example\\@127.0.0.1/",
    "fragment": "https://store.example#@127.0.0.1/",
    "query": "https://store.example?@127.0.0.1/",
    "path": "https://store.example/latest/meta-data/",
    "line feed": "https://store.example\n.evil.example/",
    "tab": "https://127.0.0.1\t/",
    "space": "https://store .example/",
    "empty label": "https://store..example/",
    "hyphen first": "https://-store.example/",
    "no host": "https:///",
    "port zero": "https://store.example:0/",
    "port missing": "https://store.example:/",
    "port too large": "https://store.example:65536/",
    "port not a number": "https://store.example:https/",
    "scoped IPv6": "https://[fe80::1%25eth0]/",
    "IPv4 in brackets": "https://[127.0.0.1]/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://store.example/",
    "ftp": "ftp://store.example/",
    "no scheme": "store.example",
    "two slashes only": "//store.example/",
}


@pytest.mark.parametrize("name", ODD_URLS)
def test_a_host_has_one_spelling(name: str) -> None:
    with pytest.raises(Refused, match=r"endpoint\.url"):
        parse_endpoint(ODD_URLS[name])


def test_what_an_endpoint_may_be() -> None:
    assert parse_endpoint("https://STORE.example") == Endpoint("https", "store.example", 443)
    assert parse_endpoint("http://10.1.2.3:9000/") == Endpoint("http", "10.1.2.3", 9000)
    assert parse_endpoint("https://[2001:DB8::1]:8443").url == "https://[2001:db8::1]:8443"


FORBIDDEN = {
    "loopback": "127.0.0.1", "loopback elsewhere": "127.8.9.10", "loopback IPv6": "::1", "this host": "0.0.0.0",
    "any IPv6": "::", "private 10": "10.0.0.1", "private 172": "172.16.0.1", "private 192": "192.168.1.1",
    "carrier": "100.64.0.1", "link-local": "169.254.1.1", "metadata": "169.254.169.254",
    "metadata of containers": "169.254.170.2", "metadata IPv6": "fd00:ec2::254", "metadata abroad": "100.100.100.200",
    "link-local IPv6": "fe80::1", "unique local": "fd12:3456::1", "site local": "fec0::1", "multicast": "224.0.0.1",
    "multicast IPv6": "ff02::1", "broadcast": "255.255.255.255", "reserved": "240.0.0.1",
    "mapped loopback": "::ffff:127.0.0.1", "mapped metadata": "::ffff:a9fe:a9fe", "mapped private": "::ffff:10.0.0.1",
    "compatible loopback": "::127.0.0.1", "6to4 loopback": "2002:7f00:1::", "6to4 metadata": "2002:a9fe:a9fe::",
    "NAT64 loopback": "64:ff9b::7f00:1", "NAT64 metadata": "64:ff9b::a9fe:a9fe", "documentation": "2001:db8::1",
    "benchmarking": "198.18.0.1", "scoped": "fe80::1%eth0", "no address": "store",
}  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("among", ["alone", "after a public one", "before a public one"])
def test_a_name_with_one_forbidden_address_opens_no_socket(name: str, among: str, sockets: Sockets) -> None:
    """Every address is looked at first: a client that tries them in turn would reach the bad one when it likes."""
    bad = FORBIDDEN[name]
    found = {"alone": [bad], "after a public one": [PUBLIC, bad], "before a public one": [bad, PUBLIC]}[among]
    with pytest.raises(Unavailable, match=r"store\.address"):
        dialer(sockets, Resolver(found)).connect(HOST, 443, 1, secure=True)
    assert sockets.opened == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
def test_no_declared_range_opens_a_metadata_service(address: str, sockets: Sockets) -> None:
    with pytest.raises(Unavailable, match=r"store\.address"):
        dialer(sockets, Resolver([address]), "0.0.0.0/0, ::/0").connect(HOST, 443, 1, secure=True)
    assert sockets.opened == []


@pytest.mark.parametrize("address", ["::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1"])
def test_an_address_is_the_one_that_the_packet_reaches(address: str, sockets: Sockets) -> None:
    """A range of IPv6 does not let private IPv4 addresses in by the back door, and one of IPv4 means them however
    they are written."""
    assert str(address_of(address)) == "10.0.0.1"
    with pytest.raises(Unavailable, match=r"store\.address"):
        dialer(sockets, Resolver([address]), "::/0").connect(HOST, 443, 1, secure=True)
    assert sockets.opened == []
    dialer(sockets, Resolver([address]), "10.0.0.0/8").connect(HOST, 443, 1, secure=True)
    assert sockets.opened == ["10.0.0.1"]


def test_a_declared_range_opens_that_range_and_closes_all_others(sockets: Sockets) -> None:
    within = dialer(sockets, Resolver(["10.1.2.3"]), "10.1.0.0/16")
    within.connect(HOST, 443, 1, secure=True)
    assert sockets.opened == ["10.1.2.3"]
    for outside in ("10.2.0.1", PUBLIC, "127.0.0.1"):
        with pytest.raises(Unavailable, match=r"store\.address"):
            dialer(sockets, Resolver([outside]), "10.1.0.0/16").connect(HOST, 443, 1, secure=True)
    assert sockets.opened == ["10.1.2.3"]


def test_rebinding_between_check_and_connect_is_impossible(sockets: Sockets) -> None:
    """The name server says a public address first and 127.0.0.1 ever after."""
    resolver = Resolver([PUBLIC], ["127.0.0.1"])
    rebound = dialer(sockets, resolver)
    rebound.connect(HOST, 443, 1, secure=True)
    assert (resolver.asked, sockets.opened) == (1, [PUBLIC])
    with pytest.raises(Unavailable, match=r"store\.address"):
        rebound.connect(HOST, 443, 1, secure=True)
    assert sockets.opened == [PUBLIC]


@pytest.mark.parametrize(
    ("host", "port", "secure"),
    [("other.example", 443, True), (HOST, 8443, True), (HOST, 443, False), ("127.0.0.1", 443, True), (PUBLIC, 1, True)],
)
def test_only_its_own_endpoints_are_connected_to(host: str, port: int, secure: bool, sockets: Sockets) -> None:
    resolver = Resolver([PUBLIC])
    with pytest.raises(Unavailable, match=r"store\.endpoint"):
        dialer(sockets, resolver).connect(host, port, 1, secure=secure)
    assert (resolver.asked, sockets.opened) == (0, [])


def test_without_tls_only_to_declared_ranges(sockets: Sockets) -> None:
    plain = Dialer("store", [Endpoint("http", HOST, 80)], resolve=Resolver([PUBLIC]), open_socket=sockets)
    with pytest.raises(Unavailable, match=r"store\.plain-http"):
        plain.connect(HOST, 80, 1, secure=False)
    assert sockets.opened == []


@pytest.mark.parametrize("answer", [[], OSError("no such name")])
def test_a_name_without_an_address_is_unreachable(answer: list[str] | OSError, sockets: Sockets) -> None:
    def resolve(host: str, port: int) -> list[str]:
        if isinstance(answer, OSError):
            raise answer
        return answer

    with pytest.raises(Unavailable, match=r"store\.unreachable"):
        Dialer("store", [Endpoint("https", HOST, 443)], resolve=resolve, open_socket=sockets).connect(
            HOST, 443, 1, secure=True
        )
    assert sockets.opened == []


def test_the_next_address_is_tried_when_one_does_not_answer(sockets: Sockets) -> None:
    tried: list[str] = []

    def flaky(address: str, port: int, timeout: float | None) -> socket.socket:
        tried.append(address)
        if len(tried) == 1:
            raise ConnectionRefusedError
        return sockets(address, port, timeout)

    found = Dialer(
        "store", [Endpoint("https", HOST, 443)], resolve=Resolver([PUBLIC, "93.184.215.15"]), open_socket=flaky
    )
    found.connect(HOST, 443, 1, secure=True)
    assert tried == [PUBLIC, "93.184.215.15"]


def test_every_public_looking_prefix_of_the_table_is_what_python_says_too() -> None:
    for text in (PUBLIC, "2606:4700::1111", "8.8.8.8"):
        assert why_not(address_of(text), ()) == ""
    assert why_not(ipaddress.ip_address("203.0.113.1"), ())


class Trap:
    """A TLS server on loopback that counts connections and answers one request with `answer`."""

    def __init__(self, authority: trustme.CA, host: str, answer: bytes) -> None:
        import ssl

        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate = authority.issue_cert(host)
        self.certificate.configure_cert(self.context)
        self.names: list[str | None] = []
        self.context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with self.context.wrap_socket(plain, server_side=True) as secure:
                    if head := secure.recv(65536):
                        self.requests.append(head)
                        _rest(secure, head)
                        secure.sendall(self._answer)
            except OSError:
                continue

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(5)


def _rest(connection: socket.socket, head: bytes) -> None:
    """The body too: to close before it was read would reset the connection, and the answer with it."""
    above, _, got = head.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", above.lower())
    missing = (int(found[1]) if found else 0) - len(got)
    while missing > 0 and (more := connection.recv(missing)):
        missing -= len(more)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def manager(authority: trustme.CA, through: Dialer, directory: Path) -> PoolManager:
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = create_urllib3_context()
    context.load_verify_locations(str(directory / "ca.pem"))
    made = PoolManager(ssl_context=context, retries=Retry(0, redirect=False))
    made.pool_classes_by_scheme = dialled_pools(through)
    return made


def test_name_and_host_stay_those_of_the_endpoint(authority: trustme.CA, tmp_path: Path) -> None:
    trap = Trap(authority, HOST, OK)
    through = Dialer(
        "store", [Endpoint("https", HOST, trap.port)], networks=parse_networks("127.0.0.0/8"),
        pins=[key_of(trap)], resolve=Resolver(["127.0.0.1"]),
    )  # fmt: skip
    assert through.strength == "self-reported"
    answer = manager(authority, through, tmp_path).request("GET", f"https://{HOST}:{trap.port}/")
    assert (answer.status, trap.names) == (200, [HOST])
    assert f"Host: {HOST}:{trap.port}".encode().lower() in trap.requests[0].lower()
    assert (through.strength, through.address) == ("network", "127.0.0.1")
    trap.close()


def test_another_key_gets_no_byte_of_the_request(authority: trustme.CA, tmp_path: Path) -> None:
    """A certificate of the right authority and name, with a key that was not declared."""
    trap = Trap(authority, HOST, OK)
    through = Dialer(
        "store", [Endpoint("https", HOST, trap.port)], networks=parse_networks("127.0.0.0/8"), pins=["0" * 64],
        resolve=Resolver(["127.0.0.1"]),
    )  # fmt: skip
    with pytest.raises(Unavailable, match=r"store\.pin"):
        manager(authority, through, tmp_path).request("GET", f"https://{HOST}:{trap.port}/")
    trap.close()
    assert (trap.requests, through.strength) == ([], "self-reported")


def test_a_pin_without_a_declared_range_is_not_the_network(authority: trustme.CA, sockets: Sockets) -> None:
    through = dialer(sockets, Resolver([PUBLIC]))
    through.connect(HOST, 443, 1, secure=True)
    assert through.strength == "self-reported"


def key_of(trap: Trap) -> str:
    import ssl

    pem = trap.certificate.cert_chain_pems[0].bytes().decode()
    return key_hash(ssl.PEM_cert_to_DER_cert(pem))
