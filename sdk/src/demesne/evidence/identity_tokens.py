"""Tokens that say *who* a workload is, for AssumeRoleWithWebIdentity: identity, never evidence of a machine.

Kubernetes: a projected service-account token, renewed in place by the kubelet. SPIFFE: a JWT-SVID, from a file that
spiffe-helper keeps, or from the Workload API (`demesne.evidence.spiffe`).
"""

import base64
import binascii
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from demesne.errors import Malformed, NotConfigured, Unavailable

KUBERNETES = Path("/var/run/secrets/tokens/demesne")
_MOST = 16 * 1024
_LEFT = 10.0  # seconds a token must still be good for: it is used at once


class IdentityTokens(Protocol):
    """Where a workload's token comes from."""

    def token(self) -> str:
        """A token that is good now. Raises NotConfigured, Unavailable, Malformed."""
        ...


class TokenFile:
    """A file with one token, read anew each time: kubelet and spiffe-helper replace it long before it ends.

    The file may be exchanged by a symlink's move (kubelet) or be written in place; a half-written one is read again.
    """

    def __init__(
        self, path: Path = KUBERNETES, *, clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._path = path
        self._clock = clock
        self._sleep = sleep

    def token(self) -> str:
        for _ in range(3):
            token = self._read()
            if _form_of_token(token):
                break
            self._sleep(0.1)
        else:
            raise Malformed(
                "identity.token", f"{self._path} holds no token", remedy="one compact JWS, and nothing else"
            )
        left = _ends(token) - self._clock()
        if left < _LEFT:
            raise Unavailable(
                "identity.expired", f"the token in {self._path} ended {-left:.0f} s ago" if left < 0
                else f"the token in {self._path} ends in {left:.0f} s",
                remedy="what renews it has stopped: kubelet, or spiffe-helper", retry_after=5,
            )  # fmt: skip
        return token

    def _read(self) -> str:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotConfigured(
                "identity.file", f"{self._path}: {error.strerror}",
                remedy="project a service-account token with the gateway's audience, or run spiffe-helper",
            ) from error  # fmt: skip
        with os.fdopen(descriptor, "rb") as file:
            raw = file.read(_MOST + 1)
        if len(raw) > _MOST:
            raise Malformed("identity.token", f"{self._path} is longer than {_MOST} bytes")
        return raw.decode("ascii", "replace").strip()  # editors and shells leave a newline; a header cannot have one


def _form_of_token(token: str) -> bool:
    return token.count(".") == 2 and token.isascii() and all(token.split("."))


def _ends(token: str) -> float:
    """`exp` of a token, unverified: whether to send it at all."""
    body = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Malformed("identity.token", f"the token does not parse: {error!r}"[:200]) from error
