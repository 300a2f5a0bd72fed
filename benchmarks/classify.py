"""How fast ingest reads and classifies: MB/s a core of CSV and Parquet, columns/s and texts/s of the classifier.

    python benchmarks/classify.py [--rows 50000] [--json]

Data is Faker's, made before the clock starts. `check` reads every byte, finds bad rows, samples and hashes; `classify`
looks at the samples, so its cost does not grow with the file; `texts` is the search inside free text alone, half of
which mentions nobody.
"""

import argparse
import csv
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa
import pyarrow.parquet as pq
from faker import Faker

from ingest import pipeline
from ingest.classify import values
from ingest.classify.columns import classify
from ingest.pipeline import Order

REPEAT = 3
GOALS = {"csv_mb_per_s": 20.0, "parquet_mb_per_s": 20.0, "text_mb_per_s": 2.0}


def people(rows: int) -> dict[str, list[str]]:
    """Columns like the demo's: 2000 different persons, repeated, with measures beside them."""
    fake = Faker("de_DE")
    fake.seed_instance(1)
    makers: dict[str, Callable[[], str]] = {
        "name": fake.name, "email": fake.email, "phone": fake.phone_number, "iban": fake.iban,
        "birth_date": lambda: fake.date_of_birth().isoformat(), "address": fake.address, "postcode": fake.postcode,
        "note": lambda: f"{fake.sentence(12)} {fake.name()} {fake.email()} {fake.sentence(12)}",
        "visits": lambda: str(fake.pyint(0, 99)), "cost": lambda: f"{fake.pyfloat(3, 2, positive=True)}",
    }  # fmt: skip
    few = {name: [make() for _ in range(2000)] for name, make in makers.items()}
    return {name: [values_[n % 2000] for n in range(rows)] for name, values_ in few.items()}


def median_seconds(action: Callable[[], object]) -> float:
    """Of three runs."""
    taken = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(rows: int) -> dict[str, float]:
    data = people(rows)
    with tempfile.TemporaryDirectory() as name:
        text, columnar = Path(name) / "people.csv", Path(name) / "people.parquet"
        with text.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(data)
            writer.writerows(zip(*data.values(), strict=True))
        pq.write_table(pa.table(data), columnar)
        decoded = pa.table(data).nbytes
        csv_seconds = median_seconds(lambda: pipeline.prepare(Order(text, "claims")))
        parquet_seconds = median_seconds(lambda: pipeline.prepare(Order(columnar, "claims")))
        csv_size = text.stat().st_size
    samples = {column: found[:2000] for column, found in data.items()}
    classify_seconds = median_seconds(lambda: [classify(column, "string", found) for column, found in samples.items()])
    fake = Faker("en_US")
    fake.seed_instance(2)
    # Half mention nobody: those are searched to their end, by every pattern.
    notes = data["note"][:1000] + [fake.paragraph(4).lower() for _ in range(1000)]
    text_seconds = median_seconds(lambda: [values.mentions(note) for note in notes])
    return {
        "rows": rows,
        "csv_mb_per_s": csv_size / csv_seconds / 1e6,
        "parquet_mb_per_s": decoded / parquet_seconds / 1e6,
        "columns_per_s": len(samples) / classify_seconds,
        "texts_per_s": len(notes) / text_seconds,
        "text_mb_per_s": sum(len(note.encode()) for note in notes) / text_seconds / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rows)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        goal = f"   goal {GOALS[name]:.0f}" if name in GOALS else ""
        print(f"{name:18} {value:12,.1f}{goal}")


if __name__ == "__main__":
    main()
