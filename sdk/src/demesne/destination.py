"""Which gateway, and as whom: the answers of arguments, ready file and environment, in this order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from demesne import settings
from demesne._connection import AsyncConnection, Connection, Signer
from demesne.credentials import Credentials
from demesne.errors import Invalid, NotConfigured

Caller = Credentials | Mapping[str, str] | Callable[[], Credentials]
_SERVICE = "demesne"


@dataclass(frozen=True)
class Destination:
    """A zone's API, the principal's own credentials (asked anew for each request), and a private authority."""

    zone: settings.Zone
    credentials: Callable[[], Credentials]
    ca: Path | None

    def connection(self, clock: Callable[[], datetime]) -> Connection:
        return Connection(
            self.zone.api_endpoint, self.credentials, region=self.zone.region, service=_SERVICE, ca=self.ca, clock=clock
        )

    def async_connection(self, clock: Callable[[], datetime]) -> AsyncConnection:
        zone = self.zone
        signer = Signer(zone.api_endpoint, self.credentials, region=zone.region, service=_SERVICE, clock=clock)
        return AsyncConnection(signer, ca=self.ca)


def destination(
    endpoint: str | None,
    credentials: Caller | None,
    region: str | None,
    s3_endpoint: str | None,
    ca: Path | str | None,
    ready_file: Path | str | None = None,
) -> Destination:
    """Raises NotConfigured naming what is missing, Invalid for credentials that are none."""
    known = _known_settings(endpoint, ready_file)
    api = (endpoint or known.zone().api_endpoint if known else endpoint or "").rstrip("/")
    found = next((zone for zone in known.zones if zone.api_endpoint == api), None) if known else None
    zone = found or settings.Zone("", "", api)
    where = region or zone.region or zone.name
    if not where:
        raise NotConfigured(
            "region.missing", f"the zone behind {api} is not known", remedy=f"pass region= or set {settings.REGION}"
        )
    s3 = (s3_endpoint or zone.s3_endpoint).rstrip("/")
    zone = settings.Zone(zone.name or where, zone.jurisdiction, api, s3, where)
    bundle = Path(ca) if ca is not None else known.ca if known else None
    return Destination(zone, _caller(credentials), bundle)


def _known_settings(endpoint: str | None, ready_file: Path | str | None) -> settings.Settings | None:
    try:
        return settings.read(ready_file)
    except NotConfigured:
        if endpoint is None or ready_file is not None:
            raise
        return None


def _caller(given: Caller | None) -> Callable[[], Credentials]:
    """The principal's own credentials; a ready file's steward never attests by accident."""
    if given is None:
        given = settings.from_environment()
    if callable(given):
        return given
    if isinstance(given, Credentials):
        fixed = given
    else:
        try:
            keys = given["access_key_id"], given["secret_access_key"]
        except KeyError as error:
            raise Invalid("credentials", f"the credentials lack {error}") from None
        fixed = Credentials(*keys, given.get("session_token"))
    return lambda: fixed
