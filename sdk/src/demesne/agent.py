"""The session's agent: keeps the attestation fresh, and hands credentials to any AWS SDK on this machine.

One thread re-attests at a third of the freshness the gateway asks for, so two attempts may fail before
anything lapses. Another serves the *container credentials* protocol on loopback (AWS sdkref, container
credential provider): the one mechanism that every S3 client tried could use. Answers come from memory.

The token guards against other users of the machine: any local process can connect to a loopback port, so
only who can read the 0600 token file gets credentials.
"""

import json
import logging
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from demesne.credentials import Credentials
from demesne.errors import DemesneError, Refused, Unavailable

_PATH = "/v1/credentials"
_RETRY_SECONDS = 5.0  # first pause after a failed re-attestation; doubles up to the regular interval
_LOG = logging.getLogger("demesne.agent")


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
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._credentials = credentials
        self._reattest = reattest
        self._fresh_seconds = fresh_seconds
        self._retry_seconds = retry_seconds
        self._stopped = threading.Event()
        self._failure: DemesneError | None = None
        self._token = secrets.token_urlsafe(32)
        self._directory: Path | None = None
        self._server: _Loopback | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Listen on a free loopback port, write the token file, begin re-attesting."""
        self._directory = Path(tempfile.mkdtemp(prefix="demesne-session-"))  # 0700 by mkdtemp
        self._server = _Loopback(self)
        write_private(self.token_file, self._token.encode("ascii"))
        server = self._server
        self._spawn(lambda: server.serve_forever(poll_interval=0.1), "demesne-credentials")
        if self._reattest is not None:
            self._spawn(self._keep_fresh, "demesne-reattest")
        _AGENTS.add(self)

    def _spawn(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def uri(self) -> str:
        """What AWS_CONTAINER_CREDENTIALS_FULL_URI must say."""
        if self._server is None:
            raise Unavailable("agent.stopped", "the session's agent does not run")
        return f"http://127.0.0.1:{self._server.server_port}{_PATH}"

    @property
    def token_file(self) -> Path:
        """What AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE must say."""
        if self._directory is None:
            raise Unavailable("agent.stopped", "the session's agent does not run")
        return self._directory / "token"

    @property
    def failure(self) -> DemesneError | None:
        """Why the last re-attestation failed; None while all is well."""
        return self._failure

    def answer(self, path: str, claimed_token: str | None) -> tuple[int, dict[str, Any]]:
        """Status and JSON for one request to the endpoint."""
        if path != _PATH:
            return 404, {"code": "NotFound", "message": "only the credentials path is served here"}
        if not secrets.compare_digest((claimed_token or "").encode(), self._token.encode()):
            return 401, {"code": "Unauthorized", "message": "the token file's content goes into Authorization"}
        if isinstance(self._failure, Refused):
            return 403, {"code": self._failure.code, "message": str(self._failure)}
        return 200, self._credentials().as_container_document()

    def _keep_fresh(self) -> None:
        """The thread: wait, re-attest, report failures once each, give up only when refused."""
        pause = self._fresh_seconds / 3
        while not self._stopped.wait(pause):
            try:
                assert self._reattest is not None
                self._fresh_seconds = self._reattest()
            except Refused as refused:
                self._failure = refused
                _LOG.error("re-attestation refused; this session opens nothing more: %s", refused)
                return
            except DemesneError as error:
                retry = self._retry_seconds if self._failure is None else pause * 2
                pause = min(retry, self._fresh_seconds / 3)
                self._failure = error
                _LOG.warning("re-attestation failed, trying again in %.0f s: %s", pause, error)
            else:
                self._failure = None
                pause = self._fresh_seconds / 3

    def close(self) -> None:
        """Stop both threads, free the port, remove the token file. May be called twice."""
        self._stopped.set()
        _AGENTS.discard(self)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)
        self._threads.clear()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def forget_listener(self) -> None:
        """In a forked child: the parent serves on; the child must not hold its port open past it."""
        if self._server is not None:
            self._server.socket.close()


class _Loopback(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that went away is no news."""
        _LOG.debug("a credentials request from %s ended early", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Loopback
    timeout = 10  # seconds a connection may idle
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, document = self.server.agent.answer(self.path, self.headers.get("Authorization"))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Silent: stderr belongs to the training job."""


def write_private(path: Path, content: bytes) -> None:
    """`content` at `path`, mode 0600, whole or not at all. No newline is added: SDKs send the file as a header."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


_AGENTS: "weakref.WeakSet[Agent]" = weakref.WeakSet()


def _after_fork() -> None:
    for agent in list(_AGENTS):
        agent.forget_listener()


os.register_at_fork(after_in_child=_after_fork)
