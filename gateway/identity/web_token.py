"""What a web identity token says once its signature held: whose it is, for whom, until when (RFC 7519, RFC 8725).

An OIDC token, a Kubernetes projected service-account token and a SPIFFE JWT-SVID say it differently; all three are
*identity*: they say who runs, and nothing about where. No claim of a token is ever taken for attestation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.identity.issuers import Issuer, SubjectRule

MAX_DEPTH: Final = 8
_STATUS: Final = {
    "AccessDenied": 403,
    "ExpiredTokenException": 400,
    "IDPCommunicationError": 400,
    "IDPRejectedClaim": 403,
    "InvalidIdentityToken": 400,
}
_SUBJECT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")
_SPIFFE_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
_TYPES = {"oidc": frozenset({"JWT", "AT+JWT"}), "kubernetes": frozenset({"JWT"}), "spiffe": frozenset({"JWT", "JOSE"})}


class TokenRefused(GatewayError):
    """`code` is STS's, `rule` ours (docs/spec/web-identity.md §6). `issuer` is set once its signature held."""

    def __init__(self, code: str, rule: str, message: str, *, issuer: Issuer | None = None, subject: str = "") -> None:
        super().__init__(code, message, status=_STATUS[code], rule=rule)
        self.issuer = issuer
        self.subject = subject


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """A verified token: whose, and the rule that gives it a principal. `workload`: what kind-specific claims say."""

    issuer: Issuer
    subject: str
    audience: str
    rule: SubjectRule
    workload: Mapping[str, str]


def identity_of(issuer: Issuer, claims: Mapping[str, Any], now_s: int) -> WebIdentity:
    """The identity that verified `claims` give. Raises TokenRefused, which says what the bearer knows anyway."""
    subject = _subject(issuer, claims)
    try:
        if _deeper(claims, MAX_DEPTH):
            raise _rejected("identity.malformed", "The token's claims are nested too deep")
        _check_times(issuer, claims, now_s)
        audience = _audience(issuer, claims)
        workload = _workload(issuer, subject, claims)
        rule = _rule(issuer, subject, claims)
    except TokenRefused as refusal:
        refusal.issuer, refusal.subject = issuer, subject
        raise
    return WebIdentity(issuer, subject, audience, rule, workload)


def check_type(issuer: Issuer, header: Mapping[str, Any]) -> None:
    """`typ`, where a token has one: a token made for something else (a logout, a DPoP proof) is not one of these."""
    stated = header.get("typ")
    if stated is None:
        return
    if not isinstance(stated, str) or stated.upper().removeprefix("APPLICATION/") not in _TYPES[issuer.kind]:
        raise TokenRefused("InvalidIdentityToken", "identity.type", "The token is of another type", issuer=issuer)


def _rejected(rule: str, message: str) -> TokenRefused:
    return TokenRefused("IDPRejectedClaim", rule, message)


def _subject(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise TokenRefused(
            "IDPRejectedClaim", "identity.subject", "The token has no usable sub claim", issuer=issuer
        )  # fmt: skip
    return subject


def _check_times(issuer: Issuer, claims: Mapping[str, Any], now_s: int) -> None:
    ends = _second(claims, "exp")
    if ends is None:
        raise _rejected("identity.expiry", "The token does not say when it ends")
    if now_s >= ends + issuer.skew_s:
        raise TokenRefused("ExpiredTokenException", "identity.expired", "The token has expired; get a fresh one")
    starts, issued = _second(claims, "nbf"), _second(claims, "iat")
    if max(starts or 0, issued or 0) > now_s + issuer.skew_s:
        raise _rejected("identity.not-yet", "The token is not valid yet; compare the clocks")
    if issued is None:
        if issuer.kind != "spiffe":  # JWT-SVIDs may leave it out: their end bounds them instead
            raise _rejected("identity.issued", "The token does not say when it was issued")
        if ends - now_s > issuer.max_age_s + issuer.skew_s:
            raise _rejected("identity.age", "The token lives longer than this issuer's may")
    elif now_s - issued > issuer.max_age_s + issuer.skew_s:
        raise TokenRefused("ExpiredTokenException", "identity.age", "The token is too old; get a fresh one")


def _rule(issuer: Issuer, subject: str, claims: Mapping[str, Any]) -> SubjectRule:
    rule = issuer.rule_of(subject, claims)
    if rule is None:
        raise TokenRefused("AccessDenied", "identity.mapping", "No principal is mapped to this identity")
    return rule


def _second(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if type(value) is not int or not 0 < value < 1 << 40:
        raise _rejected("identity.time", f"The token's {name} is not a whole second since 1970")
    return value


def _audience(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    """Exactly one of the issuer's. A token for two parties is the other one's to replay: only an OIDC token that was
    issued to us (`azp`) may name others beside."""
    stated = claims.get("aud")
    listed = [stated] if isinstance(stated, str) else stated
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
        raise TokenRefused("InvalidIdentityToken", "identity.audience", "Incorrect token audience")
    ours = [one for one in listed if one in issuer.audiences]
    if not ours:
        raise TokenRefused("InvalidIdentityToken", "identity.audience", "Incorrect token audience")
    party = claims.get("azp")
    issued_to_us = issuer.kind == "oidc" and isinstance(party, str) and party in issuer.audiences
    if len(listed) > 1 and not issued_to_us:
        raise TokenRefused("InvalidIdentityToken", "identity.audience", "The token is for others as well")
    return str(ours[0])


def _workload(issuer: Issuer, subject: str, claims: Mapping[str, Any]) -> dict[str, str]:
    if issuer.kind == "kubernetes":
        return _pod(subject, claims)
    if issuer.kind == "spiffe":
        path = subject.removeprefix(f"spiffe://{issuer.iss}")
        if path == subject or len(subject) > 2048 or not _SPIFFE_PATH.fullmatch(path) or _dotted(path):
            raise _rejected("identity.subject", "The subject is no SPIFFE ID of a workload of this trust domain")
        return {"trust_domain": issuer.iss}
    return {}


def _dotted(path: str) -> bool:
    return any(part in {".", ".."} for part in path.split("/"))


def _pod(subject: str, claims: Mapping[str, Any]) -> dict[str, str]:
    """What the cluster says of the pod. The same thing is said twice (sub and kubernetes.io): both must agree."""
    bound = _names(claims.get("kubernetes.io"))
    account = _names(bound.get("serviceaccount"))
    workload = {"namespace": bound.get("namespace"), "service_account": account.get("name")}
    for name in ("pod", "node"):
        if name in bound:
            workload[name] = _names(bound[name]).get("name")
    if not all(isinstance(value, str) and 0 < len(value) <= 253 for value in workload.values()):
        raise _rejected("identity.kubernetes", "The token names no service account of a namespace")
    if subject != f"system:serviceaccount:{workload['namespace']}:{workload['service_account']}":
        raise _rejected("identity.kubernetes", "The token's subject and its service account differ")
    return {name: str(value) for name, value in workload.items()}


def _names(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _rejected("identity.kubernetes", "The token is not one that a cluster projects into a pod")
    return value


def _deeper(value: object, depth: int) -> bool:
    """Whether anything lies deeper than `depth`, without recursion as deep as a hostile token."""
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return depth == 0 or any(_deeper(one, depth - 1) for one in inner)
