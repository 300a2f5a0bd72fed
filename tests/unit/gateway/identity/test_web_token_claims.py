"""What a token must say once its signature held: times, audience, and the subject of each kind of provider."""

import asyncio
from typing import Any

import pytest

from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers import parse_issuers
from gateway.identity.web_identity import WebIdentities
from gateway.identity.web_token import TokenRefused, WebIdentity
from tests.fakes.clock import Clock
from tests.fakes.identity_provider import AUDIENCE, IdentityProvider, issuers_file

NOW = Clock()() // 1000
ACCOUNT = "system:serviceaccount:training:etl"
POD = {
    "namespace": "training", "serviceaccount": {"name": "etl", "uid": "u"}, "pod": {"name": "etl-0", "uid": "p"},
    "node": {"name": "n1", "uid": "n"}, "warnafter": NOW,
}  # fmt: skip
TO_ANALYST = {"principal": "analyst", "purposes": ["analytics"]}


@pytest.fixture(scope="module")
def provider() -> IdentityProvider:
    return IdentityProvider()


def identify(issuer: dict[str, Any], token: str, now: int = NOW) -> WebIdentity:
    issuers, _ = parse_issuers(issuers_file(issuer))
    keys = IssuerKeys(None, None, lambda: now * 1000)  # type: ignore[arg-type]
    return asyncio.run(WebIdentities(lambda: issuers, keys, lambda: now * 1000).identify(token))


def refused(issuer: dict[str, Any], token: str) -> tuple[str, str]:
    """Code and rule; the signature held, so it counts with its issuer."""
    with pytest.raises(TokenRefused) as caught:
        identify(issuer, token)
    assert caught.value.issuer is not None
    return caught.value.code, str(caught.value.rule)


CLAIMS: list[tuple[dict[str, Any], tuple[str, str] | None]] = [
    ({}, None),
    ({"exp": NOW - 59}, None),
    ({"exp": NOW - 60}, ("ExpiredTokenException", "identity.expired")),
    ({"exp": None}, ("IDPRejectedClaim", "identity.expiry")),
    ({"exp": str(NOW + 60)}, ("IDPRejectedClaim", "identity.time")),
    ({"exp": NOW + 60.5}, ("IDPRejectedClaim", "identity.time")),
    ({"exp": True}, ("IDPRejectedClaim", "identity.time")),
    ({"exp": -1}, ("IDPRejectedClaim", "identity.time")),
    ({"exp": 1 << 63}, ("IDPRejectedClaim", "identity.time")),
    ({"iat": NOW + 60}, None),
    ({"iat": NOW + 61}, ("IDPRejectedClaim", "identity.not-yet")),
    ({"iat": NOW - 3660}, None),
    ({"iat": NOW - 3661}, ("ExpiredTokenException", "identity.age")),
    ({"iat": None}, ("IDPRejectedClaim", "identity.issued")),
    ({"iat": "now"}, ("IDPRejectedClaim", "identity.time")),
    ({"nbf": NOW + 60}, None),
    ({"nbf": NOW + 61}, ("IDPRejectedClaim", "identity.not-yet")),
    ({"nbf": {}}, ("IDPRejectedClaim", "identity.time")),
    ({"aud": [AUDIENCE]}, None),
    ({"aud": None}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": []}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": AUDIENCE + " "}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": AUDIENCE.upper()}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": "sts.amazonaws.com"}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": {AUDIENCE: 1}}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": [AUDIENCE, 7]}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": [AUDIENCE, "other"]}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": [AUDIENCE, "other"], "azp": "other"}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": [AUDIENCE, "other"], "azp": AUDIENCE}, None),
    ({"aud": [AUDIENCE, "other"], "azp": [AUDIENCE]}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": [AUDIENCE, "other"], "azp": {}}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": "other", "azp": AUDIENCE}, ("InvalidIdentityToken", "identity.audience")),
    ({"sub": None}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": ""}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": 7}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": "ci\n"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": "c\u0456"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": "x" * 513}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": "CI"}, ("AccessDenied", "identity.mapping")),
    ({"sub": "ci2"}, ("AccessDenied", "identity.mapping")),
    ({"deep": [[[[[[[[[1]]]]]]]]]}, ("IDPRejectedClaim", "identity.malformed")),
]


