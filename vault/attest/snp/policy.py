"""What an operator asks of an SNP platform beyond its being genuine. The defaults refuse what is never right."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vault.attest.snp.endorsed import Releases
from vault.attest.snp.product import ROOTS, Product, Tcb


@dataclass(frozen=True, slots=True)
class SnpTrust:
    """Anchors and collateral: pinned roots, AMD's certificates (PEM or DER read elsewhere), revocation lists (DER).

    `certificates` are issuers that evidence need not carry; they become trusted only through the pinned roots.
    """

    roots: Mapping[Product, Collection[str]] = field(default_factory=lambda: ROOTS)
    certificates: Sequence[bytes] = ()
    revocations: Sequence[bytes] = ()
    lists: Mapping[Product, Sequence[bytes]] = field(default_factory=dict)
    """Revocation lists of whole product lines, of which only the chip's own are asked; `revocations` are all asked."""
    releases: Releases = field(default_factory=Releases)
    """Whose endorsements of measurements count."""


@dataclass(frozen=True, slots=True)
class SnpPolicy:
    """None leaves a question to the doctrine, which sees the claim; an empty set admits nothing.

    `floors` names every product admitted: an absent one is refused as a platform, so a line whose root key is
    lost (Milan's seed was extracted by software in 2026) is dropped by leaving it out.
    """

    vmpls: frozenset[int] = frozenset({0})
    providers: frozenset[str] | None = frozenset()  # of VLEKs; none by default
    floors: Mapping[Product, Tcb] = field(default_factory=lambda: dict.fromkeys(Product, Tcb(0, 0, 0, 0)))
    chips: frozenset[bytes] | None = None
    denied_chips: frozenset[bytes] = frozenset()
    denied_providers: frozenset[str] = frozenset()
    needs_revocation: bool = False
    platform_info: int = 0
    mitigations: int = 0
    measurements: frozenset[bytes] | None = None
    host_data: frozenset[bytes] | None = None
    id_keys: frozenset[bytes] | None = None
