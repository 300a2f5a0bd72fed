"""What a connection may cost before anybody knows who is at the other end.

uvicorn's parser waits for a request head as long as the client likes and keeps whatever it is sent: header lines that
never end fill the memory of the worker, half-open heads its file descriptors. Both need no credentials.
"""

import asyncio
from concurrent.futures import Executor
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.processes.outlet import Outlet

HEAD_SECONDS = 20.0  # from the connection, or the first byte of a further request, to the end of its head
HEAD_BYTES = 1 << 20  # above 100 headers of 8 KiB, which `RequestHead` refuses by name, and one read of the socket


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose head is late, or longer than any that would be accepted."""

    _late: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def __init__(self, *given: Any, pool: Executor | None = None, **named: Any) -> None:
        """`pool`: threads that send large answers of plain HTTP (`Outlet`); None leaves all sending to the loop."""
        super().__init__(*given, **named)
        self._pool = pool

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._idle:  # empty lines between requests begin none, and end the wait for one
            self._start_clock()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        self._start_clock()
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        outlet = Outlet(self.transport, self._pool) if self._pool is not None and self.scheme == "http" else None
        if outlet is not None:
            extensions: Any = {"demesne.outlet": outlet}
            self.scope["extensions"] = extensions
        super().on_headers_complete()
        if outlet is not None:
            outlet.cycle = self.cycle

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP behind a request whose answer is under way must not be answered into that answer's body."""
        cycle: Any = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        super().send_400_response(msg)

    @property
    def _idle(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _start_clock(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_is_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._in_head = False
        self._head_bytes = 0

    def _give_up(self) -> None:
        self._late = None
        # A pipelined head may be late while an answer is under way: that answer keeps its connection.
        if self._idle and not self.transport.is_closing():
            self.transport.close()
