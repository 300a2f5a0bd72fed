"""Who calls: an access key with its secret, and for sessions a token and an end."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from demesne.errors import Malformed


@dataclass(frozen=True, slots=True)
class Credentials:
    """One S3-style credential. Secret and token never appear in a repr, a log or a traceback's locals."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expiration: datetime | None = None  # aware, UTC; None = does not end by itself

    def seconds_left(self, now: datetime) -> float:
        """Until they end; infinity for static credentials."""
        return float("inf") if self.expiration is None else (self.expiration - now).total_seconds()

    def as_container_document(self) -> dict[str, str]:
        """The container-credentials answer AWS SDKs read (sdkref: container credential provider).

        Raises Malformed for static credentials: an answer without an end would never be refreshed.
        """
        if self.session_token is None or self.expiration is None:
            raise Malformed("credentials.static", "only session credentials are served to other programs")
        return {
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key,
            "Token": self.session_token,
            "Expiration": self.expiration.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def parse_time(text: object) -> datetime:
    """RFC 3339 with an offset or Z -> aware UTC time. Raises Malformed."""
    if not isinstance(text, str):
        raise Malformed("time", "expected an RFC 3339 time")
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed("time", f"not an RFC 3339 time: {text[:40]!r}") from error
    if parsed.tzinfo is None:
        raise Malformed("time", f"a time without an offset: {text!r}")
    return parsed.astimezone(UTC)
