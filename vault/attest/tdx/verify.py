"""A quote and Intel's collateral → claims, or the name of the first check that fails. No network, no clock, no state.

The order is that of docs/spec/attestation.md §5: form; PCK chain; quoting enclave and attestation key; collateral;
quoting enclave's identity; TCB levels; the trust domain's attributes; what runs; event log; binding.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import at_time
from vault.attest.tdx.collateral import Collateral, VerifiedCollateral, verified_collateral
from vault.attest.tdx.eventlog import check_event_log
from vault.attest.tdx.pck import Pck, verified_pck
from vault.attest.tdx.quote import Quote, parse_quote
from vault.attest.tdx.tcb import (
    REVOKED,
    UP_TO_DATE,
    Level,
    converged,
    module_level,
    platform_level,
    quoting_enclave_level,
)

KIND = "tdx"
_DEBUG = 1
_UNTRUSTED = 0xFF  # bits 0 to 7: set, the trust domain is not to be trusted
_SEPT_VE_DISABLE = 1 << 28
_MIGRATABLE = 1 << 29
_KNOWN = _UNTRUSTED | 1 << 27 | _SEPT_VE_DISABLE | _MIGRATABLE | 1 << 30 | 1 << 31 | 1 << 62 | 1 << 63


@dataclass(frozen=True, slots=True)
class TdxPolicy:
    """None leaves a question to the doctrine, which sees the claim; an empty set admits nothing.

    `statuses` are those admitted; Revoked never is. `rtmrs`: admitted values of each register named.
    `max_collateral_age_days` is counted from Intel's issue date; `min_evaluation_number` stops collateral that is
    current and yet from before a recovery of Intel's.
    """

    statuses: frozenset[str] = frozenset({UP_TO_DATE})
    min_evaluation_number: int = 0
    max_collateral_age_days: int = 30
    platforms: frozenset[bytes] | None = None  # PPIDs
    denied_platforms: frozenset[bytes] = frozenset()
    fmspcs: frozenset[bytes] | None = None
    denied_fmspcs: frozenset[bytes] = frozenset()
    denied_modules: frozenset[bytes] = frozenset()  # MRSEAM of TDX modules, though Intel may still list their version
    measurements: frozenset[bytes] | None = None  # MRTD
    rtmrs: Mapping[int, Collection[bytes]] | None = None
    config_ids: frozenset[bytes] | None = None
    xfams: frozenset[int] | None = None
    needs_event_log: bool = False


def verify_tdx(
    raw: bytes,
    collateral: Collateral | None,
    roots: Collection[str],
    policy: TdxPolicy,
    report_data: bytes | None,
    now_ms: int,
    event_log: bytes | None = None,
) -> Claims:
    """Claims of a quote of a genuine, current platform.

    `report_data` are the 64 bytes it must carry; None looks at none, and the claims then say `bound` false.
    """
    return claims_of(*verified_quote(raw, roots, now_ms), collateral, roots, policy, report_data, now_ms, event_log)


def claims_of(
    quote: Quote,
    pck: Pck,
    collateral: Collateral | None,
    roots: Collection[str],
    policy: TdxPolicy,
    report_data: bytes | None,
    now_ms: int,
    event_log: bytes | None = None,
) -> Claims:
    """The rest of `verify_tdx`, for a quote whose signatures hold (of `verified_quote`, and of nothing else)."""
    if collateral is None:
        raise refuse(Refusal.COLLATERAL, "none for this platform")
    verified = verified_collateral(collateral, pck, roots, at_time(now_ms))
    _check_collateral_policy(verified, policy, now_ms)
    level = _level(verified, quote, pck, policy)
    _check_platform(quote, pck, policy)
    _check_attributes(quote, policy)
    _check_content(quote, policy)
    if event_log is not None:
        check_event_log(event_log, quote)
    elif policy.needs_event_log:
        raise refuse(Refusal.EVENT_LOG, "none")
    if report_data is not None and not hmac.compare_digest(quote.report_data, report_data):
        raise refuse(Refusal.BINDING, "report_data is over another nonce, gateway, key, purpose or scope")
    return Claims(
        KIND, "tdx", quote.mrtd.hex(), debug=False, hardware=True, synthetic_only=False,
        platform=_platform(quote, pck, verified, level)
        | {"bound": report_data is not None, "event_log": event_log is not None},
    )  # fmt: skip


def verified_quote(raw: bytes, roots: Collection[str], now_ms: int) -> tuple[Quote, Pck]:
    """A quote that a certified platform signed, at whatever TCB: not enough for claims, which need collateral.

    The chain of signatures: root → PCK → quoting enclave's report → (hash) attestation key → header and body.
    """
    quote = parse_quote(raw)
    pck = verified_pck(quote.pck_chain, roots, at_time(now_ms))
    _check_signature(pck.key, quote.qe_signature, quote.qe_report.raw, "quoting enclave's report")
    committed = hashlib.sha256(quote.attestation_key + quote.qe_authentication).digest() + bytes(32)
    if not hmac.compare_digest(quote.qe_report.report_data, committed):
        raise refuse(Refusal.SIGNATURE, "attestation key is not the quoting enclave's")
    try:
        key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\4" + quote.attestation_key)
    except ValueError as error:
        raise refuse(Refusal.SIGNATURE, "attestation key is not on P-256") from error
    _check_signature(key, quote.signature, quote.signed, "quote")
    return quote, pck


def _check_signature(key: EllipticCurvePublicKey, signature: bytes, message: bytes, what: str) -> None:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise refuse(Refusal.SIGNATURE, what) from error


def _level(verified: VerifiedCollateral, quote: Quote, pck: Pck, policy: TdxPolicy) -> Level:
    """The level of the TCB that the domain began on; and of the one it runs on now, if the report tells them apart.

    Each must be admitted: a module renewed under a running domain mends nothing that leaked before, and one put back
    to an older release is old whatever the domain began on.
    """
    enclave = quoting_enclave_level(verified.qe_identity, quote.qe_report)
    found: list[Level] = []
    for svn in (quote.tee_tcb_svn, quote.tee_tcb_svn2):
        if svn is None:
            continue
        module = module_level(verified.tcb_info, quote, svn)
        level = converged(platform_level(verified.tcb_info, svn, pck), module, enclave)
        if level.status == REVOKED or level.status not in policy.statuses:
            raise refuse(Refusal.TCB, level.status)
        found.append(level)
    worse = next((level for level in found if level.status != UP_TO_DATE), found[0])
    return Level(worse.status, tuple(sorted({one for level in found for one in level.advisories})))


def _check_collateral_policy(verified: VerifiedCollateral, policy: TdxPolicy, now_ms: int) -> None:
    if verified.evaluation_number < policy.min_evaluation_number:
        raise refuse(Refusal.COLLATERAL, f"evaluation number {verified.evaluation_number}")
    if (at_time(now_ms) - verified.issued).days >= policy.max_collateral_age_days:
        raise refuse(Refusal.COLLATERAL, f"issued {verified.issued.date()}")


def _check_platform(quote: Quote, pck: Pck, policy: TdxPolicy) -> None:
    """Who is denied stays denied, whatever list of admitted ones he stands on."""
    if pck.ppid in policy.denied_platforms or (policy.platforms is not None and pck.ppid not in policy.platforms):
        raise refuse(Refusal.PLATFORM, "platform is not admitted")
    if pck.fmspc in policy.denied_fmspcs or (policy.fmspcs is not None and pck.fmspc not in policy.fmspcs):
        raise refuse(Refusal.PLATFORM, f"platform family {pck.fmspc.hex()} is not admitted")
    if quote.mrseam in policy.denied_modules:
        raise refuse(Refusal.PLATFORM, "TDX module is denied")


def _check_attributes(quote: Quote, policy: TdxPolicy) -> None:
    if quote.td_attributes & _DEBUG:
        raise refuse(Refusal.DEBUG, "the host may read the guest's memory")
    if quote.td_attributes & _UNTRUSTED:
        raise refuse(Refusal.POLICY, "attributes say the trust domain is not to be trusted")
    if quote.td_attributes & _MIGRATABLE:
        raise refuse(Refusal.POLICY, "a migration domain may move the guest")
    if quote.td_attributes & ~_KNOWN:
        raise refuse(Refusal.POLICY, f"unknown attributes in {quote.td_attributes:#x}")
    if not quote.td_attributes & _SEPT_VE_DISABLE:
        raise refuse(Refusal.POLICY, "the host may take pages away unseen (SEPT_VE_DISABLE)")
    if any(quote.mrservicetd):
        raise refuse(Refusal.POLICY, "a service domain is bound to the trust domain")
    if policy.xfams is not None and quote.xfam not in policy.xfams:
        raise refuse(Refusal.POLICY, f"xfam {quote.xfam:#x}")


def _check_content(quote: Quote, policy: TdxPolicy) -> None:
    if policy.measurements is not None and quote.mrtd not in policy.measurements:
        raise refuse(Refusal.MEASUREMENT, "MRTD")
    for index, admitted in (policy.rtmrs or {}).items():
        if quote.rtmrs[index] not in admitted:
            raise refuse(Refusal.MEASUREMENT, f"RTMR{index}")
    if policy.config_ids is not None and quote.mrconfigid not in policy.config_ids:
        raise refuse(Refusal.HOST_DATA, "MRCONFIGID")


def _platform(quote: Quote, pck: Pck, verified: VerifiedCollateral, level: Level) -> dict[str, Any]:
    return {
        "version": quote.version,
        "tcb_status": level.status,
        "advisories": list(level.advisories),
        "evaluation_number": verified.evaluation_number,
        "collateral_issued": verified.issued.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fmspc": pck.fmspc.hex(),
        "ppid": pck.ppid.hex(),
        "tee_tcb_svn": quote.tee_tcb_svn.hex(),
        "tee_tcb_svn_now": (quote.tee_tcb_svn2 or quote.tee_tcb_svn).hex(),
        "mrseam": quote.mrseam.hex(),
        "td_attributes": f"{quote.td_attributes:016x}",
        "xfam": f"{quote.xfam:016x}",
        "mrconfigid": quote.mrconfigid.hex(),
        "mrowner": quote.mrowner.hex(),
        "mrownerconfig": quote.mrownerconfig.hex(),
        **{f"rtmr{index}": value.hex() for index, value in enumerate(quote.rtmrs)},
        "report_data": quote.report_data.hex(),
    }
