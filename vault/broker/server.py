"""The broker on its Unix sockets: one thread a connection, one request at a time on each.

with BrokerServer(broker, {run / "broker.sock": Role.FRONT, run / "builder/builder.sock": Role.BUILDER}) as s:
    s.serve_until(stop)
"""

import logging
import os
import socket
import stat
import struct
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from vault.broker import wire
from vault.broker.methods import Role, call
from vault.broker.protocol import Closed, error_document, receive_message, send_message
from vault.broker.service import Broker
from vault.errors import Broken, Malformed, Refused, VaultError

MAX_CONNECTIONS = 128
MESSAGE_SECONDS = 10.0  # for the rest of a message once it began, and for an answer to be taken
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_log = logging.getLogger("demesne.broker")


class BrokerServer:
    """Listens from construction; `close` ends every connection. Closed by default: a wrong peer gets no byte."""

    def __init__(self, broker: Broker, sockets: Mapping[Path, Role], *, uid: int | None = None) -> None:
        self._broker = broker
        self._uid = os.getuid() if uid is None else uid
        self._slots = BoundedSemaphore(MAX_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        self._closed = Event()
        self._listeners: list[tuple[socket.socket, Path]] = []
        try:
            for path, role in sockets.items():
                self._listen(path, role)
        except OSError as error:
            self.close()
            raise Broken("broker.socket", str(error)) from error

    def serve_until(self, stop: Event) -> None:
        """Block until `stop` is set, then close."""
        stop.wait()
        self.close()

    def close(self) -> None:
        """Stop listening, remove the socket files, end every connection."""
        self._closed.set()
        for listener, path in self._listeners:
            _shut(listener)
            path.unlink(missing_ok=True)
        with self._lock:
            connections, self._open = list(self._open), set()
        for connection in connections:
            _shut(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, path: Path, role: Role) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_dead_socket(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listeners.append((listener, path))
        mask = os.umask(0o177)  # the socket is born 0600; there is no moment in which others may connect
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(MAX_CONNECTIONS)
        Thread(target=self._accept, args=(listener, role), name=f"broker-{role}", daemon=True).start()

    def _accept(self, listener: socket.socket, role: Role) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            try:
                self._admit(connection)
            except VaultError as error:
                _log.warning("connection refused: %s", error)
                connection.close()
                continue
            Thread(target=self._serve, args=(connection, role), name=f"broker-{role}-peer", daemon=True).start()

    def _admit(self, connection: socket.socket) -> None:
        pid, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid != self._uid:
            refusal = Refused("broker.peer", f"pid {pid} runs as uid {uid}")
            self._broker.record_refusal("connect", refusal)
            raise refusal
        if not self._slots.acquire(blocking=False):
            raise Refused("broker.connections", f"{MAX_CONNECTIONS} are open")
        with self._lock:
            self._open.add(connection)

    def _serve(self, connection: socket.socket, role: Role) -> None:
        try:
            while not self._closed.is_set():
                connection.settimeout(None)  # between requests a pooled connection may rest
                first = connection.recv(1, socket.MSG_PEEK)
                connection.settimeout(MESSAGE_SECONDS)
                if not first:
                    return
                send_message(connection, self._answer(receive_message(connection), role))
        except Malformed as error:  # framing is lost: nothing more can be read from here
            self._broker.record_refusal("connection", error)
        except (Closed, OSError):
            return
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
            self._slots.release()

    def _answer(self, request: dict[str, Any], role: Role) -> dict[str, Any]:
        """The outermost handler: whatever happens inside, the peer gets one closed answer and no key."""
        method = "request"
        try:
            method, arguments = wire.arguments(request)
            return {"v": 1, "ok": call(self._broker, role, method, arguments)}
        except VaultError as error:
            if error.reason in {"broker.field", "broker.method"}:  # refused before the broker's own methods saw it
                self._broker.record_refusal(method[:32], error)
            return error_document(error)
        except Exception as error:  # noqa: BLE001 - the outermost handler
            # The text of an unforeseen exception may hold anything: only its type and place are told.
            place = "".join(traceback.format_tb(error.__traceback__))
            _log.error("broker method %s failed: %s\n%s", method[:32], type(error).__name__, place)
            broken = Broken("broker.internal", type(error).__name__)
            self._broker.record_refusal(method[:32], broken)
            return error_document(broken)


def _remove_dead_socket(path: Path) -> None:
    """Unlink what a killed broker left; `Broken` when a living one answers there."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise Broken("broker.socket", f"{path} exists and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise Broken("broker.socket", f"another broker serves {path}")


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept or recv
    connection.close()
