"""A small HTTP/1.1 server for one loopback address: GET only, answers from memory, one thread, no thread a connection.

It is not `http.server`: that one starts a thread for each connection, parses headers as e-mail and sends head and body
apart, which costs a kept connection a delayed acknowledgement (44 ms an answer; here 0.03). And it must survive `fork`:
`poll` keeps no state in the kernel that a child could change under its parent, and all sockets are ours to close.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from demesne.errors import Unavailable

Answer = Callable[[str, str | None], tuple[int, bytes]]
HEAD_BYTES = 16 * 1024
IDLE_SECONDS = 30.0  # of a connection between requests
PEERS = 256  # beyond it the one idle for longest makes room: another user of the machine cannot lock clients out
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
            405: "Method Not Allowed", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}  # fmt: skip


@dataclass(slots=True)
class _Peer:
    since: float
    buffer: bytearray = field(default_factory=bytearray)


class Loopback:
    """Listens at once; serves from `start` to `close`. `answer(path, Authorization header)` -> status, JSON body.

    Raises Unavailable when the address is taken or is not this machine's.
    """

    def __init__(self, answer: Answer, host: str = "127.0.0.1", port: int = 0) -> None:
        self._answer = answer
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise Unavailable(
                "agent.address", f"cannot listen on {host}:{port}: {error.strerror}",
                remedy="is another agent running there? Port 0 takes a free one",
            ) from error  # fmt: skip
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()[:2]
        self._wake, self._waker = socket.socketpair()
        self._peers: dict[socket.socket, _Peer] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="demesne-credentials", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answer what has arrived, then end. From any thread; may be called twice."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self.abandon()

    def abandon(self) -> None:
        """Close this process's copies of all sockets and touch nothing else: what a forked child does."""
        for held in (self._listener, self._wake, self._waker, *self._peers):
            held.close()
        self._peers.clear()

    def _serve(self) -> None:
        with selectors.PollSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select(timeout=1.0):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                        self._read(selector, key.fileobj)
                self._drop_idle(selector)
            for peer in list(self._peers):  # requests that arrived before the end are still answered
                self._read(selector, peer)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(OSError):
            peer, _ = self._listener.accept()
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self._peers) >= PEERS:
                self._drop(selector, min(self._peers, key=lambda one: self._peers[one].since))
            self._peers[peer] = _Peer(time.monotonic())
            selector.register(peer, selectors.EVENT_READ)

    def _read(self, selector: selectors.BaseSelector, peer: socket.socket) -> None:
        state = self._peers[peer]
        try:
            received = peer.recv(HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._drop(selector, peer)
            return
        state.buffer += received
        state.since = time.monotonic()
        while (end := state.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(state.buffer[:end])
            del state.buffer[: end + 4]
            if not self._reply(peer, head):
                self._drop(selector, peer)
                return
        if len(state.buffer) > HEAD_BYTES:
            self._send(peer, 431, b"{}", keep=False)
            self._drop(selector, peer)

    def _reply(self, peer: socket.socket, head: bytes) -> bool:
        """Answer one request; whether the connection stays."""
        request, *lines = head.decode("latin-1").split("\r\n")
        parts = request.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return self._send(peer, 400, b"{}", keep=False)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if parts[0] != "GET" or headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return self._send(peer, 405, b"{}", keep=False)
        asked = headers.get("connection", "").lower()
        keep = asked == "keep-alive" if parts[2] == "HTTP/1.0" else asked != "close"
        status, body = self._answer(parts[1], headers.get("authorization"))
        return self._send(peer, status, body, keep=keep)

    def _send(self, peer: socket.socket, status: int, body: bytes, *, keep: bool) -> bool:
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        message = head.encode("ascii") + body
        try:
            return peer.send(message) == len(message) and keep
        except OSError:  # gone, or not reading: either way there is nobody to answer
            return False

    def _drop(self, selector: selectors.BaseSelector, peer: socket.socket) -> None:
        selector.unregister(peer)
        del self._peers[peer]
        peer.close()

    def _drop_idle(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for peer in [peer for peer, state in self._peers.items() if now - state.since > IDLE_SECONDS]:
            self._drop(selector, peer)
