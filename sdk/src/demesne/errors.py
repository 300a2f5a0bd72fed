"""Everything the SDK raises on purpose: one tree, by who must react.

    DemesneError
    ├── Refused        the gateway understood and said no: rule, decision_id, remedy      (403, 401)
    │   └── ReattestationRequired   the session's attestation lapsed; attest again
    ├── NotFound       no such thing, or none this principal may know of                  (404)
    ├── Invalid        the request, or a file given to us, is wrong; names the fix        (4xx)
    ├── Conflict       another operation won, or a condition does not hold                (409, 412)
    ├── Unavailable    no answer, or the gateway cannot serve now; a retry may help       (503, network)
    ├── Malformed      the gateway's answer is not what the protocol allows
    └── NotConfigured  no endpoint, no credentials, or an extra is not installed

`exit_code` is what the command line ends with (`docs/cli.md`); it is part of the interface.
"""


class DemesneError(Exception):
    """Base. `code` is stable; `str(error)` is one sentence for people, with rule, remedy and decision."""

    exit_code = 1

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        rule: str | None = None,
        decision_id: str | None = None,
        remedy: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.status = status
        self.rule = rule
        self.decision_id = decision_id
        self.remedy = remedy
        self.retry_after = retry_after
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """Message, rule, what to do, decision id: the parts that are known, in this order."""
        parts = [f"{self.code}: {self.message.rstrip('.')}."]
        if self.rule:
            parts.append(f"Rule: {self.rule}.")
        if self.remedy:
            parts.append(f"What to do: {self.remedy.rstrip('.')}.")
        if self.decision_id:
            parts.append(f"Decision: {self.decision_id}.")
        return " ".join(parts)

    def as_document(self) -> dict[str, object]:
        """The error as `--json` prints it; absent facts are left out."""
        facts = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
            "rule": self.rule,
            "decision_id": self.decision_id,
            "remedy": self.remedy,
        }
        return {name: value for name, value in facts.items() if value is not None}


class Refused(DemesneError):
    """The doctrine, or a floor rule below it, says no; nothing was released or changed."""

    exit_code = 3


class ReattestationRequired(Refused):
    """The session's last attestation is too old to open anything raw."""


class NotFound(DemesneError):
    """No such thing, or none the caller may know of (the gateway does not say which)."""

    exit_code = 4


class Invalid(DemesneError):
    """The request or the input is wrong in itself."""

    exit_code = 5


class Unavailable(DemesneError):
    """No connection, no answer in time, or a closed zone. Nothing was served."""

    exit_code = 6


class Conflict(DemesneError):
    """Another operation won, or a stated condition does not hold."""

    exit_code = 7


class Malformed(DemesneError):
    """The other side answered something this version of the protocol does not allow."""

    exit_code = 8


class NotConfigured(DemesneError):
    """The SDK was not told where the gateway is or who calls, or an extra is missing."""

    exit_code = 9


def missing_extra(package: str, extra: str) -> NotConfigured:
    """`package` is not importable; name the extra that installs it."""
    return NotConfigured(
        "extra.missing", f"{package} is not installed", remedy=f"pip install 'demesne[{extra}]'"
    )
