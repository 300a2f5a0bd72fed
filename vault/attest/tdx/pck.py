"""Intel's provisioning certificate: which platform, at which TCB (Intel SGX PCK Certificate Profile, §2).

One extension, 1.2.840.113741.1.13.1, a DER sequence of pairs (object identifier, value):
    .1 PPID 16 octets  .2 TCB: .1-.16 components, .17 PCESVN  .3 PCE-ID 2 octets  .4 FMSPC 6 octets
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from vault.attest.certificates import check_path, load_pem_chain
from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields

# Intel SGX Root CA: SHA-256 of the DER (certificates.trustedservices.intel.com/IntelSGXRootCA.der).
ROOTS = frozenset({"44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"})
_SGX = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_SGX_DER = bytes.fromhex("2a864886f84d010d01")  # the same arc, as it stands inside the extension
_PCK_NAME = "Intel SGX PCK Certificate"
PCK_ISSUERS = {"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"}
_SEQUENCE, _OBJECT, _INTEGER, _OCTETS = 0x30, 0x06, 0x02, 0x04


@dataclass(frozen=True, slots=True)
class Pck:
    """A verified provisioning certificate. `path` is leaf, authority, root."""

    path: tuple[x509.Certificate, ...]
    key: EllipticCurvePublicKey
    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    pce_id: bytes
    fmspc: bytes


def verified_pck(pem: bytes, roots: Collection[str], now: datetime) -> Pck:
    """`Refused`: `malformed`, `no-trust`, `chain`, `expired`, `algorithm`."""
    path = load_pem_chain(pem.removesuffix(b"\0"))  # Intel's library ends the chain like a C string
    check_path(path, roots, now)
    if len(path) != 3 or common_name(path[0]) != _PCK_NAME or common_name(path[1]) not in PCK_ISSUERS:
        raise refuse(Refusal.CHAIN, "not a provisioning certificate")
    try:
        raw = path[0].extensions.get_extension_for_oid(_SGX).value
    except x509.ExtensionNotFound as error:
        raise refuse(Refusal.CHAIN, "not a provisioning certificate") from error
    if not isinstance(raw, x509.UnrecognizedExtension):
        raise refuse(Refusal.MALFORMED, "SGX extension")
    values = _pairs(raw.value, _SGX_DER)
    tcb = _pairs(_value(values, 2, _SEQUENCE), _SGX_DER + b"\2", header=False)
    return Pck(
        path, p256_key(path[0]), _octets(values, 1, 16), tuple(_integer(tcb, n) for n in range(1, 17)),
        _integer(tcb, 17), _octets(values, 3, 2), _octets(values, 4, 6),
    )  # fmt: skip


def p256_key(certificate: x509.Certificate) -> EllipticCurvePublicKey:
    """The certificate's key, on P-256; `Refused("attest.algorithm")` otherwise."""
    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise refuse(Refusal.ALGORITHM, "a key on P-256 expected")
    return key


def common_name(certificate: x509.Certificate) -> str:
    """The one common name, "" when there is none or more."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _element(f: Fields) -> tuple[int, bytes]:
    """One DER element with a definite length of at most two octets."""
    tag, length = f.number(1), f.number(1)
    if length == 0x81:
        length = f.number(1)
    elif length == 0x82:
        length = int.from_bytes(f.take(2), "big")
    elif length > 0x7F:
        raise refuse(Refusal.MALFORMED, "SGX extension")
    return tag, f.take(length)


def _pairs(raw: bytes, arc: bytes, *, header: bool = True) -> dict[int, tuple[int, bytes]]:
    """Last arc of each object identifier → (tag, content); repeated or foreign ones are malformed."""
    f = Fields(raw, "SGX extension")
    if header:
        tag, raw = _element(f)
        f.end()
        if tag != _SEQUENCE:
            raise refuse(Refusal.MALFORMED, "SGX extension")
        f = Fields(raw, "SGX extension")
    found: dict[int, tuple[int, bytes]] = {}
    while f.at < len(raw):
        tag, content = _element(f)
        pair = Fields(content, "SGX extension")
        name_tag, name = _element(pair)
        value = _element(pair)
        pair.end()
        if tag != _SEQUENCE or name_tag != _OBJECT or name[:-1] != arc or name[-1] in found:
            raise refuse(Refusal.MALFORMED, "SGX extension")
        found[name[-1]] = value
    return found


def _value(values: dict[int, tuple[int, bytes]], name: int, tag: int) -> bytes:
    found = values.get(name)
    if found is None or found[0] != tag:
        raise refuse(Refusal.MALFORMED, f"SGX extension {name}")
    return found[1]


def _octets(values: dict[int, tuple[int, bytes]], name: int, length: int) -> bytes:
    raw = _value(values, name, _OCTETS)
    if len(raw) != length:
        raise refuse(Refusal.MALFORMED, f"SGX extension {name}")
    return raw


def _integer(values: dict[int, tuple[int, bytes]], name: int) -> int:
    raw = _value(values, name, _INTEGER)
    if not 1 <= len(raw) <= 3 or raw[0] > 0x7F:
        raise refuse(Refusal.MALFORMED, f"SGX extension {name}")
    return int.from_bytes(raw, "big")
