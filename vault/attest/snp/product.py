"""AMD's product lines: which root signs for which, how CPUID names them, and where their TCB bytes lie.

Pinned roots: SHA-256 of the DER of ARK-Milan, ARK-Genoa, ARK-Turin as served by AMD's key distribution service
(kdsintf.amd.com/vcek/v1/<product>/cert_chain). Nothing else in this package makes a root trusted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Product(StrEnum):
    """A product line with a root key of its own."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


ROOTS: Mapping[Product, frozenset[str]] = {
    Product.MILAN: frozenset({"69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"}),
    Product.GENOA: frozenset({"4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"}),
    Product.TURIN: frozenset({"1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"}),
}

# The productName extension says "Milan-B0", "Genoa-B1", "Turin"; Bergamo and Siena are of Genoa's line and root.
NAMES: Mapping[str, Product] = {
    "Milan": Product.MILAN,
    "Genoa": Product.GENOA,
    "Bergamo": Product.GENOA,
    "Siena": Product.GENOA,
    "Turin": Product.TURIN,
}


def product_of_cpuid(family: int, model: int) -> Product | None:
    """The line of a combined CPUID family and model (reports of version 3 and later), None when unknown."""
    if family == 0x19 and model <= 0x0F:
        return Product.MILAN
    if family == 0x19 and (0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF):
        return Product.GENOA
    if family == 0x1A and model <= 0x11:
        return Product.TURIN
    return None


@dataclass(frozen=True, slots=True)
class Tcb:
    """Security version numbers of a platform's firmware; `fmc` exists on Turin only and is 0 elsewhere."""

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int = 0

    def reaches(self, floor: "Tcb") -> bool:
        """Whether every component is at least the floor's. Components are never traded against one another."""
        return all(
            mine >= least
            for mine, least in (
                (self.bootloader, floor.bootloader),
                (self.tee, floor.tee),
                (self.snp, floor.snp),
                (self.microcode, floor.microcode),
                (self.fmc, floor.fmc),
            )
        )

    def __str__(self) -> str:
        return f"fmc={self.fmc},bl={self.bootloader},tee={self.tee},snp={self.snp},ucode={self.microcode}"


def tcb_of(product: Product, raw: bytes) -> Tcb:
    """The eight bytes of a TCB_VERSION, in the order of the product: Turin's is not that of its forebears."""
    if product is Product.TURIN:
        return Tcb(fmc=raw[0], bootloader=raw[1], tee=raw[2], snp=raw[3], microcode=raw[7])
    return Tcb(bootloader=raw[0], tee=raw[1], snp=raw[6], microcode=raw[7])
