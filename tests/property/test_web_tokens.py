"""Whatever a token is made of, it ends in an identity or a named refusal; no signature but the issuer's counts."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers import parse_issuers
from gateway.identity.jwk import BadKeySet, public_keys
from gateway.identity.web_identity import WebIdentities
from gateway.identity.web_token import TokenRefused, WebIdentity
from tests.fakes.clock import Clock
from tests.fakes.identity_provider import AUDIENCE, IdentityProvider, issuers_file

NOW = Clock()() // 1000
PROVIDER = IdentityProvider()
TO_ANALYST = {"principal": "analyst", "purposes": ["analytics"]}
BUNDLE = {"keys": [jwk | {"use": "jwt-svid"} for jwk in PROVIDER.jwks["keys"]]}
ISSUERS, _ = parse_issuers(issuers_file(
    PROVIDER.issuer("oidc"),
    PROVIDER.issuer("cluster", issuer="https://cluster.example", kind="kubernetes",
                    subjects=[{"subject_prefix": "system:serviceaccount:a:", **TO_ANALYST}]),
    PROVIDER.issuer("mesh", kind="spiffe", issuer=None, trust_domain="td.example", jwks=BUNDLE,
                    subjects=[{"subject_prefix": "spiffe://td.example/", **TO_ANALYST}]),
))  # fmt: skip
IDENTITIES = WebIdentities(lambda: ISSUERS, IssuerKeys(None, None, lambda: NOW * 1000), lambda: NOW * 1000)  # type: ignore[arg-type]

inner = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
telling = st.sampled_from([
    "https://id.example", "https://cluster.example", "spiffe://td.example/a", "system:serviceaccount:a:b", "ci",
    [AUDIENCE, "b"], [AUDIENCE], AUDIENCE, NOW, NOW + 60, NOW - 60, "JWT", "RS256", "ES256", "none", "HS256", "rsa-0",
    {"namespace": "a", "serviceaccount": {"name": "b"}},
])  # fmt: skip
values = telling | inner
claims = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "azp", "exp", "nbf", "iat", "kubernetes.io", "jti"]) | st.text(max_size=8),
    values,
)
headers = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "cty", "crit", "jwk", "x5t", "zip"]) | st.text(max_size=4), values, max_size=4
)
HONEST = {"iss": PROVIDER.iss, "sub": "ci", "aud": AUDIENCE, "iat": NOW, "exp": NOW + 600}
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(token: str) -> WebIdentity | TokenRefused:
    """Anything else that is raised fails the test."""
    try:
        return asyncio.run(IDENTITIES.identify(token))
    except TokenRefused as refusal:
        return refusal


@quickly
@given(claims=claims, over=st.sampled_from([{}, HONEST]), alg=st.sampled_from(["ES256", "RS256"]))
def test_signed_claims_of_any_kind(claims: dict[str, Any], over: dict[str, Any], alg: str) -> None:
    found = outcome(PROVIDER.token(over | claims, alg=alg))
    if isinstance(found, WebIdentity):
        said = over | claims
        assert found.subject == said["sub"]
        assert said["exp"] > NOW - 60
        assert found.audience == AUDIENCE


@quickly
@given(header=headers)
def test_headers_of_any_kind(header: dict[str, Any]) -> None:
    raw = json.dumps({"alg": "RS256", "kid": PROVIDER.rsa_kid} | header).encode()
    found = outcome(PROVIDER.token(HONEST, raw_header=raw))
    if isinstance(found, WebIdentity):
        assert set(header) <= {"alg", "kid", "typ", "x5t", "x5t#S256"}


@quickly
@given(text=st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}"))
def test_text_of_any_kind(text: str) -> None:
    found = outcome(text)
    assert isinstance(found, TokenRefused)
    assert found.issuer is None


@quickly
@given(
    at=st.integers(0, 2000), by=st.characters(codec="ascii"),
    token=st.sampled_from([PROVIDER.token(HONEST, alg="ES256"), PROVIDER.token(HONEST)]),
)  # fmt: skip
def test_a_changed_character_is_never_taken(at: int, by: str, token: str) -> None:
    at %= len(token)
    changed = token[:at] + by + token[at + 1 :]
    if changed != token:
        assert isinstance(outcome(changed), TokenRefused)


jwks = st.fixed_dictionaries({"keys": st.lists(st.dictionaries(
    st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "use", "alg", "key_ops"]),
    st.sampled_from(["RSA", "EC", "P-256", "sig", "AQAB", "AQ", "verify", PROVIDER.jwks["keys"][0]["n"]]) | inner,
), max_size=3)})  # fmt: skip


@quickly
@given(document=jwks | inner.map(lambda value: {"keys": value}))
def test_key_sets_of_any_kind(document: dict[str, Any]) -> None:
    try:
        public_keys(document)
    except BadKeySet:
        return


def test_the_strategies_reach_the_inside() -> None:
    """An honest token among them is taken: refusals here are not all for one trivial reason."""
    assert isinstance(outcome(PROVIDER.token(HONEST)), WebIdentity)
    with pytest.raises(BadKeySet):
        public_keys({"keys": [{"kty": "oct"}]})
