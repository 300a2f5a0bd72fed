"""What `demesne doctor` concludes, as functions of what was seen: each answers a finding with the way out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from demesne.errors import DemesneError

PYTHON = (3, 11)
SKEW_SECONDS = 300  # SigV4 refuses beyond this; warn well before
WARN_SKEW_SECONDS = 30
CONTAINER_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
CONTAINER_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - a variable's name


class State(StrEnum):
    """How bad a finding is. Only `fail` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. `remedy` says what to do, where something is to be done."""

    what: str
    state: State
    detail: str
    remedy: str = ""

    def as_document(self) -> dict[str, Any]:
        return {**asdict(self), "state": self.state.value.lower()}


def python(running: tuple[int, ...]) -> Finding:
    shown = ".".join(map(str, running))
    if running[:2] < PYTHON:
        return Finding("python", State.FAIL, shown, "install Python 3.11 or newer, then make env")
    return Finding("python", State.OK, shown)


def packages(what: str, installed: Mapping[str, str | None], *, needed: bool) -> Finding:
    missing = sorted(name for name, found in installed.items() if found is None)
    if not missing:
        return Finding(what, State.OK, f"{len(installed)} found")
    state = State.FAIL if needed else State.SKIP
    return Finding(what, state, f"missing: {', '.join(missing)}", "make env installs them at the locked versions")


def opa(path: str | None) -> Finding:
    if path is None:
        return Finding("opa", State.SKIP, "not on PATH; the embedded engine decides and tests run in it")
    return Finding("opa", State.OK, path)


def not_configured(error: DemesneError) -> Finding:
    """Nobody named a gateway: nothing to check. One that is named and cannot be found is a fault."""
    if error.code == "endpoint.missing":
        return Finding("gateway", State.SKIP, str(error), "start one with: demesne dev")
    return Finding("gateway", State.FAIL, str(error), "name a gateway that runs, or start one with: demesne dev")


def unreachable(what: str, endpoint: str, error: Exception) -> Finding:
    said = f"{endpoint}: {type(error).__name__}: {error}"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return Finding(what, State.FAIL, said, "name the private CA with --ca or DEMESNE_CA_BUNDLE (AWS_CA_BUNDLE too)")
    return Finding(what, State.FAIL, said, "is it running? A ready file outlives a gateway that was killed")


def readiness(name: str, status: int, body: bytes) -> Finding:
    """/readyz of a zone: what of it is not ready, in its own words."""
    what = f"zone {name}"
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return Finding(what, State.FAIL, f"/readyz answered {status} and no JSON", "is this a Demesne API endpoint?")
    doctrine = document.get("doctrine") or {}
    refused = doctrine.get("refused") or {}
    if status != 200:
        parts = {key: value for key, value in document.items() if isinstance(value, dict) and _bad(value)}
        return Finding(what, State.FAIL, json.dumps(parts)[:300], "see the zone's logs; a closed zone names its reason")
    if refused:
        return Finding(
            what, State.WARN, f"a doctrine was refused: {refused.get('reason')}",
            "the last good one serves; correct the bundle, then demesne policy check",
        )  # fmt: skip
    return Finding(
        what, State.OK, f"ready, doctrine {str(doctrine.get('revision', ''))[:12]} in {doctrine.get('engine')}"
    )


def _bad(part: Mapping[str, Any]) -> bool:
    return part.get("state", "ok") not in {"ok", "open"} or ("revision" in part and not part["revision"])


def clock(name: str, date: str | None, ours: float) -> Finding:
    """The gateway's Date header against this machine's clock, `ours` in seconds since the epoch."""
    what = f"clock of zone {name}"
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding(what, State.WARN, "the answer has no date", "")
    skew = round(abs(ours - theirs))
    detail = f"{skew} s apart"
    if skew >= SKEW_SECONDS:
        return Finding(what, State.FAIL, detail, "signatures are refused beyond 5 minutes: set this machine's clock")
    if skew >= WARN_SKEW_SECONDS:
        return Finding(what, State.WARN, detail, "set this machine's clock; beyond 5 minutes signatures are refused")
    return Finding(what, State.OK, detail)


def environment(env: Mapping[str, str]) -> list[Finding]:
    """Traps in the AWS variables that send an S3 client elsewhere, or keep it from its credentials."""
    found = [
        finding
        for finding in (_endpoint(env), _region(env), _token_file(env), _static_keys_win(env))
        if finding is not None
    ]
    return found or [Finding("AWS environment", State.OK, "no traps")]


def _endpoint(env: Mapping[str, str]) -> Finding | None:
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if endpoint is None:
        return None
    return Finding(
        "AWS_ENDPOINT_URL", State.WARN, f"{endpoint}; pyarrow's S3FileSystem(...) does not read it and goes to Amazon",
        "use session.pyarrow(), or pass endpoint_override= and scheme= yourself",
    )  # fmt: skip


def _region(env: Mapping[str, str]) -> Finding | None:
    region, default = env.get("AWS_REGION"), env.get("AWS_DEFAULT_REGION")
    if region and default and region != default:
        return Finding(
            "AWS_REGION", State.FAIL, f"AWS_REGION={region} but AWS_DEFAULT_REGION={default}",
            "clients differ in which they read; set both to the zone's name",
        )  # fmt: skip
    if (env.get("AWS_ENDPOINT_URL") or env.get(CONTAINER_URI)) and not (region or default):
        return Finding("AWS_REGION", State.WARN, "not set", "set AWS_REGION to the zone's name; signatures name it")
    return None


def _token_file(env: Mapping[str, str]) -> Finding | None:
    named = env.get(CONTAINER_TOKEN_FILE)
    if named is None:
        return None
    try:
        raw = Path(named).read_bytes()
    except OSError as error:
        return Finding(CONTAINER_TOKEN_FILE, State.FAIL, f"{named}: {error.strerror}", "is the agent still running?")
    if raw.endswith((b"\n", b"\r")):
        return Finding(
            CONTAINER_TOKEN_FILE, State.FAIL, f"{named} ends with a newline; botocore, obstore and polars fail on it",
            "write the token without one (printf, not echo)",
        )  # fmt: skip
    if Path(named).stat().st_mode & 0o077:
        return Finding(CONTAINER_TOKEN_FILE, State.WARN, f"{named} may be read by others", f"chmod 600 {named}")
    return None


def _static_keys_win(env: Mapping[str, str]) -> Finding | None:
    if CONTAINER_URI in env and env.get("AWS_ACCESS_KEY_ID"):
        return Finding(
            "AWS_ACCESS_KEY_ID", State.WARN, "set beside the agent's endpoint: clients take the static key first",
            "unset AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where a job should use its session",
        )  # fmt: skip
    return None
