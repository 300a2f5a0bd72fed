"""The KMS client of boto3 with nothing of its own choosing: no retries, redirects, proxies, profiles or endpoints from
the environment, and an access key that is read from one file."""

import configparser
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import botocore.session
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.exceptions import ConnectionError as LineError
from botocore.parsers import ResponseParserError

from vault.endpoint.botocore_session import send_through
from vault.endpoint.dialer import Dialer
from vault.errors import Unavailable
from vault.keys.tls_failure import is_certificate_failure, of_the_line

CALL_SECONDS = 0.25
_CONNECTIONS = 16
_THROTTLED = {"ThrottlingException", "Throttling", "RequestLimitExceeded", "LimitExceededException", "SlowDown"}
_CREDENTIAL = {
    "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "ExpiredTokenException",
    "InvalidClientTokenId", "IncompleteSignature", "MissingAuthenticationToken", "NotAuthorizedException",
}  # fmt: skip
_DIRECT: dict[str, Any] = {
    "proxies": {}, "ignore_configured_endpoint_urls": True, "use_fips_endpoint": False, "use_dualstack_endpoint": False,
}  # fmt: skip
_NOWHERE = {"config_file": os.devnull, "credentials_file": os.devnull, "profile": None, "ca_bundle": None}


class KmsClient:
    """Calls one KMS endpoint. The credential file is read at every call: whoever replaces it replaces the key.

    File: `[default]`, `aws_access_key_id`, `aws_secret_access_key` and, if temporary, `aws_session_token`.
    """

    def __init__(
        self, credential: Path | None, *, region: str, endpoint: str, dialer: Dialer, ca: Path | None = None,
        seconds: float = CALL_SECONDS,
    ) -> None:  # fmt: skip
        self._credential = credential
        self._dialer = dialer
        self._seconds = seconds
        self._options: dict[str, Any] = {
            "region_name": region, "endpoint_url": endpoint, "verify": str(ca) if ca else True,
            "config": Config(
                connect_timeout=seconds, read_timeout=seconds, retries={"mode": "standard", "total_max_attempts": 1},
                max_pool_connections=_CONNECTIONS, signature_version="v4", **_DIRECT,
            ),
        }  # fmt: skip
        self._lock = Lock()
        self._made: tuple[str, Any] | None = None

    def prepare(self) -> None:
        """Have the client made now, which takes boto3 longer than a call may; a credential that is not there yet is
        for the first call to name."""
        with suppress(Unavailable):
            self._client().generate_presigned_url("list_keys")  # signs, and sends nothing: rules and signer are loaded

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer; `ClientError` for what KMS itself refused (`raise_unavailable` knows the rest)."""
        try:
            answer: dict[str, Any] = getattr(self._client(), operation)(**arguments)
        except Unavailable as error:
            raise of_the_line(error) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise_unavailable(error)
        return answer

    def _client(self) -> Any:
        text = self._credential_text()
        with self._lock:
            if self._made is None or self._made[0] != text:
                client = _connect(text, self._options)
                send_through(
                    client, self._dialer, verify=self._options["verify"], timeout=(self._seconds, self._seconds),
                    connections=_CONNECTIONS,
                )  # fmt: skip
                self._made = (text, client)
            return self._made[1]

    def _credential_text(self) -> str:
        try:
            return self._credential.read_text("ascii") if self._credential else ""
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable("provider.credential", f"{self._credential}: {type(error).__name__}") from error


def _connect(text: str, options: dict[str, Any]) -> Any:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        given = parser["default"]
        access, secret = given["aws_access_key_id"], given["aws_secret_access_key"]
    except (configparser.Error, KeyError) as error:
        raise Unavailable("provider.credential", "no [default] with an access key in the file") from error
    variables = {name: (None, None, value, None) for name, value in _NOWHERE.items()}
    return Session(botocore_session=botocore.session.Session(session_vars=variables)).client(
        "kms", aws_access_key_id=access, aws_secret_access_key=secret,
        aws_session_token=given.get("aws_session_token"), **options,
    )  # fmt: skip


def raise_unavailable(error: Exception) -> NoReturn:
    """Why there is no answer, by name; what KMS refused by its own rules is told apart before."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _THROTTLED or status == 429:
            raise Unavailable("provider.throttled", code) from error
        if code in _CREDENTIAL or status in {401, 403}:
            raise Unavailable("provider.credential", code) from error
        if 300 <= status < 400:
            raise Unavailable("provider.redirect", "not followed") from error
        if code == "DependencyTimeoutException":
            raise Unavailable("provider.timeout", code) from error
        raise Unavailable("provider.error", f"{status} {code}") from error
    name = type(error).__name__
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        raise Unavailable("provider.timeout", name) from error
    if isinstance(error, SSLError) and is_certificate_failure(error):
        raise Unavailable("provider.tls", "the certificate is of no authority that was named") from error
    if isinstance(error, (ResponseParserError, ResponseStreamingError)):
        raise Unavailable("provider.answer", name) from error
    if isinstance(error, (LineError, HTTPClientError)):
        raise Unavailable("provider.connection", name) from error
    raise Unavailable("provider.error", name) from error
