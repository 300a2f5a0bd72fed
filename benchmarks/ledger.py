"""Ledger: durable records a second, latency of an append, CPU of an append in the front, full verification.

    python benchmarks/ledger.py [--records 20000] [--rate 5000] [--clients 32] [--fronts 2] [--json]

The sequencer runs in its own process on a directory of the current disk (--dir to choose), as in a zone. Two runs:
"paced" offers --rate records a second over --fronts processes and reports the latency of each append; "flat out"
keeps --clients appends in flight in each front.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lineage.ledger.client import LedgerClient
from lineage.ledger.sequencer import serve
from lineage.ledger.verify import verify_directory

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


def measure(path: str, fronts: int, records: int, rate: float, clients: int) -> dict[str, float]:
    results: multiprocessing.Queue[tuple[list[float], float, float]] = multiprocessing.Queue()
    share = records // fronts
    workers = [
        multiprocessing.Process(target=front, args=(path, share, rate / fronts, clients, results))
        for _ in range(fronts)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--fronts", type=int, default=1)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sequencer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sequencer:
        sequencer(options.sequencer)
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as root:
        command = [sys.executable, __file__, "--sequencer", root]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            path = f"{root}/s"
            report: dict[str, object] = {"cores": os.cpu_count()}
            report["alone"] = uvloop.run(one_at_a_time(path, 1_000))
            report["paced"] = measure(path, options.fronts, options.records, options.rate, 0)
            report["flat_out"] = measure(path, options.fronts, options.records, 0, options.clients)
            time.sleep(1.5)
            ticks = Path(f"/proc/{child.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            child.terminate()
        public = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
        started = time.perf_counter()
        found = verify_directory(f"{root}/ledger", public, verify, zone="de")
        seconds = time.perf_counter() - started
        cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
        report["sequencer_cpu_us_per_record"] = round(cpu / found.size * 1e6, 1)
        report["verify"] = {
            "entries": found.size,
            "verified": found.verified,
            "entries_per_s": round(found.size / seconds),
        }
    print(json.dumps(report) if options.json else json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
