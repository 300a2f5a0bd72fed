"""A report and its certificates → claims, or the name of the first check that fails. No network, no clock, no state.

The order is that of docs/spec/attestation.md §3: form, chain, dates, signature, the chip's identity and TCB, the
guest's policy, floors, what runs, and the binding. Nothing the report says is looked at before its signature holds,
save what selects the chain.
"""

import hmac
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA384

from vault.attest.certificates import load_certificate
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import at_time
from vault.attest.snp.endorsement import Endorsement, endorsement
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.product import Product, product_of_cpuid, tcb_of
from vault.attest.snp.report import (
    POLICY_DEBUG,
    POLICY_MIGRATION,
    SIGNED_BY_VCEK,
    SIGNED_BY_VLEK,
    Report,
    parse_report,
    unknown_policy_bits,
)  # fmt: skip

KIND = "snp"
MAX_CERTIFICATES = 8


def verify_snp(
    raw: bytes,
    certificates: Sequence[bytes],
    trust: SnpTrust,
    policy: SnpPolicy,
    report_data: bytes | None,
    now_ms: int,
) -> Claims:
    """Claims of a report signed by a genuine chip. `certificates` are DER, in any order.

    `report_data` are the 64 bytes it must carry; None looks at none, and the claims then say `bound` false.
    """
    report = parse_report(raw)
    if len(certificates) > MAX_CERTIFICATES:
        raise refuse(Refusal.MALFORMED, "certificates")
    loaded = [load_certificate(der) for der in (*certificates, *trust.certificates)]
    chip = endorsement(list(dict.fromkeys(loaded)), trust, at_time(now_ms))
    if policy.needs_revocation and not chip.revocation_checked:
        raise refuse(Refusal.COLLATERAL, f"no revocation list of {chip.product}")
    _check_signature(report, chip)
    _check_chip(report, chip, policy)
    _check_guest(report, policy)
    _check_floors(report, chip.product, policy)
    _check_content(report, policy)
    if report_data is not None and not hmac.compare_digest(report.report_data, report_data):
        raise refuse(Refusal.BINDING, "report_data is over another nonce, gateway, key, purpose or scope")
    return Claims(
        KIND, "sev-snp", report.measurement.hex(), debug=False, hardware=True, synthetic_only=False,
        platform=_platform(report, chip, bound=report_data is not None),
    )  # fmt: skip


def _check_signature(report: Report, chip: Endorsement) -> None:
    try:
        chip.key.verify(report.signature, report.signed, ECDSA(SHA384()))
    except InvalidSignature as error:
        raise refuse(Refusal.SIGNATURE, "report") from error


def _check_chip(report: Report, chip: Endorsement, policy: SnpPolicy) -> None:
    """That the certificate is for this chip at this TCB, and of the kind the report says signed it."""
    if report.cpuid is not None and product_of_cpuid(*report.cpuid) is not chip.product:
        raise refuse(Refusal.PLATFORM, "CPUID names another product line than the chain")
    if report.cpuid is None and chip.product is Product.TURIN:
        raise refuse(Refusal.UNKNOWN_VERSION, "Turin reports are of version 3 or later")
    if chip.product not in policy.floors:
        raise refuse(Refusal.PLATFORM, f"{chip.product} is not admitted")
    if tcb_of(chip.product, report.reported_tcb) != chip.tcb:
        raise refuse(Refusal.TCB, "the certificate is for another TCB than the one reported")
    if chip.hardware_id is not None:
        if report.signing_key != SIGNED_BY_VCEK or report.chip_key_masked:
            raise refuse(Refusal.PLATFORM, "the report names another kind of key than its certificate")
        if report.chip_id != chip.hardware_id.ljust(64, b"\0"):
            raise refuse(Refusal.PLATFORM, "the certificate is for another chip")
    else:
        if report.signing_key != SIGNED_BY_VLEK:
            raise refuse(Refusal.PLATFORM, "the report names another kind of key than its certificate")
        if chip.provider in policy.denied_providers or (
            policy.providers is not None and chip.provider not in policy.providers
        ):
            raise refuse(Refusal.PLATFORM, f"provider {chip.provider} is not admitted")
    if report.chip_id in policy.denied_chips or (policy.chips is not None and report.chip_id not in policy.chips):
        raise refuse(Refusal.PLATFORM, "chip is not admitted")


def _check_guest(report: Report, policy: SnpPolicy) -> None:
    """The guest's policy is no part of the measurement: an allow-list of measurements never sees a debug launch."""
    if report.policy & POLICY_DEBUG:
        raise refuse(Refusal.DEBUG, "the host may read the guest's memory")
    if report.policy & POLICY_MIGRATION:
        raise refuse(Refusal.POLICY, "a migration agent may move the guest")
    if unknown_policy_bits(report.policy):
        raise refuse(Refusal.POLICY, f"unknown bits in {report.policy:#x}")
    if report.vmpl not in policy.vmpls:
        raise refuse(Refusal.VMPL, f"{report.vmpl}")


def _check_floors(report: Report, product: Product, policy: SnpPolicy) -> None:
    """Reported, committed and launch: a platform may roll the first back, not the second, and ran the third."""
    floor = policy.floors[product]
    for name, raw in (
        ("reported", report.reported_tcb),
        ("committed", report.committed_tcb),
        ("launch", report.launch_tcb),
    ):
        if not tcb_of(product, raw).reaches(floor):
            raise refuse(Refusal.TCB, f"{name} TCB is under the floor")
    if report.platform_info & policy.platform_info != policy.platform_info:
        raise refuse(Refusal.TCB, f"platform information {report.platform_info:#x}")
    for vector in (report.launch_mitigations, report.current_mitigations):
        if (vector or 0) & policy.mitigations != policy.mitigations:
            raise refuse(Refusal.TCB, "mitigations")


def _check_content(report: Report, policy: SnpPolicy) -> None:
    if policy.measurements is not None and report.measurement not in policy.measurements:
        raise refuse(Refusal.MEASUREMENT, report.measurement.hex())
    if policy.host_data is not None and report.host_data not in policy.host_data:
        raise refuse(Refusal.HOST_DATA, report.host_data.hex())
    if policy.id_keys is not None and report.id_key_digest not in policy.id_keys:
        raise refuse(Refusal.MEASUREMENT, "id_key_digest")


def _platform(report: Report, chip: Endorsement, *, bound: bool) -> dict[str, Any]:
    return {
        "bound": bound,
        "version": report.version,
        "product": chip.product.value,
        "chip_id": report.chip_id.hex(),
        "provider": chip.provider or "",
        "revocation_checked": chip.revocation_checked,
        "vmpl": report.vmpl,
        "policy": f"{report.policy:016x}",
        "platform_info": report.platform_info,
        "guest_svn": report.guest_svn,
        "reported_tcb": str(tcb_of(chip.product, report.reported_tcb)),
        "committed_tcb": str(tcb_of(chip.product, report.committed_tcb)),
        "launch_tcb": str(tcb_of(chip.product, report.launch_tcb)),
        "host_data": report.host_data.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "report_data": report.report_data.hex(),
    }
