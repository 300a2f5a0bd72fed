"""Ledger: durable records a second, latency of an append, CPU of an append in the front, full verification.

    python benchmarks/ledger.py [--records 20000] [--rate 5000] [--clients 32] [--fronts 2] [--json]
                                [--backend postgresql] [--hosts 2]

The sequencer runs in its own process on a directory of the current disk (--dir to choose), as in a zone. Two runs:
"paced" offers --rate records a second over --fronts processes and reports the latency of each append; "flat out"
keeps --clients appends in flight in each front.

--backend postgresql: a PostgreSQL of this machine (fsync on, a database on the same disk, or --url), written by --hosts
sequencers at once, as by so many gateways; the fronts go to them by turns. Goals: 1000 records/s, p99 of 20 ms.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lineage.ledger.client import LedgerClient
from lineage.ledger.postgresql import SharedLog
from lineage.ledger.sequencer import serve, serve_writer
from lineage.ledger.shared import open_shared_ledger
from lineage.ledger.verify import verify_directory
from tests.fakes.postgresql import Server

SEED = bytes(32)


def verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)


def intent() -> dict[str, object]:
    name = secrets.token_hex(16)
    return {
        "v": 1, "type": "intent", "id": name, "at": "2026-11-21T21:00:00.000Z", "zone": "de", "tenant": "acme",
        "decision": {"id": name, "allow": True, "revision": "b" * 64, "codes": []}, "action": "read", "interface": "s3",
        "dataset_id": "c" * 32, "dataset": "claims", "object": "d" * 64, "version": "e" * 32, "view": "raw",
        "principal": "f" * 64, "purpose": "claims-risk-model", "session": "1" * 32, "run": "2" * 32,
        "input_sha256": "3" * 64, "residency": [{"what": "store", "observed": "de", "strength": "self-reported"}],
    }  # fmt: skip


def sequencer(root: str) -> None:
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    public = key.public_key().public_bytes_raw()

    async def run() -> None:
        await serve(
            f"{root}/s", f"{root}/ledger", f"{root}/decisions", "de", key.sign, public, verify,
            ready=lambda: print("ready", flush=True),
        )  # fmt: skip

    uvloop.run(run())


def shared_sequencer(root: str, url: str) -> None:
    """One gateway's part in a ledger that lies in PostgreSQL."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    public = key.public_key().public_bytes_raw()
    place = Path(root)
    place.mkdir(exist_ok=True)

    async def run() -> None:
        with open_shared_ledger(
            url, place / "ledger", place / "decisions", "de", key.sign, public, verify, holder=root,
            now_ms=lambda: time.time_ns() // 1_000_000,
        ) as ledger:  # fmt: skip
            await serve_writer(place / "s", ledger, ready=lambda: print("ready", flush=True))

    uvloop.run(run())


async def paced(path: str, records: int, rate: float) -> list[float]:
    client, latencies = LedgerClient(path, "de", timeout=30), []

    async def one() -> None:
        started = time.perf_counter()
        await client.append(intent())
        latencies.append(time.perf_counter() - started)

    await client.append(intent())
    begun, tasks = time.perf_counter(), []
    for number in range(records):
        ahead = begun + number / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    await client.close()
    return latencies


async def flat_out(path: str, records: int, clients: int) -> list[float]:
    client, latencies = LedgerClient(path, "de", timeout=30), []

    async def lane(count: int) -> None:
        for _ in range(count):
            started = time.perf_counter()
            await client.append(intent())
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(lane(records // clients) for _ in range(clients)))
    await client.close()
    return latencies


def front(path: str, records: int, rate: float, clients: int, results: "multiprocessing.Queue[object]") -> None:
    started, cpu = time.perf_counter(), time.process_time()
    latencies = uvloop.run(paced(path, records, rate) if rate else flat_out(path, records, clients))
    results.put((latencies, time.perf_counter() - started, time.process_time() - cpu))


def measure(paths: list[str], fronts: int, records: int, rate: float, clients: int) -> dict[str, float]:
    results: multiprocessing.Queue[tuple[list[float], float, float]] = multiprocessing.Queue()
    share = records // fronts
    workers = [
        multiprocessing.Process(target=front, args=(paths[n % len(paths)], share, rate / fronts, clients, results))
        for n in range(fronts)
    ]
    for worker in workers:
        worker.start()
    answers = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    latencies = sorted(value for values, _, _ in answers for value in values)
    return {
        "records": len(latencies),
        "records_per_s": round(len(latencies) / max(wall for _, wall, _ in answers)),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 3),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 3),
        "max_ms": round(latencies[-1] * 1e3, 3),
        "front_cpu_us_per_append": round(sum(cpu for _, _, cpu in answers) / len(latencies) * 1e6, 1),
    }


