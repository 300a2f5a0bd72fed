"""identity-issuers.json: whose tokens name a caller, with which keys and limits, and whose session each subject gets.

Schema and meaning: docs/spec/web-identity.md §2. Read with the strict reader of trust files: an unknown, repeated or
ill-typed member refuses the file, and a file that is missing, refused or expired trusts nobody.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from gateway.identity.jwk import ALGORITHMS, BadKeySet, PublicKey, public_keys
from vault.attest.trust.document import Dated, Section, open_document, wrong
from vault.endpoint.address import Network, parse_endpoint
from vault.errors import Refused

SCHEMA: Final = "demesne.trust.identity-issuers/1"
Kind = Literal["oidc", "kubernetes", "spiffe"]
KINDS: Final = ("oidc", "kubernetes", "spiffe")
DEFAULT_SKEW_S, MAX_SKEW_S = 60, 300
DEFAULT_AGE_S, MAX_AGE_S = 3600, 86_400
DEFAULT_SESSION_S, MIN_SESSION_S, MAX_SESSION_S = 3600, 900, 43_200
MAX_ISSUERS = 64
_NAME = r"[a-z][a-z0-9-]{0,62}"
_TRUST_DOMAIN = r"[a-z0-9._-]{1,255}"
_CLAIM = r"[A-Za-z0-9_.:/-]{1,128}"
_PRINTED = r"[\x21-\x7e]{1,512}"
_KUBERNETES = re.compile(r"system:serviceaccount:[a-z0-9-]{1,63}:")
_PURPOSE = r"[a-z][a-z0-9-]{0,62}"


@dataclass(frozen=True, slots=True)
class SubjectRule:
    """Who gets whose session: `subject` exactly, or every subject that begins with it where `prefix`.

    `claims`: what the token must say besides, each exactly. `principal`: a name in the catalog.
    """

    subject: str
    prefix: bool
    principal: str
    purposes: frozenset[str]
    claims: Mapping[str, str] = field(default_factory=dict)

    def matches(self, subject: str, claims: Mapping[str, Any]) -> bool:
        named = subject.startswith(self.subject) if self.prefix else subject == self.subject
        return named and all(claims.get(name) == value for name, value in self.claims.items())


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where an issuer's keys are fetched: `url`, or what its discovery document (`url` then) names.

    `ca`: PEM authorities, "" the public ones. `networks`: declared address ranges, none = public addresses only.
    """

    url: str
    discovery: bool
    ca: str
    networks: tuple[Network, ...]
    pins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Issuer:
    """`iss`: the claim, exactly; of a SPIFFE trust domain its name. Seconds in `_s`. `keys`: pinned; or `source`."""

    name: str
    kind: Kind
    iss: str
    algorithms: frozenset[str]
    audiences: frozenset[str]
    keys: tuple[PublicKey, ...]
    source: KeySource | None
    skew_s: int
    max_age_s: int
    max_session_s: int
    headers: frozenset[str]
    subjects: tuple[SubjectRule, ...]

    def rule_of(self, subject: str, claims: Mapping[str, Any]) -> SubjectRule | None:
        """An exact rule before a prefix, a longer prefix before a shorter; None: nobody's."""
        return next((rule for rule in self.subjects if rule.matches(subject, claims)), None)


@dataclass(frozen=True, slots=True)
class Issuers:
    """A file's issuers. `of_issuer` by the iss claim, `of_trust_domain` by the SPIFFE ID's."""

    of_issuer: Mapping[str, Issuer] = field(default_factory=dict)
    of_trust_domain: Mapping[str, Issuer] = field(default_factory=dict)

    def all(self) -> list[Issuer]:
        return [*self.of_issuer.values(), *self.of_trust_domain.values()]


def parse_issuers(raw: bytes) -> tuple[Issuers, Dated]:
    """The file. Raises Malformed("trust.field") naming the member and what to write there."""
    document, dated = open_document(raw, SCHEMA)
    sections = document.sections("issuers")
    document.end()
    if len(sections) > MAX_ISSUERS:
        raise wrong("issuers", f"at most {MAX_ISSUERS} issuers")
    found: dict[str, Issuer] = {}
    domains: dict[str, Issuer] = {}
    names: set[str] = set()
    for section in sections:
        issuer = _issuer(section)
        table = domains if issuer.kind == "spiffe" else found
        if issuer.iss in table or issuer.name in names:
            raise wrong(section.where, "an issuer or a name stands there twice; merge them")
        table[issuer.iss] = issuer
        names.add(issuer.name)
    return Issuers(found, domains), dated


def _issuer(section: Section) -> Issuer:
    kind = section.text("kind", "|".join(KINDS))
    spiffe = kind == "spiffe"
    iss = section.text("trust_domain", _TRUST_DOMAIN) if spiffe else _https(section, "issuer")
    algorithms = section.texts("algorithms", _PRINTED)
    if not algorithms or not algorithms <= ALGORITHMS:
        raise wrong(section.at("algorithms"), f"at least one of {', '.join(sorted(ALGORITHMS))}")
    audiences = section.texts("audiences", _PRINTED)
    if not audiences:
        raise wrong(section.at("audiences"), "name at least one audience that only this zone's tokens carry")
    keys, source = _keys(section, iss, kind)
    issuer = Issuer(
        name=section.text("name", _NAME), kind=kind,  # type: ignore[arg-type]
        iss=iss, algorithms=algorithms, audiences=audiences, keys=keys, source=source,
        skew_s=section.whole("clock_skew_seconds", 0, MAX_SKEW_S, DEFAULT_SKEW_S),
        max_age_s=section.whole("max_token_age_seconds", 60, MAX_AGE_S, DEFAULT_AGE_S),
        max_session_s=section.whole("max_session_seconds", MIN_SESSION_S, MAX_SESSION_S, DEFAULT_SESSION_S),
        headers=section.texts("headers", _CLAIM, frozenset()) - _NEVER_HEADERS,
        subjects=_subjects(section, kind, iss),
    )  # fmt: skip
    section.end()
    return issuer


