"""`demesne ledger verify` and `verify-receipt`: check the record without trusting who keeps it."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, ReadyFile, ZoneName, client_of, print_json, settings_of
from demesne.errors import DemesneError
from gateway.cli.ledger_over_api import fetcher, verify_over_api
from lineage.errors import LineageError
from lineage.ledger.checkpoint import unverified_checkpoint
from lineage.ledger.proof import verify_receipt as check_receipt
from lineage.ledger.verify import Report, verify_directory
from vault.keys.signing import verify_signature

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
_KEY_BYTES = 32
_STDIN = "-"

PublicKey = Annotated[
    str | None,
    typer.Option("--key", help="The zone's public key (64 hex digits), kept from before. Default: ask the gateway."),
]


class _Unusable(Exception):
    """Nothing was verified; the message says what to give instead."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The zone's tamper-evident record of every decision.", no_args_is_help=True)
    group.command("verify")(verify)
    group.command("verify-receipt")(verify_receipt)
    app.add_typer(group, name="ledger")


def verify(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="A ledger directory or a copy. Default: read it from the gateway.")
    ] = None,
    key: PublicKey = None,
    zone: ZoneName = None,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Verify a whole ledger; says where it fails. Exits 0 verified, 1 not what was recorded, 2 nothing to verify."""
    try:
        public_key, pinned = _public_key(key, ready_file, zone)
        if directory is None:
            settings = settings_of(ready_file)
            name = settings.zone(zone).region or settings.zone(zone).name
            report = verify_over_api(fetcher(settings, zone), name, public_key, verify_signature)
        else:
            report = verify_directory(
                directory, public_key, verify_signature, zone=zone, origin=None if zone else _origin(directory)
            )
    except (_Unusable, OSError) as error:
        raise _end(str(error), as_json=json) from error
    document = report_document(report, public_key, pinned=pinned)
    if json:
        print_json(document)
    else:
        typer.echo("\n".join(_sentences(document)))
    raise typer.Exit(0 if report.verified else EXIT_FAILED)


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt as `demesne ledger receipt` gave it; - reads stdin.")],
    key: PublicKey = None,
    zone: ZoneName = None,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Verify that one decision is in the ledger; offline with --key. Exits 0 proved, 1 not proved, 2 unusable."""
    try:
        public_key, pinned = _public_key(key, ready_file, zone)
        text = sys.stdin.read() if str(file) == _STDIN else file.read_text(encoding="utf-8")
    except (_Unusable, OSError, UnicodeDecodeError) as error:
        raise _end(str(error), as_json=json) from error
    try:
        receipt = check_receipt(text, public_key, verify_signature)
    except LineageError as error:
        if json:
            print_json({"verified": False, "reason": error.reason, "detail": error.detail})
        else:
            typer.echo(f"NOT VERIFIED: {error}")
        raise typer.Exit(EXIT_FAILED) from error
    if json:
        print_json({
            "verified": True, "index": receipt.index, "entry": receipt.entry, "key_pinned": pinned,
            "checkpoint": {"origin": receipt.checkpoint.origin, "size": receipt.checkpoint.size,
                           "root": receipt.checkpoint.root.hex()},
        })  # fmt: skip
        return
    entry, checkpoint = receipt.entry, receipt.checkpoint
    typer.echo(f"Verified: entry {receipt.index} of {checkpoint.size} in {checkpoint.origin}.")
    for name in ("type", "id", "at", "zone", "action", "dataset", "view", "purpose", "session", "run"):
        if entry.get(name) is not None:
            typer.echo(f"  {name:8} {entry[name]}")
    if not pinned:
        typer.echo(_unpinned(public_key))


def report_document(report: Report, public_key: bytes, *, pinned: bool) -> dict[str, Any]:
    """A report as `--json` prints it."""
    return {
        "verified": report.verified,
        "size": report.size,
        "unpublished": report.unpublished,
        "root": report.root.hex(),
        "public_key": public_key.hex(),
        "key_pinned": pinned,
        "problems": [asdict(problem) for problem in report.problems],
    }


def _sentences(document: dict[str, Any]) -> list[str]:
    if not document["verified"]:
        lines = [f"NOT VERIFIED: {_count(len(document['problems']), 'problem')} in {document['size']} entries."]
        return lines + [_problem_line(problem) for problem in document["problems"]]
    later = f", and {document['unpublished']} more follow it" if document["unpublished"] else ""
    lines = [f"Verified: {document['size']} entries under the signed checkpoint{later}.", f"  root {document['root']}"]
    return lines if document["key_pinned"] else [*lines, _unpinned(bytes.fromhex(document["public_key"]))]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _problem_line(problem: dict[str, Any]) -> str:
    where = f" ({problem['file']})" if problem["file"] else ""
    return f"  {problem['place']}: {problem['detail']}{where}"


def _unpinned(public_key: bytes) -> str:
    """A key that came with the data proves only that both come from one hand."""
    return (
        f"  The key was told by the gateway itself: {public_key.hex()}\n"
        "  Keep it apart and give it with --key: then a rewritten ledger is found even if the gateway lies."
    )


def _public_key(text: str | None, ready_file: Path | None, zone: str | None) -> tuple[bytes, bool]:
    """The key to verify with, and whether it was given rather than asked for."""
    if text is None:
        try:
            with client_of(ready_file, zone) as client:
                answer = client.request("GET", "/v1/ledger/key")
        except DemesneError as error:
            raise _Unusable(f"no --key, and the gateway did not tell it: {error}") from error
        text, pinned = str(answer.get("public_key", "")) if isinstance(answer, dict) else "", False
    else:
        pinned = True
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise _Unusable("the public key must be 64 hex digits (32 bytes, Ed25519)")
    return key, pinned


def _origin(directory: Path) -> str:
    """The origin the checkpoint claims: only the right key can have signed it under that name."""
    path = directory / "checkpoint"
    try:
        return unverified_checkpoint(path.read_bytes()).origin
    except FileNotFoundError:
        raise _Unusable(f"{directory} is no ledger directory: it has no checkpoint") from None
    except LineageError:
        return "unreadable"  # the verification itself reports the broken checkpoint and its place


def _end(message: str, *, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"verified": False, "error": message})
    typer.echo(f"demesne ledger: {message}", err=True)
    return typer.Exit(EXIT_UNUSABLE)
