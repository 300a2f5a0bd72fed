"""Data in: read -> check -> classify -> contract -> write through the gateway, as its client.

The order is the promise. Everything is read to its end and checked before anything is created; the dataset comes
before its contract, the contract before the first object, so no row is ever there without its labels. Each
step may be done again: a run that was cut off is finished by running it again, and a finished one changes nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demesne.client import Client
from demesne.errors import Conflict, Invalid, NotFound
from demesne.s3 import ObjectWriter, Payload
from ingest import contract, quarantine
from ingest.classify import values
from ingest.classify.columns import Finding, classify
from ingest.classify.labels import NONE, UNKNOWN
from ingest.engines import Engine
from ingest.engines.local import LocalEngine
from ingest.errors import BadContract
from ingest.formats import csv, parquet
from ingest.formats.checked import SAMPLE, CheckedFile, Column
from ingest.sources import files
from ingest.sources.files import CONTENT_TYPES, SourceFile

Progress = Callable[[str, str, int], None]  # (step, what, bytes done or 0)
SHA256_METADATA = "demesne-source-sha256"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be taken in, and how."""

    path: Path
    dataset: str
    zone: str | None = None
    synthetic: bool = False
    owner: str = "steward"
    purposes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    numeric_is: str = UNKNOWN
    contract_file: Path | None = None
    quarantine: Path = Path("quarantine")
    bad_limit: float = csv.BAD_LIMIT  # share of bad rows above which a CSV is refused
    keys_personal: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files that passed every check, and what was found in them; nothing has been created yet."""

    files: tuple[CheckedFile, ...]
    columns: tuple[Column, ...]
    findings: Mapping[str, Finding | None]
    keys_personal: bool

    @property
    def bad_rows(self) -> int:
        return sum(len(checked.bad_rows) for checked in self.files)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What happened to one file. `status` is written or unchanged."""

    key: str
    status: str
    size: int
    rows: int
    quarantined: int
    etag: str
    decision_id: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole run; `as_document` is what --json prints."""

    dataset: str
    zone: str | None
    dataset_status: str  # created | unchanged
    contract_status: str  # written | unchanged
    contract: dict[str, Any]
    files: tuple[FileReport, ...]
    quarantine: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "zone": self.zone,
            "dataset_status": self.dataset_status,
            "contract_status": self.contract_status,
            "contract": self.contract,
            "files": [{name: getattr(entry, name) for name in FileReport.__slots__} for entry in self.files],
            "written": [entry.key for entry in self.files if entry.status == "written"],
            "unchanged": [entry.key for entry in self.files if entry.status == "unchanged"],
            "rows": sum(entry.rows for entry in self.files),
            "bytes": sum(entry.size for entry in self.files),
            "quarantined_rows": sum(entry.quarantined for entry in self.files),
            "quarantine_files": list(self.quarantine),
        }


def silent(_step: str, _what: str, _done: int) -> None:
    """The progress of a run nobody watches."""


def prepare(order: Order, *, engine: Engine | None = None, progress: Progress = silent) -> Prepared:
    """Read, check and classify everything. Touches no network. Raises BadFile, Invalid."""
    check_order(order)
    sources = files.find(order.path)

    def one(source: SourceFile) -> CheckedFile:
        progress("check", source.key, 0)
        checked = csv.check(source, bad_limit=order.bad_limit) if source.format == "csv" else parquet.check(source)
        progress("checked", source.key, source.size)
        return checked

    checked = tuple((engine or LocalEngine()).check(sources, one))
    columns = tuple(contract.unite(entry.columns for entry in checked))
    progress("classify", order.dataset, 0)
    findings = {column.name: classify(column.name, column.type, _samples(checked, column.name)) for column in columns}
    keys_personal = order.keys_personal or any(_mentions_person(entry.source.key) for entry in checked)
    return Prepared(checked, columns, findings, keys_personal)


def run(
    order: Order,
    client: Client,
    writer: ObjectWriter,
    *,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Report:
    """The whole road. Raises BadFile or BadContract before anything is created, else what the gateway says."""
    prepared = prepare(order, engine=engine, progress=progress)
    present = _present(client, order)
    old = _contract_of(present)
    document = proposed_contract(order, prepared, old)
    kept = tuple(
        str(quarantine.write(order.quarantine / order.dataset, entry)) for entry in prepared.files if entry.bad_rows
    )
    progress("dataset", order.dataset, 0)
    created = present is None and _create(client, order)
    changed = old is None or document != contract.normal(old)
    if changed:
        client.put_contract(order.dataset, document)
    reports = tuple(_write(order.dataset, entry, writer, progress) for entry in prepared.files)
    return Report(
        dataset=order.dataset,
        zone=order.zone,
        dataset_status="created" if created else "unchanged",
        contract_status="written" if changed else "unchanged",
        contract=document,
        files=reports,
        quarantine=kept,
    )


def proposed_contract(order: Order, prepared: Prepared, present: dict[str, Any] | None) -> dict[str, Any]:
    """The contract of the file given, or one made from the findings. Raises BadContract."""
    if order.contract_file is not None:
        document = _read_contract(order.contract_file)
        contract.validate(document, order.dataset)
        contract.require_present(document, prepared.columns)
        return document
    return contract.build(
        dataset=order.dataset,
        owner=order.owner,
        purposes=order.purposes,
        keys_personal=prepared.keys_personal,
        columns=prepared.columns,
        findings=prepared.findings,
        said=order.labels,
        numeric_is=order.numeric_is,
        present=present,
    )


def _read_contract(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadContract(str(path), f"cannot be read: {error}", remedy="give a JSON file") from error
    if not isinstance(document, dict):
        raise BadContract(str(path), "is not a JSON object", remedy="see docs/spec/contract.md")
    return document


def _present(client: Client, order: Order) -> dict[str, Any] | None:
    """The dataset as it is, None when there is none. Raises Conflict when it is another kind than ordered:
    data that is not made up must not go where a sample attestation opens it."""
    try:
        found = client.dataset(order.dataset)
    except NotFound:
        return None
    if "synthetic" in found and bool(found["synthetic"]) != order.synthetic:
        kind = "synthetic" if found["synthetic"] else "not synthetic"
        remedy = "drop --synthetic" if order.synthetic else "add --synthetic if this data is made up"
        remedy += ", or use another dataset"
        raise Conflict("dataset.kind", f"dataset {order.dataset!r} exists and is {kind}", remedy=remedy)
    return found


def _contract_of(dataset: dict[str, Any] | None) -> dict[str, Any] | None:
    """The contract document in a dataset's answer, whether it stands alone or under "document"."""
    found = (dataset or {}).get("contract")
    if not isinstance(found, dict):
        return None
    document = found.get("document", found)
    return document if isinstance(document, dict) and "columns" in document else None


