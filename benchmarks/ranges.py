"""64 KiB range reads, warm: a decision and two ledger entries for each; at concurrency 1 and 16.

    python -m benchmarks.ranges [--reads 2000]

Reads a core = reads divided by the CPU seconds of all the zone's processes. Goal: at least 400.
"""

import argparse
import os
import random
import threading
import time
from typing import Any

from benchmarks.zone import RawClient, Zone, address_of, median, percentile, publish, zone

LENGTH = 64 << 10
SIZE = 64 << 20
GOAL = 400


def run(served: Zone, reads: int, clients: int) -> dict[str, Any]:
    rng = random.Random(1)
    spans = [(start, start + LENGTH) for start in (rng.randrange(0, SIZE - LENGTH) for _ in range(reads))]
    requests = [served.signed_get("file.bin", span) for span in spans]
    times: list[float] = []
    lock = threading.Lock()

    def client(own: list[bytes]) -> None:
        connection = RawClient(address_of(served.ready["s3_endpoint"]))
        mine = [connection.get(request, LENGTH) for request in own]
        connection.close()
        with lock:
            times.extend(mine)

    threads = [threading.Thread(target=client, args=(requests[n::clients],)) for n in range(clients)]
    before, began = served.cpu_seconds(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, busy = time.perf_counter() - began, served.cpu_seconds() - before
    if len(times) != reads:
        raise RuntimeError(f"{len(times)} of {reads} reads succeeded")
    return {
        "clients": clients, "reads": reads, "reads_s": round(reads / wall, 1), "reads_cpu_s": round(reads / busy, 1),
        "p50_ms": round(median(times) * 1000, 2), "p99_ms": round(percentile(times, 0.99) * 1000, 2),
    }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--reads", type=int, default=2000)
    given = options.parse_args()
    with zone() as served:
        served.s3().put_object(Bucket="bench", Key="file.bin", Body=os.urandom(SIZE))
        run(served, 200, 1)
        publish("ranges", {"goal_reads_cpu_s": GOAL, "runs": [run(served, given.reads, n) for n in (1, 16)]})


if __name__ == "__main__":
    main()
