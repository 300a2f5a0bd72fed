"""Credentials of a workload that has a token and no key: AssumeRoleWithWebIdentity at the zone's S3 endpoint.

    demesne.session(purpose="train", credentials=WebIdentity(TokenFile(), s3_endpoint="https://…", purpose="train"))

The token says who it is (Kubernetes, SPIFFE, or another issuer that the zone trusts), and opens views only; what is
attested on top of it opens more. The token is read when credentials are needed, and kept nowhere.
"""

import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx2 as httpx

from demesne._connection import now_utc
from demesne.credentials import Credentials
from demesne.errors import DemesneError, Invalid, Malformed, Refused, Unavailable
from demesne.evidence.identity_tokens import IdentityTokens

_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_RENEW_SECONDS = 300.0
_MOST = 64 * 1024
_LATER = {"IDPCommunicationError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "InternalFailure"}


class WebIdentity:
    """Called for credentials; asks the zone when those at hand have less than five minutes left. Thread-safe."""

    def __init__(
        self, tokens: IdentityTokens, *, s3_endpoint: str, purpose: str, tenant: str = "main",
        name: str = "demesne-job", ca: Path | None = None, seconds: float = 10.0,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._endpoint = s3_endpoint.rstrip("/") + "/"
        self._role = f"arn:demesne:iam::{tenant}:purpose/{purpose}"
        self._name = name
        self._ca = ca
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Credentials | None = None

    def __call__(self) -> Credentials:
        """Raises Refused (the zone does not believe the token), Unavailable, and what the token's source raises."""
        with self._lock:
            if self._held is None or self._held.seconds_left(self._clock()) < _RENEW_SECONDS:
                self._held = self._assumed(self._tokens.token())
            return self._held

    def _assumed(self, token: str) -> Credentials:
        form = {
            "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": self._role,
            "RoleSessionName": self._name, "WebIdentityToken": token,
        }  # fmt: skip
        trust = ssl.create_default_context(cafile=str(self._ca)) if self._ca else True
        try:
            with httpx.Client(verify=trust, trust_env=False, timeout=self._seconds) as client:
                answer = client.post(self._endpoint, data=form)
        except httpx.HTTPError as error:
            raise Unavailable("identity.sts", f"the zone does not answer: {error}") from error
        if len(answer.content) > _MOST:
            raise Malformed("identity.sts", f"the zone answers {len(answer.content)} bytes")
        try:
            document = ET.fromstring(answer.content)  # noqa: S314 - expat since 2.4 bounds its expansion
        except ET.ParseError as error:
            raise Malformed("identity.sts", f"the zone answers {answer.status_code} and no XML") from error
        if answer.status_code != 200:
            raise _refused(document, answer.status_code)
        return _credentials(document)


def _credentials(document: ET.Element) -> Credentials:
    def text(name: str) -> str:
        found = document.findtext(f".//{_NAMESPACE}Credentials/{_NAMESPACE}{name}")
        if not found:
            raise Malformed("identity.sts", f"the zone's answer has no {name}")
        return found

    try:
        ends = datetime.fromisoformat(text("Expiration"))
    except ValueError as error:
        raise Malformed("identity.sts", "the zone's answer has no Expiration") from error
    return Credentials(text("AccessKeyId"), text("SecretAccessKey"), text("SessionToken"), ends)


def _refused(document: ET.Element, status: int) -> DemesneError:
    code = document.findtext(f".//{_NAMESPACE}Error/{_NAMESPACE}Code") or f"HTTP {status}"
    said = (document.findtext(f".//{_NAMESPACE}Error/{_NAMESPACE}Message") or "no reason was given")[:300]
    if code in _LATER or status >= 500:
        return Unavailable("identity.sts", f"{code}: {said}", status=status, retry_after=2)
    if code in {"ValidationError", "InvalidAction", "MissingAction"}:
        return Invalid("identity.sts", f"{code}: {said}", status=status)
    return Refused(
        "identity.sts", said, status=status, rule=code,
        remedy="is the token's issuer, audience and subject one that the zone's identity-issuers.json names?",
    )  # fmt: skip
