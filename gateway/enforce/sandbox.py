"""The decoder child, `python -m gateway sandbox`: one object in, one view out, then it is killed.

Everything that parses bytes of others runs here. It holds the data keys of one object and nothing else, talks
over standard input and output, and says of an error only a reason of the closed list.
"""

import json
import os
import sys
import threading

from gateway.enforce.confinement import confine_calls, confine_process

_DATA_FRAME = 256 << 10


def main() -> int:
    """Serve one job. Exit code 0 when a result or a reason was sent."""
    granted = confine_process()
    # Only now: pyarrow starts threads, and a process with threads cannot change its namespaces.
    from gateway.enforce import protocol
    from gateway.enforce.sandbox_work import Work, warm_up

    warm_up()
    granted += confine_calls()
    pipe = Pipe()
    pipe.send(protocol.HELLO, json.dumps(granted).encode())
    try:
        kind, payload = pipe.receive()
        if kind != protocol.JOB:
            return 2
        Work(pipe).run(protocol.decode_job(payload))
    except (EOFError, BrokenPipeError):
        return 1  # the parent is gone
    return 0


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
        from gateway.enforce.protocol import frame

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
        from gateway.enforce.protocol import HEAD, payload_length

        kind, length = payload_length(self._read(HEAD))
        return kind, self._read(length)

    def _put(self, piece: bytes) -> None:
        from gateway.enforce.protocol import DATA, frame

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


if __name__ == "__main__":
    sys.exit(main())
