"""Collateral by hand or from a timer: a process of its own, with network rules of its own, beside the zone's.

It needs no key, no catalog and no ledger: what it puts in place is worth only what the makers' signatures are.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from gateway.settings import Settings
from vault.collateral.fetching import Fetcher
from vault.collateral.office import Office, Outcome
from vault.collateral.refreshing import Refresh, Wanted
from vault.collateral.sources import parse_sources
from vault.endpoint.address import parse_networks
from vault.endpoint.dialer import Dialer
from vault.errors import Refused

WHAT = "collateral"


@dataclass(frozen=True, slots=True)
class Network:
    """Whom `refresh` may ask: sources as in DEMESNE_COLLATERAL_SOURCES, authorities, address ranges."""

    sources: str
    ca: Path | None = None
    networks: str = ""


def zone_office() -> tuple[Office, Network]:
    """Directory and network rules of the zone that the environment names. Raises pydantic's ValidationError."""
    settings = Settings()
    office = Office(settings.trust_path, development=settings.posture == "development")
    return office, Network(settings.collateral_sources, settings.collateral_ca, settings.collateral_networks)


def refresh(office: Office, network: Network, wanted: Wanted, now_ms: int) -> list[Outcome]:
    """One round over what is wanted. Refused("collateral.sources") where nobody may be asked."""
    sources = parse_sources(network.sources)
    if not sources:
        raise Refused("collateral.sources", "nobody may be asked; set DEMESNE_COLLATERAL_SOURCES")
    try:
        context = ssl.create_default_context(cafile=network.ca)
    except OSError as error:
        raise Refused("collateral.ca", f"{network.ca}: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    dialer = Dialer(WHAT, sources.values(), networks=parse_networks(network.networks))
    return Refresh(office, sources, Fetcher(dialer, context), now_ms).run(wanted)
