"""The child's end of its two pipes."""

import os
import threading

from gateway.enforce.protocol import DATA, HEAD, frame, payload_length

_DATA_FRAME = 256 << 10


class Pipe:
    """Blocking frames over the two descriptors. Nothing else of the process is open.

    Arrow reads ahead on a thread of its own while the main one writes: a frame is whole before the next begins,
    and a question keeps the pipe until its answer is there.
    """

    def __init__(self, inward: int = 0, outward: int = 1) -> None:
        self._inward = inward
        self._outward = outward
        self._data = bytearray()
        self._turn = threading.RLock()

    def ask(self, kind: bytes, payload: bytes) -> tuple[bytes, bytes]:
        """Send a frame and receive the answer to it."""
        with self._turn:
            self.send(kind, payload)
            return self.receive()

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        with self._turn:
            self.flush()
            self._write(frame(kind, payload))

    def data(self, piece: bytes) -> None:
        """Masked plaintext, gathered into frames of 256 KiB."""
        with self._turn:
            self._data += piece
            while len(self._data) >= _DATA_FRAME:
                self._put(bytes(self._data[:_DATA_FRAME]))
                del self._data[:_DATA_FRAME]

    def flush(self) -> None:
        with self._turn:
            if self._data:
                self._put(bytes(self._data))
                self._data.clear()

    def receive(self) -> tuple[bytes, bytes]:
        kind, length = payload_length(self._read(HEAD))
        return kind, self._read(length)

    def _put(self, piece: bytes) -> None:
        self._write(frame(DATA, piece))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._outward, view) :]

    def _read(self, length: int) -> bytes:
        got = bytearray()
        while len(got) < length:
            piece = os.read(self._inward, length - len(got))
            if not piece:
                raise EOFError
            got += piece
        return bytes(got)
