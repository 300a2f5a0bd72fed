"""`demesne attest verify|inspect|check-manifest`: evidence of machines, verified or explained, offline."""

import stat
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, print_json, print_table
from gateway.cli import collateral
from vault.attest.offline.contents import MAX_FILE, Presented, milliseconds
from vault.attest.offline.inspection import inspect_file
from vault.attest.offline.kinds import KINDS, verify_files
from vault.attest.offline.manifest import UnusableManifest, check_entries, parse_manifest
from vault.attest.offline.zone import KINDS as ZONE_KINDS
from vault.attest.offline.zone import verify_in_zone
from vault.attest.trust.directory import TrustDirectory
from vault.errors import Refused

EXIT_REFUSED = 3
EXIT_UNUSABLE = 2
MANIFEST = "MANIFEST.json"
_MAX_BINDING = 64

Kind = Annotated[str, typer.Option("--kind", help=f"What the evidence is: {', '.join(sorted(KINDS))}.")]
Evidence = Annotated[Path, typer.Option("--evidence", help="The evidence: bytes, hex, base64 or JSON.")]


class _Unusable(Exception):
    """Nothing was looked at; the message says what to give instead."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Evidence of machines: verified or explained, offline.", no_args_is_help=True)
    group.command("verify")(verify)
    group.command("inspect")(inspect)
    group.command("check-manifest")(check_manifest)
    collateral.register(group)
    app.add_typer(group, name="attest")


def verify(
    kind: Kind,
    evidence: Evidence,
    endorsement: Annotated[
        list[Path] | None, typer.Option("--endorsement", help="Certificates, keys or logs that belong to it.")
    ] = None,
    collateral: Annotated[
        Path | None, typer.Option("--collateral", help="TDX collateral, or a revocation list.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Verify at this time (RFC 3339). Default: now.")] = None,
    expect_report_data: Annotated[
        str | None, typer.Option("--expect-report-data", help="The binding it must carry, hex, at most 64 bytes.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option("--trust", help="Verify as a broker with this trust directory would.")
    ] = None,
    development: Annotated[bool, typer.Option("--development", help="With --trust: in a development posture.")] = False,
    json: Json = False,
) -> None:
    """Verify evidence. Exits 0 verified, 3 refused (with the name of the check that failed), 2 unusable input."""
    try:
        _check_kind(kind)
        if trust is not None:
            _check_trust(trust, kind, expect_report_data, collateral)
        presented = Presented(
            _read(evidence),
            tuple(_read(path) for path in endorsement or ()),
            None if collateral is None else _read(collateral),
            _binding(expect_report_data),
            _time(at),
        )
    except _Unusable as error:
        raise _end(error, as_json=json) from error
    try:
        verdict = (
            verify_files(kind, presented) if trust is None
            else verify_in_zone(
                kind, presented, TrustDirectory(trust, development=development), development=development
            )
        )  # fmt: skip
    except Refused as refused:
        raise _refused(kind, refused, as_json=json) from refused
    if json:
        print_json({"verified": True, "kind": kind, "appraised": verdict.appraised, "claims": dict(verdict.claims)})
        return
    print_table(f"{kind}: verified", ["claim", "value"], [[name, str(value)] for name, value in _flat(verdict.claims)])
    if not verdict.appraised:
        typer.echo("Signatures only: nothing was said of the platform's TCB, and no session could follow.")
    if presented.expected is None:
        typer.echo("Not bound: no --expect-report-data, so anybody's evidence would have done.")


def inspect(
    evidence: Evidence,
    kind: Annotated[str | None, typer.Option("--kind", help="Default: told from the evidence.")] = None,
    json: Json = False,
) -> None:
    """Say what evidence states, believing none of it. Exits 0, 3 where it is no evidence, 2 unusable input."""
    try:
        _check_kind(kind or "sample")
        content = _read(evidence)
    except _Unusable as error:
        raise _end(error, as_json=json) from error
    try:
        found, lines = inspect_file(content, kind)
    except Refused as refused:
        raise _refused(kind or "evidence", refused, as_json=json) from refused
    if json:
        fields = [{"name": line.name, "value": line.value, "meaning": line.meaning} for line in lines]
        print_json({"verified": False, "kind": found, "fields": fields})
        return
    print_table(f"{found}: nothing of this is verified", ["field", "value", "meaning"],
                [[line.name, line.value, line.meaning] for line in lines])  # fmt: skip


def check_manifest(
    directory: Annotated[Path, typer.Argument(help=f"A folder with {MANIFEST} and the files it names.")],
    json: Json = False,
) -> None:
    """Verify every entry of a folder's manifest. Exits 0 if all agree with it, 3 if one does not, 2 unusable."""
    try:
        root = directory.resolve(strict=True)
        entries = parse_manifest(_read(root / MANIFEST))
    except (OSError, _Unusable, UnusableManifest) as error:
        raise _end(error, as_json=json) from error

    def read(name: str) -> bytes:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise ValueError(f"{name} is outside the folder")
        try:
            return _read(path)
        except _Unusable as error:
            raise ValueError(str(error)) from error

    checked = list(check_entries(entries, read, time.time_ns() // 1_000_000))
    agreed = sum(one.agrees for one in checked)
    if json:
        listed = [
            {"id": one.id, "kind": one.kind, "expect": one.expect, "outcome": one.outcome, "agrees": one.agrees,
             "detail": one.detail}
            for one in checked
        ]  # fmt: skip
        print_json({"all_agree": agreed == len(checked), "entries": len(checked), "agreed": agreed, "results": listed})
    else:
        rows = [
            [one.id, one.kind, one.expect, one.outcome, "agrees" if one.agrees else "DIFFERS", one.detail[:80]]
            for one in checked
        ]  # fmt: skip
        print_table(f"{agreed} of {len(checked)} agree", ["id", "kind", "expected", "outcome", "", "detail"], rows)
    raise typer.Exit(0 if agreed == len(checked) else EXIT_REFUSED)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise _Unusable(f"--kind is one of {', '.join(sorted(KINDS))}")


def _check_trust(trust: Path, kind: str, bound: str | None, given: Path | None) -> None:
    if not trust.is_dir():
        raise _Unusable(f"--trust: {trust} is no directory")
    if kind not in ZONE_KINDS:
        raise _Unusable(f"--trust: --kind is one of {', '.join(sorted(ZONE_KINDS))}")
    if bound is None:
        raise _Unusable("--trust: a broker verifies nothing without a binding; give --expect-report-data")
    if given is not None:
        raise _Unusable("--trust: collateral is the directory's; leave --collateral away")


def _read(path: Path) -> bytes:
    """A regular file's bytes, one more than the bound at most: a device or pipe could go on forever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _Unusable(f"{path} is no file")
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise _Unusable(f"{path}: {error}") from error


def _binding(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if not 0 < len(raw) <= _MAX_BINDING:
        raise _Unusable("--expect-report-data is hex of 1 to 64 bytes")
    return raw


def _time(text: str | None) -> int:
    if text is None:
        return time.time_ns() // 1_000_000
    try:
        return milliseconds(text)
    except (ValueError, OverflowError) as error:
        raise _Unusable("--at is a time of RFC 3339, such as 2026-06-01T12:00:00Z") from error


def _flat(claims: Any) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in claims.items():
        rows += [(f"{name}.{inner}", v) for inner, v in value.items()] if isinstance(value, dict) else [(name, value)]
    return rows


def _refused(kind: str, refused: Refused, *, as_json: bool) -> typer.Exit:
    name = refused.reason.removeprefix("attest.")
    if as_json:
        print_json({"verified": False, "kind": kind, "refusal": name, "detail": refused.detail})
    else:
        typer.echo(f"REFUSED: {refused}")
    return typer.Exit(EXIT_REFUSED)


def _end(error: Exception, *, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"verified": False, "error": str(error)})
    typer.echo(f"demesne attest: {error}", err=True)
    return typer.Exit(EXIT_UNUSABLE)
