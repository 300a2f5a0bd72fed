"""A SPIFFE agent's Workload API on a Unix socket: HTTP/2 and gRPC as agents speak them, one call."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import h2.config
import h2.connection
import h2.events

PATH = b"/SpiffeWorkloadAPI/FetchJWTSVID"


def message(*members: tuple[int, bytes]) -> bytes:
    """Protobuf of length-delimited members."""
    return b"".join(bytes((number << 3 | 2,)) + varint(len(value)) + value for number, value in members)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes((value,))


def framed(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


class FakeAgent:
    """`svids(audience)` answers (identity, token) pairs. `status`: a gRPC error instead; `early` in the head, as agents
    send errors, else behind the body. `raw` overrides the body."""

    def __init__(self, path: Path, svids: Callable[[str], list[tuple[str, str]]]) -> None:
        self.status: tuple[int, str] | None = None
        self.early = True
        self.raw: bytes | None = None
        self.requests: list[tuple[dict[bytes, bytes], bytes]] = []
        self._svids = svids
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # a client may leave before the end
            http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            http.initiate_connection()
            client.sendall(http.data_to_send())
            heads: dict[int, dict[bytes, bytes]] = {}
            bodies: dict[int, bytes] = {}
            while data := client.recv(65536):
                for event in http.receive_data(data):
                    self._handle(http, event, heads, bodies)
                client.sendall(http.data_to_send())

    def _handle(self, http: Any, event: Any, heads: dict[int, dict[bytes, bytes]], bodies: dict[int, bytes]) -> None:
        if isinstance(event, h2.events.RequestReceived):
            heads[event.stream_id] = {_bytes(name): _bytes(value) for name, value in event.headers}
        elif isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
            http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer(http, event.stream_id, heads[event.stream_id], bodies.get(event.stream_id, b""))

    def _answer(self, http: Any, stream: int, head: dict[bytes, bytes], body: bytes) -> None:
        self.requests.append((head, body))
        status = self.status
        if head.get(b":path") != PATH:
            status = (12, "unknown method")
        elif head.get(b"workload.spiffe.io") != b"true":
            status = (3, "security header missing from request")
        common = [(":status", "200"), ("content-type", "application/grpc")]
        if status is not None and self.early:
            code, said = status
            http.send_headers(stream, [*common, ("grpc-status", str(code)), ("grpc-message", said)], end_stream=True)
            return
        http.send_headers(stream, common)
        if status is None:
            found = framed(message(*(
                (1, message((1, identity.encode()), (2, token.encode()), (3, b"hint")))
                for identity, token in self._svids(body[7:].decode("utf-8", "replace"))
            )))  # fmt: skip
            content = found if self.raw is None else self.raw
            for start in range(0, len(content), 200):  # in pieces
                http.send_data(stream, content[start : start + 200])
        http.send_headers(stream, [("grpc-status", str(status[0] if status else 0))], end_stream=True)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
