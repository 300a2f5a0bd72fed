"""A device's report and certificates → claims, or the name of the first check that fails. No network, clock or state.

It proves a genuine device in a mode that attests, and not that the device is attached to the machine that shows it:
that is what the nonce is for, the first 32 bytes of a binding that the machine's own evidence commits to as well.
Device certificates never end: without revocation lists or OCSP answers nothing takes one back; the claims say so.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.ocsp import OCSPResponse

from vault.attest.certificates import UNREADABLE, check_not_revoked, check_path, load_certificate, load_revocations
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import at_time
from vault.attest.nvidia.report import DeviceReport, parse_device_report
from vault.attest.ocsp import check_good, is_about, load_answer

KIND = "nvgpu"
# NVIDIA Device Identity CA: SHA-256 of the DER (published with NVIDIA's verifiers).
ROOTS = frozenset({"102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"})
_FWID_HOPPER, _FWID_BLACKWELL = "2.23.133.5.4.1", "2.23.133.5.4.1.1"
_NONCE = 32
_NVDEC0_BLOCK = 36


@dataclass(frozen=True, slots=True)
class NvidiaPolicy:
    """`golden`: admitted values of each measurement block named (from the maker's reference manifests).

    None leaves a question to the doctrine; an empty set admits nothing.
    """

    golden: Mapping[int, Collection[bytes]] = field(default_factory=dict)
    drivers: frozenset[str] | None = None
    vbioses: frozenset[str] | None = None
    denied_drivers: frozenset[str] = frozenset()
    denied_vbioses: frozenset[str] = frozenset()
    min_driver: str = ""  # dotted decimal, such as 550.90.07
    min_vbios: str = ""  # dotted hex, such as 96.00.9F.00.01; of GPUs
    min_switch_bios: str = ""
    needs_revocation: bool = False
    needs_firmware_identity: bool = False


def verify_nvidia(
    raw: bytes,
    certificates: Sequence[bytes],
    roots: Collection[str],
    policy: NvidiaPolicy,
    report_data: bytes | None,
    now_ms: int,
    revocations: Sequence[bytes] = (),
) -> Claims:
    """Claims of a genuine device. `certificates`: DER, leaf first, root last.

    The report's nonce must be the first 32 bytes of `report_data`; None looks at none: claims say `bound` false.
    """
    report = parse_device_report(raw)
    path = [load_certificate(der) for der in certificates]
    check_path(path, roots, at_time(now_ms))
    checked = check_revoked(path, revocations, now_ms)
    if policy.needs_revocation and checked < len(path) - 1:
        raise refuse(Refusal.COLLATERAL, "a certificate of the path has no revocation list")
    _check_signature(report, path[0])
    identity = _check_firmware(report, path[0], policy)
    check_golden(report, policy.golden)
    _check_versions(report, policy)
    if report_data is not None and (
        len(report_data) < _NONCE or not hmac.compare_digest(report.nonce, report_data[:_NONCE])
    ):
        raise refuse(Refusal.BINDING, "nonce is over another nonce, gateway, key, purpose or scope")
    return Claims(
        KIND, "nvswitch" if report.is_switch else "nvgpu", identity.hex(), debug=False, hardware=True,
        synthetic_only=False,
        platform=_platform(report, path, policy) | {"bound": report_data is not None, "revocation_checked": checked},
    )  # fmt: skip


def _check_signature(report: DeviceReport, leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise refuse(Refusal.ALGORITHM, "the device's key is not on P-384")
    r, s = (int.from_bytes(part, "big") for part in (report.signature[:48], report.signature[48:]))
    try:
        key.verify(encode_dss_signature(r, s), report.signed, ECDSA(SHA384()))
    except InvalidSignature as error:
        raise refuse(Refusal.SIGNATURE, "device report") from error


def check_revoked(path: Sequence[x509.Certificate], revocations: Sequence[bytes], now_ms: int) -> int:
    """How many certificates of the path a list or OCSP answer of their issuer covers; one of nobody's refuses."""
    covered = set[int]()
    for der in revocations:
        if not _is_list(der):
            covered.add(_check_answer(path, load_answer(der), now_ms))
            continue
        for depth, certificate in enumerate(path[:-1]):
            issuer = path[depth + 1]
            if _issuer_of(der) == issuer.subject:
                check_not_revoked(certificate, load_revocations(der, issuer, at_time(now_ms)))
                covered.add(depth)
                break
        else:
            raise refuse(Refusal.COLLATERAL, "revocation list of nobody in the path")
    return len(covered)


def _check_answer(path: Sequence[x509.Certificate], answer: OCSPResponse, now_ms: int) -> int:
    for depth, (certificate, issuer) in enumerate(pairwise(path)):
        if is_about(answer, certificate, issuer):
            check_good(answer, issuer, at_time(now_ms))
            return depth
    raise refuse(Refusal.COLLATERAL, "OCSP answer about nobody in the path")


def _is_list(der: bytes) -> bool:
    """A revocation list starts with two SEQUENCEs; an OCSP answer with a SEQUENCE and an ENUMERATED."""
    head = 2 + (der[1] & 0x7F if len(der) > 1 and der[1] & 0x80 else 0)
    return der[head : head + 1] != b"\x0a"


def _issuer_of(der: bytes) -> x509.Name:
    try:
        return x509.load_der_x509_crl(der).issuer
    except UNREADABLE as error:
        raise refuse(Refusal.COLLATERAL, f"revocation list: {error}") from error


def _check_firmware(report: DeviceReport, leaf: x509.Certificate, policy: NvidiaPolicy) -> bytes:
    """The firmware that the certificate is for, which must be what the report names when it names one."""
    certified = b""
    for extension in leaf.extensions:
        if not isinstance(extension.value, x509.UnrecognizedExtension):
            continue
        if extension.oid.dotted_string == _FWID_HOPPER:
            certified = extension.value.value[-48:]
        elif extension.oid.dotted_string == _FWID_BLACKWELL:
            certified = extension.value.value[56:104]
    if len(certified) != 48:
        raise refuse(Refusal.CHAIN, "a device's certificate without its firmware")
    if report.fwid is None:
        if policy.needs_firmware_identity:
            raise refuse(Refusal.TCB, "the report does not say its firmware's identity")
    elif not hmac.compare_digest(report.fwid, certified):
        raise refuse(Refusal.PLATFORM, "the certificate is for other firmware")
    return certified


def check_golden(report: DeviceReport, golden: Mapping[int, Collection[bytes]]) -> None:
    """`Refused("attest.measurement")` unless each block named has an admitted value."""
    for index, admitted in golden.items():
        if index == _NVDEC0_BLOCK and report.decoder_off:
            continue
        if report.measurements.get(index) not in admitted:
            raise refuse(Refusal.MEASUREMENT, f"block {index}")


def _check_versions(report: DeviceReport, policy: NvidiaPolicy) -> None:
    if report.driver in policy.denied_drivers or (policy.drivers is not None and report.driver not in policy.drivers):
        raise refuse(Refusal.TCB, f"driver {report.driver[:32]}")
    if report.vbios in policy.denied_vbioses or (policy.vbioses is not None and report.vbios not in policy.vbioses):
        raise refuse(Refusal.TCB, f"firmware {report.vbios[:32]}")
    if policy.min_driver and not report.is_switch and _dotted(report.driver, 10) < _dotted(policy.min_driver, 10):
        raise refuse(Refusal.TCB, f"driver {report.driver[:32]} is under the floor")
    floor = policy.min_switch_bios if report.is_switch else policy.min_vbios
    if floor and _dotted(report.vbios, 16) < _dotted(floor, 16):
        raise refuse(Refusal.TCB, f"firmware {report.vbios[:32]} is under the floor")


def _dotted(version: str, radix: int) -> tuple[int, ...]:
    """A version that can be compared; one that cannot be read is under every floor."""
    try:
        return tuple(int(part, radix) for part in version.split("."))
    except ValueError:
        return ()


def _identity(certificate: x509.Certificate) -> str:
    """SHA-256 of the key that is this device's alone, burnt into it: the leaf's is its firmware's."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def _platform(report: DeviceReport, path: Sequence[x509.Certificate], policy: NvidiaPolicy) -> dict[str, Any]:
    return {
        "model": path[1].subject.rfc4514_string()[:120],
        "device": _identity(path[1]),
        "driver": report.driver,
        "vbios": report.vbios,
        "nonce": report.nonce.hex(),
        "protected_pcie": report.protected_pcie,
        "golden_blocks": len(policy.golden),
        "firmware_identity": report.fwid is not None,
    }