@pytest.mark.parametrize(("claims", "expected"), CLAIMS, ids=lambda one: str(one)[:60])
def test_every_claim(provider: IdentityProvider, claims: dict[str, Any], expected: tuple[str, str] | None) -> None:
    token = provider.token(provider.claims(NOW, **claims))
    if expected is None:
        assert identify(provider.issuer(), token).audience == AUDIENCE
    else:
        assert refused(provider.issuer(), token) == expected


@pytest.mark.parametrize(
    "iss", ["https://id.example/", "https://ID.example", "http://id.example", "", None, 7, ["https://id.example"]]
)
def test_the_issuer_is_compared_to_the_letter(provider: IdentityProvider, iss: Any) -> None:
    with pytest.raises(TokenRefused) as caught:
        identify(provider.issuer(), provider.token(provider.claims(NOW, iss=iss)))
    assert (caught.value.rule, caught.value.issuer) == ("identity.issuer", None)


@pytest.mark.parametrize(
    ("typ", "taken"),
    [
        ("JWT", True), ("jwt", True), ("at+jwt", True), (None, True), ("application/jwt", True),
        ("logout+jwt", False), ("dpop+jwt", False), ("", False),
    ],
)  # fmt: skip
def test_a_token_made_for_something_else(provider: IdentityProvider, typ: Any, taken: bool) -> None:
    token = provider.token(provider.claims(NOW), header={"typ": typ})
    if taken:
        identify(provider.issuer(), token)
        return
    with pytest.raises(TokenRefused) as caught:
        identify(provider.issuer(), token)
    assert caught.value.rule == "identity.type"
    assert caught.value.issuer is not None


def test_an_issuers_own_header_is_taken_from_it_alone(provider: IdentityProvider) -> None:
    token = provider.token(provider.claims(NOW), header={"rh": "0.AS", "x5t": "abc"})
    assert identify(provider.issuer(headers=["rh"]), token).subject == "ci"
    other = IdentityProvider("https://other.example", generation=1)
    issuers, _ = parse_issuers(issuers_file(provider.issuer("a"), other.issuer("b", headers=["rh"])))
    keys = IssuerKeys(None, None, lambda: NOW * 1000)  # type: ignore[arg-type]
    with pytest.raises(TokenRefused, match="header"):
        asyncio.run(WebIdentities(lambda: issuers, keys, lambda: NOW * 1000).identify(token))


def test_a_rule_may_ask_for_more_claims(provider: IdentityProvider) -> None:
    rules = [
        {"subject": "ci", "claims": {"ref": "refs/heads/main", "repository_owner_id": "7"}, **TO_ANALYST},
        {"subject_prefix": "repo:acme/", "principal": "trainer", "purposes": ["analytics"]},
        {"subject": "repo:acme/model", "principal": "steward", "purposes": ["stewardship"]},
        {"subject_prefix": "repo:acme/secret/", **TO_ANALYST},
    ]
    issuer = provider.issuer(subjects=rules)

    def principal(**claims: Any) -> str:
        try:
            return identify(issuer, provider.token(provider.claims(NOW, **claims))).rule.principal
        except TokenRefused as refusal:
            return str(refusal.rule)

    assert principal(ref="refs/heads/main", repository_owner_id="7") == "analyst"
    assert principal(ref="refs/heads/main") == "identity.mapping"
    assert principal(ref="refs/heads/main", repository_owner_id=7) == "identity.mapping"
    assert principal(ref=["refs/heads/main"], repository_owner_id="7") == "identity.mapping"
    assert principal(sub="repo:acme/other") == "trainer"
    assert principal(sub="repo:acme/model") == "steward"  # exact before prefix
    assert principal(sub="repo:acme/secret/x") == "analyst"  # the longer prefix
    assert principal(sub="repo:acmeevil/model") == "identity.mapping"


# --- Kubernetes


def kubernetes(provider: IdentityProvider, **members: Any) -> dict[str, Any]:
    return provider.issuer(
        kind="kubernetes", subjects=[{"subject_prefix": "system:serviceaccount:training:", **TO_ANALYST}], **members
    )


