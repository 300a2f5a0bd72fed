"""One ASGI app, three ways out: uvicorn's loop, uvicorn with sending threads (gateway/processes/outlet.py), granian.

    python -m benchmarks.http_server [--mib 64] [--rounds 9]

The app sends the same MiB from memory again and again, so only the server is measured; then it answers 2000 small
requests. One pinned raw-socket client, the servers take turns. CPU is that of the server's processes.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.zone import RawClient, _cpu, median, plain_get, publish

PIECE = bytes(1 << 20)
WAYS = ("uvicorn", "uvicorn+threads", "granian")


async def app(scope: Any, _receive: Any, send: Any) -> None:
    """GET /COUNT: that many MiB; /0 a few bytes."""
    if scope["type"] != "http":
        return
    left = int(scope["path"].strip("/"))
    length = (left << 20) or 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
    outlet = scope.get("extensions", {}).get("demesne.outlet")
    if outlet is not None and left:
        await outlet.pour(_Pieces(left).burst, 60.0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    while left > 1:
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        left -= 1
    await send({"type": "http.response.body", "body": PIECE if left else b"ok", "more_body": False})


class _Pieces:
    def __init__(self, count: int) -> None:
        self._left = count
        self._held = memoryview(b"")

    def burst(self, push: Any) -> Literal["more", "slow", "done"]:
        while self._left or len(self._held):
            if not len(self._held):
                self._held, self._left = memoryview(PIECE), self._left - 1
            self._held = self._held[push(self._held) :]
            if len(self._held):
                return "slow"
        return "done"


def serve(way: str, port: int) -> None:
    """Entry of the server's own process."""
    if way == "granian":
        from granian import Granian  # type: ignore[attr-defined, unused-ignore]
        from granian.constants import HTTPModes, Interfaces, Loops

        Granian("benchmarks.http_server:app", address="127.0.0.1", port=port, interface=Interfaces.ASGI,
                http=HTTPModes.http1, loop=Loops.uvloop, log_enabled=False).serve()  # fmt: skip
        return
    import uvicorn

    from gateway.processes.connection import BoundedHeads

    pool = ThreadPoolExecutor(4) if way == "uvicorn+threads" else None
    protocol: Any = partial(BoundedHeads, pool=pool)
    uvicorn.run(app, host="127.0.0.1", port=port, http=protocol, loop="uvloop", lifespan="off", log_config=None)


@contextmanager
def running(way: str) -> Iterator[tuple[int, int]]:
    """(port, pid)"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.http_server", "--serve", way, "--port", str(port)],
                               cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=64)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--serve", help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve, given.port)
        return
    size = given.mib << 20
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    busy, small = dict.fromkeys(WAYS, 0.0), dict.fromkeys(WAYS, 0.0)
    with ExitStack() as stack:
        up = {way: stack.enter_context(running(way)) for way in WAYS}
        clients = {way: RawClient(("127.0.0.1", port)) for way, (port, _) in up.items()}
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
        for number in range(given.rounds + 1):
            for way, (port, pid) in up.items():
                before = _cpu(pid)
                took = clients[way].get(plain_get(f"http://127.0.0.1:{port}/{given.mib}"), size)
                if number:
                    seconds[way].append(took)
                    busy[way] += _cpu(pid) - before
        for way, (port, pid) in up.items():
            request, before = plain_get(f"http://127.0.0.1:{port}/0"), _cpu(pid)
            for _ in range(2000):
                clients[way].get(request, 2)
            small[way] = (_cpu(pid) - before) / 2000
    publish("http_server", {"mib": given.mib, "ways": {
        way: {"gb_s": round(size / median(seconds[way]) / 1e9, 3),
              "cpu_s_gb": round(busy[way] * 1e9 / size / given.rounds, 3),
              "small_request_cpu_us": round(small[way] * 1e6, 1)} for way in WAYS
    }})  # fmt: skip


if __name__ == "__main__":
    main()
