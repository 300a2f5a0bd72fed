"""What the gateway answers when it does not do what was asked: one tree, one table.

Every refusal names the rule, the decision and what to do; none says more than the caller may know.
The S3 dialect turns `code` into its XML, the API into RFC 9457 problem documents.

    GatewayError
    ├── Denied              the doctrine or a floor rule says no                       403
    │   └── SessionEnded    while its data was on its way: the connection is cut
    ├── NotFound            no such thing, or none the caller may know of              404
    ├── BadRequest          the request itself is wrong; names the field and the fix   4xx
    ├── PreconditionFailed  If-Match and friends, or a plan that changed               412
    ├── Conflict            another operation won                                      409
    └── Unavailable         closed zone, ledger, key provider, view being built        503
"""

from collections.abc import Mapping


class GatewayError(Exception):
    """Base. `code` is stable and public; `message` is for people and holds no data values.

    `headers` are response headers a dialect must send with the refusal (x-amz-delete-marker and the like).
    """

    status = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        rule: str | None = None,
        decision_id: str | None = None,
        remedy: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status if status is not None else type(self).status
        self.rule = rule
        self.decision_id = decision_id
        self.remedy = remedy
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        self.on_record = decision_id is not None
        """Whoever refused has written it down already, as a decision or in an entry of its own."""

    @property
    def sentence(self) -> str:
        """The whole story in one line: message, rule, remedy, decision id."""
        parts = [self.message.rstrip(".") + "."]
        if self.rule:
            parts.append(f"Rule: {self.rule}.")
        if self.remedy:
            parts.append(f"What to do: {self.remedy.rstrip('.')}.")
        if self.decision_id:
            parts.append(f"Decision: {self.decision_id}.")
        return " ".join(parts)


class Denied(GatewayError):
    """The doctrine, or a floor rule below it, says no."""

    status = 403


class SessionEnded(Denied):
    """A session that was good when an answer began and is not any more. Whoever has begun to answer cuts the
    connection: what waits in it must not go out for as long as the client likes."""


class NotFound(GatewayError):
    """Nothing of that name that this caller may know of."""

    status = 404


class BadRequest(GatewayError):
    """The request is wrong in itself; the message names the field and the fix."""

    status = 400


class PreconditionFailed(GatewayError):
    """A condition the caller stated does not hold."""

    status = 412


class Conflict(GatewayError):
    """Another operation won; nothing of this one happened."""

    status = 409


class Unavailable(GatewayError):
    """Closed on purpose, or a part did not answer in its budget. Nothing was served."""

    status = 503