def pod_token(provider: IdentityProvider, sub: str = ACCOUNT, pod: Any = None, **claims: Any) -> str:
    said = provider.claims(NOW, sub=sub, aud=claims.pop("aud", [AUDIENCE]), jti="1", **claims)
    return provider.token(said | {"kubernetes.io": POD if pod is None else pod}, header={"typ": None})


def test_a_projected_token_names_its_pod(provider: IdentityProvider) -> None:
    identity = identify(kubernetes(provider), pod_token(provider))
    assert identity.subject == ACCOUNT
    assert identity.workload == {
        "namespace": "training", "service_account": "etl", "pod": "etl-0", "node": "n1",
    }  # fmt: skip
    without_pod = {name: value for name, value in POD.items() if name not in {"pod", "node"}}
    assert set(identify(kubernetes(provider), pod_token(provider, pod=without_pod)).workload) == {
        "namespace", "service_account",
    }  # fmt: skip


def other(path: str, value: Any) -> dict[str, Any]:
    """POD with one member changed."""
    changed: dict[str, Any] = {name: dict(inner) if isinstance(inner, dict) else inner for name, inner in POD.items()}
    name, _, member = path.partition(".")
    if member:
        changed[name][member] = value
    else:
        changed[name] = value
    return changed


@pytest.mark.parametrize(
    ("sub", "pod"),
    [
        (ACCOUNT, []), (ACCOUNT, {}), (ACCOUNT, other("namespace", "prod")), (ACCOUNT, other("namespace", None)),
        (ACCOUNT, other("serviceaccount.name", "root")), (ACCOUNT, other("serviceaccount", "etl")),
        (ACCOUNT, other("pod", "etl-0")), (ACCOUNT, other("pod.name", "")), (ACCOUNT, other("node.name", 7)),
        ("system:serviceaccount:training:root", POD), ("system:node:n1", POD), ("system:admin", POD),
    ],
)  # fmt: skip
def test_subject_and_pod_must_say_the_same(provider: IdentityProvider, sub: str, pod: Any) -> None:
    assert refused(kubernetes(provider), pod_token(provider, sub, pod)) == ("IDPRejectedClaim", "identity.kubernetes")


def test_another_namespace_and_a_namespace_of_a_longer_name(provider: IdentityProvider) -> None:
    for namespace in ("prod", "training2"):
        token = pod_token(provider, f"system:serviceaccount:{namespace}:etl", other("namespace", namespace))
        assert refused(kubernetes(provider), token) == ("AccessDenied", "identity.mapping")


def test_an_old_service_account_secret_never_ends_and_is_refused(provider: IdentityProvider) -> None:
    assert refused(kubernetes(provider), pod_token(provider, exp=None)) == ("IDPRejectedClaim", "identity.expiry")


def test_a_pods_token_for_two_audiences_is_the_others_to_replay(provider: IdentityProvider) -> None:
    token = pod_token(provider, aud=[AUDIENCE, "vault"], azp=AUDIENCE)
    assert refused(kubernetes(provider), token) == ("InvalidIdentityToken", "identity.audience")


# --- SPIFFE

TD = "prod.example"
ID = f"spiffe://{TD}/training/etl"


def spiffe(provider: IdentityProvider, **members: Any) -> dict[str, Any]:
    bundle = {
        "keys": [jwk | {"use": "jwt-svid"} for jwk in provider.jwks["keys"]]
        + [jwk | {"use": "x509-svid", "kid": "x" + jwk["kid"]} for jwk in provider.jwks["keys"]],
        "spiffe_sequence": 1, "spiffe_refresh_hint": 600,
    }  # fmt: skip
    usual = {
        "kind": "spiffe", "issuer": None, "trust_domain": TD, "jwks": bundle,
        "subjects": [{"subject_prefix": f"spiffe://{TD}/training/", **TO_ANALYST}],
    }  # fmt: skip
    return provider.issuer("mesh", **(usual | members))


def svid(provider: IdentityProvider, **claims: Any) -> str:
    usual = {"iss": None, "iat": None, "sub": ID, "aud": [AUDIENCE]}
    return provider.token(
        provider.claims(NOW, **(usual | claims)), alg="ES256", header={"typ": claims.pop("typ", "JOSE")}
    )


