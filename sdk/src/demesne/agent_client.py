"""Asking an agent for credentials, as any AWS SDK would: for other processes of the job, and `demesne creds`."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from demesne.credentials import Credentials, parse_time
from demesne.errors import DemesneError, Malformed, Refused, session_closed

_TIMEOUT = 5.0  # seconds; the agent answers from memory
_GONE = "the agent does not answer: the process that attested has ended, or closed its session"


def fetch(uri: str, token_file: Path) -> Credentials:
    """The present credentials. Raises SessionClosed when the agent is gone, Refused with its reason, Malformed."""
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise session_closed(_GONE) from error
    request = urllib.request.Request(uri, headers={"Authorization": token})  # noqa: S310 - an agent's URI is http
    # No proxy of the environment: the answer holds a secret.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return _read(answer.read(65536))
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error.code, error.read(65536)) from None
    except OSError as error:
        raise session_closed(_GONE) from error


def _read(body: bytes) -> Credentials:
    try:
        said = json.loads(body)
        keys = str(said["AccessKeyId"]), str(said["SecretAccessKey"]), str(said["Token"])
        return Credentials(*keys, parse_time(said["Expiration"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed("agent.answer", "the agent's answer is not a credentials document") from error


def _refused(status: int, body: bytes) -> DemesneError:
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    code, message = str(said.get("code", "Refused")), str(said.get("message", "the agent refused"))
    return Refused(code, message, status=status, remedy="see the agent's log; attest again")
