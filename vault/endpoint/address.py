"""Which endpoints and addresses an outgoing connection may have: one spelling of a host, and ranges somebody declared.

An endpoint comes from configuration, and still decides where credentials and sealed bytes go. So a host has one
spelling here (no decimal, octal or hexadecimal IPv4, no user part, no trailing dot, nothing that two parsers read
differently), and an address is public unless the zone declares its range. Source: docs/spec/residency.md §4.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from vault.errors import Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)
"""Services that hand credentials to whoever asks: no range that is declared opens these."""
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`scheme` http or https; `host` lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(url: str) -> Endpoint:
    """`scheme://host[:port]` and nothing more. Raises Refused("endpoint.url") and says what is wrong."""
    if not _PLAIN.fullmatch(url) or set(url) & set("\\@#?%"):
        raise _wrong("only scheme://host:port, in plain ASCII: no user, path, query, escape or space")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("host or port does not parse") from None
    if parts.scheme not in _PORTS or parts.path not in {"", "/"}:
        raise _wrong("only http:// or https://, without a path")
    if port == 0 or parts.netloc.endswith(":"):
        raise _wrong("the port is missing or zero")
    return Endpoint(parts.scheme, _host(parts.netloc, parts.hostname or ""), port or _PORTS[parts.scheme])


def _host(netloc: str, host: str) -> str:
    if netloc.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise _wrong("not an IPv6 address") from None
    labels = host.split(".")
    if not 1 <= len(host) <= 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _wrong("not a host name in lower-case ASCII without a trailing dot")
    if _NUMBER.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 to the C library and names to a regular expression.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _wrong("an IPv4 address is written as four decimal numbers") from None
    return host


def parse_networks(text: str) -> tuple[Network, ...]:
    """Ranges in CIDR notation, separated by commas. Raises Refused("endpoint.networks")."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Refused("endpoint.networks", str(error)) from None


def parse_pins(text: str) -> tuple[str, ...]:
    """Public keys as 64 hex digits of SHA-256, separated by commas. Raises Refused("endpoint.pins")."""
    pins = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for pin in pins:
        if not _SHA256.fullmatch(pin):
            raise Refused("endpoint.pins", "each is the SHA-256 of a public key, 64 hex digits")
    return pins


def address_of(text: str) -> Address:
    """The address that a packet to `text` reaches: IPv4 wrapped in IPv6 is that IPv4. Raises ValueError."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError("an address with a scope")
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address.sixtofour:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def why_not(address: Address, networks: Iterable[Network]) -> str:
    """Why no connection may be opened to `address`, "" where it may. Without declared ranges: public ones only."""
    if address in METADATA:
        return "a metadata service"
    declared = tuple(networks)
    if declared:
        return "" if any(address in network for network in declared) else "outside the declared ranges"
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local  # "global", says the library
    if site_local or address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return "not a public address, and no range was declared"
    return ""


def _wrong(why: str) -> Refused:
    return Refused("endpoint.url", why)
