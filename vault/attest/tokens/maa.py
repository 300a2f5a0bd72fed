"""Microsoft Azure Attestation: RS256, keys of a pinned instance, the guest's TEE under `x-ms-isolation-tee`.

A token of a machine without a TEE looks the same and is signed by the same keys: what it attests stands inside. The
binding is `x-ms-runtime.client-payload.nonce`, which the service shows in base64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import base64_bytes
from vault.attest.tokens.jose import Key, check_bound, check_times, nested, parse_token, text, verified, whole

KIND = "maa"
ALGORITHMS = frozenset({"RS256"})
LIFETIME_S = 8 * 3600
_TEES = {"sevsnpvm": "sev-snp", "tdxvm": "tdx"}
_DEBUG_FLAGS = (
    "x-ms-azurevm-bootdebug-enabled",
    "x-ms-azurevm-kerneldebug-enabled",
    "x-ms-azurevm-hypervisordebug-enabled",
)


@dataclass(frozen=True, slots=True)
class MaaPolicy:
    """None leaves a question to the doctrine, which sees the claim; an empty set admits nothing."""

    measurements: frozenset[str] | None = None
    host_data: frozenset[str] | None = None
    policy_hashes: frozenset[str] | None = None
    max_age_s: int = LIFETIME_S


def verify_maa(
    token: str, issuers: Mapping[str, Sequence[Key]], policy: MaaPolicy, report_data: bytes | None, now_ms: int
) -> Claims:
    """Claims of a confidential VM's token. `issuers`: the keys of each instance that is trusted, by `iss`."""
    if not issuers:
        raise refuse(Refusal.NO_TRUST, "no issuer is trusted")
    parsed = parse_token(token, headers={"jku"})
    issuer = text(parsed.claims, "iss")
    if issuer not in issuers:
        raise refuse(Refusal.CHAIN, "issuer is not trusted")
    if parsed.header.get("jku", f"{issuer}/certs") != f"{issuer}/certs":
        raise refuse(Refusal.MALFORMED, "jku is not the issuer's")
    claims = verified(parsed, issuers[issuer], ALGORITHMS)
    check_times(claims, now_ms, policy.max_age_s)
    tee = _tee(claims)
    kind = text(tee, "x-ms-attestation-type")
    if kind not in _TEES:
        raise refuse(Refusal.UNKNOWN_KIND, f"{kind[:32]} is no confidential VM")
    measured = _check_snp(tee) if kind == "sevsnpvm" else _check_tdx(tee)
    if any(claims.get(flag, False) is not False for flag in _DEBUG_FLAGS):
        raise refuse(Refusal.DEBUG, "a debugger of the guest is on")
    if tee.get("x-ms-compliance-status") != "azure-compliant-cvm":
        raise refuse(Refusal.POLICY, "compliance status")
    _check_content(claims, measured, policy)
    runtime = claims.get("x-ms-runtime")
    check_bound(_nonces(runtime), report_data)
    return Claims(
        KIND, _TEES[kind], measured["measurement"], debug=False, hardware=True, synthetic_only=False,
        platform={"bound": report_data is not None, "issuer": issuer, "issued": whole(claims, "iat"),
                  "policy_hash": str(claims.get("x-ms-policy-hash", "")), **measured},
    )  # fmt: skip


def _tee(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The guest's TEE: inside a VM's token, or the token itself where the service attested the TEE alone."""
    if claims.get("x-ms-attestation-type") != "azurevm":
        return claims
    if "x-ms-isolation-tee" not in claims:
        raise refuse(Refusal.UNKNOWN_KIND, "a virtual machine without a TEE")
    return nested(claims, "x-ms-isolation-tee")


def _check_snp(tee: Mapping[str, Any]) -> dict[str, str]:
    if tee.get("x-ms-sevsnpvm-is-debuggable") is not False:
        raise refuse(Refusal.DEBUG, "the host may read the guest's memory")
    if tee.get("x-ms-sevsnpvm-migration-allowed") is not False:
        raise refuse(Refusal.POLICY, "a migration agent may move the guest")
    if whole(tee, "x-ms-sevsnpvm-vmpl") != 0:
        raise refuse(Refusal.VMPL, str(tee["x-ms-sevsnpvm-vmpl"]))
    return {
        "measurement": text(tee, "x-ms-sevsnpvm-launchmeasurement"),
        "host_data": text(tee, "x-ms-sevsnpvm-hostdata"),
        "report_data": text(tee, "x-ms-sevsnpvm-reportdata"),
    }


def _check_tdx(tee: Mapping[str, Any]) -> dict[str, str]:
    if tee.get("tdx_td_attributes_debug") is not False:
        raise refuse(Refusal.DEBUG, "the host may read the guest's memory")
    return {
        "measurement": text(tee, "tdx_mrtd"),
        "host_data": text(tee, "tdx_mrconfigid"),
        "report_data": text(tee, "tdx_report_data"),
    }


def _check_content(claims: Mapping[str, Any], measured: Mapping[str, str], policy: MaaPolicy) -> None:
    if policy.policy_hashes is not None and claims.get("x-ms-policy-hash") not in policy.policy_hashes:
        raise refuse(Refusal.POLICY, "appraisal policy of the service")
    if policy.measurements is not None and measured["measurement"] not in policy.measurements:
        raise refuse(Refusal.MEASUREMENT, measured["measurement"][:96])
    if policy.host_data is not None and measured["host_data"] not in policy.host_data:
        raise refuse(Refusal.HOST_DATA, measured["host_data"][:96])


def _nonces(runtime: object) -> list[str]:
    payload = runtime.get("client-payload") if isinstance(runtime, dict) else None
    value = payload.get("nonce") if isinstance(payload, dict) else None
    if value is None:
        return []
    try:
        return [base64_bytes(value, "nonce", 256).decode("ascii")]
    except UnicodeDecodeError as error:
        raise refuse(Refusal.MALFORMED, "nonce") from error
