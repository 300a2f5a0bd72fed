"""Google Confidential Space: a token of Google's verifier, asked of the launcher over its socket.

    POST /v1/token {"audience", "token_type": "OIDC" | "PKI", "nonces": [8 to 88 characters each]} → the token, as text

The binding is the one nonce: base64url of the 64 bytes has 86 characters.
"""

import base64
import http.client
import json
import socket
from pathlib import Path
from typing import Any, Literal

from demesne.errors import Invalid, Malformed, NotConfigured, Unavailable

SOCKET = Path("/run/container_launcher/teeserver.sock")
_MOST = 16 * 1024  # what the gateway reads
_SECONDS = 30.0


class ConfidentialSpaceAttester:
    """Tokens for `audience`, which the gateway's trust material names; PKI ones need no fetched keys."""

    kind = "confidential-space"

    def __init__(
        self,
        audience: str,
        *,
        form: Literal["OIDC", "PKI"] = "PKI",
        path: Path = SOCKET,
        seconds: float = _SECONDS,
    ) -> None:
        if not audience:
            raise Invalid("evidence.audience", "a token is for an audience", remedy="set DEMESNE_EVIDENCE_AUDIENCE")
        self._audience = audience
        self._form = form
        self._socket = path
        self._seconds = seconds

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence, version 1 (docs/spec/attestation.md §9). Raises NotConfigured, Unavailable, Malformed."""
        if len(report_data) != 64:
            raise Invalid("evidence.report-data", "report_data is 64 bytes")
        nonce = base64.urlsafe_b64encode(report_data).rstrip(b"=").decode("ascii")
        return {"kind": self.kind, "version": 1, "token": self._token(nonce)}

    def _token(self, nonce: str) -> str:
        body = {"audience": self._audience, "token_type": self._form, "nonces": [nonce]}
        if not self._socket.exists():
            raise NotConfigured("evidence.confidential-space", f"{self._socket} is not here: no Confidential Space")
        try:
            status, answer = self._asked(json.dumps(body).encode())
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("evidence.confidential-space", f"the launcher does not answer: {error}") from error
        if status != 200:
            wrong = Invalid if status == 400 else Unavailable
            said = answer[:200].decode("utf-8", "replace").strip()
            raise wrong("evidence.confidential-space", f"the launcher answers {status}: {said}")
        token = answer.decode("utf-8", "replace").strip()
        if len(token) > _MOST or token.count(".") != 2 or not token.isascii():
            raise Malformed("evidence.confidential-space", "the launcher answers no token")
        return token

    def _asked(self, body: bytes) -> tuple[int, bytes]:
        connection = _Local(self._socket, self._seconds)
        try:
            connection.request("POST", "/v1/token", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST + 1)
        finally:
            connection.close()


class _Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
