"""Us and the peers on the same work in one run, taking turns: medians, and ratios to us.

    python -m benchmarks.peers [--mib 64] [--rounds 9] [--puts 5] [--reads 400] [--only nginx,seaweedfs]

GET: one kept-alive connection each, a raw-socket client pinned to the last core. PUT: boto3 with its defaults. Ranges:
64 KiB at random places, warm, at 1 and 16 connections. Policy, ledger and sealing are on in ours. CPU is that of the
server's processes. minio-kms is MinIO with encryption of every object, rclone-crypt is `rclone serve s3` over a crypt
remote; the others store plain bytes. A peer that is not installed is left out, and said so.
"""

import argparse
import os
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import Server, ours, peers
from benchmarks.zone import RawClient, address_of, median, percentile, publish, zone

KEY = "file.bin"
LENGTH = 64 << 10
Figures = dict[str, dict[str, float]]


def gets(servers: Sequence[Server], size: int, rounds: int) -> Figures:
    """GB/s and server CPU seconds a GB, of whole GETs in turn."""
    clients = {server.name: RawClient(address_of(server.endpoint)) for server in servers}
    taken: dict[str, list[float]] = {server.name: [] for server in servers}
    busy = dict.fromkeys(taken, 0.0)
    for number in range(rounds + 1):
        for server in servers:
            before = server.cpu_seconds()
            seconds = clients[server.name].get(server.get(KEY), size)
            if number:  # the first round warms
                taken[server.name].append(seconds)
                busy[server.name] += server.cpu_seconds() - before
    for client in clients.values():
        client.close()
    return {
        name: {"gb_s": round(size / median(values) / 1e9, 3), "cpu_s_gb": round(busy[name] * 1e9 / size / rounds, 2)}
        for name, values in taken.items()
    }


def puts(servers: Sequence[Server], data: bytes, rounds: int) -> Figures:
    taken: dict[str, list[float]] = {server.name: [] for server in servers}
    busy = dict.fromkeys(taken, 0.0)
    clients = {server.name: server.s3() for server in servers}
    for number in range(rounds + 1):
        for server in servers:
            before, began = server.cpu_seconds(), time.perf_counter()
            clients[server.name].put_object(Bucket=server.bucket, Key=f"put-{number}", Body=data)
            if number:
                taken[server.name].append(time.perf_counter() - began)
                busy[server.name] += server.cpu_seconds() - before
    return {
        name: {
            "mb_s": round(len(data) / median(values) / 1e6, 1),
            "cpu_s_gb": round(busy[name] * 1e9 / len(data) / rounds, 2),
        }
        for name, values in taken.items()
    }


def ranges(servers: Sequence[Server], size: int, reads: int, clients: int) -> Figures:
    return {server.name: _ranges_of(server, size, reads, clients) for server in servers}


def _ranges_of(server: Server, size: int, reads: int, clients: int) -> dict[str, float]:
    rng = random.Random(1)
    starts = [rng.randrange(0, size - LENGTH) for _ in range(reads + clients)]
    requests = [server.get(KEY, (start, start + LENGTH)) for start in starts]
    times: list[float] = []
    lock = threading.Lock()

    def client(own: list[bytes]) -> None:
        connection = RawClient(address_of(server.endpoint))
        mine = [connection.get(request, LENGTH) for request in own]
        connection.close()
        with lock:
            times.extend(mine[1:])

    before, began = server.cpu_seconds(), time.perf_counter()
    threads = [threading.Thread(target=client, args=(requests[n::clients],)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, busy = time.perf_counter() - began, server.cpu_seconds() - before
    if len(times) != reads:
        raise RuntimeError(f"{server.name}: {len(times)} of {reads} reads succeeded")
    return {
        "p50_ms": round(median(times) * 1000, 2), "p99_ms": round(percentile(times, 0.99) * 1000, 2),
        "reads_s": round(len(requests) / wall, 1), "reads_cpu_s": round(len(requests) / max(busy, 0.01), 1),
    }  # fmt: skip


def ratios(figures: Figures, what: str) -> dict[str, float]:
    """Ours divided by theirs."""
    own = figures["demesne"][what]
    return {name: round(own / found[what], 3) for name, found in figures.items() if name != "demesne" and found[what]}


def table(title: str, figures: Figures, what: str, encrypts: dict[str, bool]) -> None:
    """One line a server, the fastest first where more is better."""
    down = what.endswith("_ms")
    own = figures["demesne"][what]
    print(f"\n{title}")
    for name, found in sorted(figures.items(), key=lambda item: item[1][what], reverse=not down):
        rest = "  ".join(f"{key} {value:g}" for key, value in found.items() if key != what)
        sealed = "sealed" if encrypts[name] else "plain "
        print(f"  {name:14}{sealed}{found[what]:10.2f} {what:7} ours/theirs {own / found[what]:6.2f}   {rest}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=64)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--puts", type=int, default=5)
    options.add_argument("--reads", type=int, default=400)
    options.add_argument("--only", default="", help="peers to run beside us, comma-separated; default all")
    given = options.parse_args()
    size = given.mib << 20
    data = os.urandom(size)
    wanted = [name for name in given.only.split(",") if name]
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="dms-peers-", dir="/tmp") as directory, zone() as served:
        Path(directory).chmod(0o755)
        with peers(Path(directory), wanted) as others:
            servers = [ours(served), *others]
            stores = [server for server in servers if server.signs]
            for server in stores:
                server.s3().put_object(Bucket=server.bucket, Key=KEY, Body=data)
            if len(stores) < len(servers):
                (Path(directory) / "nginx" / "bench" / KEY).write_bytes(data)
            written = puts(stores, data, given.puts)
            os.sched_setaffinity(0, cores[-1:])  # the client only: the servers are running already
            read = gets(servers, size, given.rounds)
            one, many = ranges(servers, size, given.reads, 1), ranges(servers, size, given.reads * 2, 16)
            os.sched_setaffinity(0, cores)
    encrypts = {server.name: server.encrypts for server in servers}
    _publish(given.mib, encrypts, {"get": read, "put": written, "ranges_1": one, "ranges_16": many})


def _publish(mib: int, encrypts: dict[str, bool], measured: dict[str, Figures]) -> None:
    kinds = {"get": "gb_s", "put": "mb_s", "ranges_1": "p50_ms", "ranges_16": "reads_s"}
    titles = {
        "get": f"GET {mib} MiB, one pinned connection", "put": f"PUT {mib} MiB by boto3",
        "ranges_1": "64 KiB ranges, 1 connection", "ranges_16": "64 KiB ranges, 16 connections",
    }  # fmt: skip
    document: dict[str, Any] = {"mib": mib, "encrypts": encrypts}
    for kind, figures in measured.items():
        document[kind] = {"figures": figures, "ours_to_theirs": ratios(figures, kinds[kind])}
    publish("peers", document)
    for kind, figures in measured.items():
        table(titles[kind], figures, kinds[kind], encrypts)


if __name__ == "__main__":
    main()
