"""The four kinds of failure a vault call can end in; every vault exception is exactly one of them.

    VaultError
    ├── Malformed    the bytes at hand are not what the format allows (their fault, never retried)
    ├── Refused      a rule says no: wrong context, wrong class, no grant, row edited
    ├── Unavailable  a dependency did not answer in its budget; a retry may help
    └── Broken       an invariant of ours does not hold; stop and look

Adapters translate library errors into these at the border, once. `reason` is a stable,
machine-readable name; `str(error)` is for the operator's log and never reaches a caller.
"""


class VaultError(Exception):
    """Base of everything the vault raises on purpose."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Malformed(VaultError):
    """Stored or presented bytes do not parse, authenticate, or have a possible length."""


class Refused(VaultError):
    """The request is understood and not permitted."""


class NotFound(Refused):
    """Nothing of that name exists (callers must not reveal this to those who may not know)."""


class Conflict(Refused):
    """A precondition does not hold: another commit won, or the state moved on."""


class Unavailable(VaultError):
    """A store, key provider, or catalog did not answer within its budget."""


class Broken(VaultError):
    """An invariant of this program failed; the process must not go on serving from this state."""
