"""The one place where an outgoing connection is opened: resolve once, check every address, connect to that address.

A check that resolves and a client that resolves again are two answers of one name server (DNS rebinding). Here the
socket is opened to the address that was checked; SNI, Host and the certificate's name stay those of the endpoint.
"""

import hashlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from vault.endpoint.address import Address, Endpoint, Network, address_of, why_not
from vault.errors import Unavailable

Resolve = Callable[[str, int], Sequence[str]]
Open = Callable[[str, int, float | None], socket.socket]


@dataclass(frozen=True, slots=True)
class Peer:
    """What was seen at a connection itself. `declared`: the address lies in a declared range; `pinned`: the key is one
    that was declared."""

    address: str
    declared: bool
    pinned: bool


def system_resolve(host: str, port: int) -> list[str]:
    """Every address of `host`. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def system_open(address: str, port: int, timeout: float | None) -> socket.socket:
    """A TCP connection to a literal address. Raises OSError."""
    connection = socket.create_connection((address, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Dialer:
    """Connections of one `what` (store, provider, …) to its own endpoints. Safe from several threads.

    `networks`: declared ranges, none = public addresses only. `pins`: SHA-256 (hex) of the public keys, as
    SubjectPublicKeyInfo, that the endpoint's certificate may have; none = any that the authority vouches for.
    Raises Unavailable, whose reason begins with `what`: `.endpoint` not one of its endpoints, `.address` an address
    it must not have, `.plain-http` without TLS beyond declared ranges, `.pin` another key, `.unreachable`.
    """

    def __init__(
        self, what: str, endpoints: Iterable[Endpoint], *, networks: Iterable[Network] = (), pins: Iterable[str] = (),
        resolve: Resolve = system_resolve, open_socket: Open = system_open,
    ) -> None:  # fmt: skip
        self._what = what
        self._endpoints = {(each.host, each.port): each for each in endpoints}
        self._networks = tuple(networks)
        self._pins = frozenset(pin.lower() for pin in pins)
        self._resolve = resolve
        self._open = open_socket
        self._seen: Peer | None = None

    @property
    def what(self) -> str:
        """What reasons begin with."""
        return self._what

    def connect(self, host: str, port: int, timeout: float | None, *, secure: bool) -> socket.socket:
        """A connected socket. No socket exists before every address that the name has was found permitted."""
        endpoint = self._endpoints.get((host, port))
        if endpoint is None or secure != (endpoint.scheme == "https"):
            raise Unavailable(f"{self._what}.endpoint", f"{host}:{port} is not an endpoint of it")
        if not secure and not self._networks:
            raise Unavailable(f"{self._what}.plain-http", f"{host}: without TLS only to ranges that are declared")
        addresses = self._checked(host, port)
        failure: OSError | None = None
        for address in addresses:
            try:
                connection = self._open(str(address), port, timeout)
            except OSError as error:
                failure = error
                continue
            self._seen = Peer(str(address), bool(self._networks), False)
            return connection
        raise Unavailable(f"{self._what}.unreachable", f"{host}:{port}: {type(failure).__name__}") from failure

    def check_key(self, host: str, certificate: bytes | None) -> None:
        """`certificate` (DER) is what the peer just proved to hold; nothing was sent to it yet."""
        if not self._pins:
            return
        found = "" if certificate is None else key_hash(certificate)
        if found not in self._pins:
            raise Unavailable(f"{self._what}.pin", f"{host} has the key {found[:16]}…, which is not declared")
        if self._seen is not None:
            self._seen = Peer(self._seen.address, self._seen.declared, True)

    @property
    def strength(self) -> str:
        """What the last connection is worth as an observation: network, where its key and its range were declared."""
        seen = self._seen
        return "network" if seen is not None and seen.declared and seen.pinned else "self-reported"

    @property
    def address(self) -> str:
        """The address of the last connection, "" before the first."""
        return "" if self._seen is None else self._seen.address

    def redirected(self, status: int) -> Unavailable:
        """What to raise for a redirect: nothing that answers here may send the zone elsewhere."""
        return Unavailable(f"{self._what}.redirect", f"answered {status}, which is not followed")

    def proxied(self) -> Unavailable:
        """What to raise where a client library would ask a proxy, which resolves and connects in our stead."""
        return Unavailable(f"{self._what}.endpoint", "reached directly or not at all")

    def _checked(self, host: str, port: int) -> list[Address]:
        try:
            found = [address_of(text) for text in self._resolve(host, port)]
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{self._what}.unreachable", f"{host}: {type(error).__name__}") from error
        except ValueError as error:
            raise Unavailable(f"{self._what}.address", f"{host}: {error}") from error
        for address in found:
            if reason := why_not(address, self._networks):
                raise Unavailable(f"{self._what}.address", f"{host} is {address}: {reason}")
        if not found:
            raise Unavailable(f"{self._what}.unreachable", f"{host} has no address")
        return list(dict.fromkeys(found))


def key_hash(certificate: bytes) -> str:
    """SHA-256 (hex) of the public key of a certificate in DER: what a pin names. It survives a renewal."""
    key = load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
