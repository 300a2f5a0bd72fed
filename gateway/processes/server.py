"""One port of a front worker: uvicorn's server behind our own acceptor, and its look at clients that take nothing."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn

from gateway.processes.acceptor import Acceptor
from gateway.processes.connection import BoundedHeads
from gateway.processes.room import Room


class FrontServer(uvicorn.Server):
    """One of two in this process; signals are the worker's."""

    def __init__(
        self,
        app: Callable[..., Any],
        pool: Executor | None,
        context: ssl.SSLContext | None = None,
        *,
        connections: int,
        stall_seconds: float,
        drain_seconds: int,
        key_of: Callable[[bytes], str] | None = None,
    ) -> None:
        """`connections`: how many at once. `stall_seconds`: how long an answer may wait to be taken. `key_of`: of a
        client certificate, where the context asks for one."""
        self.room = Room(connections)
        self._stall_seconds = stall_seconds
        config = uvicorn.Config(
            app, loop="none", http=partial(BoundedHeads, pool=pool, room=self.room, key_of=key_of),  # type: ignore[arg-type]
            ws="none", lifespan="off", access_log=False, server_header=False,
            # The peer address is the socket's: a header that names another would be the caller's own word.
            proxy_headers=False, log_config=None, timeout_keep_alive=65, timeout_graceful_shutdown=drain_seconds,
        )  # fmt: skip
        config.load()
        config.ssl = context
        super().__init__(config)
        # A line for each request that is no HTTP would let strangers fill the disk with log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()

        def make() -> asyncio.BaseProtocol:
            made: asyncio.BaseProtocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        self.servers = [
            Acceptor(sock, make, self.server_state.connections, self.room, self.config.ssl)  # type: ignore[misc]
            for sock in sockets or ()
        ]
        self.started = True

    async def cut_off_stalled(self) -> None:
        """For as long as the worker runs. Who is cut off reads the rest by range."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(5.0, self._stall_seconds / 4))
            now = loop.time()
            for connection in tuple(self.server_state.connections):
                with suppress(OSError):  # closed in this moment: the next look is for the others
                    if isinstance(connection, BoundedHeads) and connection.stalled(now, self._stall_seconds):
                        connection.transport.abort()
