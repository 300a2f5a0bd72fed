"""`demesne ingest PATH DATASET`: added to the command by the entry point group `demesne.commands`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from demesne.cli.output import Json, ReadyFile, ZoneName, console, print_json, print_table, settings_of
from demesne.client import Client
from demesne.errors import Invalid
from demesne.s3 import ObjectWriter
from ingest import pipeline
from ingest.pipeline import Order, Prepared, Report
from ingest.sources import files


def register(app: typer.Typer) -> None:
    """Add `ingest` to the demesne command."""
    app.command("ingest")(ingest)


def ingest(
    path: Annotated[Path, typer.Argument(help="A Parquet or CSV file, or a directory of them.")],
    dataset: Annotated[str, typer.Argument(help="Dataset to write to; created when absent.")],
    zone: ZoneName = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="The data is made up.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="COL=LABEL", help="Say what a column is; may repeat.")
    ] = None,
    numeric_is: Annotated[
        str, typer.Option("--numeric-is", metavar="none|unknown", help="Label of numbers nothing points at.")
    ] = "unknown",
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", metavar="P", help="What the data may be used for; may repeat.")
    ] = None,
    owner: Annotated[str, typer.Option("--owner", help="Who answers for the data.")] = "steward",
    contract: Annotated[Path | None, typer.Option("--contract", help="Use this contract (JSON) as it is.")] = None,
    keys_personal: Annotated[
        bool, typer.Option("--keys-personal", help="File names mention persons themselves.")
    ] = False,
    quarantine: Annotated[
        Path, typer.Option("--quarantine", metavar="DIR", help="Where rows that do not parse are kept.")
    ] = Path("quarantine"),
    bad_rows: Annotated[
        float, typer.Option("--bad-rows", metavar="PERCENT", help="More bad rows than this refuse the file.")
    ] = 5.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and classify only; write nothing.")] = False,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Take files in: check, classify, contract, write through the gateway. Running it twice changes nothing.

    Example: demesne ingest ./claims claims --zone de --synthetic --purpose analytics --numeric-is none
    """
    order = Order(
        path=path, dataset=dataset, zone=zone, synthetic=synthetic, owner=owner, purposes=tuple(purpose or ()),
        labels=_labels(label or []), numeric_is=numeric_is, contract_file=contract, quarantine=quarantine,
        bad_limit=bad_rows / 100, keys_personal=keys_personal,
    )  # fmt: skip
    if dry_run:
        _dry_run(order, as_json=json)
        return
    settings = settings_of(ready_file)
    with (
        Client.from_settings(settings, zone=zone) as client,
        ObjectWriter.from_settings(settings, zone=zone) as writer,
        _shown_progress(order) as progress,
    ):
        report = pipeline.run(order, client, writer, progress=progress)
    if json:
        print_json(report.as_document())
    else:
        _print_report(report)


def _labels(said: list[str]) -> dict[str, str]:
    """`COL=LABEL` pairs; the column's name may itself hold `=`. Raises Invalid."""
    found = {}
    for pair in said:
        column, equals, label = pair.rpartition("=")
        if not equals or not column:
            raise Invalid("usage", f"--label {pair!r}", remedy="write it as COLUMN=LABEL, for example city=pii.address")
        found[column] = label
    return found


@contextmanager
def _shown_progress(order: Order) -> Iterator[pipeline.Progress]:
    """A bar on stderr when that is a terminal: every byte is read once to check it and once to write it."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield pipeline.silent
        return
    total = 2 * sum(source.size for source in files.find(order.path))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def show(step: str, what: str, done: int) -> None:
            bar.update(task, description=f"{step:9} {what[-40:]}".replace("[", "\\["), advance=done)

        yield show


def _dry_run(order: Order, *, as_json: bool) -> None:
    prepared = pipeline.prepare(order)
    document = pipeline.proposed_contract(order, prepared, None)
    if as_json:
        print_json({"contract": document, "files": _checked(prepared), "quarantined_rows": prepared.bad_rows})
        return
    _print_columns(document)
    console().print(f"{len(prepared.files)} files can be taken in, {prepared.bad_rows} rows would go to quarantine.")


def _checked(prepared: Prepared) -> list[dict[str, object]]:
    return [
        {"key": entry.source.key, "rows": entry.rows, "size": entry.content.size, "quarantined": len(entry.bad_rows)}
        for entry in prepared.files
    ]


def _print_report(report: Report) -> None:
    rows = [[e.key, e.status, str(e.rows), str(e.size), str(e.quarantined)] for e in report.files]
    print_table(f"Files in {report.dataset}", ["key", "status", "rows", "bytes", "quarantined"], rows)
    _print_columns(report.contract)
    said = console()
    said.print(f"Dataset {report.dataset_status}, contract {report.contract_status}.")
    for path in report.quarantine:
        said.print(f"Rows that do not parse are in {path} (personal data, in clear).", markup=False)


def _print_columns(document: dict[str, object]) -> None:
    columns = document["columns"]
    rows = [_column_row(column) for column in columns] if isinstance(columns, list) else []
    print_table("Columns", ["name", "type", "label", "because", "sure"], rows)


def _column_row(column: dict[str, object]) -> list[str]:
    finding = column["finding"]
    why = ["nothing found", ""]
    if isinstance(finding, dict):
        why = [str(finding["detector"]), f"{finding['confidence']} %"]
    return [str(column["name"]), str(column["type"]), str(column["label"]), *why]
