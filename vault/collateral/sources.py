"""Which services may be asked for what: the operator's list, nothing built in. Empty = nobody is asked.

intel-pcs=https://api.trustedservices.intel.com,intel-crl=https://certificates.trustedservices.intel.com,
amd-kds=https://kdsintf.amd.com,nvidia-rim=https://rim.attestation.nvidia.com,nvidia-ocsp=https://ocsp.ndis.nvidia.com
"""

from collections.abc import Mapping

from vault.endpoint.address import Endpoint, parse_endpoint
from vault.errors import Refused

ROLES = ("intel-pcs", "intel-crl", "amd-kds", "nvidia-rim", "nvidia-ocsp")


def parse_sources(text: str) -> Mapping[str, Endpoint]:
    """Endpoints by role. Refused("collateral.sources") or what `parse_endpoint` says; https only."""
    found: dict[str, Endpoint] = {}
    for part in (one.strip() for one in text.split(",")):
        if not part:
            continue
        role, equals, url = part.partition("=")
        if role not in ROLES or not equals or role in found:
            raise Refused("collateral.sources", f"each is ROLE=https://HOST, once, ROLE one of {', '.join(ROLES)}")
        endpoint = parse_endpoint(url)
        if endpoint.scheme != "https":
            raise Refused("collateral.sources", f"{role}: https only")
        found[role] = endpoint
    return found
