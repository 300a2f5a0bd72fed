"""Tokens out of files: which issuer signed one, and its keys from the files that came with it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.offline.contents import Presented, is_json
from vault.attest.tokens.confidential_space import ISSUER as GOOGLE
from vault.attest.tokens.confidential_space import SpacePolicy, SpaceTrust, verify_confidential_space
from vault.attest.tokens.ear import ALGORITHMS as EAR_ALGORITHMS
from vault.attest.tokens.ear import TRUSTEE, VERAISON, EarPolicy, verify_ear
from vault.attest.tokens.jose import Key, parse_keys, parse_token, text, whole
from vault.attest.tokens.maa import MaaPolicy, verify_maa
from vault.attest.tokens.nras import NrasPolicy, verify_nras
from vault.attest.tokens.trust_authority import ISSUERS as INTEL
from vault.attest.tokens.trust_authority import TrustAuthorityPolicy, verify_trust_authority

_INSTANCE = re.compile(r"https://[a-z0-9-]{1,64}(?:\.[a-z0-9-]{1,64}){0,2}\.attest\.azure\.(?:net|us|cn)")
SEEN_HEADERS = frozenset({"jku", "x5c", "jwk", "x5t", "x5u"})  # to look at a token; verifying it admits fewer


def token_text(presented: Presented) -> str:
    """The token of a file."""
    try:
        return presented.evidence.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise refuse(Refusal.MALFORMED, "a token is ASCII") from error


def stated(presented: Presented) -> Mapping[str, Any]:
    """A token's claims, believed by nobody: to choose its kind and, for material of the past, its time."""
    return parse_token(token_text(presented), headers=SEEN_HEADERS).claims


def _now_ms(presented: Presented) -> int:
    return whole(stated(presented), "iat") * 1000 if presented.now_ms is None else presented.now_ms


def _keys(presented: Presented) -> tuple[Key, ...]:
    """Keys of the files that are JWKs or sets of them; certificates beside them are the pinned roots' business."""
    listed = (content for content in presented.endorsements if is_json(content))
    return tuple(key for content in listed for key in parse_keys(json_object(content, "JWK set")))


def maa(presented: Presented) -> Claims:
    """The keys that came with it are its instance's: who gives them says so; the instance must be one of Azure's."""
    issuer = text(stated(presented), "iss")
    if not _INSTANCE.fullmatch(issuer):
        raise refuse(Refusal.CHAIN, "issuer is no attestation instance of Azure")
    return verify_maa(
        token_text(presented), {issuer: _keys(presented)}, MaaPolicy(), presented.expected, _now_ms(presented)
    )  # fmt: skip


def confidential_space(presented: Presented) -> Claims:
    """PKI tokens by Google's pinned root; OIDC tokens by the JWK set that came with it."""
    return verify_confidential_space(
        token_text(presented), SpaceTrust(keys=_keys(presented)), SpacePolicy(), presented.expected, _now_ms(presented)
    )  # fmt: skip


def ear(presented: Presented) -> Claims:
    """By the verifier's key that came with it."""
    return verify_ear(
        token_text(presented), _keys(presented), EAR_ALGORITHMS, EarPolicy(), presented.expected, _now_ms(presented)
    )  # fmt: skip


def nras(presented: Presented) -> Claims:
    """By the service's JWK set that came with it."""
    return verify_nras(presented.evidence, _keys(presented), NrasPolicy(), presented.expected, presented.at_ms)


def trust_authority(presented: Presented) -> Claims:
    """By the service's JWK set that came with it."""
    return verify_trust_authority(
        token_text(presented), _keys(presented), TrustAuthorityPolicy(), presented.expected, _now_ms(presented)
    )  # fmt: skip


def jws(presented: Presented) -> Claims:
    """A token of whichever issuer it says, among those known here; `unknown-kind` for another."""
    claims = stated(presented)
    issuer, profile = claims.get("iss"), claims.get("eat_profile")
    if isinstance(issuer, str) and _INSTANCE.fullmatch(issuer):
        return maa(presented)
    if issuer == GOOGLE:
        return confidential_space(presented)
    if issuer in INTEL:
        return trust_authority(presented)
    if profile in {VERAISON, TRUSTEE}:
        return ear(presented)
    raise refuse(Refusal.UNKNOWN_KIND, "issuer or profile of the token")


TOKENS: Mapping[str, Callable[[Presented], Claims]] = {
    "maa": maa,
    "confidential-space": confidential_space,
    "nras": nras,
    "trust-authority": trust_authority,
    "ear": ear,
    "jws": jws,
    "jws-x5c": jws,
}
