"""What a gateway's answers say of it: readiness, clock, or that there is none."""

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from demesne.doctor.findings import Finding, State
from demesne.errors import DemesneError

SKEW_SECONDS = 300  # SigV4 refuses beyond this; warn well before
WARN_SKEW_SECONDS = 30
_WHY_CLOCK = "a signature names its time, and one more than 5 minutes off is refused"


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
        return Finding(what, State.FAIL, detail, "set this machine's clock (chrony, systemd-timesyncd)", _WHY_CLOCK)
    if skew >= WARN_SKEW_SECONDS:
        return Finding(what, State.WARN, detail, "set this machine's clock (chrony, systemd-timesyncd)", _WHY_CLOCK)
    return Finding(what, State.OK, detail)
