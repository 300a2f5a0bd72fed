"""What a connection may cost before anybody knows who is at the other end, and while it takes its answers.

uvicorn's parser waits for a request head as long as the client likes and keeps whatever it is sent: header lines that
never end fill the memory of the worker, half-open heads its file descriptors. Both need no credentials. Requests that
are sent ahead are kept too, and an answer that nobody takes is kept for ever.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.processes.outlet import Outlet
from gateway.processes.room import Room

HEAD_SECONDS = 20.0  # from the connection, or the first byte of a further request, to the end of its head
HEAD_BYTES = 1 << 20  # above 100 headers of 8 KiB, which `RequestHead` refuses by name, and one read of the socket
HEAD_LINES = 1000  # of which `RequestHead` refuses all above 100 by name
PIPELINED = 16  # requests that are sent ahead of an answer
MINIMUM_RATE = 1024  # bytes a second, of an answer that waits to be taken
_BYTES_ACKED = 120  # offset of tcpi_bytes_acked in Linux's struct tcp_info
_BUSY = b"<Error><Code>SlowDown</Code><Message>Too much is open here at this moment.</Message></Error>"
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/xml\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_BUSY), _BUSY)
)


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose head is late, or longer than any that would be accepted."""

    _late: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _answering: Any = None  # the request whose answer is under way, while `cycle` is the last that was read
    _client_key = ""  # whose certificate the handshake showed
    _taken: tuple[float, int] | None = None  # when, and how much its client had taken then, since something waits

    def __init__(
        self, *given: Any, pool: Executor | None = None, room: Room | None = None,
        key_of: Callable[[bytes], str] | None = None, **named: Any,
    ) -> None:  # fmt: skip
        """`pool`: threads that send large answers of plain HTTP (`Outlet`); None leaves all sending to the loop.
        `room`: what all connections of the port share. `key_of`: the thumbprint of a client certificate's key (DER)."""
        super().__init__(*given, **named)
        self._key_of = key_of
        self._pool = pool
        self._room = room

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None and self._key_of is not None else None
        if shown and self._key_of is not None:  # OpenSSL has checked it against the zone's own authority
            self._client_key = self._key_of(shown)
        self._start_clock()
        if self._room is not None:
            self._room.idle(self, known=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        if self._room is not None:
            self._room.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._idle:  # empty lines between requests begin none, and end the wait for one
            self._start_clock()
        self._count_head(len(data))
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._head_bytes > HEAD_BYTES:
            self.send_400_response("The head of the request is too long.")
        elif self._room is not None and self._room.heads_full(self._head_bytes):
            self.transport.write(BUSY)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._start_clock()
        self._count_head(-self._head_bytes)
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEAD_LINES:
            raise ValueError("too many headers")  # the parser stops, and answers 400
        if value.lower() != b"chunked" and name.lower() == b"transfer-encoding":
            raise ValueError("a transfer coding that nobody undoes would be stored as data")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Raises ValueError, which ends the connection with 400, for targets and upgrades that nobody needs here:
        an absolute target names a host beside the signed one, and the bytes behind an upgrade are not HTTP."""
        self._head_is_here()
        if b"#" in self.url or not (self.url.startswith(b"/") or self.url == b"*"):
            raise ValueError("the target is no path")
        if self.parser.get_http_version() not in {"1.1", "1.0"}:
            raise ValueError("not this version")
        if self.parser.should_upgrade():
            raise ValueError("no upgrade")
        if len(self.pipeline) >= PIPELINED:
            raise ValueError("too many requests at once")
        outlet = Outlet(self.transport, self._pool) if self._pool is not None and self.scheme == "http" else None
        extensions: Any = {
            "demesne.known": self._known, "demesne.cut": self._cut, "demesne.client_key": self._client_key,
        }  # fmt: skip
        if outlet is not None:
            extensions["demesne.outlet"] = outlet
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        if outlet is not None:
            outlet.cycle = self.cycle

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._room is not None and self._idle and not self.transport.is_closing():
            self._room.idle(self, known=None)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered only where the answer cannot be taken for another request's."""
        answering = self._answering
        if answering is None or answering.response_complete:
            super().send_400_response(msg)
        elif answering.response_started:
            self.transport.abort()
        elif answering is self.cycle and answering.more_body:
            answering.disconnected = True  # its body breaks off: nothing of it counts, and this is its answer
            answering.message_event.set()
            super().send_400_response(msg)
        else:  # that request was whole, and may have had its effect: its own answer is the last one
            answering.keep_alive = False
            self.pipeline.clear()

    def stalled(self, now: float, seconds: float) -> bool:
        """Whether an answer has waited for `seconds`, and its client took less of it than MINIMUM_RATE."""
        waiting, acknowledged = self._owed()
        if not waiting:
            self._taken = None
            return False
        if self._taken is None or acknowledged - self._taken[1] >= MINIMUM_RATE * seconds:
            self._taken = (now, acknowledged)
            return False
        return now - self._taken[0] >= seconds

    def make_room(self) -> None:
        """Ends an idle connection."""
        if self.scheme == "https" or self.transport.get_write_buffer_size():  # a polite end would wait for its client
            self.transport.abort()
        else:
            self.transport.close()

    def _cut(self) -> None:
        """End it now. What the kernel still holds for its client is thrown away: the session it was for has ended."""
        theirs = self.transport.get_extra_info("socket")
        if theirs is not None and theirs.fileno() >= 0:
            look = socket.socket(fileno=theirs.fileno())
            try:
                look.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            finally:
                look.detach()
        self.transport.abort()

    def _owed(self) -> tuple[bool, int]:
        """Whether something of ours was not taken yet, and how much was, since the connection began."""
        buffered = self.transport.get_write_buffer_size()
        if self._idle and not buffered and self.scheme == "http":  # sealed TLS records wait where no size tells of them
            return False, 0
        theirs = self.transport.get_extra_info("socket")
        if theirs is None or theirs.fileno() < 0:
            return False, 0
        look = socket.socket(fileno=theirs.fileno())
        try:
            told = look.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        finally:
            look.detach()
        acknowledged = struct.unpack_from("=Q", told, _BYTES_ACKED)[0] if len(told) >= _BYTES_ACKED + 8 else 0
        unacknowledged = struct.unpack_from("=I", told, 24)[0]  # tcpi_unacked, in segments
        unsent = struct.unpack_from("=I", told, 144)[0] if len(told) >= 148 else 0  # tcpi_notsent_bytes
        return bool(buffered or unacknowledged or unsent), acknowledged

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        if self._room is not None:
            self._room.busy(self)
        super()._start_asgi_task(cycle, app)

    def _known(self) -> None:
        """The request under way is signed by somebody we know."""
        if self._room is not None:
            self._room.known(self)

    @property
    def _idle(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _start_clock(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._room is not None:
            self._room.head_bytes += more

    def _head_is_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._in_head = False
        self._count_head(-self._head_bytes)

    def _give_up(self) -> None:
        self._late = None
        # A pipelined head may be late while an answer is under way: that answer keeps its connection.
        if self._idle and not self.transport.is_closing():
            self.transport.close()
