"""Intel Trust Authority, token version 2: PS384 (RS256 of old), a trust domain's claims under `tdx`.

The binding: `attester_held_data` is what the guest put in, and the quote's report data is SHA-512 over nonce, its time
and that. Written from Intel's documents; no real token was found to test with.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tokens.jose import Key, check_times, nested, parse_token, text, verified, whole

KIND = "trust-authority"
ISSUERS = frozenset({"Intel Trust Authority", "https://portal.trustauthority.intel.com"})
ALGORITHMS = frozenset({"PS384", "RS256"})
LIFETIME_S = 3600


@dataclass(frozen=True, slots=True)
class TrustAuthorityPolicy:
    """None leaves a question to the doctrine; an empty set admits nothing. `policy_ids`: one of these matched."""

    statuses: frozenset[str] = frozenset({"UpToDate"})
    measurements: frozenset[str] | None = None
    policy_ids: frozenset[str] | None = None
    max_age_s: int = LIFETIME_S


def verify_trust_authority(
    token: str, keys: Sequence[Key], policy: TrustAuthorityPolicy, report_data: bytes | None, now_ms: int,
    algorithms: Collection[str] = ALGORITHMS,
) -> Claims:  # fmt: skip
    """Claims of a trust domain that Intel's service appraised; `algorithms`: those admitted of its two."""
    claims = verified(parse_token(token, headers={"jku"}), keys, ALGORITHMS & set(algorithms))  # jku is never followed
    if claims.get("iss") not in ISSUERS:
        raise refuse(Refusal.CHAIN, "issuer")
    if not text(claims, "ver").startswith("2."):
        raise refuse(Refusal.UNKNOWN_VERSION, "token version")
    check_times(claims, now_ms, policy.max_age_s)
    if "tdx" not in claims:
        raise refuse(Refusal.UNKNOWN_KIND, "no trust domain")
    tdx = nested(claims, "tdx")
    if tdx.get("tdx_is_debuggable") is not False:
        raise refuse(Refusal.DEBUG, "the host may read the guest's memory")
    status = text(tdx, "attester_tcb_status")
    if status not in policy.statuses:
        raise refuse(Refusal.TCB, status[:32])
    _check_policies(claims, policy)
    measurement = text(tdx, "tdx_mrtd")
    if policy.measurements is not None and measurement not in policy.measurements:
        raise refuse(Refusal.MEASUREMENT, measurement[:96])
    if report_data is not None:
        _check_bound(tdx, report_data)
    rtmrs = {f"rtmr{index}": str(tdx.get(f"tdx_rtmr{index}", "")) for index in range(4)}
    return Claims(
        KIND, "tdx", measurement, debug=False, hardware=True, synthetic_only=False,
        platform={"bound": report_data is not None, "issued": whole(claims, "iat"), "tcb_status": status, **rtmrs},
    )  # fmt: skip


def _check_policies(claims: Mapping[str, Any], policy: TrustAuthorityPolicy) -> None:
    if policy.policy_ids is None:
        return
    listed = claims.get("policy_ids_matched", [])
    matched = {one.get("id") for one in listed if isinstance(one, dict)} if isinstance(listed, list) else set()
    if not matched & policy.policy_ids:
        raise refuse(Refusal.POLICY, "no policy of ours matched")


def _check_bound(tdx: Mapping[str, Any], report_data: bytes) -> None:
    nonce = nested(tdx, "verifier_nonce")
    held = _decoded(tdx, "attester_held_data")
    committed = hashlib.sha512(_decoded(nonce, "val") + _decoded(nonce, "iat") + held).hexdigest()
    if not hmac.compare_digest(text(tdx, "tdx_report_data").lower().encode(), committed.encode()):
        raise refuse(Refusal.BINDING, "the quote is not over the data that the token shows")
    if not hmac.compare_digest(held, report_data):
        raise refuse(Refusal.BINDING, "held data is over another nonce, gateway, key, purpose or scope")


def _decoded(claims: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(text(claims, name).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refuse(Refusal.MALFORMED, name) from error
