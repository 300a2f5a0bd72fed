"""Read and list cost while the catalog grows: 10^3 → 10^6 objects by default, `--up-to 7` for 10^7.

    python -m benchmarks.growth [--up-to 6] [--reads 200]

The rows are made by bulk insert beside the running zone, each sealed as the catalog seals it (version, manifest,
body), with keys 100 to a prefix. Measured at every size: 64 KiB range reads of one real object through the gateway,
pages of 1000 keys and of prefixes at random places through the gateway, and the catalog's own lookup of random keys.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.zone import RawClient, Zone, address_of, median, percentile, publish, zone
from vault.broker.client import BrokerClient
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.mapping import BODY, MANIFEST, VERSION
from vault.catalog.seal import RowSeal
from vault.catalog.section import new_id

KEY = "real.bin"
LENGTH = 64 << 10
SIZE = 4 << 20
BATCH = 20_000


def key_of(number: int) -> str:
    return f"g/{number // 100:06d}/{number % 100:02d}.parquet"


class Generator:
    """Adds sealed rows like those of one real object."""

    def __init__(self, served: Zone) -> None:
        home = served.state_dir / "zones" / "de"
        socket = next(path for path in home.rglob("*broker*") if path.is_socket())
        self.seal = RowSeal(BrokerClient(socket).hello().catalog_mac_key)
        self.database = Database(sqlite_url(next(home.rglob("catalog.sqlite3"))))
        self.catalog = Catalog(self.database, self.seal, lambda: time.time_ns() // 1_000_000)
        self.dataset_id = self.catalog.dataset("bench").dataset_id
        version = self.catalog.latest(self.dataset_id, KEY)
        assert version is not None
        self.version = version
        self.manifest = self.catalog.manifest(version.manifest_id, version.generation)
        self.body = self._one_body()
        self.made = 0

    def _one_body(self) -> Any:
        statement = BODY.select.where(BODY.table.c.subject == self.version.version_id)
        return BODY.read(self.database.rows(statement, {})[0], self.seal)

    def grow_to(self, count: int) -> None:
        while self.made < count:
            stop = min(count, self.made + BATCH)
            versions, manifests, bodies = zip(*self._rows(self.made, stop), strict=True)
            with self.database.write() as connection:
                connection.execute(VERSION.insert, list(versions))
                connection.execute(MANIFEST.insert, list(manifests))
                connection.execute(BODY.insert, list(bodies))
            self.made = stop

    def _rows(self, start: int, stop: int) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        for number in range(start, stop):
            version_id, manifest_id = new_id(), new_id()
            version = replace(self.version, version_id=version_id, key=key_of(number), manifest_id=manifest_id,
                              sequence=self.version.sequence + number + 1)  # fmt: skip
            manifest = replace(self.manifest, manifest_id=manifest_id, subject=version_id, store_key=f"m/{manifest_id}")
            body = replace(self.body, body_id=new_id(), subject=version_id, store_key=f"b/{new_id()}")
            yield VERSION.stored(version, self.seal), MANIFEST.stored(manifest, self.seal), BODY.stored(body, self.seal)


def taken(call: Callable[[], object], count: int) -> dict[str, float]:
    """p50 and p99 in ms, after one that warms."""
    call()
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return {"p50_ms": round(median(seconds) * 1000, 3), "p99_ms": round(percentile(seconds, 0.99) * 1000, 3)}


def measure(served: Zone, made: Generator, reads: int, rng: random.Random) -> dict[str, Any]:
    client, s3 = RawClient(address_of(served.ready["s3_endpoint"])), served.s3()
    count = made.made

    def read() -> None:
        start = rng.randrange(0, SIZE - LENGTH)
        client.get(served.signed_get(KEY, (start, start + LENGTH)), LENGTH)

    def keys() -> None:
        found = s3.list_objects_v2(Bucket="bench", StartAfter=key_of(rng.randrange(0, max(1, count - 1001))))
        if len(found["Contents"]) < min(900, count - 1):
            raise RuntimeError(f"{len(found['Contents'])} keys on a page")

    def prefixes() -> None:
        after = key_of(rng.randrange(0, max(1, count // 2)))
        s3.list_objects_v2(Bucket="bench", Prefix="g/", Delimiter="/", StartAfter=after, MaxKeys=5)

    def lookup() -> None:
        if made.catalog.latest(made.dataset_id, key_of(rng.randrange(count))) is None:
            raise RuntimeError("a generated row is not found")

    figures = {
        "objects": count, "range_read": taken(read, reads), "list_1000_keys": taken(keys, max(5, reads // 10)),
        "list_5_prefixes": taken(prefixes, max(5, reads // 10)), "catalog_lookup": taken(lookup, reads * 5),
        "catalog_mib": round(sum(path.stat().st_size for path in _files(served)) / 1048576, 1),
    }  # fmt: skip
    client.close()
    return figures


def _files(served: Zone) -> list[Path]:
    return list((served.state_dir / "zones" / "de").rglob("catalog.sqlite3*"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--up-to", type=int, default=6, help="the largest catalog is 10 to this power")
    options.add_argument("--reads", type=int, default=200)
    given = options.parse_args()
    rng, runs = random.Random(1), []
    with zone() as served:
        served.s3().put_object(Bucket="bench", Key=KEY, Body=os.urandom(SIZE))
        made = Generator(served)
        for power in range(3, given.up_to + 1):
            began = time.perf_counter()
            made.grow_to(10**power)
            seconds = time.perf_counter() - began
            runs.append(measure(served, made, given.reads, rng) | {"generated_in_s": round(seconds, 1)})
            print(runs[-1], flush=True)
    first, last = runs[0], runs[-1]
    kinds = ("range_read", "list_1000_keys", "list_5_prefixes", "catalog_lookup")
    growth = {kind: round(last[kind]["p50_ms"] / first[kind]["p50_ms"], 2) for kind in kinds}
    publish("growth", {"runs": runs, "last_to_first": growth})


if __name__ == "__main__":
    main()
