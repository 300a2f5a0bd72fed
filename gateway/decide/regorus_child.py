"""The regorus engine in a process of its own (`python -m gateway engine`), on one socket, which is its stdin.

It runs here because a Rego rule can hold the GIL for seconds and a Rust panic can end an interpreter: the
parent kills this process at the deadline and starts another. No network, no files, no environment; it sees
decision inputs and the doctrine, and nothing else.
"""

import contextlib
import json
import resource
import socket
import sys
from typing import Any, Final

import regorus

from gateway.decide import frames
from gateway.decide.reachable import reachable

_DECISION: Final = "demesne.main.decision"
MEMORY_LIMIT: Final = 2 << 30


class Evaluator:
    """One regorus engine with the whole bundle in it, and one for what is asked on every request."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._decisions: Any = None

    def answer(self, kind: int, payload: bytes) -> tuple[int, bytes]:
        """The answer to one frame. Whatever the engine throws becomes FAILED, which the parent reads as a refusal."""
        try:
            if kind == frames.EVALUATE:
                return self._evaluate(payload)
            if kind == frames.LOAD:
                bundle = json.loads(payload)
                self._engine = engine_of(bundle)
                modules = reachable(bundle["modules"], _DECISION)
                self._decisions = engine_of({"modules": modules, "data": bundle["data"]}) if modules else None
                return frames.READY, b""
            return frames.FAILED, b"unknown frame"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # noqa: BLE001 - pyo3's PanicException is not an Exception
            return frames.FAILED, first_line(failure).encode()

    def _evaluate(self, payload: bytes) -> tuple[int, bytes]:
        path, _, document = payload.partition(b"\0")
        if self._engine is None:
            return frames.FAILED, b"nothing loaded"
        rule = path.decode().replace("/", ".")
        engine = self._decisions if rule == _DECISION and self._decisions is not None else self._engine
        engine.set_input_json(document.decode())
        answer = engine.eval_rule_as_json(f"data.{rule}")
        # regorus writes an undefined rule as this text; a rule that really says it is refused just the same.
        if answer == '"<undefined>"':
            return frames.UNDEFINED, b""
        return frames.VALUE, answer.encode()


def engine_of(bundle: dict[str, Any]) -> Any:
    """A regorus engine holding `{"modules": [[path, text]], "data": {...}}`. Raises RuntimeError on bad Rego."""
    engine = regorus.Engine()
    for path, text in bundle["modules"]:
        engine.add_policy(path, text)
    engine.add_data_json(json.dumps(bundle["data"]))
    return engine


def first_line(failure: BaseException) -> str:
    """What the engine said, up to its stack trace."""
    text = str(failure).split("\n\nStack backtrace", 1)[0]
    return " ".join(line.strip() for line in text.splitlines() if line.strip())[:1000] or type(failure).__name__


def serve(connection: socket.socket) -> None:
    """Answer frames until the parent closes the socket."""
    evaluator = Evaluator()
    stream = connection.makefile("rb", buffering=1 << 16)
    while True:
        header = stream.read(frames.HEADER.size)
        if len(header) < frames.HEADER.size:
            return
        length, kind = frames.parse_header(header)
        payload = stream.read(length)
        if len(payload) < length:
            return
        connection.sendall(frames.frame(*evaluator.answer(kind, payload)))


def main() -> int:
    """Entry of `python -m gateway engine`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold decision inputs
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        serve(socket.socket(fileno=sys.stdin.fileno()))
    return 0
