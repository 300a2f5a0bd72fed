"""identity-issuers.json: what is understood, and that everything else refuses the file and trusts nobody."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.issuers import Issuer, parse_issuers
from gateway.identity.issuers_file import NAME, IssuersFile
from tests.fakes.clock import Clock
from tests.fakes.identity_provider import IdentityProvider, issuers_file
from vault.errors import Malformed

RULE = {"subject": "ci", "principal": "analyst", "purposes": ["analytics"]}


@pytest.fixture(scope="module")
def provider() -> IdentityProvider:
    return IdentityProvider()


def parsed(entry: dict[str, Any]) -> Issuer:
    issuers, _ = parse_issuers(issuers_file(entry))
    (only,) = issuers.all()
    return only


def test_an_issuer_with_every_member(provider: IdentityProvider) -> None:
    issuer = parsed(provider.issuer(
        jwks=None, jwks_url="https://id.example:8443/keys?v=1".replace("?v=1", ""), ca="/etc/ca.pem",
        networks=["10.0.0.0/8", "fd00::/8"], pins=["ab" * 32], clock_skew_seconds=0, max_token_age_seconds=86400,
        max_session_seconds=43200, headers=["rh"],
    ))  # fmt: skip
    assert issuer.source is not None
    assert (issuer.source.url, issuer.source.discovery, issuer.source.ca) == (
        "https://id.example:8443/keys",
        False,
        "/etc/ca.pem",
    )
    assert [str(network) for network in issuer.source.networks] == ["10.0.0.0/8", "fd00::/8"]
    assert (issuer.skew_s, issuer.max_age_s, issuer.max_session_s) == (0, 86400, 43200)
    assert issuer.keys == ()
    assert issuer.headers == {"rh"}


def test_what_is_not_said_is_narrow(provider: IdentityProvider) -> None:
    issuer = parsed(provider.issuer())
    assert (issuer.skew_s, issuer.max_age_s, issuer.max_session_s, issuer.headers) == (60, 3600, 3600, frozenset())
    assert (issuer.source, len(issuer.keys)) == (None, 2)


def test_discovery_is_the_issuers_own_well_known_document(provider: IdentityProvider) -> None:
    issuer = parsed(provider.issuer(jwks=None, discovery=True, issuer="https://id.example/realms/a/"))
    assert issuer.source is not None
    assert issuer.source.url == "https://id.example/realms/a/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"kind": "saml"}, "kind"), ({"kind": None}, "kind"), ({"name": "CI"}, "name"), ({"name": None}, "name"),
        ({"issuer": "http://id.example"}, "issuer"), ({"issuer": "https://"}, "issuer"), ({"issuer": None}, "issuer"),
        ({"issuer": "https://id.example?x=1"}, "issuer"), ({"issuer": "https://u@id.example"}, "issuer"),
        ({"issuer": "https://id.example."}, "issuer"), ({"issuer": "https://2130706433"}, "issuer"),
        ({"algorithms": []}, "algorithms"), ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"), ({"algorithms": ["RS256", "HS256"]}, "algorithms"),
        ({"algorithms": ["RS1"]}, "algorithms"), ({"algorithms": "RS256"}, "algorithms"),
        ({"algorithms": None}, "algorithms"), ({"audiences": []}, "audiences"), ({"audiences": None}, "audiences"),
        ({"audiences": ["a b"]}, "audiences"), ({"jwks": None}, "jwks"), ({"jwks_url": "https://a.example"}, "jwks"),
        ({"jwks": None, "jwks_url": "http://a.example"}, "jwks_url"), ({"jwks": {"keys": []}}, "jwks"),
        ({"jwks": {}}, "jwks"), ({"jwks": []}, "jwks"), ({"jwks": None, "discovery": False}, "discovery"),
        ({"jwks": None, "discovery": "yes"}, "discovery"), ({"clock_skew_seconds": 301}, "clock_skew_seconds"),
        ({"max_token_age_seconds": 59}, "max_token_age_seconds"), ({"max_session_seconds": 899}, "max_session_seconds"),
        ({"max_session_seconds": 43201}, "max_session_seconds"), ({"max_session_seconds": True}, "max_session_seconds"),
        ({"subjects": []}, "subjects"), ({"subjects": [RULE, RULE]}, "subjects"), ({"extra": 1}, "extra"),
        ({"jwks": None, "jwks_url": "https://a.example", "networks": ["10.0.0.1/8"]}, "networks"),
        ({"jwks": None, "jwks_url": "https://a.example", "pins": ["AB" * 32]}, "pins"),
        ({"jwks": None, "jwks_url": "https://a.example", "ca": "ca.pem"}, "ca"),
    ],
    ids=lambda one: str(one)[:50],
)  # fmt: skip
def test_a_member_that_is_wrong_is_named(provider: IdentityProvider, members: dict[str, Any], where: str) -> None:
    with pytest.raises(Malformed) as caught:
        parsed(provider.issuer(**members))
    assert caught.value.detail is not None
    assert where in caught.value.detail


WILD = [
    ("oidc", "*"), ("oidc", "repo:"), ("oidc", "repo:acme"), ("oidc", "repo:acme/model"), ("oidc", ":"), ("oidc", "::"),
    ("oidc", "repo:*/"), ("oidc", "/a/"), ("kubernetes", "system:serviceaccount:"), ("kubernetes", "system:"),
    ("kubernetes", "system:serviceaccount:a:b"), ("kubernetes", "system:serviceaccount:a"),
    ("kubernetes", "system:serviceaccount::"), ("spiffe", "spiffe://"), ("spiffe", "spiffe://prod.example"),
    ("spiffe", "spiffe://other.example/"), ("spiffe", "spiffe://prod.example/a"), ("spiffe", "/"),
]  # fmt: skip


def with_rule(provider: IdentityProvider, kind: str, **rule: Any) -> dict[str, Any]:
    entry = provider.issuer(kind=kind, subjects=[{"principal": "analyst", "purposes": ["analytics"]} | rule])
    if kind == "spiffe":
        entry |= {
            "trust_domain": "prod.example",
            "jwks": {"keys": [jwk | {"use": "jwt-svid"} for jwk in provider.jwks["keys"]]},
        }
        del entry["issuer"]
    return entry


@pytest.mark.parametrize(("kind", "prefix"), WILD)
def test_a_prefix_names_a_namespace_and_never_everybody(provider: IdentityProvider, kind: str, prefix: str) -> None:
    with pytest.raises(Malformed, match="subject_prefix"):
        parsed(with_rule(provider, kind, subject_prefix=prefix))


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("oidc", "repo:acme/"), ("oidc", "project:7:ref:"), ("kubernetes", "system:serviceaccount:a:"),
     ("spiffe", "spiffe://prod.example/"), ("spiffe", "spiffe://prod.example/ns/a/")],
)  # fmt: skip
def test_a_namespace_is_taken(provider: IdentityProvider, kind: str, prefix: str) -> None:
    (rule,) = parsed(with_rule(provider, kind, subject_prefix=prefix)).subjects
    assert (rule.subject, rule.prefix) == (prefix, True)


@pytest.mark.parametrize(
    "rule",
    [
        {"subject": "*"}, {"subject": "a*"}, {"subject": ""}, {}, {"subject": "a", "subject_prefix": "a:b:"},
        {"subject": "a", "principal": ""}, {"subject": "a", "purposes": []}, {"subject": "a", "purposes": ["*"]},
        {"subject": "a", "purposes": "analytics"}, {"subject": "a", "claims": {"ref": 1}},
        {"subject": "a", "claims": {"ref": ["x"]}}, {"subject": "a", "claims": []},
        {"subject": "a", "roles": ["steward"]},
    ],
    ids=lambda one: str(one)[:50],
)  # fmt: skip
def test_a_rule_that_is_not_understood_refuses_the_file(provider: IdentityProvider, rule: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parsed(with_rule(provider, "oidc", **rule))


def test_one_issuer_or_name_twice_refuses_the_file(provider: IdentityProvider) -> None:
    other = IdentityProvider("https://other.example", generation=1)
    for pair in ((provider.issuer("a"), provider.issuer("b")), (provider.issuer("a"), other.issuer("a"))):
        with pytest.raises(Malformed, match="twice"):
            parse_issuers(issuers_file(*pair))


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"schema":"demesne.trust.issuers/1"}', b"\xff", b'{"a":1,"a":2}'])
def test_what_is_no_such_file(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_issuers(raw)


# --- the file as it is now


def write(path: Path, content: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    new.rename(path)


def test_a_changed_file_counts_within_seconds(provider: IdentityProvider, tmp_path: Path) -> None:
    clock = Clock()
    issuers = IssuersFile(tmp_path, clock)
    assert (issuers().all(), issuers.states()["identity-issuers"]) == ([], "missing")
    write(tmp_path / NAME, issuers_file(provider.issuer()))
    clock.advance(2_000)
    assert [issuer.name for issuer in issuers().all()] == ["ci"]
    write(tmp_path / NAME, b"{")
    clock.advance(2_000)
    assert (issuers().all(), issuers.states()["identity-issuers"]) == ([], "unreadable")
    os.unlink(tmp_path / NAME)
    clock.advance(2_000)
    assert (issuers().all(), issuers.states()["identity-issuers"]) == ([], "missing")


def test_an_expired_file_trusts_nobody(provider: IdentityProvider, tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path / NAME, issuers_file(provider.issuer(), expires="2026-10-01T00:00:00Z"))
    issuers = IssuersFile(tmp_path, clock)
    assert len(issuers().all()) == 1
    assert issuers.ends() == {"identity-issuers": 1_790_812_800_000}
    clock.advance(30 * 86_400_000)
    assert (issuers().all(), issuers.states()["identity-issuers"]) == ([], "expired")


def test_a_file_that_everybody_may_write_is_not_believed(provider: IdentityProvider, tmp_path: Path) -> None:
    write(tmp_path / NAME, issuers_file(provider.issuer()))
    (tmp_path / NAME).chmod(0o666)
    assert IssuersFile(tmp_path, Clock())().all() == []


def test_the_example_of_the_page_is_understood() -> None:
    """docs/spec/web-identity.md shows a whole file; who copies it must not learn that it does not parse."""
    page = (Path(__file__).parents[4] / "docs/spec/web-identity.md").read_text()
    example = page.partition("```json\n")[2].partition("```")[0]
    issuers, _ = parse_issuers(json.dumps(json.loads(example)).encode())
    assert sorted(issuer.kind for issuer in issuers.all()) == ["kubernetes", "oidc", "oidc", "spiffe"]
