"""One HTTP API of HashiCorp Vault or OpenBao, asked with one credential: hvac's adapter with its comforts taken off.

No redirects (a standby's 307 would carry the token wherever it points), no proxies, tokens or authorities from the
environment, no retries: `vault.keys.deadline` is the only one that tries again. Answers are bounded in size and time.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import requests
from hvac.adapters import RawAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from vault.endpoint.dialer import Dialer
from vault.endpoint.requests_adapter import DialledAdapter
from vault.errors import NotFound, Refused, Unavailable
from vault.keys.tls_failure import is_certificate_failure, of_the_line

CALL_SECONDS = 0.25
_MAX_ANSWER = 64 << 10
_MAX_CREDENTIAL = 8 << 10
_CHUNK = 8 << 10
_STATES = {429: "provider.throttled", 472: "provider.standby", 473: "provider.standby", 501: "provider.sealed"}

Document = dict[str, Any]


class BadRequest(Refused):
    """400: the server understood and will not; which rule it was, its text says only to people."""


class TransitApi:
    """`read`, `write`, `delete` below /v1/. Thread safe. Raises, for every call:

    `Unavailable("provider.connection" | "timeout" | "tls" | "redirect" | "throttled" | "sealed" | "standby" |
    "error" | "answer" | "credential")` and what its dialer says of an address, `Refused("provider.denied")` on 403 with
    a living token, `NotFound`, `BadRequest`.
    """

    def __init__(
        self, url: str, credential: Path | None, *, dialer: Dialer, ca: Path | None = None,
        namespace: str | None = None, seconds: float = CALL_SECONDS, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        session = requests.Session()
        session.trust_env = False
        session.verify = str(ca) if ca else True
        session.mount("https://", DialledAdapter(dialer))
        session.mount("http://", DialledAdapter(dialer))
        self._http = RawAdapter(
            base_uri=url, session=session, allow_redirects=False, timeout=(seconds, seconds), namespace=namespace
        )
        self._credential = credential
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = Lock()
        self._login: tuple[str, str, float] | None = None  # credential text, token, good until

    def read(self, path: str) -> Document:
        return self._data(self._ask("get", path, None))

    def write(self, path: str, body: Document) -> Document:
        return self._data(self._ask("post", path, body))

    def delete(self, path: str) -> None:
        self._ask("delete", path, None)

    def health(self) -> Document:
        """What it says of itself without a credential; `Unavailable("provider.sealed")` when it is."""
        status, document = self._send("get", "v1/sys/health", None, None, {"standbyok": "true"})
        if status == 503 or document.get("sealed") is not False:
            raise Unavailable("provider.sealed")
        if status != 200:
            raise Unavailable(_STATES.get(status, "provider.error"), f"health {status}")
        return document

    def _ask(self, method: str, path: str, body: Document | None) -> Document:
        token = self._token()
        status, document = self._send(method, f"v1/{path}", body, token)
        if status == 403:
            self._raise_denied(token, path)
        _raise_for(status, document, path)
        return document

    def _raise_denied(self, token: str, path: str) -> None:
        """A dead token and a living one that may not are both 403: the token itself is asked which it is."""
        status, document = self._send("get", "v1/auth/token/lookup-self", None, token)
        if status == 403:
            with self._lock:
                self._login = None
            raise Unavailable("provider.credential", "the token is expired, revoked or unknown")
        _raise_for(status, document, "lookup-self")
        raise Refused("provider.denied", path)

    def _token(self) -> str:
        """The token in the file, or one for the AppRole in it: read anew, so that an agent may replace the file."""
        text = self._credential_text()
        if not text.startswith("{"):
            return text
        with self._lock:
            if self._login is not None and self._login[0] == text and self._monotonic() < self._login[2]:
                return self._login[1]
            token, seconds = self._log_in(text)
            self._login = (text, token, self._monotonic() + seconds * 2 / 3)
            return token

    def _credential_text(self) -> str:
        try:
            text = self._credential.read_text("ascii")[:_MAX_CREDENTIAL].strip() if self._credential else ""
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable("provider.credential", f"{self._credential}: {type(error).__name__}") from error
        if not text or not text.isprintable():
            raise Unavailable("provider.credential", f"{self._credential} holds no token and no AppRole")
        return text

    def _log_in(self, text: str) -> tuple[str, int]:
        try:
            given = json.loads(text)
            role = {"role_id": given["role_id"], "secret_id": given["secret_id"]}
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("provider.credential", "neither a token nor {role_id, secret_id}") from error
        status, document = self._send("post", f"v1/auth/{given.get('mount', 'approle')}/login", role, None)
        if status in {400, 403}:
            raise Unavailable("provider.credential", "the AppRole may not log in")
        _raise_for(status, document, "login")
        auth = document.get("auth")
        token, seconds = (auth.get("client_token"), auth.get("lease_duration")) if isinstance(auth, dict) else (0, 0)
        if not isinstance(token, str) or not isinstance(seconds, int) or not token.isprintable():
            raise Unavailable("provider.answer", "a login without a token")
        return token, seconds

    def _send(
        self, method: str, path: str, body: Document | None, token: str | None, params: dict[str, str] | None = None
    ) -> tuple[int, Document]:
        headers = {"Accept-Encoding": "identity"} | ({"X-Vault-Token": token} if token else {})
        end = self._monotonic() + self._seconds
        try:
            answer = self._http.request(
                method, path, headers=headers, json=body, params=params, stream=True, raise_exception=False
            )
            try:
                content = self._content(answer, end)
            finally:
                answer.close()
        except Unavailable as error:
            raise of_the_line(error) from error
        except requests.exceptions.SSLError as error:
            if is_certificate_failure(error):
                raise Unavailable("provider.tls", "the certificate is of no authority that was named") from error
            raise Unavailable("provider.connection", "ended inside the handshake") from error
        except (requests.exceptions.Timeout, ReadTimeoutError, TimeoutError) as error:
            raise Unavailable("provider.timeout", path) from error
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise Unavailable("provider.connection", type(error).__name__) from error
        if 300 <= answer.status_code < 400:
            raise Unavailable("provider.redirect", "not followed")
        return answer.status_code, _document(answer.status_code, content)

    def _content(self, answer: requests.Response, end: float) -> bytes:
        content = b""
        while chunk := answer.raw.read1(_CHUNK):
            content += chunk
            if len(content) > _MAX_ANSWER:
                raise Unavailable("provider.answer", f"more than {_MAX_ANSWER} bytes")
            if self._monotonic() > end:  # a byte at a time is no answer either
                raise Unavailable("provider.timeout", "the answer trickles")
        return content

    @staticmethod
    def _data(document: Document) -> Document:
        data = document.get("data")
        return data if isinstance(data, dict) else {}


def _document(status: int, content: bytes) -> Document:
    if not content:
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        if status >= 400:  # what stands in front of a server may say so in its own words
            return {}
        raise Unavailable("provider.answer", "not JSON") from error
    if not isinstance(document, dict):
        raise Unavailable("provider.answer", "no JSON object")
    return document


def _raise_for(status: int, document: Document, path: str) -> None:
    if status in {200, 204}:
        return
    if status == 400:
        raise BadRequest("provider.refused", path)
    if status == 404:
        raise NotFound("provider.missing", path)
    if status == 503:
        said = " ".join(map(str, errors)) if isinstance(errors := document.get("errors"), list) else ""
        raise Unavailable("provider.sealed" if "sealed" in said else "provider.error", f"{path}: 503")
    raise Unavailable(_STATES.get(status, "provider.error"), f"{path}: {status}")
