"""`demesne dev`: the embedded zones in one command, until Ctrl-C or SIGTERM."""

import json as json_module
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from demesne.cli.output import Json, console, print_json, print_table
from gateway.cli.zones import DevOptions, DevZones, StartFailed
from gateway.sockets import PortTaken

EXIT_FAILED = 1
EXIT_USAGE = 2
_LOOK_SECONDS = 0.5
_ZONE = re.compile(r"[a-z]{2,8}")  # an embedded zone's name is its jurisdiction too
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CreatedBuckets(StrEnum):
    """Label of datasets made by S3 CreateBucket."""

    restricted = "restricted"
    open = "open"


class _Stop(BaseException):
    """A signal said stop while the zones were still starting."""


def register(app: typer.Typer) -> None:
    app.command("dev")(dev)


def dev(
    state_dir: Annotated[Path, typer.Option("--state-dir", help="Where the zones keep what they own.")] = Path(
        ".demesne-dev"
    ),
    zones: Annotated[str, typer.Option("--zones", help="Zones to start; a name is its jurisdiction too.")] = "de,fr",
    s3_port: Annotated[int, typer.Option("--s3-port", min=0, max=65535, help="First zone's S3 port; 0: free.")] = 9000,
    api_port: Annotated[
        int, typer.Option("--api-port", min=0, max=65535, help="First zone's API port; 0: a free one.")
    ] = 9001,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Written when all serve. Default: STATE_DIR/ready.json.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Front workers of each zone.")] = 1,
    created_buckets: Annotated[
        CreatedBuckets,
        typer.Option("--created-buckets", help="Datasets made by S3 CreateBucket: open = no personal data."),
    ] = CreatedBuckets.restricted,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", exists=True, help="PEM chain; TLS 1.3 then.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", exists=True, help="PEM key of --tls-cert.")] = None,
    doctrine_dir: Annotated[
        Path | None,
        typer.Option("--doctrine-dir", exists=True, file_okay=False, help="Rego to decide by. Default: the shipped."),
    ] = None,
    json: Json = False,
) -> None:
    """Start the embedded zones and serve until stopped. Exits 2 when a port is taken, 1 when a zone fails."""
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("give both --tls-cert and --tls-key, or neither")
    options = DevOptions(
        state_dir=state_dir,
        zones=parse_zones(zones),
        s3_port=s3_port,
        api_port=api_port,
        workers=workers,
        created_buckets=created_buckets.value,
        ready_file=(ready_file or state_dir / "ready.json").absolute(),
        tls_cert=tls_cert.resolve() if tls_cert else None,
        tls_key=tls_key.resolve() if tls_key else None,
        doctrine_dir=doctrine_dir.resolve() if doctrine_dir else None,
    )
    raise typer.Exit(serve(options, announce=_print_document if json else _tell, quiet=json))


def parse_zones(text: str) -> tuple[str, ...]:
    """`de,fr` -> ("de", "fr"). Raises typer.BadParameter naming what is wrong."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    odd = [name for name in names if not _ZONE.fullmatch(name)]
    if not names or odd or len(set(names)) != len(names):
        why = f"{odd[0]!r} is not one" if odd else "each once, and at least one"
        raise typer.BadParameter(f"--zones takes names of 2 to 8 letters a-z, such as de,fr: {why}")
    return names


def serve(options: DevOptions, *, announce: Callable[[DevZones], None], quiet: bool = False) -> int:
    """Start, announce, and keep running until a signal; the exit code. Everything started is stopped on return."""
    stopped = threading.Event()
    zones = DevZones(options)
    try:
        with _stopping(stopped) as serving:
            with console().status(f"Starting {', '.join(options.zones)} …") if not quiet else _nothing():
                zones.start()
            with zones:
                serving()
                announce(zones)
                while not stopped.wait(_LOOK_SECONDS):
                    zones.watch()
    except _Stop:
        return 0
    except (PortTaken, StartFailed) as error:
        if quiet:
            print_json({"error": str(error)})
        typer.echo(f"demesne dev: {error}", err=True)
        return EXIT_USAGE if isinstance(error, PortTaken) else EXIT_FAILED
    if not quiet:
        typer.echo("Stopped.")
    return 0


@contextmanager
def _stopping(stopped: threading.Event) -> Iterator[Callable[[], None]]:
    """While starting, a signal raises _Stop, once; after the yielded function was called it sets `stopped`."""
    serving = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if serving:
            stopped.set()
            return
        for number in _SIGNALS:  # a second Ctrl-C must not interrupt the clean-up of the first
            signal.signal(number, signal.SIG_IGN)
        raise _Stop

    def now_serving() -> None:
        nonlocal serving
        serving = True

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield now_serving
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _print_document(zones: DevZones) -> None:
    print_json(zones.ready_document())


def _tell(zones: DevZones) -> None:
    """Endpoints, who may call, and what to do next. Commands and keys stand on lines of their own, unwrapped."""
    ready, ready_path = zones.ready_document(), zones.options.ready_file
    print_table(
        "Zones", ["name", "jurisdiction", "S3", "API"],
        [[z.name, z.jurisdiction, z.s3_endpoint, z.api_endpoint] for z in zones.zones],
    )  # fmt: skip
    credentials = json_module.loads(json_module.dumps(ready["credentials"]))
    for role, does in (("steward", "registers and writes datasets"), ("analyst", "reads masked views"),
                       ("custodian", "approves what is done with keys")):  # fmt: skip
        keys = credentials[role]
        typer.echo(f"\n{role} ({does}; region {ready['region']}):")
        typer.echo(f"  export AWS_ACCESS_KEY_ID={keys['access_key_id']}")
        typer.echo(f"  export AWS_SECRET_ACCESS_KEY={keys['secret_access_key']}")
    typer.echo("\nIn another shell:")
    typer.echo(f"  export DEMESNE_READY_FILE={ready_path}")
    typer.echo("  demesne dataset list")
    typer.echo("\nDevelopment posture: sample attestation opens raw rows of synthetic datasets. Ctrl-C stops.")
