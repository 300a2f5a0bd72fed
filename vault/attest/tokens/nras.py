"""NVIDIA Remote Attestation Service: a detached EAT of one overall token and one for each device, ES384.

    [["JWT", overall], {"GPU-0": token, …}]   overall.submods.GPU-0 = ["DIGEST", ["SHA-256", hex of the token's ASCII]]

The service says that devices are genuine, in confidential mode and of known firmware; not that they are attached to the
machine that shows the token. `eat_nonce` is hex of the first 32 bytes of the binding: devices take no more.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tokens.jose import Key, check_times, nested, parse_token, text, verified, whole

KIND = "nras"
ISSUER = "https://nras.attestation.nvidia.com"
ALGORITHMS = frozenset({"ES384"})
LIFETIME_S = 3600
MAX_DOCUMENT = 256 * 1024
MAX_DEVICES = 32
_CHAINS = ("driver-rim-cert-chain", "vbios-rim-cert-chain", "attestation-report-cert-chain", "bios-rim-cert-chain")


@dataclass(frozen=True, slots=True)
class NrasPolicy:
    """`devices`: names that must be there, and no others; None admits any (at least one). `models`: hwmodel values."""

    devices: frozenset[str] | None = None
    models: frozenset[str] | None = None
    max_age_s: int = LIFETIME_S


def verify_nras(
    document: str | bytes, keys: Sequence[Key], policy: NrasPolicy, report_data: bytes | None, now_ms: int
) -> Claims:
    """Claims of devices that the service found right, every one of them."""
    overall_token, tokens = _parts(document)
    overall = _claims(overall_token, keys, policy, now_ms)
    submodules = nested(overall, "submods")
    if not tokens or set(submodules) != set(tokens) or (policy.devices is not None and set(tokens) != policy.devices):
        raise refuse(Refusal.POLICY, "devices are not those expected")
    for name, token in tokens.items():
        digest = ["DIGEST", ["SHA-256", hashlib.sha256(token.encode("ascii", "replace")).hexdigest()]]
        if submodules[name] != digest:
            raise refuse(Refusal.SIGNATURE, f"{name[:32]} is not the token that the overall one names")
    if overall.get("x-nvidia-overall-att-result") is not True:
        raise refuse(Refusal.MEASUREMENT, "overall result")
    nonce, models = text(overall, "eat_nonce"), list[str]()
    for token in tokens.values():
        device = _claims(token, keys, policy, now_ms)
        if device.get("eat_nonce") != nonce:
            raise refuse(Refusal.NONCE, "a device's token answers another nonce")
        models.append(_check_device(device, policy))
    _check_bound(nonce, report_data)
    return Claims(
        KIND, "nvidia", ",".join(sorted(tokens))[:256], debug=False, hardware=True, synthetic_only=False,
        platform={"bound": report_data is not None, "issued": whole(overall, "iat"), "nonce": nonce, "models": models},
    )  # fmt: skip


def stated_claims(document: str | bytes) -> dict[str, Any]:
    """What the tokens of a document say, by name, believed by nobody: for a person to read."""
    overall, tokens = _parts(document)
    return {name: dict(parse_token(token).claims) for name, token in {"overall": overall, **tokens}.items()}


def _parts(document: str | bytes) -> tuple[str, dict[str, str]]:
    if len(document) > MAX_DOCUMENT:
        raise refuse(Refusal.MALFORMED, "document length")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise refuse(Refusal.MALFORMED, f"document: {error}") from error
    match value:
        case [["JWT", str() as overall], dict() as tokens] if len(tokens) <= MAX_DEVICES:
            if all(isinstance(token, str) for token in tokens.values()):
                return overall, tokens
    raise refuse(Refusal.MALFORMED, "no detached EAT")


def _claims(token: str, keys: Sequence[Key], policy: NrasPolicy, now_ms: int) -> Mapping[str, Any]:
    claims = verified(parse_token(token), keys, ALGORITHMS)
    if claims.get("iss") != ISSUER:
        raise refuse(Refusal.CHAIN, "issuer")
    check_times(claims, now_ms, policy.max_age_s)
    return claims


def _check_device(device: Mapping[str, Any], policy: NrasPolicy) -> str:
    if device.get("dbgstat") != "disabled":
        raise refuse(Refusal.DEBUG, "a device may be debugged")
    if device.get("measres") != "success":
        raise refuse(Refusal.MEASUREMENT, "a device's measurements")
    if device.get("secboot") is not True:
        raise refuse(Refusal.POLICY, "a device booted without its checks")
    chains = [name for name in device if name.endswith(_CHAINS)]
    if not any(name.endswith("attestation-report-cert-chain") for name in chains):
        raise refuse(Refusal.MALFORMED, "no state of the device's certificates")
    for name in chains:
        _check_chain(nested(device, name))
    model = text(device, "hwmodel")
    if policy.models is not None and model not in policy.models:
        raise refuse(Refusal.PLATFORM, model[:64])
    return model


def _check_chain(chain: Mapping[str, Any]) -> None:
    if chain.get("x-nvidia-cert-ocsp-status") != "good":
        raise refuse(Refusal.REVOKED, str(chain.get("x-nvidia-cert-ocsp-status"))[:32])
    if chain.get("x-nvidia-cert-status") != "valid":
        raise refuse(Refusal.CHAIN, str(chain.get("x-nvidia-cert-status"))[:32])


def _check_bound(nonce: str, report_data: bytes | None) -> None:
    if report_data is not None and (
        len(report_data) < 32 or not hmac.compare_digest(nonce.lower(), report_data[:32].hex())
    ):
        raise refuse(Refusal.BINDING, "eat_nonce is over another nonce, gateway, key, purpose or scope")
