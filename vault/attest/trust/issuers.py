"""`issuers.json`: services whose verdict on a machine is believed, each with its keys in the file.

    {"kind": "maa", "iss": "https://…attest.azure.net", "algorithms": ["RS256"], "jwks": {"keys": [ … ]}}

Keys never come from where a token points. What a service appraised by rules of somebody else is worth what those rules
are, so `policy` can ask for the appraisal policy's name or hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vault.attest.tokens import confidential_space, ear, maa, nras, trust_authority
from vault.attest.tokens.jose import Key, parse_keys
from vault.attest.trust.document import Dated, Section, open_document, wrong
from vault.errors import Refused

SCHEMA = "demesne.trust.issuers/1"
_ALGORITHMS = {
    maa.KIND: maa.ALGORITHMS,
    confidential_space.KIND: confidential_space.ALGORITHMS,
    nras.KIND: nras.ALGORITHMS,
    trust_authority.KIND: trust_authority.ALGORITHMS,
    ear.KIND: ear.ALGORITHMS,
}
_INSTANCE = r"https://[a-z0-9-]{1,64}(?:\.[a-z0-9-]{1,64}){0,2}\.attest\.azure\.(?:net|us|cn)"
_NAMES = {
    maa.KIND: _INSTANCE,
    confidential_space.KIND: confidential_space.ISSUER,
    nras.KIND: nras.ISSUER,
    trust_authority.KIND: "|".join(sorted(trust_authority.ISSUERS)),
    ear.KIND: r"[!-~][ -~]{0,255}",
}
_SHA256 = r"[0-9a-f]{64}"

Policy = (
    maa.MaaPolicy
    | confidential_space.SpacePolicy
    | nras.NrasPolicy
    | trust_authority.TrustAuthorityPolicy
    | ear.EarPolicy
)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """One service. `roots`: pins of the roots of its certificates (Confidential Space), none = the package's."""

    kind: str
    iss: str
    algorithms: frozenset[str]
    keys: Sequence[Key]
    policy: Policy
    roots: frozenset[str] = field(default_factory=frozenset)


def parse_issuers(raw: bytes) -> tuple[tuple[TokenIssuer, ...], Dated]:
    """Raises Malformed, which names the field and what to write there."""
    document, dated = open_document(raw, SCHEMA)
    found = tuple(_issuer(section) for section in document.sections("issuers"))
    document.end()
    names = [(one.kind, one.iss) for one in found]
    if len(set(names)) != len(names):
        raise wrong("issuers", "an issuer stands there twice; put its keys into one entry")
    return found, dated


def _issuer(section: Section) -> TokenIssuer:
    kind = section.text("kind", "|".join(_ALGORITHMS))
    iss = section.text("iss", _NAMES[kind])
    algorithms = section.texts("algorithms", "|".join(sorted(_ALGORITHMS[kind])))
    if not algorithms:
        raise wrong(section.at("algorithms"), f"name at least one of {', '.join(sorted(_ALGORITHMS[kind]))}")
    keys = _keys(section)
    roots: frozenset[str] = frozenset()
    audiences: frozenset[str] | None = None
    if kind == confidential_space.KIND:
        pinned = section.texts("roots", _SHA256, None)
        roots = confidential_space.ROOTS if pinned is None else pinned
        audiences = section.texts("audience", r"[!-~]{1,256}")
    if not keys and not roots:
        raise wrong(section.at("jwks"), "no key, so no token could be believed; put the service's JWK set here")
    policy = _policy(kind, section.section("policy") or Section({}, section.at("policy")), audiences)
    section.take("note", None)
    section.end()
    return TokenIssuer(kind, iss, algorithms, keys, policy, roots)


def _keys(section: Section) -> tuple[Key, ...]:
    document = section.take("jwks", None)
    if document is None:
        return ()
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise wrong(section.at("jwks"), 'a JWK set expected: {"keys": [ … ]}')
    try:
        keys = parse_keys(document)
    except Refused as refused:
        raise wrong(section.at("jwks"), f"{refused.detail}; public RSA and EC keys only") from refused
    kids = [key.kid for key in keys]
    if len(set(kids)) != len(kids):
        raise wrong(section.at("jwks"), "two keys of one kid; remove one")
    return keys


def _policy(kind: str, section: Section, audiences: frozenset[str] | None) -> Policy:
    """What is asked beside what is always asked; everything is optional."""
    policy: Policy
    match kind:
        case maa.KIND:
            policy = maa.MaaPolicy(
                policy_hashes=section.texts("policy_hashes", default=None),
                max_age_s=section.whole("max_age_seconds", 1, maa.LIFETIME_S, maa.LIFETIME_S),
            )
        case confidential_space.KIND:
            policy = confidential_space.SpacePolicy(
                audiences=audiences,
                support=section.texts("support", "STABLE|USABLE|LATEST|EXPERIMENTAL", frozenset({"STABLE"})),
                overrides=section.texts("overrides", r"[A-Za-z0-9_]{1,128}", frozenset()),
                needs_gpu=section.flag("needs_gpu", default=False),
            )
        case nras.KIND:
            policy = nras.NrasPolicy(
                models=section.texts("models", default=None),
                max_age_s=section.whole("max_age_seconds", 1, nras.LIFETIME_S, nras.LIFETIME_S),
            )
        case trust_authority.KIND:
            policy = trust_authority.TrustAuthorityPolicy(
                policy_ids=section.texts("policy_ids", default=None),
                max_age_s=section.whole("max_age_seconds", 1, trust_authority.LIFETIME_S, trust_authority.LIFETIME_S),
            )
        case _:
            policy = ear.EarPolicy(
                submodules=section.texts("submodules"),
                profiles=section.texts("profiles", f"{ear.VERAISON}|{ear.TRUSTEE}"),
                appraisals=section.texts("appraisals", default=None),
                max_age_s=section.whole("max_age_seconds", 1, 3600, 300),
            )
    section.end()
    return policy
