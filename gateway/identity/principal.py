"""Who calls, once an authenticator has verified it. Made only by `gateway/identity`; everyone else reads it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """What a session token seals. Immutable: whatever may change (freshness, revocation) is a catalog row."""

    session_id: str
    purpose: str
    scope: tuple[str, ...]  # dataset names, sorted
    run_id: str
    kind: str  # "attested" | "identity"
    expires_at: int  # ms UTC


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller with exactly one purpose. `session` is None for static keys."""

    tenant: str
    principal_id: str
    name: str
    kind: str  # "human" | "workload" | "service"
    roles: frozenset[str]
    jurisdiction: str
    purposes: frozenset[str]  # what this principal may act for; `purpose` is the one it acts for now
    purpose: str
    session: SessionClaims | None
    access_key_id: str
    source: str = field(default="", compare=False)  # peer address of this request, as `peer_address` spells it
    client_key: str = field(default="", compare=False)  # thumbprint of the key its connection showed a certificate for
    authenticator: str = field(default="sigv4", compare=False)  # "sigv4" | "presigned": never raw over a link
