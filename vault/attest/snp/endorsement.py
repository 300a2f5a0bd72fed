"""The chip's certificate: VCEK (one chip at one TCB) or VLEK (one cloud provider at one TCB), and its chain.

AMD's extensions, 1.3.6.1.4.1.3704.1.* (AMD 57230, "VCEK certificate and KDS interface"):
    .2 productName   .3.1 bootloader  .3.2 tee  .3.3 snp  .3.8 microcode  .3.9 fmc (Turin)
    .4 hwID          64 bytes, bare or as an OCTET STRING; Turin's is 8 bytes
    .5 cspID         VLEK only, instead of hwID
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey

from vault.attest.certificates import check_not_revoked, check_path, fingerprint, load_revocations
from vault.attest.claims import Refusal, refuse
from vault.attest.snp.policy import SnpTrust
from vault.attest.snp.product import NAMES, Product, Tcb

_AMD = "1.3.6.1.4.1.3704.1."
_INTEGER, _OCTETS, _IA5, _UTF8 = 0x02, 0x04, 0x16, 0x0C
_HARDWARE_ID = {Product.MILAN: 64, Product.GENOA: 64, Product.TURIN: 8}


@dataclass(frozen=True, slots=True)
class Endorsement:
    """What AMD's chain says of the key that signed a report. One of `hardware_id` and `provider` is None."""

    product: Product
    tcb: Tcb
    hardware_id: bytes | None
    provider: str | None
    key: EllipticCurvePublicKey
    revocation_checked: bool


def endorsement(certificates: Sequence[x509.Certificate], trust: SnpTrust, now: datetime) -> Endorsement:
    """The verified leaf among `certificates` (leaf, intermediate and root, in any order).

    `Refused`: `no-trust`, `chain`, `expired`, `revoked`, `collateral`, `algorithm`, `malformed`.
    """
    if not any(trust.roots.values()):
        raise refuse(Refusal.NO_TRUST, "no AMD root is trusted")
    leaf = _leaf(certificates)
    product, path = _path(leaf, certificates, trust.roots)
    check_path(path, trust.roots[product], now)
    lists = (*trust.revocations, *trust.lists.get(product, ()))
    for der in lists:
        _check_revoked(path, der, now)
    key = leaf.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise refuse(Refusal.ALGORITHM, "the chip's key is not on P-384")
    values = _extensions(leaf)
    named = NAMES.get(_text(values, "2").split("-")[0])
    if named is not product:
        raise refuse(Refusal.CHAIN, "a chip of another product line than its issuer")
    of_provider = _text_name(leaf) == "SEV-VLEK"
    identity = "5" if of_provider else "4"
    if ("5" in values) == ("4" in values) or identity not in values:
        raise refuse(Refusal.CHAIN, "a chip's certificate has hwID, a provider's has cspID")
    return Endorsement(
        product,
        _tcb(values, product),
        None if of_provider else _hardware_id(values["4"], product),
        _text(values, "5") if of_provider else None,
        key,
        bool(lists),
    )


def _leaf(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    leaves = [c for c in certificates if _text_name(c) in {"SEV-VCEK", "SEV-VLEK"}]
    if len(leaves) != 1:
        raise refuse(Refusal.CHAIN, f"one VCEK or VLEK expected, {len(leaves)} found")
    return leaves[0]


def _path(
    leaf: x509.Certificate, certificates: Sequence[x509.Certificate], roots: Mapping[Product, Collection[str]]
) -> tuple[Product, list[x509.Certificate]]:
    """Leaf, SEV-<product> or SEV-VLEK-<product>, and the pinned root: by name, signatures are checked after."""
    middle = next((c for c in certificates if c.subject == leaf.issuer and c is not leaf), None)
    root = middle and next((c for c in certificates if c.subject == middle.issuer and c is not middle), None)
    if middle is None or root is None:
        raise refuse(Refusal.CHAIN, "issuers are missing")
    product = next((p for p, hashes in roots.items() if fingerprint(root) in hashes), None)
    if product is None:
        raise refuse(Refusal.CHAIN, "the root is not one of those pinned")
    wanted = f"SEV-VLEK-{product}" if _text_name(leaf) == "SEV-VLEK" else f"SEV-{product}"
    if _text_name(middle) != wanted:
        raise refuse(Refusal.CHAIN, f"{wanted} expected as issuer")
    return product, [leaf, middle, root]


def _check_revoked(path: list[x509.Certificate], der: bytes, now: datetime) -> None:
    """AMD's lists are signed by the root and name intermediates; VCEKs and VLEKs all have serial number 0."""
    check_not_revoked(path[1], load_revocations(der, path[2], now))


def _text_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _extensions(leaf: x509.Certificate) -> dict[str, bytes]:
    found = {}
    for extension in leaf.extensions:
        name = extension.oid.dotted_string
        if name.startswith(_AMD) and isinstance(extension.value, x509.UnrecognizedExtension):
            found[name.removeprefix(_AMD)] = extension.value.value
    return found


def _tcb(values: Mapping[str, bytes], product: Product) -> Tcb:
    fmc = _integer(values, "3.9") if product is Product.TURIN else 0
    return Tcb(_integer(values, "3.1"), _integer(values, "3.2"), _integer(values, "3.3"), _integer(values, "3.8"), fmc)


def _integer(values: Mapping[str, bytes], name: str) -> int:
    """A DER INTEGER of 0 to 255 in its shortest form."""
    raw = values.get(name, b"")
    if len(raw) not in {3, 4} or raw[0] != _INTEGER or raw[1] != len(raw) - 2:
        raise refuse(Refusal.MALFORMED, f"certificate extension {name}")
    value = int.from_bytes(raw[2:], "big", signed=True)
    if not 0 <= value <= 255 or (len(raw) == 4) != (value > 127):
        raise refuse(Refusal.MALFORMED, f"certificate extension {name}")
    return value


def _text(values: Mapping[str, bytes], name: str) -> str:
    raw = values.get(name, b"")
    if len(raw) < 3 or raw[0] not in {_IA5, _UTF8} or raw[1] != len(raw) - 2 or raw[1] > 127:
        raise refuse(Refusal.MALFORMED, f"certificate extension {name}")
    try:
        return raw[2:].decode("ascii")
    except UnicodeDecodeError as error:
        raise refuse(Refusal.MALFORMED, f"certificate extension {name}") from error


def _hardware_id(raw: bytes, product: Product) -> bytes:
    length = _HARDWARE_ID[product]
    if len(raw) == length + 2 and raw[0] == _OCTETS and raw[1] == length:
        raw = raw[2:]
    if len(raw) != length:
        raise refuse(Refusal.MALFORMED, "certificate extension 4")
    return raw
