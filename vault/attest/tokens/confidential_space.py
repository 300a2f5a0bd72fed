"""Google Confidential Space: RS256, by the key of a certificate to Google's pinned root, or by pinned keys (OIDC).

The binding is one of `eat_nonce` (base64url of the 64 bytes has 86 characters, their limit is 88). Google's x5c has
been PEM text and base64 DER; both are read.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from vault.attest.certificates import MAX_CERTIFICATE, MAX_CHAIN, check_path, load_certificate, load_pem_chain
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import at_time, base64_bytes
from vault.attest.tokens.jose import (
    Key,
    Unverified,
    check_audience,
    check_bound,
    check_times,
    nested,
    parse_token,
    text,
    verified,
    whole,
)  # fmt: skip

KIND = "confidential-space"
ISSUER = "https://confidentialcomputing.googleapis.com"
ALGORITHMS = frozenset({"RS256"})
LIFETIME_S = 3600
# Confidential Space Root CA: SHA-256 of the DER (confidentialcomputing.googleapis.com, root certificate of PKI tokens).
ROOTS = frozenset({"148b293821bb0c6a317f413c8ba475814091cb22d49b9e3c94198db8e8f86c39"})


@dataclass(frozen=True, slots=True)
class SpaceTrust:
    """Roots of PKI tokens, and keys of OIDC tokens (none by default)."""

    roots: Collection[str] = ROOTS
    keys: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class SpacePolicy:
    """None leaves a question to the doctrine; an empty set admits nothing.

    `support`: attributes of which an image must have one. `overrides`: environment variables that the operator may set
    against the image (its digest does not cover them); with None a changed command is left to the doctrine as well.
    """

    audiences: frozenset[str] | None = None
    images: frozenset[str] | None = None
    models: frozenset[str] = frozenset({"GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_AMD_SEV_SNP", "GCP_INTEL_TDX"})
    support: frozenset[str] = field(default_factory=lambda: frozenset({"STABLE", "USABLE", "LATEST"}))
    overrides: frozenset[str] | None = frozenset()
    needs_gpu: bool = False


def verify_confidential_space(
    token: str, trust: SpaceTrust, policy: SpacePolicy, report_data: bytes | None, now_ms: int
) -> Claims:
    """Claims of a workload in a Confidential Space image."""
    if not trust.roots and not trust.keys:
        raise refuse(Refusal.NO_TRUST, "no root and no key is trusted")
    parsed = parse_token(token, headers={"x5c"})
    claims = verified(_unnamed(parsed), _keys(parsed, trust, now_ms), ALGORITHMS)
    if claims.get("iss") != ISSUER:
        raise refuse(Refusal.CHAIN, "issuer")
    check_times(claims, now_ms, LIFETIME_S)
    check_audience(claims, policy.audiences)
    if claims.get("swname") != "CONFIDENTIAL_SPACE":
        raise refuse(Refusal.UNKNOWN_KIND, "no Confidential Space")
    if claims.get("dbgstat") != "disabled-since-boot":
        raise refuse(Refusal.DEBUG, "a debug image")
    if claims.get("secboot") is not True:
        raise refuse(Refusal.POLICY, "secure boot is off")
    model = text(claims, "hwmodel")
    if model not in policy.models:
        raise refuse(Refusal.PLATFORM, model[:64])
    submodules = nested(claims, "submods")
    image, changed = _check_workload(submodules, policy)
    nonces = claims.get("eat_nonce", [])
    check_bound(nonces if isinstance(nonces, list) else [nonces], report_data)
    gpu = submodules.get("nvidia_gpu")
    mode = str(gpu.get("cc_mode", "")) if isinstance(gpu, dict) else ""
    if policy.needs_gpu and mode != "ON":
        raise refuse(Refusal.POLICY, "no GPU in confidential mode")
    return Claims(
        KIND, model, image, debug=False, hardware=True, synthetic_only=False,
        platform={"bound": report_data is not None, "issued": whole(claims, "iat"), "audience": str(claims.get("aud")),
                  "subject": str(claims.get("sub", "")), "gpu_cc_mode": mode} | changed,
    )  # fmt: skip


def _unnamed(parsed: Unverified) -> Unverified:
    """With x5c the certificate is the name of the key; `kid` then says nothing that is not said."""
    if "x5c" not in parsed.header:
        return parsed
    header = {name: value for name, value in parsed.header.items() if name != "kid"}
    return Unverified(header, parsed.claims, parsed.token)


def _keys(parsed: Unverified, trust: SpaceTrust, now_ms: int) -> Sequence[Key]:
    if "x5c" not in parsed.header:
        return trust.keys
    path = _path(parsed.header["x5c"])
    check_path(path, trust.roots, at_time(now_ms))
    key = path[0].public_key()
    if not isinstance(key, RSAPublicKey):
        raise refuse(Refusal.ALGORITHM, "the certificate's key is not RSA")
    return (Key("", key),)


def _path(listed: object) -> list[x509.Certificate]:
    if not isinstance(listed, list) or not 2 <= len(listed) <= MAX_CHAIN:
        raise refuse(Refusal.CHAIN, "x5c")
    found: list[x509.Certificate] = []
    for one in listed:
        if isinstance(one, str) and one.startswith("-----"):
            found += load_pem_chain(one.encode("ascii", "replace"))
        else:
            found.append(load_certificate(base64_bytes(one, "x5c", MAX_CERTIFICATE)))
    return found


def _check_workload(submodules: Mapping[str, Any], policy: SpacePolicy) -> tuple[str, dict[str, Any]]:
    """The image's digest, when it is supported, admitted, and ran as it was built; and what the operator changed, as
    claims: names of variables, and whether the command."""
    listed = nested(submodules, "confidential_space").get("support_attributes", [])
    if not isinstance(listed, list) or not policy.support & {one for one in listed if isinstance(one, str)}:
        raise refuse(Refusal.POLICY, "support attributes of the image")
    container = nested(submodules, "container")
    image = text(container, "image_digest")
    if policy.images is not None and image not in policy.images:
        raise refuse(Refusal.MEASUREMENT, image[:96])
    changed = container.get("env_override", {})
    if not isinstance(changed, dict):
        raise refuse(Refusal.MALFORMED, "env_override")
    if policy.overrides is not None and (not set(changed) <= policy.overrides or container.get("cmd_override")):
        raise refuse(Refusal.POLICY, "the operator changed the image's environment or command")
    return image, {"env_override": sorted(changed)[:64], "cmd_override": bool(container.get("cmd_override"))}
