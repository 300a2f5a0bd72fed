"""Where a session's credentials count: on the connection of who holds the attested key, or at the address that the
evidence came from.

Credentials are data: they are copied out of a job's memory, a core dump, a log. What cannot be copied with them is the
key in the attested machine (shown by a client certificate), and the address of that machine. Of two sources that use
one session at once at least one is not the machine that attested. It is always the newcomer that is refused, and on
record each time: the machine goes on, and a thief cannot end its work by showing himself. If the machine itself moved,
it attests again from where it is now.

The address is the peer's of the TCP connection. X-Forwarded-For and its kin are the caller's own word and count for
nothing; behind a proxy that hides its clients every client has the proxy's address (docs/spec/attested-session.md §6).
"""

from gateway.decide.decision import Decision, Deny, deny
from gateway.identity.principal import Principal
from vault.catalog.rows import SessionRow

OTHER_SOURCE = "session.other-source"
OTHER_KEY = "session.other-key"


def elsewhere(principal: Principal, row: SessionRow | None) -> str:
    """The rule that this use of the session breaks; "" where its credentials count, and for rows bound to nothing."""
    if row is None:
        return ""
    if row.bound_key and principal.client_key != row.bound_key:
        return OTHER_KEY
    if row.bound_source and principal.source != row.bound_source:
        return OTHER_SOURCE
    return ""


def refused_elsewhere(decision: Decision, rule: str) -> Deny:
    """In place of whatever was decided."""
    if rule == OTHER_KEY:
        return deny(
            decision.decision_id, decision.revision, rule,
            "This session's credentials count on a connection that shows the certificate of its attested key",
            "connect over TLS with the client certificate the session was opened with",
        )  # fmt: skip
    return deny(
        decision.decision_id, decision.revision, rule,
        "This session was attested from another address: its credentials count there and nowhere else",
        "use them on the machine that attested; if it moved, attest again from its new address",
    )  # fmt: skip
