"""Memory of the front worker under 32 concurrent GETs of 256 MiB: it must not grow with the object.

    python -m benchmarks.memory [--clients 32] [--mib 256]
"""

import argparse
import os
import threading
import time
from pathlib import Path

from benchmarks.zone import RawClient, address_of, publish, zone


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--mib", type=int, default=256)
    given = options.parse_args()
    size = given.mib << 20
    with zone() as served:
        served.s3().upload_fileobj(_Random(size), "bench", "file.bin")
        pid = served.pids["front-0"]
        idle = resident_mib(pid)
        peak, done = idle, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, resident_mib(pid))
                time.sleep(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        failures: list[str] = []

        def client() -> None:
            try:
                RawClient(address_of(served.ready["s3_endpoint"])).get(served.signed_get("file.bin"), size)
            except RuntimeError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=client) for _ in range(given.clients)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - began
        done.set()
        watcher.join()
    publish("memory", {
        "clients": given.clients, "mib": given.mib, "idle_mib": round(idle), "peak_mib": round(peak),
        "grown_mib": round(peak - idle), "gb_s": round(given.clients * size / wall / 1e9, 2), "failures": failures,
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
