"""`demesne doctor`: what would keep this machine, this environment and this gateway from working, and the way out.

An installed distribution adds checks of its own with an entry point in the group `demesne.checks`: a function of the
environment that answers findings. The server looks at its packages and at the key provider that way.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx2
import typer

from demesne.cli.output import Json, ReadyFile, print_json, print_table
from demesne.doctor import gateway
from demesne.doctor.agent_endpoint import agent_endpoint, ask, utc_now
from demesne.doctor.clients import clients, installed, on_path
from demesne.doctor.environment import environment
from demesne.doctor.findings import Finding, State
from demesne.doctor.trust import handshake, trust
from demesne.errors import DemesneError
from demesne.settings import Settings, Zone, read

GROUP = "demesne.checks"
EXIT_FAILED = 1
PYTHON = (3, 11)
_TIMEOUT = 3.0

Checks = Callable[[Mapping[str, str]], list[Finding]]


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    ready_file: ReadyFile = None,
    ca: Annotated[Path | None, typer.Option("--ca", exists=True, help="CA bundle of a gateway with TLS.")] = None,
    json: Json = False,
) -> None:
    """Check this machine, its S3 clients, the AWS environment, the agent and the gateway.

    Exits 1 when something will not work; a warning alone exits 0.
    """
    findings = [
        python(sys.version_info[:3]), *clients(installed, on_path), *environment(os.environ),
        *agent_endpoint(os.environ, ask, utc_now()), *_extensions(os.environ), *_gateway(ready_file, ca, os.environ),
    ]  # fmt: skip
    failed = any(finding.state is State.FAIL for finding in findings)
    if json:
        print_json({"ok": not failed, "checks": [finding.as_document() for finding in findings]})
    else:
        print_table("Checks", ["", "what", "found"], [[f.state.value, f.what, f.detail] for f in findings])
        for finding in findings:
            _advise(finding)
    raise typer.Exit(EXIT_FAILED if failed else 0)


def _advise(finding: Finding) -> None:
    if finding.remedy and finding.state in {State.FAIL, State.WARN}:
        why = f" ({finding.why})" if finding.why else ""
        typer.echo(f"{finding.state.value} {finding.what}: {finding.remedy}{why}")


def python(running: tuple[int, ...]) -> Finding:
    shown = ".".join(map(str, running))
    if running[:2] < PYTHON:
        return Finding("python", State.FAIL, shown, "install Python 3.11 or newer", "older ones lack what is used here")
    return Finding("python", State.OK, shown)


def _extensions(env: Mapping[str, str]) -> Iterator[Finding]:
    for entry in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        try:
            checks: Checks = entry.load()
        except (ImportError, AttributeError) as error:
            yield Finding(f"checks of {entry.name}", State.WARN, f"not available: {error}", "install it again whole")
        else:
            yield from checks(env)


def _gateway(ready_file: Path | None, ca: Path | None, env: Mapping[str, str]) -> list[Finding]:
    """The gateway that is configured, if any: its ready file, every zone's readiness, and its clock against ours."""
    try:
        settings = read(ready_file)
    except DemesneError as error:
        return [gateway.not_configured(error), *_clock_of_endpoint(env, ca)]
    found = [Finding("settings", State.OK, ", ".join(zone.api_endpoint for zone in settings.zones))]
    bundle = ca or settings.ca
    known = str(bundle) if bundle else None
    with _client(known) as client:
        for zone in settings.zones:
            found += _zone(client, zone)
            found += trust(zone.s3_endpoint or zone.api_endpoint, env, known, handshake)
    return found + _no_credentials(settings)


def _client(bundle: str | None) -> httpx2.Client:
    return httpx2.Client(verify=bundle or True, trust_env=False, timeout=_TIMEOUT)


def _clock_of_endpoint(env: Mapping[str, str], ca: Path | None) -> list[Finding]:
    """Where a job knows its S3 endpoint only (`session.env()`), that one's clock still counts."""
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return []
    named = str(ca) if ca else env.get("AWS_CA_BUNDLE")
    try:
        with _client(named) as client:
            date, ours = _dated(client, endpoint)
    except (httpx2.HTTPError, OSError) as error:
        return [gateway.unreachable("S3 endpoint", endpoint, error)]
    return [gateway.clock(urlsplit(endpoint).netloc, date, ours), *trust(endpoint, env, named, handshake)]


def _dated(client: httpx2.Client, url: str) -> tuple[str | None, float]:
    """The answer's Date, and our clock halfway between asking and hearing."""
    sent = time.time()
    answer = client.get(url)
    return answer.headers.get("date"), (sent + time.time()) / 2


def _zone(client: httpx2.Client, zone: Zone) -> list[Finding]:
    name, api, s3 = zone.name or zone.api_endpoint, zone.api_endpoint, zone.s3_endpoint
    try:
        sent = time.time()
        answer = client.get(f"{api}/readyz")
        ours = (sent + time.time()) / 2
    except httpx2.HTTPError as error:
        return [gateway.unreachable(f"zone {name}", api, error)]
    found = [
        gateway.readiness(name, answer.status_code, answer.content),
        gateway.clock(name, answer.headers.get("date"), ours),
    ]
    if s3:
        try:
            client.get(s3)
        except httpx2.HTTPError as error:
            found.append(gateway.unreachable(f"S3 of zone {name}", s3, error))
        else:
            found.append(Finding(f"S3 of zone {name}", State.OK, s3))
    return found


def _no_credentials(settings: Settings) -> list[Finding]:
    if settings.credentials:
        return []
    return [Finding("credentials", State.WARN, "none in the environment",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a ready file",
                    "nobody can attest or ask as nobody")]  # fmt: skip
