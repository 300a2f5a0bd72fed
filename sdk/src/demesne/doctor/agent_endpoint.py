"""What the credentials endpoint that the environment names answers: reachable, willing, and for how long."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from demesne.credentials import parse_time
from demesne.doctor.environment import CONTAINER_TOKEN_FILE, CONTAINER_URI, agent_address
from demesne.doctor.findings import Finding, State
from demesne.errors import Malformed

WHAT = "credentials endpoint"
LIFETIME_SECONDS = 20 * 60
TIMEOUT = 3.0
Answer = tuple[int, bytes]
Ask = Callable[[str, str], Answer]
"""(URL, token) -> status and body. Raises httpx2.HTTPError."""


def agent_endpoint(env: Mapping[str, str], ask: Ask, now: datetime) -> list[Finding]:
    """Nothing where no endpoint is named, or one to which no token may be sent. Shows no secret."""
    url = env.get(CONTAINER_URI)
    if not url or agent_address(env) is not None:
        return []
    try:
        status, body = ask(url, _token(env))
    except httpx2.HTTPError as error:
        return [
            Finding(WHAT, State.FAIL, f"{url}: {type(error).__name__}: {error}",
                    "is the job's session, or `demesne agent`, still running?", "clients find no credentials")
        ]  # fmt: skip
    if status != 200:
        return [
            Finding(WHAT, State.FAIL, f"{url} answers {status}: {_reason(body)}",
                    "401: the token file is another agent's. 403: the session was refused or revoked; attest anew",
                    "clients find no credentials")
        ]  # fmt: skip
    try:
        left = (parse_time(_document(body).get("Expiration")) - now).total_seconds()
    except Malformed as error:
        return [Finding(WHAT, State.FAIL, f"{url}: {error}", "is this a credentials endpoint?")]
    return [_lifetime(left)]


def _lifetime(left: float) -> Finding:
    detail = f"credentials for {left / 60:.0f} more minutes"
    if left <= 0:
        return Finding(WHAT, State.FAIL, "expired credentials", "attest anew", "every request is refused")
    if left < LIFETIME_SECONDS:
        return Finding(
            WHAT, State.WARN, detail, "hand out credentials of an hour; what ends a session early is revocation",
            "below 20 minutes AWS SDKs ask the endpoint again at every request",
        )  # fmt: skip
    return Finding(WHAT, State.OK, detail)


def _token(env: Mapping[str, str]) -> str:
    try:
        return Path(env.get(CONTAINER_TOKEN_FILE, "")).read_text().strip()
    except OSError:
        return ""  # the environment's own check names it


def _document(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Malformed("credentials.answer", "the endpoint answers no JSON object")
    return found


def _reason(body: bytes) -> str:
    try:
        return str(_document(body).get("message", ""))[:200]
    except Malformed:
        return body[:80].decode(errors="replace")


def ask(url: str, token: str) -> Answer:
    """An `Ask`, past every proxy: the token is for this machine."""
    with httpx2.Client(trust_env=False, timeout=TIMEOUT) as client:
        answer = client.get(url, headers={"Authorization": token} if token else {})
        return answer.status_code, answer.content


def utc_now() -> datetime:
    return datetime.now(UTC)
