"""Gateways of one zone on one ledger in PostgreSQL: in the test's own loop, or as processes that can be stopped.

`python -m tests.fakes.shared_ledger DIRECTORY URL` serves DIRECTORY/s until SIGTERM and prints "ready".
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from lineage.ledger.client import LedgerClient
from lineage.ledger.postgresql import SharedLog
from lineage.ledger.sequencer import serve_writer
from lineage.ledger.shared import SharedLedger, open_shared_ledger
from lineage.ledger.verify import Report, verify_directory
from tests.conftest import ROOT
from tests.fakes.ledger import LedgerKey, verify_ed25519

KEY = LedgerKey(b"\x05" * 32)  # one for all gateways, those that are processes too
PERIOD = 0.05


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def opened(root: Path, url: str, holder: str, key: LedgerKey = KEY) -> Iterator[SharedLedger]:
    root.mkdir(exist_ok=True, parents=True)
    with open_shared_ledger(
        url, root / "ledger", root / "decisions", "de", key.sign, key.public_key, verify_ed25519, holder=holder,
        now_ms=now_ms, durable=False,
    ) as ledger:  # fmt: skip
        yield ledger


@contextlib.asynccontextmanager
async def gateway(root: Path, url: str, holder: str) -> AsyncIterator[LedgerClient]:
    """Serve, hand out a client, stop cleanly."""
    stop, ready = asyncio.Event(), asyncio.Event()
    with opened(root, url, holder) as ledger:
        serving = asyncio.create_task(
            serve_writer(root / "s", ledger, checkpoint_seconds=PERIOD, ready=ready.set, stop=stop)
        )
        await ready.wait()
        client = LedgerClient(root / "s", "de", timeout=5)
        try:
            yield client
        finally:
            await client.close()
            stop.set()
            await serving


@contextlib.contextmanager
def process(root: Path, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A gateway's sequencer as a process of its own; killed when the block ends."""
    root.mkdir(exist_ok=True, parents=True)
    command = [sys.executable, "-m", "tests.fakes.shared_ledger", str(root), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            yield running
        finally:
            running.kill()


def check(root: Path) -> Report:
    return verify_directory(root / "ledger", KEY.public_key, verify_ed25519, zone="de")


def initialise(url: str) -> None:
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    log.initialise()
    log.close()


async def _serve(root: Path, url: str) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    with opened(root, url, root.name) as ledger:
        await serve_writer(
            root / "s", ledger, checkpoint_seconds=PERIOD, ready=lambda: print("ready", flush=True), stop=ending
        )


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2]))