def test_an_svid_needs_no_iss_and_no_iat(provider: IdentityProvider) -> None:
    identity = identify(spiffe(provider), svid(provider))
    assert (identity.subject, identity.issuer.iss, identity.workload) == (ID, TD, {"trust_domain": TD})
    assert identify(spiffe(provider), svid(provider, iss="https://spire.example")).subject == ID


SVIDS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"aud": None}, ("InvalidIdentityToken", "identity.audience")),
    ({"aud": [AUDIENCE, "b"]}, ("InvalidIdentityToken", "identity.audience")),
    ({"exp": None}, ("IDPRejectedClaim", "identity.expiry")),
    ({"exp": NOW - 60}, ("ExpiredTokenException", "identity.expired")),
    ({"exp": NOW + 3661}, ("IDPRejectedClaim", "identity.age")),
    ({"sub": f"spiffe://{TD}"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/training/../admin"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/training//etl"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/training/etl/"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/training/a%2Fb"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/training/etl?x=1"}, ("IDPRejectedClaim", "identity.subject")),
    ({"sub": f"spiffe://{TD}/billing/etl"}, ("AccessDenied", "identity.mapping")),
    ({"sub": f"spiffe://{TD}/training"}, ("AccessDenied", "identity.mapping")),
]


@pytest.mark.parametrize(("claims", "expected"), SVIDS, ids=lambda one: str(one)[:60])
def test_every_claim_of_an_svid(provider: IdentityProvider, claims: dict[str, Any], expected: tuple[str, str]) -> None:
    assert refused(spiffe(provider), svid(provider, **claims)) == expected


@pytest.mark.parametrize("sub", ["spiffe://other.example/training/etl", f"SPIFFE://{TD}/training/etl", f"spiffe://{TD}.evil/training/etl",
                                 f"spiffe://user@{TD}/training/etl", f"spiffe://{TD}:443/training/etl"])  # fmt: skip
def test_another_trust_domain_is_nobody(provider: IdentityProvider, sub: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        identify(spiffe(provider), svid(provider, sub=sub))
    assert (caught.value.rule, caught.value.issuer) == ("identity.issuer", None)


def test_only_keys_for_jwt_svids_verify_one(provider: IdentityProvider) -> None:
    """The same keys, published for X.509 alone or without saying for what."""
    for use in ("x509-svid", None):
        keys = [{n: v for n, v in (jwk | {"use": use}).items() if v is not None} for jwk in provider.jwks["keys"]]
        with pytest.raises(Exception, match="no usable signature key"):
            parse_issuers(issuers_file(spiffe(provider, jwks={"keys": keys})))


def test_an_oidc_provider_cannot_speak_for_a_trust_domain(provider: IdentityProvider) -> None:
    """Its token says a SPIFFE ID as its subject: whose keys verify is decided by what it names."""
    thief = IdentityProvider("https://thief.example", generation=1)
    issuers, _ = parse_issuers(issuers_file(spiffe(provider), thief.issuer("thief")))
    keys = IssuerKeys(None, None, lambda: NOW * 1000)  # type: ignore[arg-type]
    identities = WebIdentities(lambda: issuers, keys, lambda: NOW * 1000)

    def rule(token: str) -> str:
        with pytest.raises(TokenRefused) as caught:
            asyncio.run(identities.identify(token))
        return str(caught.value.rule)

    assert rule(thief.token(thief.claims(NOW, sub=ID))) == "identity.mapping"  # as its own subject
    assert rule(thief.token(thief.claims(NOW, sub=ID, iss=None))) == "identity.key"
    assert (
        rule(thief.token(thief.claims(NOW, sub=ID, iss=None), header={"kid": provider.rsa_kid})) == "identity.signature"
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"kind": "snp", "hardware": True, "synthetic_only": False, "tier": "affirming"},
        {"x-ms-attestation-type": "azurevm", "eat_nonce": "00", "submods": {"cpu0": {"ear.status": "affirming"}}},
        {"session": {"kind": "attested"}, "purpose": "claims-risk-model", "roles": ["steward"], "scope": ["claims"]},
    ],
)
def test_no_claim_is_taken_for_attestation(provider: IdentityProvider, claims: dict[str, Any]) -> None:
    assert identify(provider.issuer(), provider.token(provider.claims(NOW) | claims)).workload == {}
