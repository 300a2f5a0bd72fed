"""The session's agent: keeps the attestation fresh, and hands credentials to any AWS SDK on this machine.

One thread re-attests in time (`renewal.py`). Another serves the *container credentials* protocol on loopback (AWS
sdkref, container credential provider): the one mechanism that every S3 client tried could use. Answers come from
memory.

The token guards against other users of the machine: any local process can connect to a loopback port, so
only who can read the 0600 token file gets credentials.
"""

import json
import logging
import os
import random
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demesne.credentials import Credentials
from demesne.errors import DemesneError, session_closed
from demesne.loopback import Loopback
from demesne.renewal import FIRST_RETRY, Renewal

PATH = "/v1/credentials"
_LOG = logging.getLogger("demesne.agent")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent serves. Port 0 takes a free one; without `token_file` it lies in a directory of its own."""

    host: str = "127.0.0.1"
    port: int = 0
    token_file: Path | None = None


class Agent:
    """Serves what `credentials()` returns and calls `reattest()` in time. Starts in `start()`, ends in `close()`.

    `reattest` returns the seconds until the attestation lapses. When it raises Refused the agent stops asking
    and the endpoint answers 403 with the reason: a revoked session must be seen, not retried for ever.
    """

    def __init__(
        self,
        *,
        credentials: Callable[[], Credentials],
        reattest: Callable[[], int] | None,
        fresh_seconds: int,
        retry_seconds: float = FIRST_RETRY,
        place: Place | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._reattest = reattest
        self._renewal = Renewal(fresh_seconds, chance, first_retry=retry_seconds)
        self._place = place or Place()
        self._clock = clock
        self._stopped = threading.Event()
        self._final = threading.Event()
        self._failure: DemesneError | None = None
        self._token = ""
        self._directory: Path | None = None
        self._server: Loopback | None = None
        self._thread: threading.Thread | None = None
        self._served: tuple[Credentials, bytes] | None = None

    def start(self) -> None:
        """Listen, write the token file, begin re-attesting. Raises Unavailable when the address is taken."""
        server = Loopback(self._answer, self._place.host, self._place.port)
        self._directory = Path(tempfile.mkdtemp(prefix="demesne-session-"))  # 0700 by mkdtemp
        # Never the one that an earlier run left: while no agent listened, any user of the machine could take the port,
        # and clients sent it there. They read the file again each time.
        self._token = secrets.token_urlsafe(32)
        write_private(self.token_file, self._token.encode("ascii"))
        self._server = server
        server.start()
        if self._reattest is not None:
            self._thread = threading.Thread(target=self._keep_fresh, name="demesne-reattest", daemon=True)
            self._thread.start()

    @property
    def uri(self) -> str:
        """What AWS_CONTAINER_CREDENTIALS_FULL_URI must say. Raises SessionClosed."""
        if self._server is None:
            raise session_closed()
        host = f"[{self._server.host}]" if ":" in self._server.host else self._server.host
        return f"http://{host}:{self._server.port}{PATH}"

    @property
    def token_file(self) -> Path:
        """What AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE must say. Raises SessionClosed."""
        return self._place.token_file or self.directory / "token"

    @property
    def directory(self) -> Path:
        """0700, ours, gone when the agent closes: for what a session's clients must read. Raises SessionClosed."""
        if self._directory is None:
            raise session_closed()
        return self._directory

    @property
    def failure(self) -> DemesneError | None:
        """Why the last re-attestation failed; None while all is well."""
        return self._failure

    def wait_final(self, seconds: float) -> bool:
        """Whether the gateway refused for good, waiting at most so long."""
        return self._final.wait(seconds)

    def answer(self, path: str, claimed_token: str | None) -> tuple[int, dict[str, str]]:
        """Status and document for one request to the endpoint, or to /readyz (which needs no token)."""
        if path == "/readyz":
            fine = self._failure is None
            return (200, {"status": "ready"}) if fine else (503, {"status": "failing"})
        if path != PATH:
            return 404, {"code": "NotFound", "message": "only the credentials path is served here"}
        if not secrets.compare_digest((claimed_token or "").encode(), self._token.encode()):
            return 401, {"code": "Unauthorized", "message": "the token file's content goes into Authorization"}
        if self._final.is_set() and self._failure is not None:
            return 403, {"code": self._failure.code, "message": str(self._failure)}
        return 200, self._credentials().as_container_document()

    def _answer(self, path: str, claimed_token: str | None) -> tuple[int, bytes]:
        status, document = self.answer(path, claimed_token)
        return status, json.dumps(document).encode()

    def _keep_fresh(self) -> None:
        """The thread: wait, re-attest, report failures once each, give up only when refused for good."""
        pause, attested = self._renewal.pause(), self._clock()
        while not self._stopped.wait(pause):
            try:
                assert self._reattest is not None
                fresh = self._reattest()
            except DemesneError as error:
                again = self._renewal.failed(error, self._clock() - attested)
                self._failure = error
                if again is None:
                    self._final.set()
                    _LOG.error("re-attestation refused; this session opens nothing more: %s", error)
                    return
                pause = again
                _LOG.warning("re-attestation failed, trying again in %.0f s: %s", pause, error)
            else:
                self._failure, attested = None, self._clock()
                pause = self._renewal.succeeded(fresh)

    def close(self) -> None:
        """Stop both threads, free the port, remove the token file. May be called twice."""
        self._stopped.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        if self._place.token_file is not None and server is not None:
            self._place.token_file.unlink(missing_ok=True)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def after_fork(self) -> None:
        """In a forked child: the parent serves on; the child must not hold its port and connections open past it."""
        self._stopped, self._final = threading.Event(), threading.Event()
        self._thread = None
        if self._server is not None:
            self._server.abandon()


def write_private(path: Path, content: bytes) -> None:
    """`content` at `path`, mode 0600, whole or not at all. No newline is added: SDKs send the file as a header."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 by mkstemp
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
