"""Mixed load for long, and what it leaves: memory and descriptors of every process of the zone must not grow.

    python -m benchmarks.soak [--minutes 60] [--clients 4]       (make soak MINUTES=60)

Writes, uploads in parts, whole and ranged reads, heads, lists, deletes, reads that break off, and requests that are
refused. Growth is between the first fifth after the warm-up and the last, medians of samples: the goal is below 5 %,
descriptors flat. p99 of the small reads is compared in the same way (goal: below 20 %; only where nothing else runs).
"""

import argparse
import os
import random
import statistics
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.memory import resident_mib
from benchmarks.zone import Zone, publish, zone

WARM_SHARE, WARM_MOST = 0.25, 300.0
SAMPLE_SECONDS = 2.0
GROWTH_GOAL, DRIFT_GOAL = 0.05, 0.20
SMALL, LARGE, PART = 64 << 10, 12 << 20, 5 << 20


class Load:
    """One client thread after another does one of these, at random; what failed is counted, nothing is repeated."""

    def __init__(self, served: Zone, seed: int) -> None:
        self._s3 = served.s3()
        self._random = random.Random(seed)
        self._place = seed
        self.done = 0
        self.failed: list[str] = []
        self.reads: list[tuple[float, float]] = []  # when, and seconds, of small reads

    def run(self, over: threading.Event) -> None:
        kinds = [self.small, self.small, self.small, self.span, self.span, self.write, self.large, self.parts,
                 self.listing, self.head, self.remove, self.broken_off, self.refused]  # fmt: skip
        while not over.is_set():
            kind = self._random.choice(kinds)
            try:
                kind()
            except (ClientError, BotoCoreError, OSError) as error:
                self.failed.append(f"{kind.__name__}: {error}"[:200])
            self.done += 1

    def small(self) -> None:
        began = time.monotonic()
        self._get("small")
        self.reads.append((began, time.monotonic() - began))

    def span(self) -> None:
        start = self._random.randrange(LARGE - SMALL)
        self._get("large", Range=f"bytes={start}-{start + SMALL - 1}")

    def large(self) -> None:
        self._get("large")

    def write(self) -> None:
        size = self._random.choice([100, SMALL, 1 << 20])
        self._s3.put_object(Bucket="bench", Key=self._key(), Body=os.urandom(size))

    def parts(self) -> None:
        key = self._key()
        made = self._s3.create_multipart_upload(Bucket="bench", Key=key)["UploadId"]
        named = {"Bucket": "bench", "Key": key, "UploadId": made}
        first = self._s3.upload_part(**named, PartNumber=1, Body=os.urandom(PART))["ETag"]
        if self._random.random() < 0.3:
            self._s3.abort_multipart_upload(**named)
            return
        last = self._s3.upload_part(**named, PartNumber=2, Body=b"end")["ETag"]
        parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": last}]
        self._s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})

    def listing(self) -> None:
        self._s3.list_objects_v2(Bucket="bench", MaxKeys=100)

    def head(self) -> None:
        self._s3.head_object(Bucket="bench", Key="large")

    def remove(self) -> None:
        self._s3.delete_object(Bucket="bench", Key=self._key())

    def broken_off(self) -> None:
        body = self._s3.get_object(Bucket="bench", Key="large")["Body"]
        body.read(self._random.randrange(1, LARGE // 2))
        body.close()

    def refused(self) -> None:
        with suppress(ClientError):
            self._s3.get_object(Bucket="no-such-dataset", Key="x")

    def _get(self, key: str, **more: str) -> None:
        body = self._s3.get_object(Bucket="bench", Key=key, **more)["Body"]
        while body.read(1 << 20):
            pass

    def _key(self) -> str:
        return f"{self._place}/{self._random.randrange(50)}"


def sample(served: Zone) -> dict[str, tuple[float, int]]:
    """Resident MiB and open descriptors by process."""
    return {role: (resident_mib(pid), len(os.listdir(f"/proc/{pid}/fd"))) for role, pid in served.pids.items()}


def ends(samples: list[Any]) -> tuple[list[Any], list[Any]]:
    """The first fifth and the last."""
    count = max(1, len(samples) // 5)
    return samples[:count], samples[-count:]


def growth(samples: list[dict[str, tuple[float, int]]]) -> dict[str, dict[str, float]]:
    first, last = ends(samples)
    found = {}
    for role in samples[0]:
        resident = [statistics.median(each[role][0] for each in part) for part in (first, last)]
        open_files = [statistics.median(each[role][1] for each in part) for part in (first, last)]
        found[role] = {
            "first_mib": round(resident[0], 1), "last_mib": round(resident[1], 1),
            "growth": round(resident[1] / resident[0] - 1, 4),
            "first_descriptors": open_files[0], "last_descriptors": open_files[1],
        }  # fmt: skip
    return found


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else 0.0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--clients", type=int, default=4)
    given = options.parse_args()
    seconds, samples, over = given.minutes * 60, [], threading.Event()
    with zone() as served:
        for key, size in (("small", SMALL), ("large", LARGE)):
            served.s3().put_object(Bucket="bench", Key=key, Body=os.urandom(size))
        loads = [Load(served, seed) for seed in range(given.clients)]
        threads = [threading.Thread(target=load.run, args=(over,)) for load in loads]
        for thread in threads:
            thread.start()
        warm = min(WARM_MOST, seconds * WARM_SHARE)
        time.sleep(warm)
        began = time.monotonic()
        while time.monotonic() - began < seconds - warm:
            samples.append(sample(served))
            time.sleep(SAMPLE_SECONDS)
        over.set()
        for thread in threads:
            thread.join()
    reads = sorted(read for load in loads for read in load.reads if read[0] >= began)
    drift = [p99([taken for _, taken in part]) for part in ends(reads)]
    found = growth(samples)
    failed = [failure for load in loads for failure in load.failed]
    met = not failed and all(
        each["growth"] < GROWTH_GOAL and each["last_descriptors"] <= each["first_descriptors"] + 2
        for each in found.values()
    )
    publish("soak", {
        "minutes": given.minutes, "clients": given.clients, "requests": sum(load.done for load in loads),
        "failed": len(failed), "failures": failed[:5], "processes": found,
        "small_read_p99_ms": [round(value * 1000, 1) for value in drift],
        "p99_drift": round(drift[1] / drift[0] - 1, 3) if drift[0] else None, "drift_goal": DRIFT_GOAL,
        "growth_goal": GROWTH_GOAL, "met": met,
    })  # fmt: skip
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
