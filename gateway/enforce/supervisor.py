"""The builder's side of a decoder child: start, feed, watch, kill. Nothing the child says is believed unchecked."""

import math
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import gateway
from gateway.enforce import protocol
from gateway.enforce.confinement import RLIMITS
from gateway.enforce.errors import SandboxFailed, Undecodable
from gateway.enforce.rendered import Rendered

START_SECONDS = 60.0
SILENCE_SECONDS = 120.0
JOB_SECONDS = 1800.0
_SIGNALS = {-24: "decoder.cpu", -9: "decoder.memory", -6: "decoder.memory"}  # SIGXCPU, the kernel's OOM kill, abort


class Sandbox:
    """One child for one job. Start it early (imports take a second), run once, then it is gone.

    Times are seconds of a monotonic clock: silence is the longest wait for the next frame while the child has
    something to do, job is the whole.
    """

    def __init__(
        self,
        command: list[str],
        *,
        required: frozenset[str] = frozenset({RLIMITS}),
        silence: float = SILENCE_SECONDS,
        job: float = JOB_SECONDS,
    ) -> None:
        self._required = required
        self._silence = silence
        self._job = job
        # Empty environment; standard error to nowhere, because tracebacks of decoders quote values.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={},
            cwd=Path(gateway.__file__).resolve().parents[1], close_fds=True, start_new_session=True, bufsize=0,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._inward = self._process.stdout.fileno()
        self._outward = self._process.stdin.fileno()
        os.set_blocking(self._inward, False)
        os.set_blocking(self._outward, False)
        self._deadline = math.inf
        self._greeted = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the child, whatever it is doing, and wait for its death."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def run(
        self,
        job: protocol.SandboxJob,
        read_sealed: Callable[[int, int, int], bytes],
        write: Callable[[bytes], None],
        progress: Callable[[int], None] = lambda _: None,
    ) -> Rendered:
        """Have the child do `job`. `read_sealed(body, offset, length)` serves it; `write` gets the output in order.

        What `write` got is worth nothing until this returns. Raises Undecodable (the data), SandboxFailed (the
        child); errors of the three callables pass.
        """
        self._deadline = time.monotonic() + self._job
        self.greet()
        self._send(protocol.JOB, protocol.encode_job(job))
        lengths = tuple(body.sealed_length for body in job.bodies)
        left = job.limits.decoded(job.size)
        while True:
            kind, payload = self._receive(self._silence)
            if kind == protocol.READ:
                sealed = read_sealed(*protocol.decode_read(payload, lengths))
                self._send(protocol.SEALED, sealed)
            elif kind == protocol.DATA:
                left -= len(payload)
                if left < 0:
                    raise SandboxFailed("sandbox.output")
                write(payload)
            elif kind == protocol.PROGRESS and len(payload) == 1:
                progress(min(99, payload[0]))
            elif kind == protocol.END:
                return protocol.decode_end(payload)
            elif kind == protocol.FAILED:
                raise Undecodable(protocol.decode_failed(payload))
            else:
                protocol.refuse()

    def greet(self) -> None:
        """Wait until the child is loaded and locked in. Raises SandboxFailed("sandbox.confinement") if it is not
        locked in as `required`. `run` does this by itself."""
        if self._greeted:
            return
        kind, payload = self._receive(START_SECONDS)
        if kind != protocol.HELLO:
            protocol.refuse()
        if not self._required <= protocol.decode_hello(payload):
            raise SandboxFailed("sandbox.confinement")
        self._greeted = True

    def _receive(self, patience: float) -> tuple[bytes, bytes]:
        until = min(self._deadline, time.monotonic() + patience)
        kind, length = protocol.payload_length(self._read(protocol.HEAD, until))
        return kind, self._read(length, until)

    def _read(self, length: int, until: float) -> bytes:
        got = bytearray()
        while len(got) < length:
            self._wait(self._inward, select.POLLIN, until)
            try:
                piece = os.read(self._inward, min(length - len(got), 1 << 20))
            except BlockingIOError:
                continue
            if not piece:
                self._died()
            got += piece
        return bytes(got)

    def _send(self, kind: bytes, payload: bytes) -> None:
        view = memoryview(protocol.frame(kind, payload))
        until = min(self._deadline, time.monotonic() + self._silence)
        while view:
            # A child that asks and does not listen must not hold the builder.
            self._wait(self._outward, select.POLLOUT, until)
            try:
                view = view[os.write(self._outward, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._died()

    def _wait(self, descriptor: int, event: int, until: float) -> None:
        poller = select.poll()
        poller.register(descriptor, event)
        if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
            raise SandboxFailed("sandbox.deadline")

    def _died(self) -> None:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            protocol.refuse()
        raise SandboxFailed(_SIGNALS.get(code, "decoder.crashed"))
