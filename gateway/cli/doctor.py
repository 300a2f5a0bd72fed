"""`demesne doctor`: what would keep this machine, this environment and this gateway from working, and the way out."""

import os
import shutil
import ssl
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from demesne.cli.output import Json, ReadyFile, print_json, print_table
from demesne.errors import DemesneError
from demesne.settings import Settings, read
from gateway.cli import checks
from gateway.cli.checks import Finding, State
from gateway.cli.provider_checks import key_provider
from gateway.cli.trust import handshake, trust

EXIT_FAILED = 1
PACKAGES = (
    "demesne", "demesne-server", "fastapi", "uvicorn", "celine-regorus", "cryptography", "joserfc", "rfc8785",
    "boto3", "pyarrow", "sqlalchemy", "alembic", "psycopg", "python-stdnum", "phonenumbers", "pydantic-settings",
)  # fmt: skip
DEMO_PACKAGES = ("statsmodels", "faker", "scikit-learn", "pandas", "s3fs", "duckdb", "jsonschema")
_TIMEOUT = 3.0


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    ready_file: ReadyFile = None,
    ca: Annotated[Path | None, typer.Option("--ca", exists=True, help="CA bundle of a gateway with TLS.")] = None,
    json: Json = False,
) -> None:
    """Check this machine, the AWS environment and the gateway. Exits 1 when something will not work."""
    findings = [
        *machine(), *checks.environment(os.environ), *key_provider(os.environ, _reach), *gateway(ready_file, ca),
    ]  # fmt: skip
    failed = any(finding.state is State.FAIL for finding in findings)
    if json:
        print_json({"ok": not failed, "checks": [finding.as_document() for finding in findings]})
    else:
        print_table("Checks", ["", "what", "found"], [[f.state.value, f.what, f.detail] for f in findings])
        for finding in findings:
            if finding.remedy and finding.state in {State.FAIL, State.WARN}:
                typer.echo(f"{finding.state.value} {finding.what}: {finding.remedy}")
    raise typer.Exit(EXIT_FAILED if failed else 0)


def _reach(url: str, authorities: str | None) -> str:
    """Any answer will do: who answers is the certificate's to say, what it answers is for the broker."""
    try:
        with httpx2.Client(
            verify=ssl.create_default_context(cafile=authorities or None), trust_env=False, timeout=_TIMEOUT
        ) as client:
            client.get(url)
    except (httpx2.HTTPError, OSError, ssl.SSLError) as error:
        return str(error) or type(error).__name__
    return ""


def machine() -> list[Finding]:
    """Python, packages, and the tools that are used when they are there."""
    packages = {name: _version(name) for name in (*PACKAGES, *DEMO_PACKAGES)}
    return [
        checks.python(sys.version_info[:3]),
        checks.packages("packages", {name: packages[name] for name in PACKAGES}, needed=True),
        checks.packages("demo packages", {name: packages[name] for name in DEMO_PACKAGES}, needed=False),
        checks.opa(shutil.which("opa")),
    ]


def gateway(ready_file: Path | None, ca: Path | None) -> list[Finding]:
    """The gateway that is configured, if any: its ready file, every zone's readiness, and its clock against ours."""
    try:
        settings = read(ready_file)
    except DemesneError as error:
        return [checks.not_configured(error)]
    found = [Finding("settings", State.OK, ", ".join(zone.api_endpoint for zone in settings.zones))]
    bundle = ca or settings.ca
    with httpx2.Client(verify=str(bundle) if bundle else True, trust_env=False, timeout=_TIMEOUT) as client:
        for zone in settings.zones:
            found += _zone(client, zone.name or zone.api_endpoint, zone.api_endpoint, zone.s3_endpoint)
            known = str(bundle) if bundle else None
            found += trust(zone.s3_endpoint or zone.api_endpoint, os.environ, known, handshake)
    return found + _skipped(settings)


def _zone(client: httpx2.Client, name: str, api: str, s3: str) -> list[Finding]:
    try:
        sent = time.time()
        answer = client.get(f"{api}/readyz")
        elapsed = time.time() - sent
    except httpx2.HTTPError as error:
        return [checks.unreachable(f"zone {name}", api, error)]
    found = [
        checks.readiness(name, answer.status_code, answer.content),
        checks.clock(name, answer.headers.get("date"), sent + elapsed / 2),
    ]
    if s3:
        try:
            client.get(s3)
        except httpx2.HTTPError as error:
            found.append(checks.unreachable(f"S3 of zone {name}", s3, error))
        else:
            found.append(Finding(f"S3 of zone {name}", State.OK, s3))
    return found


def _skipped(settings: Settings) -> list[Finding]:
    if settings.credentials:
        return []
    return [Finding("credentials", State.WARN, "none in the environment",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a ready file")]  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
