"""What `demesne doctor` checks where the server is installed: its packages, OPA, and the key provider that is named."""

import shutil
import ssl
from collections.abc import Mapping

import httpx2

from demesne.doctor.clients import installed
from demesne.doctor.findings import Finding, State
from gateway.cli.provider_checks import key_provider

PACKAGES = (
    "demesne", "demesne-server", "fastapi", "uvicorn", "celine-regorus", "cryptography", "joserfc", "rfc8785",
    "boto3", "pyarrow", "sqlalchemy", "alembic", "psycopg", "python-stdnum", "phonenumbers", "pydantic-settings",
)  # fmt: skip
DEMO_PACKAGES = ("statsmodels", "faker", "scikit-learn", "pandas", "s3fs", "duckdb", "jsonschema")
_TIMEOUT = 3.0


def checks(env: Mapping[str, str]) -> list[Finding]:
    """The entry point in the group `demesne.checks`."""
    return [
        packages("packages", {name: installed(name) for name in PACKAGES}, needed=True),
        packages("demo packages", {name: installed(name) for name in DEMO_PACKAGES}, needed=False),
        opa(shutil.which("opa")),
        *key_provider(env, _reach),
    ]


def packages(what: str, found: Mapping[str, str | None], *, needed: bool) -> Finding:
    missing = sorted(name for name, version in found.items() if version is None)
    if not missing:
        return Finding(what, State.OK, f"{len(found)} found")
    state = State.FAIL if needed else State.SKIP
    return Finding(what, state, f"missing: {', '.join(missing)}", "make env installs them at the locked versions")


def opa(path: str | None) -> Finding:
    if path is None:
        return Finding("opa", State.SKIP, "not on PATH; the embedded engine decides and tests run in it")
    return Finding("opa", State.OK, path)


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
