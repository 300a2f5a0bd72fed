"""Invented people, whose every identifying value is a canary: it may be nowhere outside."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from faker import Faker

COUNT = 200
ROWS = 800
SEED = 4711
PERSONAL = ("name", "email", "phone", "iban", "address")


@dataclass(frozen=True)
class Input:
    """Two Parquet files and a CSV; `emails` of part-0 in row order."""

    directory: Path
    canaries: tuple[str, ...]
    emails: tuple[str, ...]


def people(count: int = COUNT, seed: int = SEED) -> list[dict[str, Any]]:
    fake = Faker("de_DE")
    fake.seed_instance(seed)
    made = []
    for number in range(count):
        name = f"{fake.first_name()} {fake.last_name()}-{fake.last_name()}"
        made.append(
            {
                "name": name,
                "email": f"{name.lower().replace(' ', '.')}.{seed}.{number}@{fake.free_email_domain()}",
                "phone": f"+49 30 {fake.numerify('########')}",
                "iban": fake.iban(),
                "address": f"{fake.street_address()} {seed}-{number}",
                "birth_date": fake.date_of_birth(minimum_age=18, maximum_age=85).isoformat(),
                "postcode": fake.postcode(),
            }
        )
    return made


def write_input(directory: Path) -> Input:
    directory.mkdir(parents=True)
    members = people()
    owner = [members[row % COUNT] for row in range(ROWS)]
    table = pa.table(
        {
            **{name: pa.array([member[name] for member in owner]) for name in members[0]},
            "note": pa.array([f"Rückruf an {m['name']}, {m['phone']}, {m['email']}." for m in owner]),
            "visits": pa.array([row % 13 for row in range(ROWS)], pa.int64()),
        }
    )
    half = ROWS // 2
    for part in range(2):
        # Dictionaries, statistics and page indexes all repeat values; the view may inherit none of them.
        pq.write_table(
            table.slice(part * half, half), directory / f"part-{part}.parquet", row_group_size=200,
            write_page_index=True, compression=("zstd", "snappy")[part],
        )  # fmt: skip
    with (directory / "members.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(members[0]))
        writer.writeheader()
        writer.writerows(members)
    return Input(directory, canaries_of(members), tuple(member["email"] for member in owner[:half]))


def canaries_of(members: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(str(member[field]) for member in members for field in PERSONAL)
