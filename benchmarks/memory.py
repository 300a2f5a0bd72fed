"""Memory of the front worker under 64 concurrent GETs, of 64 MiB and of 256 MiB: it must not grow with the object.

    python -m benchmarks.memory [--clients 64] [--mib 256]

The goal's own size is --mib 1024: then of 256 MiB and of 1 GiB, and a peak below 600 MiB.
"""

import argparse
import os
import threading
import time
from pathlib import Path

from benchmarks.zone import RawClient, Zone, address_of, publish, zone

GOAL_MIB = 600


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def peak_under_load(served: Zone, key: str, size: int, clients: int) -> tuple[float, float]:
    """Peak resident MiB of the front worker while `clients` read the object at once, and the seconds it took."""
    pid = served.pids["front-0"]
    peak, done = resident_mib(pid), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident_mib(pid))
            time.sleep(0.02)

    failures: list[str] = []

    def client() -> None:
        try:
            RawClient(address_of(served.ready["s3_endpoint"])).get(served.signed_get(key), size)
        except (RuntimeError, OSError) as error:
            failures.append(str(error))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    if failures:
        raise RuntimeError(f"{len(failures)} of {clients} reads failed: {failures[0]}")
    return peak, seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--mib", type=int, default=256)
    given = options.parse_args()
    runs = []
    with zone() as served:
        idle = resident_mib(served.pids["front-0"])
        for mib in (given.mib // 4, given.mib):
            size = mib << 20
            served.s3().upload_fileobj(_Random(size), "bench", f"{mib}.bin")
            peak, seconds = peak_under_load(served, f"{mib}.bin", size, given.clients)
            runs.append({"mib": mib, "peak_mib": round(peak), "gb_s": round(given.clients * size / seconds / 1e9, 2)})
    publish("memory", {
        "clients": given.clients, "idle_mib": round(idle), "runs": runs,
        "goal_mib": GOAL_MIB, "met": all(run["peak_mib"] < GOAL_MIB for run in runs),
        "growth": round(runs[1]["peak_mib"] / runs[0]["peak_mib"], 3),
    })  # fmt: skip


class _Random:
    """A readable of `size` random bytes that never exist at once."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, count: int = -1) -> bytes:
        count = self._left if count < 0 else min(count, self._left)
        self._left -= count
        return os.urandom(count)


if __name__ == "__main__":
    main()
