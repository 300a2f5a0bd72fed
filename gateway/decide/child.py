"""The engine child as its parent holds it: one process, one socket, questions answered in the order they were asked.

Several questions may be in the pipe, so the child never waits for its parent between two of them. The clock of a
question starts when the one before it was answered. A question that overruns ends the child; those behind it were
never looked at and are asked again of the next one (`Overtaken`).
"""

import asyncio
import os
import socket
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.decide import frames
from gateway.decide.engine import EngineTimeout, EngineUnavailable

_ROOT: Final = Path(__file__).resolve().parents[2]
Answer = tuple[int, bytes]


class Overtaken(Exception):
    """The child ended over an earlier question; this one can be asked again."""


@dataclass(slots=True)
class _Question:
    answer: "asyncio.Future[Answer]"
    deadline: float
    patience: float


class Child(asyncio.Protocol):
    """Start with `start`; `ask` until `lost`. Deadlines are the child's processor seconds, patience is clock time."""

    def __init__(self, process: "subprocess.Popen[bytes]", loop: asyncio.AbstractEventLoop) -> None:
        self.process = process
        self.lost = False
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._asked: deque[_Question] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._used: float | None = None
        self._stop = 0.0

    def ask(self, question: bytes, deadline: float, patience: float) -> "asyncio.Future[Answer]":
        """The answer's kind and payload, or EngineTimeout, EngineUnavailable, Overtaken. A caller that goes away
        leaves its answer to be thrown away when it comes."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if self.lost or self._transport is None:
            answer.set_exception(Overtaken())
            return answer
        self._asked.append(_Question(answer, deadline, max(patience, deadline)))
        self._transport.write(question)
        if len(self._asked) == 1:
            self._start_clock()
        return answer

    def end(self) -> None:
        """Kill and reap; never waits for a child that still computes. What it was asked can be asked of another."""
        self._fail(Overtaken())
        self.process.kill()
        self.process.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while (found := _take_frame(self._received)) is not None:
                self._settle(found)
        except ValueError:
            self._fail(EngineUnavailable("the engine child speaks no frames"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._fail(EngineUnavailable("the engine child has ended"))

    def _settle(self, found: Answer) -> None:
        if not self._asked:
            raise ValueError("an answer to nothing")
        answer = self._asked.popleft().answer
        self._stop_clock()
        if not answer.done():
            answer.set_result(found)
        if self._asked:
            self._start_clock()

    def _start_clock(self) -> None:
        question = self._asked[0]
        self._used = self._processor_seconds()
        self._stop = self._loop.time() + question.patience
        self._timer = self._loop.call_later(question.deadline, self._look)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The deadline has passed on the clock: whether it has on the processor too."""
        deadline, now = self._asked[0].deadline, self._processor_seconds()
        spent = deadline if self._used is None or now is None else now - self._used
        if spent >= deadline or self._loop.time() >= self._stop:
            self._fail(EngineTimeout(f"{deadline * 1000:.0f} ms"))
            self.end()
            return
        self._timer = self._loop.call_later(max(0.005, deadline - spent), self._look)

    def _fail(self, error: Exception) -> None:
        """The first question gets `error`, those behind it `Overtaken`; nothing is asked here any more."""
        self.lost = True
        self._stop_clock()
        asked, self._asked = self._asked, deque()
        for question in asked:
            if not question.answer.done():
                question.answer.set_exception(error)
            error = Overtaken()
        if self._transport is not None:
            self._transport.close()

    def _processor_seconds(self) -> float | None:
        """Processor time it has used, None where the system does not say."""
        try:
            return time.clock_gettime((~self.process.pid << 3) | 2)  # CPUCLOCK_SCHED of that process
        except OSError:
            return None


async def start(command: tuple[str, ...]) -> Child:
    """A child on one socket, which is its stdin, with no environment. Raises EngineUnavailable."""
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - milliseconds, and the child's life hangs on this thread
            command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=_ROOT,
            env={"PATH": os.defpath}, close_fds=True,
        )
    except OSError as error:
        ours.close()
        raise EngineUnavailable(str(error)) from error
    finally:
        theirs.close()
    loop = asyncio.get_running_loop()
    _, child = await loop.create_connection(lambda: Child(process, loop), sock=ours)
    return child


def _take_frame(received: bytearray) -> Answer | None:
    """The first whole frame, taken off the front. Raises ValueError for a length nobody sends."""
    if len(received) < frames.HEADER.size:
        return None
    length, kind = frames.parse_header(bytes(received[: frames.HEADER.size]))
    end = frames.HEADER.size + length
    if len(received) < end:
        return None
    payload = bytes(received[frames.HEADER.size : end])
    del received[:end]
    return kind, payload