async def one_at_a_time(path: str, records: int) -> dict[str, float]:
    client, latencies = LedgerClient(path, "de", timeout=30), []
    cpu = time.process_time()
    for _ in range(records):
        started = time.perf_counter()
        await client.append(intent())
        latencies.append(time.perf_counter() - started)
    cpu = time.process_time() - cpu
    await client.close()
    latencies.sort()
    return {
        "p50_ms": round(latencies[records // 2] * 1e3, 3),
        "p99_ms": round(latencies[int(records * 0.99)] * 1e3, 3),
        "front_cpu_us_per_append": round(cpu / records * 1e6, 1),
    }


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--fronts", type=int)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backend", choices=("files", "postgresql"), default="files")
    parser.add_argument("--hosts", type=int, default=2, help="sequencers of the PostgreSQL backend")
    parser.add_argument("--url", help="an empty PostgreSQL database; default: one of this machine, for the occasion")
    parser.add_argument("--sequencer", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    shared = options.backend == "postgresql"
    options.records = options.records or (6_000 if shared else 20_000)
    options.rate = options.rate or (1_000 if shared else 5_000)
    options.fronts = options.fronts or (options.hosts if shared else 1)
    options.hosts = options.hosts if shared else 1
    return options


@contextmanager
def database(options: argparse.Namespace) -> Iterator[str]:
    """URL of an empty database with fsync on."""
    if options.backend == "files":
        yield ""
        return
    if options.url:
        yield options.url
        return
    with tempfile.TemporaryDirectory(prefix="bpg-", dir=options.dir) as directory:
        server = Server(Path(directory), fsync=True)
        server.start()
        try:
            yield f"postgresql://demesne@/postgres?host={directory}"
        finally:
            server.stop()


@contextmanager
def sequencers(options: argparse.Namespace, root: str, url: str) -> Iterator[list[tuple[str, int]]]:
    """(socket, process id) of each, serving."""
    if url:
        log = SharedLog(url, "de", Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw())
        log.initialise()
        log.close()
    with ExitStack() as stack:
        found = []
        for number in range(options.hosts):
            place = f"{root}/{number}" if url else root
            command = [sys.executable, __file__, "--sequencer", place, "--backend", options.backend, "--url", url]
            child = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(child.terminate)
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            found.append((f"{place}/s", child.pid))
        yield found


def cpu_seconds(pid: int) -> float:
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: list[str] | None = None) -> None:
    options = options_of(argv)
    if options.sequencer:
        shared_sequencer(options.sequencer, options.url) if options.url else sequencer(options.sequencer)
        return
    report: dict[str, object] = {"cores": os.cpu_count(), "backend": options.backend, "hosts": options.hosts}
    with tempfile.TemporaryDirectory(dir=options.dir) as root, database(options) as url:
        with sequencers(options, root, url) as running:
            paths = [path for path, _ in running]
            report["alone"] = uvloop.run(one_at_a_time(paths[0], 1_000))
            report["paced"] = measure(paths, options.fronts, options.records, options.rate, 0)
            report["flat_out"] = measure(paths, options.fronts, options.records, 0, options.clients)
            time.sleep(1.5)
            cpu = sum(cpu_seconds(pid) for _, pid in running)
        public = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
        started, own = time.perf_counter(), time.process_time()
        found = verify_directory(Path(paths[0]).parent / "ledger", public, verify, zone="de")
        seconds, own = time.perf_counter() - started, time.process_time() - own
        report["sequencer_cpu_us_per_record"] = round(cpu / found.size * 1e6, 1)
        report["verify"] = {
            "entries": found.size,
            "verified": found.verified,
            "entries_per_s": round(found.size / seconds),
            "entries_per_cpu_s": round(found.size / own),
        }
    print(json.dumps(report) if options.json else json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