def _create(client: Client, order: Order) -> bool:
    client.create_dataset(order.dataset, zone=order.zone, synthetic=order.synthetic, label="personal")
    return True


def _write(dataset: str, entry: CheckedFile, writer: ObjectWriter, progress: Progress) -> FileReport:
    """One object, unless the gateway has exactly these bytes from us already."""
    content, key = entry.content, entry.source.key
    progress("write", key, 0)
    facts = writer.head(dataset, key)
    decision, status = None, "unchanged"
    if facts is None or (facts.size, facts.etag) != (content.size, content.md5):
        written = writer.put(
            dataset,
            key,
            Payload(content.size, content.sha256, content.md5, content.chunks),
            content_type=CONTENT_TYPES[entry.source.format],
            metadata={SHA256_METADATA: content.sha256},
        )
        decision, status = written.decision_id, "written"
    progress("written", key, entry.source.size)
    return FileReport(key, status, content.size, entry.rows, len(entry.bad_rows), content.md5, decision)


def _samples(checked: Sequence[CheckedFile], name: str) -> tuple[str, ...]:
    """Values of one column from every file that has it, an equal share of each."""
    having = [entry.samples[name] for entry in checked if entry.samples.get(name)]
    each = max(20, 2 * SAMPLE // max(1, len(having)))
    return tuple(value for sample in having for value in sample[:each])


def _mentions_person(key: str) -> bool:
    """File names like `maria.schmidt@example.org.csv` are personal themselves. Only what can be checked counts:
    a name or a number that looks like one is in half of all file names."""
    words = key.rsplit(".", 1)[0].replace("/", " ").replace("_", " ")
    return values.mentions(words) in {"email", "iban"}


def check_order(order: Order) -> None:
    """Options that contradict each other. Raises Invalid."""
    if order.contract_file is not None and (order.labels or order.purposes):
        said = "--contract excludes --label and --purpose"
        raise Invalid("usage", said, remedy="write them into the contract")
    if order.numeric_is not in {UNKNOWN, NONE}:
        raise Invalid("usage", f"--numeric-is {order.numeric_is!r}", remedy="use none or unknown")
    if not 0 <= order.bad_limit <= 1:
        raise Invalid("usage", "--bad-rows must be 0 to 100", remedy="give a percentage")
