"""The demo's input: the RAND Health Insurance Experiment joined with synthetic identities.

The health records are real (20,190 person-years, shipped inside `statsmodels`); every name, address and
account is invented by Faker from a fixed seed, so the dataset is flagged synthetic.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import statsmodels.api as sm
from faker import Faker

YEARS_PER_MEMBER = 5
PARQUET_FILES = 3
SEED = 20261121
FEATURES = ("postcode", "birth_date", "email")  # what the training job reads; stored next to one another
MEASURES = ("mdvis", "lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp")


@dataclass(frozen=True)
class DemoInput:
    """Where the files lie, and what must never be seen outside: the canaries."""

    directory: Path
    rows: int
    members: int
    canaries: tuple[str, ...]


def make_input(directory: Path) -> DemoInput:
    """Write part-0.parquet … part-2.parquet and members.csv into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    visits: pd.DataFrame = sm.datasets.randhie.load_pandas().data
    members = _members((len(visits) + YEARS_PER_MEMBER - 1) // YEARS_PER_MEMBER)
    owner = [number // YEARS_PER_MEMBER for number in range(len(visits))]
    table = pa.table(
        {
            **{name: pa.array([members[o][name] for o in owner]) for name in FEATURES},
            "note": pa.array([_note(members[o], number) for number, o in enumerate(owner)]),
            **{name: pa.array([members[o][name] for o in owner]) for name in members[0] if name not in FEATURES},
            **{name: pa.array(visits[name].to_numpy()) for name in MEASURES},
        }
    )
    step = (len(visits) + PARQUET_FILES - 1) // PARQUET_FILES
    for part in range(PARQUET_FILES):
        pq.write_table(table.slice(part * step, step), directory / f"part-{part}.parquet")
    with (directory / "members.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(members[0]))
        writer.writeheader()
        writer.writerows(members)
    return DemoInput(directory, len(visits), len(members), _canaries(members))


def _members(count: int) -> list[dict[str, Any]]:
    fake = Faker("de_DE")
    fake.seed_instance(SEED)
    members = []
    for number in range(count):
        name = f"{fake.first_name()} {fake.last_name()}"
        members.append(
            {
                "name": name,
                "email": f"{name.lower().replace(' ', '.')}.{number}@{fake.free_email_domain()}",
                "phone": f"+49 30 {fake.numerify('########')}",
                "iban": fake.iban(),
                "birth_date": fake.date_of_birth(minimum_age=18, maximum_age=85).isoformat(),
                "address": fake.street_address(),
                "postcode": fake.postcode(),
            }
        )
    return members


def _note(member: dict[str, Any], number: int) -> str:
    match number % 3:
        case 0:
            return f"Rückruf an {member['name']} unter {member['phone']} wegen Kostenübernahme."
        case 1:
            return f"Unterlagen per E-Mail an {member['email']} geschickt, Antwort steht aus."
        case _:
            return "Keine Auffälligkeiten im Berichtszeitraum."


def _canaries(members: list[dict[str, Any]]) -> tuple[str, ...]:
    """Values that no byte at rest and no masked byte may contain: long enough not to occur by chance."""
    chosen = members[:: max(1, len(members) // 200)]
    return tuple(str(member[field]) for member in chosen for field in ("name", "email", "iban", "phone"))
