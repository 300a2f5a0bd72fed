"""A sequencer inside the test's own loop, and a ledger written without one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lineage.ledger.client import LedgerClient
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.sequencer import serve
from lineage.ledger.verify import Report, verify_directory
from lineage.ledger.writer import Request, open_ledger
from tests.fakes.ledger import LedgerKey, verify_ed25519

KEY = LedgerKey()


def write_ledger(root: Path, entries: Sequence[Mapping[str, Any]], *, per_batch: int = 7, **options: Any) -> None:
    """Record and publish `entries` without a socket; `root`/ledger and `root`/decisions as in a zone."""
    with open_ledger(
        root / "ledger", root / "decisions", "de", KEY.sign, KEY.public_key, verify_ed25519, **options
    ) as ledger:
        for start in range(0, len(entries), per_batch):
            batch = [Request(encode_entry(e), e["id"], b"") for e in entries[start : start + per_batch]]
            _, stored = ledger.commit(batch)
            for one, request in zip(stored, batch, strict=True):
                ledger.publisher.add(leaf_hash(one.entry), request.entry_id, one.offset)
        ledger.publish()


def check(root: Path, **options: Any) -> Report:
    return verify_directory(root / "ledger", KEY.public_key, verify_ed25519, **({"zone": "de"} | options))


@contextlib.asynccontextmanager
async def sequencer(root: Path, **options: Any) -> AsyncIterator[LedgerClient]:
    """Serve, hand out a client, stop cleanly."""
    stop, ready = asyncio.Event(), asyncio.Event()
    path = root / "s"
    settings: dict[str, Any] = {"checkpoint_seconds": 0.05, "ready": ready.set, "stop": stop} | options
    serving = asyncio.create_task(
        serve(path, root / "ledger", root / "decisions", "de", KEY.sign, KEY.public_key, verify_ed25519, **settings)
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving.done():
        serving.result()
    client = LedgerClient(path, "de")
    try:
        yield client
    finally:
        await client.close()
        stop.set()
        await serving
