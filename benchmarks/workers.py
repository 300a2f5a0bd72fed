"""Two front workers against one: requests a second, and what each costs in CPU time of the servers.

    python benchmarks/workers.py [--seconds 10] [--connections 16] [--rounds 3] [--sizes 65536,1048576] [--json]

The load is `wrk` (C, Debian package wrk), with one signed GET sent again and again. Each round measures a zone with one
worker and a zone with two, one after the other, so that what else runs on the machine falls on both; the figures are
medians over the rounds. Whether two workers give 1.6 times as much is read from

    speed-up     requests a second with two workers / with one. Only worth its name where the load generator takes less
                 than a tenth of the CPU time spent, and nothing else runs.
    per_cpu      the same of requests per CPU second of all processes of the zone (workers, ledger, broker): what a
                 second core would give if it were the zone's alone. 2 x per_cpu is the speed-up that is possible.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.zone import OUT, Zone, machine, zone

GOAL = 1.6
GENERATOR_SHARE = 0.10


def signed_headers(running: Zone, key: str) -> list[str]:
    """Of one signed GET, as wrk takes them."""
    lines = running.signed_get(key).decode().split("\r\n")[1:]
    return [part for line in lines if line and not line.lower().startswith("host:") for part in ("-H", line)]


def load(running: Zone, key: str, connections: int, seconds: float) -> dict[str, float]:
    """One run of wrk. Raises RuntimeError when an answer was not 200."""
    url = f"{running.ready['s3_endpoint']}/bench/{key}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", *signed_headers(running, key), url]
    before, spent = running.cpu_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    server = running.cpu_seconds() - before
    generator = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    [requests] = re.findall(r"(\d+) requests in", done.stdout)
    return {
        "requests_per_s": int(requests) / wall, "requests_per_cpu_s": int(requests) / server,
        "server_cpu_s": server, "generator_share": generator / (generator + server),
        "p99_ms": milliseconds(re.findall(r"99%\s+([\d.]+)(us|ms|s)\b", done.stdout)[0]),
    }  # fmt: skip


def milliseconds(found: tuple[str, str]) -> float:
    value, unit = found
    return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def measure(workers: int, sizes: list[int], options: argparse.Namespace) -> dict[int, dict[str, float]]:
    with zone(workers=workers) as running:
        found = {}
        for size in sizes:
            key = f"object-{size}"
            running.s3().put_object(Bucket="bench", Key=key, Body=os.urandom(size))
            load(running, key, options.connections, 1.0)  # each worker has met it
            found[size] = load(running, key, options.connections, options.seconds)
        return found


def compared(rounds: list[dict[int, dict[int, dict[str, float]]]], size: int) -> dict[str, Any]:
    def median(workers: int, figure: str) -> float:
        return statistics.median(each[workers][size][figure] for each in rounds)

    per_cpu = statistics.median(
        each[2][size]["requests_per_cpu_s"] / each[1][size]["requests_per_cpu_s"] for each in rounds
    )
    return {
        "size": size,
        **{
            f"{figure}_{workers}": round(median(workers, figure), 3)
            for workers in (1, 2)
            for figure in ("requests_per_s", "requests_per_cpu_s", "p99_ms", "generator_share")
        },
        "speed_up": round(
            statistics.median(each[2][size]["requests_per_s"] / each[1][size]["requests_per_s"] for each in rounds), 2
        ),
        "per_cpu": round(per_cpu, 3),
        "possible": round(2 * per_cpu, 2),
        "goal": GOAL,
        "generator_is_small": median(2, "generator_share") < GENERATOR_SHARE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="65536,1048576")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed here (Debian: apt-get install wrk)", file=sys.stderr)
        raise SystemExit(2)
    sizes = [int(size) for size in options.sizes.split(",")]
    rounds = [{workers: measure(workers, sizes, options) for workers in (1, 2)} for _ in range(options.rounds)]
    rows = [compared(rounds, size) for size in sizes]
    if options.json:
        print(json.dumps({"rounds": options.rounds, "rows": rows}))
        return
    OUT.mkdir(exist_ok=True)
    document = {"benchmark": "workers", "machine": machine(), "rounds": options.rounds, "rows": rows}
    (OUT / "workers.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"{'bytes':>9} {'one/s':>9} {'two/s':>9} {'speed-up':>9} {'per CPU s':>10} {'possible':>9}  load generator")
    for row in rows:
        print(
            f"{row['size']:>9} {row['requests_per_s_1']:>9.0f} {row['requests_per_s_2']:>9.0f} {row['speed_up']:>9}"
            f" {row['per_cpu']:>10} {row['possible']:>9}  {row['generator_share_2']:.1%} of the CPU time"
        )


if __name__ == "__main__":
    main()
