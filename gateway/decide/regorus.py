"""The embedded engine, from the parent's side: a regorus child, one question at a time, each with a deadline.

The deadline is processor time of the child, so that a busy machine does not turn into refusals; a hard limit
on the clock stands behind it. A child that overruns is killed and another started with the same bundle: the
question that it was asked is refused, the next one is answered.
"""

import asyncio
import json
import sys
from typing import Any, Final

from gateway.decide import frames
from gateway.decide.bundle import Bundle
from gateway.decide.child import Child, Overtaken, start
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

_LOAD_SECONDS: Final = 20.0
_TRIES: Final = 3  # of a question that stood behind one that ended the child


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
        self._child: Child | None = None
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
        question = _question(path, document)
        for _ in range(_TRIES):
            child = self._child
            if child is None or child.lost:
                child = await self._replaced()
            try:
                return _value(await child.ask(question, self._deadline, self._patience))
            except Overtaken:
                continue
        raise EngineUnavailable("the engine child ends again and again")

    async def close(self) -> None:
        """End the child."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.end()

    async def _replaced(self) -> Child:
        """A child for the loaded bundle where the last one ended."""
        async with self._asking:
            if self._closed:
                raise EngineUnavailable("closed")
            if self._child is None or self._child.lost:
                if self._bundle is None:
                    raise EngineUnavailable("no bundle")
                if self._child is not None:
                    self._child.end()
                self._child = await self._start(self._bundle)
                self.restarts += 1
            return self._child

    async def _start(self, bundle: Bundle) -> Child:
        child = await start(self._command)
        content = json.dumps({"modules": bundle.modules, "data": bundle.data}).encode()
        try:
            kind, payload = await child.ask(frames.frame(frames.LOAD, content), _LOAD_SECONDS, self._patience)
        except (EngineTimeout, EngineUnavailable, Overtaken, asyncio.CancelledError) as error:
            child.end()
            if isinstance(error, Overtaken):
                raise EngineUnavailable("the engine child has ended") from error
            raise
        if kind != frames.READY:
            child.end()
            raise BundleRefused(payload.decode(errors="replace"))
        return child

    async def _exchange(self, child: Child, path: str, document: Any, deadline: float) -> Any | Undefined:
        try:
            return _value(await child.ask(_question(path, document), deadline, self._patience))
        except Overtaken as error:
            raise EngineUnavailable("the engine child has ended") from error


def _question(path: str, document: Any) -> bytes:
    return frames.frame(frames.EVALUATE, path.encode() + b"\0" + encode(document))


def _value(answer: tuple[int, bytes]) -> Any | Undefined:
    kind, payload = answer
    if kind == frames.VALUE:
        return json.loads(payload)
    if kind == frames.UNDEFINED:
        return UNDEFINED
    raise EngineFailed(payload.decode(errors="replace"))
