"""`demesne attest collateral import|status|refresh`: what the makers of hardware publish, in the trust directory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from demesne.cli.output import Json, print_json, print_table
from gateway.processes.collateral import Network, refresh, zone_office
from vault.attest.snp.product import Product
from vault.attest.trust.watched import read_bounded
from vault.collateral.office import FAILED, Office, Outcome, Standing
from vault.collateral.refreshing import AUTHORITIES, Wanted, in_place
from vault.errors import Malformed, VaultError

EXIT_FAILED = 3
EXIT_UNUSABLE = 2
_DAY_MS = 86_400_000

Trust = Annotated[
    Path | None, typer.Option("--trust", help="Trust directory. Default: that of the zone in the environment.")
]


class Unusable(Exception):
    """Nothing was done; the message says what to give instead."""


def register(group: typer.Typer) -> None:
    collateral = typer.Typer(help="Makers' collateral: taken in, shown, renewed.", no_args_is_help=True)
    collateral.command("import")(take_in)
    collateral.command("status")(status)
    collateral.command("refresh")(renew)
    group.add_typer(collateral, name="collateral")


def take_in(
    files: Annotated[list[Path], typer.Argument(help="Collateral as its maker publishes it.")],
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Verify files and put them in place. Never over a newer one. Exits 0 all in place, 3 one refused, 2 unusable."""
    now = _now_ms()
    try:
        office, _ = _office(trust)
        contents = [(path, _read(path)) for path in files]
    except Unusable as error:
        raise _end(error, as_json=json) from error
    # Chains and manifests first: answers and lists are checked by the certificates that they show.
    order = sorted(contents, key=lambda one: not one[1].lstrip().startswith((b"-----", b"<")))
    _tell([office.take_in(str(path), content, now) for path, content in order], as_json=json)


def status(trust: Trust = None, json: Json = False) -> None:
    """Every file of the trust directory, and until when it counts. Exits 0 if nothing is to be mended, else 3."""
    now = _now_ms()
    try:
        office, _ = _office(trust)
    except Unusable as error:
        raise _end(error, as_json=json) from error
    standings = office.standings(now)
    good = all(one.good for one in standings)
    if json:
        print_json({"good": good, "directory": str(office.root), "files": [_document(one, now) for one in standings]})
    else:
        rows = [
            [one.name, one.state.value, _day(one.expires_ms), _days(one.expires_ms, now), one.problem or one.what]
            for one in standings
        ]
        print_table(str(office.root), ["file", "state", "expires", "days", ""], rows)
    raise typer.Exit(0 if good else EXIT_FAILED)


def renew(
    trust: Trust = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="ROLE=https://HOST, instead of DEMESNE_COLLATERAL_SOURCES.")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="PEM authorities of the sources.")] = None,
    networks: Annotated[str, typer.Option("--networks", help="Address ranges (CIDR) of the sources.")] = "",
    fmspc: Annotated[
        list[str] | None, typer.Option("--fmspc", help="An Intel platform family besides, HEX or HEX:processor.")
    ] = None,
    product: Annotated[list[str] | None, typer.Option("--product", help="An AMD product line besides.")] = None,
    manifest: Annotated[
        list[str] | None, typer.Option("--manifest", help="An NVIDIA manifest besides, by its identifier.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask the makers for what is in place and what is named. Exits 0 all good, 3 one failed, 2 unusable."""
    now = _now_ms()
    try:
        office, network = _office(trust)
        network = _network(network, source, ca, networks)
        wanted = _wanted(in_place(office, now), fmspc or (), product or (), manifest or ())
        outcomes = refresh(office, network, wanted, now)
    except (Unusable, VaultError) as error:
        raise _end(error, as_json=json) from error
    _tell(outcomes, as_json=json)


def _office(trust: Path | None) -> tuple[Office, Network]:
    """Of a directory alone: production, so no roots of development, and nobody is asked."""
    if trust is not None:
        if not trust.is_dir():
            raise Unusable(f"--trust: {trust} is no directory")
        return Office(trust), Network("")
    try:
        return zone_office()
    except ValidationError as error:
        fields = ", ".join("DEMESNE_" + "_".join(str(part).upper() for part in one["loc"]) for one in error.errors())
        raise Unusable(f"--trust DIR, or the zone's settings: {fields}") from error


def _network(network: Network, source: Sequence[str] | None, ca: Path | None, networks: str) -> Network:
    if source:
        network = replace(network, sources=",".join(source))
    return replace(network, ca=ca or network.ca, networks=networks or network.networks)


def _wanted(here: Wanted, families: Sequence[str], products: Sequence[str], manifests: Sequence[str]) -> Wanted:
    named = dict(_family(text) for text in families)
    lines = {product.lower(): product for product in Product}
    unknown = [text for text in products if text.lower() not in lines]
    if unknown:
        raise Unusable(f"--product {unknown[0]}: one of {', '.join(lines)}")
    return replace(
        here,
        families={**here.families, **named},
        products=sorted({*here.products, *(lines[text.lower()] for text in products)}),
        manifests=sorted({*here.manifests, *manifests}),
    )


def _family(text: str) -> tuple[str, str]:
    fmspc, _, authority = text.partition(":")
    authority = authority or AUTHORITIES[0]
    if len(fmspc) != 12 or set(fmspc.lower()) - set("0123456789abcdef") or authority not in AUTHORITIES:
        raise Unusable(f"--fmspc {text}: twelve hex digits, and :platform or :processor")
    return fmspc.lower(), authority


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path)[1]
    except (OSError, Malformed) as error:
        raise Unusable(f"{path}: {error.strerror if isinstance(error, OSError) else error.detail}") from error


def _tell(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    good = all(one.outcome != FAILED for one in outcomes)
    if as_json:
        listed = [
            {"source": one.source, "outcome": one.outcome, "file": one.name, "what": one.what,
             "expires": _time(one.expires_ms), "detail": one.detail}
            for one in outcomes
        ]  # fmt: skip
        print_json({"good": good, "files": listed})
    else:
        rows = [
            [one.source, one.outcome, one.name, _day(one.expires_ms), one.detail or one.what] for one in outcomes
        ]  # fmt: skip
        print_table("collateral", ["source", "outcome", "file", "expires", ""], rows)
    raise typer.Exit(0 if good else EXIT_FAILED)


def _document(one: Standing, now_ms: int) -> dict[str, Any]:
    return {
        "file": one.name, "state": one.state.value, "what": one.what, "issued": _time(one.issued_ms),
        "expires": _time(one.expires_ms), "days_left": _left(one.expires_ms, now_ms), "verified": one.verified,
        "problem": one.problem,
    }  # fmt: skip


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(at_ms: int | None) -> str:
    return (_time(at_ms) or "")[:10]


def _left(at_ms: int | None, now_ms: int) -> int | None:
    return None if at_ms is None else (at_ms - now_ms) // _DAY_MS


def _days(at_ms: int | None, now_ms: int) -> str:
    left = _left(at_ms, now_ms)
    return "" if left is None else str(left)


def _now_ms(clock: Callable[[], int] = time.time_ns) -> int:
    return clock() // 1_000_000


def _end(error: Exception, *, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"good": False, "error": str(error)})
    typer.echo(f"demesne attest collateral: {error}", err=True)
    return typer.Exit(EXIT_UNUSABLE)
