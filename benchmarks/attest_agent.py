"""How long the agent's credentials endpoint takes, from another process: a kept connection, and a new one an answer."""

import json
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.zone import address_of
from demesne.agent import Agent
from demesne.credentials import Credentials

GOAL_MS = 1.0
ROUNDS, WARM = 2000, 20


def quantiles(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 in ms."""
    ordered = sorted(seconds)
    return {"p50_ms": round(median(ordered) * 1e3, 3), "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1e3, 3)}


def agent_answers() -> dict[str, Any]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.attest_agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        uri, token_file = json.loads(serving.stdout.readline())
        path = uri.partition("://")[2].partition("/")[2]
        request = (f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                   f"Authorization: {Path(token_file).read_text()}\r\n\r\n").encode()  # fmt: skip
        with socket.create_connection(address_of(uri)) as kept:
            same = [_answered(kept, request) for _ in range(ROUNDS)]
        fresh = [_fresh(address_of(uri), request) for _ in range(ROUNDS)]
        serving.communicate("")
    found = {"kept": quantiles(same[WARM:]), "fresh": quantiles(fresh[WARM:])}
    return {**found, "goal_ms": GOAL_MS, "met": all(taken["p99_ms"] <= GOAL_MS for taken in found.values())}


def _fresh(address: tuple[str, int], request: bytes) -> float:
    began = time.perf_counter()
    with socket.create_connection(address) as connection:
        _answered(connection, request)
    return time.perf_counter() - began


def _answered(connection: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    connection.sendall(request)
    got = b""
    while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < _length(got):
        piece = connection.recv(1 << 16)
        if not piece:
            raise RuntimeError("closed before the answer ended")
        got += piece
    if not got.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(got[:200].decode(errors="replace"))
    return time.perf_counter() - began


def _length(got: bytes) -> int:
    return int(got.lower().partition(b"content-length:")[2].split(b"\r\n")[0])


def serve_agent() -> None:
    """The process that is measured: says where it serves, ends with its standard input."""
    held = Credentials("AS" + "0" * 18, "s" * 40, "t" * 600, datetime.now(UTC) + timedelta(hours=1))
    serving = Agent(credentials=lambda: held, reattest=None, fresh_seconds=900)
    serving.start()
    print(json.dumps([serving.uri, str(serving.token_file)]), flush=True)
    sys.stdin.read()
    serving.close()


if __name__ == "__main__":
    serve_agent()
