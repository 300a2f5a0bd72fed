"""AMD's own certificates, so that evidence need not carry them: ARK, ASK and ASVK of each product line.

Public documents of AMD's key distribution service (kdsintf.amd.com/vcek|vlek/v1/<product>/cert_chain). Being
here trusts nothing: the pinned hashes of `product.ROOTS` do, and the path from them is verified each time.
"""

import functools
from importlib.resources import files

from cryptography.hazmat.primitives.serialization import Encoding

from vault.attest.certificates import load_pem_chain
from vault.attest.snp.product import Product


@functools.cache
def amd_certificates() -> tuple[bytes, ...]:
    """DER of AMD's three certificates of each product line."""
    folder = files("vault.attest.snp") / "certificates"
    chains = (load_pem_chain((folder / f"{product.lower()}.pem").read_bytes()) for product in Product)
    return tuple(certificate.public_bytes(Encoding.DER) for chain in chains for certificate in chain)
