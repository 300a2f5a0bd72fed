"""EAT Attestation Results (draft-ietf-rats-ear): a verifier's verdict on each submodule, in numbers.

    {"eat_profile", "iat", "ear.verifier-id", "submods": {name: {"ear.status", "ear.trustworthiness-vector": {…}}}}

Tiers: 2 to 31 affirming, 32 to 95 warning, 96 to 127 contraindicated; 0, 1 and -1 say nothing, or that something
went wrong. A result over no submodule is true of everything, so the expected ones are named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tokens.jose import Key, check_bound, check_times, nested, parse_token, text, verified, whole

KIND = "ear"
ALGORITHMS = frozenset({"ES256", "ES384", "RS256", "PS256", "PS384"})
VERAISON = "tag:github.com,2023:veraison/ear"
TRUSTEE = "tag:github.com,2024:confidential-containers/Trustee"
_CATEGORIES = {
    "instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque", "storage-opaque",
    "sourced-data",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EarPolicy:
    """`submodules`: names that must be there, and no others; None admits any (at least one)."""

    submodules: frozenset[str] | None = None
    profiles: frozenset[str] = frozenset({VERAISON, TRUSTEE})
    appraisals: frozenset[str] | None = None
    max_age_s: int = 300


def verify_ear(
    token: str,
    keys: Sequence[Key],
    algorithms: frozenset[str],
    policy: EarPolicy,
    report_data: bytes | None,
    now_ms: int,
) -> Claims:
    """Claims of a result whose every submodule is affirming, by the verifier whose `keys` are trusted."""
    claims = verified(parse_token(token), keys, algorithms & ALGORITHMS)
    if claims.get("eat_profile") not in policy.profiles:
        raise refuse(Refusal.UNKNOWN_VERSION, "profile")
    check_times(claims, now_ms, policy.max_age_s, needs_end=False)
    submodules = nested(claims, "submods")
    if not submodules or (policy.submodules is not None and set(submodules) != policy.submodules):
        raise refuse(Refusal.POLICY, "submodules are not those expected")
    hardware = True
    for name in submodules:
        hardware = _check_submodule(nested(submodules, name), policy) and hardware
    nonces = claims.get("eat_nonce", [])
    check_bound(nonces if isinstance(nonces, list) else [nonces], report_data)
    verifier = nested(claims, "ear.verifier-id")
    return Claims(
        KIND, "ear", ",".join(sorted(submodules))[:256], debug=False, hardware=hardware, synthetic_only=False,
        platform={"bound": report_data is not None, "issued": whole(claims, "iat"), "profile": claims["eat_profile"],
                  "verifier": text(verifier, "developer")},
    )  # fmt: skip


def _check_submodule(module: Mapping[str, Any], policy: EarPolicy) -> bool:
    """Whether the verifier saw hardware; refuses what is not affirming, or a status better than its own vector."""
    if _tier(module.get("ear.status")) != "affirming":
        raise refuse(Refusal.POLICY, f"status {str(module.get('ear.status'))[:32]}")
    vector = nested(module, "ear.trustworthiness-vector")
    if not set(vector) <= _CATEGORIES or not vector:
        raise refuse(Refusal.MALFORMED, "trustworthiness vector")
    for name, value in vector.items():
        if type(value) is not int or _tier(value) not in {"affirming", "none"}:
            raise refuse(Refusal.POLICY, f"{name} is not affirming")
    if policy.appraisals is not None and module.get("ear.appraisal-policy-id") not in policy.appraisals:
        raise refuse(Refusal.POLICY, "appraisal policy")
    return _tier(vector.get("hardware", 0)) == "affirming"


def _tier(value: object) -> str:
    """The tier of a status (text or number) or of a claim; anything unknown is none of them."""
    if isinstance(value, str):
        return value if value in {"affirming", "warning", "contraindicated", "none"} else "unknown"
    if type(value) is not int:
        return "unknown"
    if 2 <= value <= 31:
        return "affirming"
    return "none" if value == 0 else "other"
