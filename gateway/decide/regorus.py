"""The embedded engine, from the parent's side: a regorus child, one question at a time, each with a deadline.

The deadline is processor time of the child, so that a busy machine does not turn into refusals; a hard limit
on the clock stands behind it. A child that overruns is killed and another started with the same bundle: the
question that it was asked is refused, the next one is answered.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.decide import frames
from gateway.decide.bundle import Bundle
from gateway.decide.document import encode
from gateway.decide.engine import (
    UNDEFINED,
    BundleRefused,
    EngineFailed,
    EngineTimeout,
    EngineUnavailable,
    Undefined,
)
from gateway.decide.gate import probe

_ROOT: Final = Path(__file__).resolve().parents[2]
_LOAD_SECONDS: Final = 20.0


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def processor_seconds(self) -> float | None:
        """Processor time it has used, None where the system does not say."""
        try:
            return time.clock_gettime((~self.process.pid << 3) | 2)  # CPUCLOCK_SCHED of that process
        except OSError:
            return None

    def end(self) -> None:
        """Kill and reap; never waits for a child that still computes."""
        self.writer.close()
        self.process.kill()
        self.process.wait()


class Regorus:
    """`Engine` on a regorus child. `deadline` in seconds of processor time, `patience` in seconds of clock."""

    name = "regorus"
    any_builtin = False

    def __init__(
        self, *, deadline: float = 0.05, patience: float = 2.0, command: tuple[str, ...] | None = None
    ) -> None:
        self._deadline = deadline
        self._patience = max(patience, deadline)
        self._command = command or (sys.executable, "-m", "gateway", "engine")
        self._bundle: Bundle | None = None
        self._child: _Child | None = None
        self._asking = asyncio.Lock()
        self._closed = False
        self.restarts = 0

    async def load(self, bundle: Bundle) -> str:
        """Start a second child with `bundle`, try it, and only then let it answer. Raises BundleRefused."""
        child = await self._start(bundle)
        try:
            await probe(lambda path, document: self._exchange(child, path, document, _LOAD_SECONDS))
        except EngineTimeout as error:
            child.end()
            raise BundleRefused("an empty request is not decided in time") from error
        except (BundleRefused, EngineFailed, EngineUnavailable) as error:
            child.end()
            raise BundleRefused(str(error)) from error
        except asyncio.CancelledError:
            child.end()
            raise
        async with self._asking:
            before, self._child, self._bundle = self._child, child, bundle
        if before is not None:
            before.end()
        return bundle.revision

    async def serving(self) -> str:
        """Revision of the loaded bundle; a child that died is started again with it."""
        return self._bundle.revision if self._bundle is not None and not self._closed else ""

    async def evaluate(self, path: str, document: Any) -> Any | Undefined:
        """Value of a rule. Raises EngineTimeout, EngineFailed, EngineUnavailable."""
        # Shielded: a caller that goes away must not leave half an answer in the pipe for the next one.
        asking = asyncio.ensure_future(self._evaluate(path, document))
        asking.add_done_callback(_retrieve)
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """End the child."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.end()

    async def _evaluate(self, path: str, document: Any) -> Any | Undefined:
        async with self._asking:
            if self._closed:
                raise EngineUnavailable("closed")
            if self._child is None:
                if self._bundle is None:
                    raise EngineUnavailable("no bundle")
                self._child = await self._start(self._bundle)
                self.restarts += 1
            child = self._child
            try:
                return await self._exchange(child, path, document, self._deadline)
            except (EngineTimeout, EngineUnavailable):
                self._child = None
                child.end()
                raise

    async def _start(self, bundle: Bundle) -> _Child:
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - milliseconds, and the child's life hangs on this thread
                self._command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=_ROOT,
                env={"PATH": os.defpath}, close_fds=True,
            )
        except OSError as error:
            ours.close()
            raise EngineUnavailable(str(error)) from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        child = _Child(process, reader, writer)
        content = json.dumps({"modules": bundle.modules, "data": bundle.data}).encode()
        try:
            kind, payload = await self._ask(child, frames.frame(frames.LOAD, content), _LOAD_SECONDS)
        except (EngineTimeout, EngineUnavailable, asyncio.CancelledError):
            child.end()
            raise
        if kind != frames.READY:
            child.end()
            raise BundleRefused(payload.decode(errors="replace"))
        return child

    async def _exchange(self, child: _Child, path: str, document: Any, deadline: float) -> Any | Undefined:
        question = frames.frame(frames.EVALUATE, path.encode() + b"\0" + encode(document))
        kind, payload = await self._ask(child, question, deadline)
        if kind == frames.VALUE:
            return json.loads(payload)
        if kind == frames.UNDEFINED:
            return UNDEFINED
        raise EngineFailed(payload.decode(errors="replace"))

    async def _ask(self, child: _Child, question: bytes, deadline: float) -> tuple[int, bytes]:
        used = child.processor_seconds()
        answer = asyncio.ensure_future(_round_trip(child, question))
        stop = time.monotonic() + max(self._patience, deadline)
        wait = deadline
        while True:
            done, _ = await asyncio.wait({answer}, timeout=wait)
            if done:
                break
            now = child.processor_seconds()
            spent = deadline if used is None or now is None else now - used
            if spent >= deadline or time.monotonic() >= stop:
                answer.cancel()
                raise EngineTimeout(f"{deadline * 1000:.0f} ms")
            wait = max(0.005, deadline - spent)
        try:
            return answer.result()
        except (OSError, EOFError, ValueError) as error:
            raise EngineUnavailable("the engine child has ended") from error


async def _round_trip(child: _Child, question: bytes) -> tuple[int, bytes]:
    child.writer.write(question)
    await child.writer.drain()
    length, kind = frames.parse_header(await child.reader.readexactly(frames.HEADER.size))
    return kind, await child.reader.readexactly(length)


def _retrieve(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
