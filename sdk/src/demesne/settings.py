"""Where the gateway is and who calls: read once, from a ready file or the environment.

A dev gateway writes a *ready file* (`demesne dev --ready-file`); `--ready-file` or DEMESNE_READY_FILE
names it. A real deployment is named by DEMESNE_ENDPOINT (the API), with the usual AWS key variables.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from demesne.credentials import Credentials
from demesne.environment import OVERLAYS
from demesne.errors import Malformed, NotConfigured

READY_FILE = "DEMESNE_READY_FILE"
ENDPOINT = "DEMESNE_ENDPOINT"
S3_ENDPOINT = "DEMESNE_S3_ENDPOINT"
REGION = "DEMESNE_REGION"
CA_BUNDLE = "DEMESNE_CA_BUNDLE"
EVIDENCE_AUDIENCE = "DEMESNE_EVIDENCE_AUDIENCE"


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone's public facts. An empty `s3_endpoint` or `region` is asked of the gateway when needed."""

    name: str
    jurisdiction: str
    api_endpoint: str
    s3_endpoint: str = ""
    region: str = ""

    def signing_region(self) -> str:
        """What signatures name. Raises NotConfigured: signed with none, a request is malformed to every gateway."""
        found = self.region or self.name
        if not found:
            raise NotConfigured(
                "region.missing", f"the zone behind {self.api_endpoint} is not known",
                remedy=f"set {REGION} to the zone's name (AWS_REGION will do)",
            )  # fmt: skip
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a client needs before its first request. The first zone is the default one."""

    zones: tuple[Zone, ...]
    credentials: Mapping[str, Credentials] = field(default_factory=dict)  # by role: steward, analyst, caller
    ca: Path | None = None

    def zone(self, name: str | None = None) -> Zone:
        """The named zone, or the first. Raises NotConfigured naming the ones there are."""
        first = self.zones[0]
        if name is None:
            return first
        if not first.name:  # DEMESNE_ENDPOINT names an address only; the gateway itself checks the zone's name
            return replace(first, name=name, region=first.region or name)
        for zone in self.zones:
            if zone.name == name:
                return zone
        known = ", ".join(zone.name for zone in self.zones)
        raise NotConfigured("zone.unknown", f"no zone {name!r} here", remedy=f"use one of: {known}")

    def caller(self, role: str = "steward") -> Credentials:
        """The credentials of `role`, else those of the environment. Raises NotConfigured."""
        found = self.credentials.get(role) or self.credentials.get("caller")
        if found is None:
            raise NotConfigured(
                "credentials.missing",
                f"no credentials for {role!r}",
                remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a ready file",
            )
        return found


def read(ready_file: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `ready_file`, else from `environ` (default: the process's). Raises NotConfigured, Malformed."""
    env = OVERLAYS.beneath() if environ is None else environ
    named = ready_file or env.get(READY_FILE)
    ca = Path(env[CA_BUNDLE]) if env.get(CA_BUNDLE) else None
    if named:
        return parse_ready_file(_ready_text(Path(named)), ca=ca)
    if env.get(ENDPOINT):
        zone = Zone("", "", env[ENDPOINT].rstrip("/"), env.get(S3_ENDPOINT, "").rstrip("/"), _region_from(env))
        return Settings((zone,), _caller_from(env), ca)
    raise NotConfigured(
        "endpoint.missing",
        "no gateway is named",
        remedy=f"start one with 'demesne dev --ready-file PATH' and set {READY_FILE}=PATH, or set {ENDPOINT}",
    )


def _ready_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotConfigured(
            "ready-file.absent",
            f"cannot read the ready file {path}: {error.strerror}",
            remedy="is the gateway still starting? 'demesne dev --ready-file PATH' writes it when it serves",
        ) from error
    except UnicodeDecodeError as error:
        raise Malformed("ready-file.malformed", f"the ready file {path} is not text") from error


def from_environment(environ: Mapping[str, str] | None = None) -> Credentials:
    """The AWS key variables as credentials. Raises NotConfigured."""
    found = _caller_from(OVERLAYS.beneath() if environ is None else environ)
    if not found:
        raise NotConfigured(
            "credentials.missing",
            "nobody said who calls",
            remedy="pass credentials=, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    return found["caller"]


def evidence_audience(environ: Mapping[str, str] | None = None) -> str:
    """Whom attestation tokens are for (Confidential Space), as the gateway's trust material names it; "" when unset."""
    return (OVERLAYS.beneath() if environ is None else environ).get(EVIDENCE_AUDIENCE, "")


def _region_from(env: Mapping[str, str]) -> str:
    """Ours, else the one that S3 clients are told already."""
    return next((env[name] for name in (REGION, "AWS_REGION", "AWS_DEFAULT_REGION") if env.get(name)), "")


def _caller_from(env: Mapping[str, str]) -> dict[str, Credentials]:
    key, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    return {"caller": Credentials(key, secret, env.get("AWS_SESSION_TOKEN") or None)} if key and secret else {}


def parse_ready_file(text: str, *, ca: Path | None = None) -> Settings:
    """The ready file's JSON (design, section 6) -> Settings. Raises Malformed."""
    try:
        document = json.loads(text)
        region = str(document.get("region", ""))
        zones = tuple(_zone(entry, region if position == 0 else "") for position, entry in enumerate(document["zones"]))
        credentials = {
            role: Credentials(entry["access_key_id"], entry["secret_access_key"])
            for role, entry in document["credentials"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed("ready-file.malformed", f"the ready file does not parse: {error!r}") from error
    if not zones:
        raise Malformed("ready-file.malformed", "the ready file names no zone")
    bundle = ca or (Path(document["ca_file"]) if document.get("ca_file") else None)
    return Settings(zones, credentials, bundle)


def _zone(entry: Mapping[str, Any], region: str) -> Zone:
    return Zone(
        entry["name"],
        entry["jurisdiction"],
        entry["api_endpoint"].rstrip("/"),
        entry["s3_endpoint"].rstrip("/"),
        entry.get("region") or region,
    )
