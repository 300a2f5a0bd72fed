"""Roots of makers: those pinned in the package, and roots of development that a person puts beside them.

    development-roots/<maker>[-….].pem      PEM; the self-issued certificates in it are roots, others are issuers

Development roots are read in a development posture alone. What rests on one is never called hardware and opens
synthetic datasets only, so a fake maker is worth exactly what `sample` is worth.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.certificates import fingerprint, load_pem_chain
from vault.attest.nitro.verify import ROOTS as AWS
from vault.attest.nvidia.verify import ROOTS as NVIDIA
from vault.attest.snp.product import ROOTS as AMD
from vault.attest.snp.product import Product
from vault.attest.tdx.pck import ROOTS as INTEL
from vault.attest.tokens.confidential_space import ROOTS as GOOGLE
from vault.attest.trust.document import wrong

# NVIDIA CoRIM signing Root CA: SHA-256 of the DER (published with NVIDIA's verifiers).
MANIFESTS = frozenset({"12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"})
_MAKERS = ("amd-milan", "amd-genoa", "amd-turin", "intel", "aws-nitro", "nvidia-rim", "nvidia", "confidential-space")
_NAME = re.compile(rf"({'|'.join(_MAKERS)})(?:\.[a-z0-9-]{{1,32}})?\.pem")


@dataclass(frozen=True, slots=True)
class Roots:
    """SHA-256 (hex) of the roots of each maker. The defaults are the package's pins."""

    amd: Mapping[Product, frozenset[str]] = field(default_factory=lambda: dict(AMD))
    intel: frozenset[str] = INTEL
    aws: frozenset[str] = AWS
    nvidia: frozenset[str] = NVIDIA
    manifests: frozenset[str] = MANIFESTS
    google: frozenset[str] = GOOGLE


NO_ROOTS = Roots({}, frozenset(), frozenset(), frozenset(), frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class DevelopmentRoot:
    """The certificates of one file: pins of the self-issued ones, and all others in DER."""

    maker: str
    pins: frozenset[str]
    issuers: tuple[bytes, ...]


def parse_development_root(name: str, raw: bytes) -> tuple[DevelopmentRoot, None]:
    """`name`: the file's. Raises Malformed or Refused."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise wrong("", f"name it <maker>.pem, the maker one of {', '.join(_MAKERS)}")
    chain = load_pem_chain(raw)
    roots = frozenset(fingerprint(one) for one in chain if one.issuer == one.subject)
    issuers = tuple(one.public_bytes(Encoding.DER) for one in chain)
    if not roots:
        raise wrong("", "no self-issued certificate in it")
    return DevelopmentRoot(found[1], roots, issuers), None


def roots_of(files: "list[DevelopmentRoot]") -> Roots:
    """The roots of development alone, without any pinned one."""

    def pins(maker: str) -> frozenset[str]:
        return frozenset(pin for one in files if one.maker == maker for pin in one.pins)

    amd = {product: pins(f"amd-{product.lower()}") for product in Product}
    return Roots(
        {product: found for product, found in amd.items() if found},
        pins("intel"), pins("aws-nitro"), pins("nvidia"), pins("nvidia-rim"), pins("confidential-space"),
    )  # fmt: skip
