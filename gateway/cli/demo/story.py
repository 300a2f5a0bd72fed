"""`demesne demo`: two zones, one URI, three answers, on real data. Every step checks what it says."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gateway.cli.demo import proofs, reading, refusals, training
from gateway.cli.demo.data import make_input
from gateway.cli.demo.stage import FRESHNESS_SECONDS, GRACE_SECONDS, Stage
from gateway.cli.zones import DevOptions, DevZones

Step = tuple[str, Callable[[Stage], str]]

STEPS: tuple[Step, ...] = (
    ("ingest: files are classified, contracted, sealed", reading.ingest),
    ("at rest: none of the identities in store, catalog, ledger or temp files", reading.nothing_at_rest),
    ("analyst, pandas through s3fs: masked rows", reading.analyst_pandas),
    ("analyst, DuckDB: pseudonyms still join two tables", reading.analyst_duckdb),
    ("analyst: HEAD, LIST and GET agree on size and ETag", reading.sizes_agree),
    ("training job: attests, reads the same URI raw, trains, writes the model", training.train),
    ("model: inherits the label, the analyst is refused", training.model_is_refused),
    ("model: after a named declassification the analyst reads it", training.model_declassified),
    ("refused: raw without attestation", refusals.raw_without_attestation),
    ("refused: the right job with the wrong purpose", refusals.wrong_purpose),
    ("refused: a principal of another jurisdiction", refusals.other_jurisdiction),
    ("refused: data of zone de into zone fr, by the run that read it", refusals.into_another_zone),
    ("refused: freshness lapsed in mid-epoch", refusals.freshness_lapsed),
    ("refused: a flipped byte in the store aborts the read", refusals.flipped_byte),
    ("refused: a label edited by SQL is not obeyed", refusals.edited_label),
    ("refused: a front worker asks the broker for a raw key without a session", refusals.broker_without_session),
    ("lineage: files → claims → run → model, observed", proofs.lineage),
    ("ledger: verifies", proofs.ledger_verifies),
    ("receipt: of the raw read, verified offline", proofs.receipt_offline),
    ("ledger: one changed byte is found, and where", proofs.tampering_found),
)


@dataclass(frozen=True)
class Result:
    name: str
    passed: bool
    detail: str


def run(work_dir: Path, json_output: bool) -> int:
    """Run every step; leave report.json in `work_dir`. 0 only if all passed."""
    began = time.monotonic()
    work_dir = work_dir.resolve()
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    console = Console(stderr=json_output, highlight=False)
    results = _play(work_dir, console)
    seconds = round(time.monotonic() - began, 1)
    report = {"steps": [asdict(result) for result in results], "seconds": seconds}
    (work_dir / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    if json_output:
        print(json.dumps(report))
    passed = sum(result.passed for result in results)
    console.print(f"report: {work_dir / 'report.json'} ({seconds} s)")
    console.print(f"demo: {passed} of {len(results)} steps passed", style="bold")
    return 0 if passed == len(results) else 1


def _play(work_dir: Path, console: Console) -> list[Result]:
    text = TextColumn("{task.description}")
    columns = (SpinnerColumn(), text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Result] = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("making the input and starting two zones", total=len(STEPS) + 1)
        zones = _zones(work_dir)
        stage: Stage | None = None
        try:
            made = make_input(work_dir / "input")
            zones.start()
            ready = json.loads((work_dir / "ready.json").read_text())
            stage = Stage(work_dir, zones, made, ready)
            results.append(_tell(console, Result(
                "start: two zones, each with its own processes, store, keys, catalog and ledger", True,
                f"{made.rows} insurance records of {made.members} invented members; zones "
                + " and ".join(f"{z['name']} at {z['s3_endpoint']}" for z in ready["zones"]),
            )))  # fmt: skip
            progress.advance(task)
            for name, step in STEPS:
                progress.update(task, description=name)
                results.append(_tell(console, _try(name, step, stage)))
                progress.advance(task)
        except Exception as error:  # noqa: BLE001 - the outermost handler: a demo that cannot start says why
            results.append(_tell(console, Result("start", False, f"{type(error).__name__}: {error}")))
        finally:
            if stage is not None:
                stage.close()
            zones.stop()
    return results


def _zones(work_dir: Path) -> DevZones:
    """Zones whose attestations lapse in seconds, so that the story can wait for it."""
    return DevZones(
        DevOptions(
            state_dir=work_dir / "state", zones=("de", "fr"), s3_port=0, api_port=0,
            ready_file=work_dir / "ready.json",
            extra={
                "DEMESNE_FRESHNESS_SECONDS": str(FRESHNESS_SECONDS),
                "DEMESNE_FRESHNESS_GRACE_SECONDS": str(GRACE_SECONDS),
            },
        )
    )  # fmt: skip


def _try(name: str, step: Callable[[Stage], str], stage: Stage) -> Result:
    try:
        return Result(name, True, step(stage))
    except Exception as error:  # noqa: BLE001 - a step that fails is a result, and the next ones still run
        return Result(name, False, f"{type(error).__name__}: {error}")


def _tell(console: Console, result: Result) -> Result:
    mark = "[green]✓[/]" if result.passed else "[red]✗[/]"
    console.print(f"{mark} [bold]{result.name}[/]")
    for line in result.detail.splitlines():
        console.print(f"    {line}", markup=False)
    return result
