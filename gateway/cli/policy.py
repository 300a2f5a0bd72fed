"""`demesne policy`: check a doctrine, run its tests, and explain what it says to a request."""

import asyncio
import json as json_module
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, print_json
from gateway.decide import authoring
from gateway.decide.bundle import BundleUnreadable, read_bundle
from gateway.decide.doctrine import Doctrine
from gateway.decide.engine import BundleRefused
from gateway.decide.regorus import Regorus

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
_STDIN = "-"
_NOBODY_WAITS = 10.0  # seconds; a person's question may take longer than a request's

DoctrineDir = Annotated[
    Path | None, typer.Option("--dir", help="The doctrine's folder. Default: the shipped one.", show_default=False)
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The doctrine: the Rego that decides everything.", no_args_is_help=True)
    group.command("check")(check)
    group.command("test")(run_tests)
    group.command("explain")(explain)
    app.add_typer(group, name="policy")


def check(directory: DoctrineDir = None, json: Json = False) -> None:
    """Would this doctrine be activated? Exits 1 with every finding when not."""
    where = directory or shipped_doctrine()
    report = asyncio.run(authoring.check(where))
    if json:
        print_json({"passed": report.passed, "directory": str(where), **asdict(report)})
    elif report.passed:
        typer.echo(f"{where}: revision {report.revision[:12]} may be activated (checked with {_and(report.engines)}).")
    else:
        for finding in report.findings:
            typer.echo(f"{finding.file or where}{f':{finding.row}' if finding.row else ''}: {finding.message}")
        typer.echo(f"{where}: not to be activated; a gateway would go on with the last good one.")
    raise typer.Exit(0 if report.passed else EXIT_FAILED)


def run_tests(directory: DoctrineDir = None, json: Json = False) -> None:
    """Run the doctrine's own tests. Exits 1 when one fails, 2 when they cannot be run."""
    where = directory or shipped_doctrine()
    try:
        report = asyncio.run(authoring.run_tests(where))
    except (BundleUnreadable, BundleRefused) as error:
        raise _unusable(str(error), as_json=json) from error
    passed = not report.failed and report.passed > 0  # no tests at all is not a pass
    if json:
        print_json({"ok": passed, "directory": str(where), **asdict(report)})
    else:
        for name in report.failed:
            typer.echo(f"FAILED {name}")
        total = report.passed + len(report.failed)
        typer.echo(f"{where}: {report.passed} of {total} tests passed in {report.engine}, {report.seconds:.1f} s.")
    raise typer.Exit(0 if passed else EXIT_FAILED)


def explain(
    file: Annotated[Path, typer.Argument(help="A decision input (docs/spec/decision.md) as JSON; - reads stdin.")],
    directory: DoctrineDir = None,
    json: Json = False,
) -> None:
    """Decide a request that is written down, and say why. Exits 0 when allowed, 1 when refused, 2 unusable."""
    where = directory or shipped_doctrine()
    try:
        text = sys.stdin.read() if str(file) == _STDIN else file.read_text(encoding="utf-8")
        document = json_module.loads(text)
    except (OSError, ValueError) as error:
        raise _unusable(f"{file}: {error}", as_json=json) from error
    if not isinstance(document, dict):
        raise _unusable(f"{file}: a decision input is a JSON object", as_json=json)
    try:
        told = asyncio.run(_explained(where, document))
    except (BundleUnreadable, BundleRefused) as error:
        raise _unusable(str(error), as_json=json) from error
    if json:
        print_json(told)
    else:
        typer.echo(authoring.explanation(told))
    raise typer.Exit(0 if told["allow"] else EXIT_FAILED)


def shipped_doctrine() -> Path:
    """The packaged doctrine, or the checkout's."""
    package = Path(__file__).parents[1]
    packaged = package / "_policies"
    return packaged if packaged.is_dir() else package.parent / "policies"


async def _explained(where: Path, document: dict[str, Any]) -> dict[str, Any]:
    engine = Regorus(deadline=_NOBODY_WAITS, patience=_NOBODY_WAITS)
    doctrine = Doctrine(engine, where, clock=lambda: 0)
    try:
        bundle = read_bundle(where)
        if not await doctrine.reload():
            refused = doctrine.status.refused
            raise BundleRefused(refused.reason if refused else "the doctrine did not load")
        return await authoring.explain(doctrine, document, bundle)
    finally:
        await doctrine.close()


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)


def _unusable(message: str, *, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"error": message})
    typer.echo(f"demesne policy: {message}", err=True)
    return typer.Exit(EXIT_UNUSABLE)