_NEVER_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "p2c", "p2s", "cty", "epk"})


def _keys(section: Section, iss: str, kind: str) -> tuple[tuple[PublicKey, ...], KeySource | None]:
    """Pinned in the file, or fetched: one of `jwks`, `jwks_url`, `discovery`."""
    given = [name for name in ("jwks", "jwks_url", "discovery") if section.has(name)]
    if len(given) != 1:
        raise wrong(section.at("jwks"), "exactly one of jwks (pinned), jwks_url, discovery expected")
    if given == ["jwks"]:
        try:
            keys = public_keys(section.take("jwks"), use="jwt-svid" if kind == "spiffe" else "sig")
        except (BadKeySet, AttributeError) as error:
            raise wrong(section.at("jwks"), str(error)) from error
        if not keys:
            raise wrong(section.at("jwks"), "no usable signature key in it")
        return keys, None
    if given == ["discovery"]:
        if section.take("discovery") is not True or kind == "spiffe":
            raise wrong(section.at("discovery"), "true, of an issuer that has a URL; or give jwks_url")
        url = iss.rstrip("/") + "/.well-known/openid-configuration"
    else:
        url = _https(section, "jwks_url")
    source = KeySource(
        url=url, discovery=given == ["discovery"], ca=section.text("ca", r"/.{1,500}", ""),
        networks=_networks(section), pins=tuple(sorted(section.texts("pins", r"[0-9a-f]{64}", frozenset()))),
    )  # fmt: skip
    return (), source


def _networks(section: Section) -> tuple[Network, ...]:
    """Ranges that the host may have its addresses in; without any: public ones only."""
    try:
        return tuple(ipaddress.ip_network(text) for text in sorted(section.texts("networks", _PRINTED, frozenset())))
    except ValueError as error:
        raise wrong(section.at("networks"), f"ranges in CIDR notation: {error}") from error


def _https(section: Section, name: str) -> str:
    """An https URL in one spelling of its host. Kept as written: `iss` is compared to the letter."""
    url = section.text(name, r"https://[\x21-\x7e]{1,500}")
    try:
        parts = urlsplit(url)
        parse_endpoint(f"https://{parts.netloc}")
    except (ValueError, Refused) as error:
        raise wrong(section.at(name), f"an https URL expected: {error}") from error
    if parts.query or parts.fragment:
        raise wrong(section.at(name), "no query and no fragment")
    return url


def _subjects(section: Section, kind: str, iss: str) -> tuple[SubjectRule, ...]:
    rules = [_rule(rule, kind, iss) for rule in section.sections("subjects")]
    if not rules:
        raise wrong(section.at("subjects"), "at least one subject; without one the issuer names nobody")
    seen = [(rule.subject, rule.prefix, tuple(sorted(rule.claims.items()))) for rule in rules]
    if len(set(seen)) != len(seen):
        raise wrong(section.at("subjects"), "two rules for one subject")
    # Exact before prefix, long before short, more claims before fewer: the order in the file decides nothing.
    return tuple(sorted(rules, key=lambda rule: (rule.prefix, -len(rule.subject), -len(rule.claims), rule.principal)))


def _rule(section: Section, kind: str, iss: str) -> SubjectRule:
    prefix = section.has("subject_prefix")
    name = "subject_prefix" if prefix else "subject"
    subject = section.text(name, _PRINTED)
    if prefix and not _bounded(subject, kind, iss):
        raise wrong(
            section.at(name), "a namespace, ending in ':' or '/': system:serviceaccount:NAMESPACE:, "
            "spiffe://TRUST-DOMAIN/…/, or two or more parts such as repo:ORGANISATION/",
        )  # fmt: skip
    if "*" in subject:
        raise wrong(section.at(name), "no wildcards; write subject_prefix for a namespace")
    claims = section.section("claims")
    rule = SubjectRule(
        subject, prefix, section.text("principal", r"[^\x00-\x1f\x7f]{1,200}"),
        section.texts("purposes", _PURPOSE),
        {} if claims is None else {name: claims.text(name, r"[^\x00-\x1f]{1,512}") for name in claims.names()},
    )  # fmt: skip
    section.end()
    if not rule.purposes:
        raise wrong(section.at("purposes"), "name the purposes that this subject may act for")
    return rule


def _bounded(prefix: str, kind: str, iss: str) -> bool:
    """A prefix names a namespace of the issuer, whole: `repo:acme/model` would also be `repo:acme/model-of-mine`."""
    if kind == "kubernetes":
        return _KUBERNETES.fullmatch(prefix) is not None
    if kind == "spiffe":
        return prefix.startswith(f"spiffe://{iss}/") and prefix.endswith("/")
    parts = [part for part in re.split(r"[:/|]", prefix) if part]
    return prefix.endswith((":", "/", "|")) and len(parts) >= 2
