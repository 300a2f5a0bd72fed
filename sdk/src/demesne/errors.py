"""Everything the SDK raises on purpose: one tree, by who must react.

    DemesneError
    ├── Refused        the gateway understood and said no: rule, decision_id, remedy      (403, 401)
    │   └── ReattestationRequired   the session's attestation lapsed; attest again
    ├── NotFound       no such thing, or none this principal may know of                  (404)
    ├── Invalid        the request, or a file given to us, is wrong; names the fix        (4xx)
    ├── Conflict       another operation won, or a condition does not hold                (409, 412)
    ├── Unavailable    no answer, or the gateway cannot serve now; a retry may help       (503, network)
    │   └── SessionClosed           the session was closed, or the process that attested has ended
    ├── Malformed      the gateway's answer is not what the protocol allows
    └── NotConfigured  no endpoint, no credentials, or an extra is not installed

`exit_code` is what the command line ends with (`docs/cli.md`); it is part of the interface. S3 clients raise errors
of their own: `from_s3` turns those into these.
"""

import re
from collections.abc import Callable
from typing import Any

_FACT = re.compile(r"(Rule|What to do|Decision): (.*?)\.(?= [A-Z][A-Za-z ]*: |\s*$|\s*['\")\]])")


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

    def __reduce__(self) -> tuple[Callable[..., "DemesneError"], tuple[Any, ...]]:
        """Errors cross process borders (data-loader workers, Ray tasks) with all they know."""
        facts = {
            "status": self.status, "rule": self.rule, "decision_id": self.decision_id, "remedy": self.remedy,
            "retry_after": self.retry_after,
        }  # fmt: skip
        return _rebuilt, (type(self), self.code, self.message, facts)

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


class SessionClosed(Unavailable):
    """The session was closed here, or the process that attested has ended: attest again."""


class Conflict(DemesneError):
    """Another operation won, or a stated condition does not hold."""

    exit_code = 7


class Malformed(DemesneError):
    """The other side answered something this version of the protocol does not allow."""

    exit_code = 8


class NotConfigured(DemesneError):
    """The SDK was not told where the gateway is or who calls, or an extra is missing."""

    exit_code = 9


def _rebuilt(kind: type[DemesneError], code: str, message: str, facts: dict[str, Any]) -> DemesneError:
    return kind(code, message, **facts)


def missing_extra(package: str, extra: str) -> NotConfigured:
    """`package` is not importable; name the extra that installs it."""
    return NotConfigured("extra.missing", f"{package} is not installed", remedy=f"pip install 'demesne[{extra}]'")


def session_closed(what: str = "this session was closed") -> SessionClosed:
    """Nothing more can be asked of the session: named alike wherever it is noticed."""
    return SessionClosed("session.closed", what, remedy="attest again: demesne.session(purpose=…)")


def typed_error(
    status: int,
    code: str,
    message: str,
    *,
    rule: str | None = None,
    decision_id: str | None = None,
    remedy: str | None = None,
    retry_after: float | None = None,
) -> DemesneError:
    """The error class of an HTTP status; ReattestationRequired has a class of its own."""
    kinds: dict[int, type[DemesneError]] = {
        401: Refused, 403: Refused, 404: NotFound, 409: Conflict, 412: Conflict,
        429: Unavailable, 502: Unavailable, 503: Unavailable, 504: Unavailable,
    }  # fmt: skip
    kind = kinds.get(status, Invalid if 400 <= status < 500 else Malformed)
    if code == "ReattestationRequired":
        kind = ReattestationRequired
    return kind(
        code, message, status=status, rule=rule, decision_id=decision_id, remedy=remedy, retry_after=retry_after
    )


def split_sentence(sentence: str) -> tuple[str, dict[str, str]]:
    """The gateway's sentence -> its message, and what follows: "Rule", "What to do", "Decision"."""
    return _FACT.sub("", sentence).strip() or sentence, dict(_FACT.findall(sentence))


def from_s3(error: BaseException) -> DemesneError:
    """What an S3 client raised, as the error the gateway meant: rule, decision id and remedy with it.

    botocore's ClientError (boto3, aiobotocore) is read from its parsed answer. s3fs, pyarrow, polars, obstore and
    others hold the gateway's sentence in their text, or in the error they came from, and it is read from there.
    An error nothing is known of becomes Unavailable with its text. Never raises; `__cause__` is the original.
    """
    from demesne.client_errors import typed

    found = typed(error) or Unavailable("s3.client", f"{type(error).__name__}: {error}"[:2000])
    if found is not error:
        found.__cause__ = error
    return found
