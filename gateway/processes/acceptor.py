"""Takes connections from a listening socket, no more than there is room for, and no TLS handshake for long.

The loop's own server accepts without end, counts no half-open handshake and gives each a minute. Here every accepted
socket is counted from its first moment. Without room an idle connection ends; where none is idle the new one hears
503 with Retry-After (over TLS it is closed: a handshake would cost more than the answer saves).
"""

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog

from gateway.processes.connection import BUSY
from gateway.processes.room import Room

HANDSHAKE_SECONDS = 10.0
GOODBYE_SECONDS = 5.0  # for the end of a TLS stream
AT_ONCE = 64  # accepted before the loop turns to others
LINGERING = 256  # sockets that were told 503 and may still read it
LINGER_SECONDS = 1.0
PAUSE_SECONDS = 0.2  # when the system gives no descriptors
RESERVED = 512  # descriptors for store, catalog, ledger, broker and listening sockets
_SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
log = structlog.get_logger("front")


def connection_bound(wanted: int) -> int:
    """`wanted`, or what this process's descriptors allow; raises its soft limit as far as it may."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    # A large answer is sent through a second descriptor: half as many again, and the API port's tenth.
    return max(16, min(wanted, (soft - RESERVED) * 5 // 8))


class Acceptor:
    """One listening socket's connections, for `make` to serve; to uvicorn it is an `asyncio.Server`."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        connections: Collection[object],
        room: Room,
        context: ssl.SSLContext | None,
    ) -> None:
        """`connections`: those that are served, as the server counts them."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._make = make
        self._connections = connections
        self._room = room
        self._context = context
        self._opening: dict[asyncio.Task[None], socket.socket] = {}  # the oldest first
        self._protocols: dict[asyncio.Task[None], asyncio.BaseProtocol] = {}
        self._lingering: set[socket.socket] = set()
        self._open = True
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listening)
            for sock in tuple(self._lingering):
                self._forget(sock)

    async def wait_closed(self) -> None:
        if self._opening:
            await asyncio.wait(self._opening, timeout=HANDSHAKE_SECONDS)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, _peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORT_OF:
                    raise
                self._pause()
                return
            sock.setblocking(False)
            if self._full() and not self._make_room():
                self._turn_away(sock)
                continue
            task = self._loop.create_task(self._connect(sock))
            self._opening[task] = sock
            task.add_done_callback(self._opened)

    def _full(self) -> bool:
        """One that is served already while its task still ends counts once: counted twice, it would end another."""
        count = len(self._connections) + len(self._opening)
        if count < self._room.limit:
            return False
        return count - sum(made in self._connections for made in self._protocols.values()) >= self._room.limit

    def _make_room(self) -> bool:
        """Idle strangers go first, then the oldest handshake under way, then idle connections of known clients."""
        if self._room.evict_stranger():
            return True
        if self._opening:
            task = next(iter(self._opening))
            task.cancel()
            self._opened(task)
            return True
        return self._room.evict_known()

    def _opened(self, task: asyncio.Task[None]) -> None:
        """Also of one that was cancelled before its first step."""
        sock = self._opening.pop(task, None)
        self._protocols.pop(task, None)
        if sock is not None and (not task.done() or task.cancelled()):
            sock.close()

    def _made(self) -> asyncio.BaseProtocol:
        protocol = self._make()
        task = asyncio.current_task()
        if task in self._opening:
            self._protocols[task] = protocol
        return protocol

    async def _connect(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                await self._loop.connect_accepted_socket(self._made, sock)
            else:
                await self._loop.connect_accepted_socket(
                    self._made, sock, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS,
                    ssl_shutdown_timeout=GOODBYE_SECONDS,
                )  # fmt: skip
        except (OSError, TimeoutError):  # ssl.SSLError is one: nobody to tell
            sock.close()

    def _turn_away(self, sock: socket.socket) -> None:
        self._room.turned_away += 1
        if self._context is not None or len(self._lingering) >= LINGERING:
            sock.close()
            return
        with suppress(OSError):
            sock.send(BUSY)
            sock.shutdown(socket.SHUT_WR)
        # Closed with its request unread it would be reset, and the answer lost on its way.
        self._lingering.add(sock)
        self._loop.call_later(LINGER_SECONDS, self._forget, sock)

    def _forget(self, sock: socket.socket) -> None:
        self._lingering.discard(sock)
        sock.close()

    def _pause(self) -> None:
        """No descriptors: an idle connection gives up its own, and the rest of the queue waits in the kernel."""
        self._make_room()
        self._loop.remove_reader(self._listening)
        self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._accept)
