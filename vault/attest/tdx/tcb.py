"""Which TCB level a platform, its TDX module and its quoting enclave reach, and the one status that comes of it.

Intel's algorithm (Intel TDX DCAP Quote Verification, "TCB level evaluation"): levels stand from newest to oldest,
the first whose every number the platform reaches is its level. A status nobody here knows is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Refusal, refuse
from vault.attest.tdx.collateral import listed, nested, octets, whole
from vault.attest.tdx.pck import Pck
from vault.attest.tdx.quote import EnclaveReport, Quote

UP_TO_DATE = "UpToDate"
REVOKED = "Revoked"
STATUSES = frozenset(
    {
        UP_TO_DATE, "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
        "OutOfDate", "OutOfDateConfigurationNeeded", REVOKED,
    }
)  # fmt: skip
_ENCLAVE_STATUSES = frozenset({UP_TO_DATE, "OutOfDate", REVOKED})


@dataclass(frozen=True, slots=True)
class Level:
    """A status and the advisories that come with it."""

    status: str
    advisories: tuple[str, ...]


def platform_level(tcb_info: Mapping[str, Any], tee_tcb_svn: bytes, pck: Pck) -> Level:
    """SGX components and PCESVN of the certificate, TDX components of the quote; `Refused("attest.tcb")` under all.

    When the module names its version (tee_tcb_svn[1] > 0), its own two numbers are judged by the module's identity.
    """
    first = 2 if tee_tcb_svn[1] > 0 else 0
    for level in listed(tcb_info, "tcbLevels"):
        tcb = nested(level, "tcb")
        wanted_sgx, wanted_tdx = _svns(tcb, "sgxtcbcomponents"), _svns(tcb, "tdxtcbcomponents")
        if (
            all(mine >= least for mine, least in zip(pck.components, wanted_sgx, strict=True))
            and pck.pcesvn >= whole(tcb, "pcesvn")
            and all(mine >= least for mine, least in zip(tee_tcb_svn[first:], wanted_tdx[first:], strict=True))
        ):
            return _level(level, STATUSES)
    raise refuse(Refusal.TCB, "under every TCB level")


def module_level(tcb_info: Mapping[str, Any], quote: Quote, tee_tcb_svn: bytes) -> Level:
    """The TDX module: who signed it, its attributes, and its level when it names its version.

    `Refused("attest.module")` for a module Intel does not list: it is what keeps the host out of the guest.
    """
    version = tee_tcb_svn[1]
    if version == 0:
        _check_module(nested(tcb_info, "tdxModule"), quote)
        return Level(UP_TO_DATE, ())
    name = f"TDX_{version:02x}"
    identities = listed(tcb_info, "tdxModuleIdentities") if "tdxModuleIdentities" in tcb_info else []
    identity = next((one for one in identities if str(one.get("id", "")).lower() == name.lower()), None)
    if identity is None:
        raise refuse(Refusal.MODULE, f"{name} is not listed")
    _check_module(identity, quote)
    return _enclave_level(identity, tee_tcb_svn[0], Refusal.MODULE)


def _check_module(identity: Mapping[str, Any], quote: Quote) -> None:
    mask = octets(identity, "attributesMask", 8)
    if octets(identity, "mrsigner", 48) != quote.mrsignerseam:
        raise refuse(Refusal.MODULE, "signer of the TDX module")
    if _masked(quote.seam_attributes, mask) != octets(identity, "attributes", 8):
        raise refuse(Refusal.MODULE, "attributes of the TDX module")


def quoting_enclave_level(identity: Mapping[str, Any], report: EnclaveReport) -> Level:
    """Intel's quoting enclave and no other: any certified enclave could else sign any measurement as a quote's."""
    mask = int.from_bytes(octets(identity, "miscselectMask", 4), "big")
    if octets(identity, "mrsigner", 32) != report.mrsigner:
        raise refuse(Refusal.QE_IDENTITY, "signer")
    if whole(identity, "isvprodid") != report.isvprodid:
        raise refuse(Refusal.QE_IDENTITY, "product")
    if report.miscselect & mask != int.from_bytes(octets(identity, "miscselect", 4), "big"):
        raise refuse(Refusal.QE_IDENTITY, "miscselect")
    if _masked(report.attributes, octets(identity, "attributesMask", 16)) != octets(identity, "attributes", 16):
        raise refuse(Refusal.QE_IDENTITY, "attributes")
    return _enclave_level(identity, report.isvsvn, Refusal.QE_IDENTITY)


def _enclave_level(identity: Mapping[str, Any], isvsvn: int, why: Refusal) -> Level:
    for level in listed(identity, "tcbLevels"):
        if isvsvn >= whole(nested(level, "tcb"), "isvsvn"):
            return _level(level, _ENCLAVE_STATUSES)
    raise refuse(why, f"isvsvn {isvsvn} is under every level")


def converged(platform: Level, *others: Level) -> Level:
    """The platform's level, made worse by module and quoting enclave (Intel's table of convergence)."""
    status = platform.status
    for other in others:
        if REVOKED in {status, other.status}:
            status = REVOKED
        elif other.status != UP_TO_DATE:
            status = "OutOfDateConfigurationNeeded" if "Configuration" in status else "OutOfDate"
    advisories = {one for level in (platform, *others) for one in level.advisories}
    return Level(status, tuple(sorted(advisories)))


def _svns(tcb: Mapping[str, Any], name: str) -> list[int]:
    values = [whole(component, "svn") for component in listed(tcb, name)]
    if len(values) != 16:
        raise refuse(Refusal.COLLATERAL, name)
    return values


def _level(level: Mapping[str, Any], statuses: frozenset[str]) -> Level:
    status, advisories = level.get("tcbStatus"), level.get("advisoryIDs", [])
    if not isinstance(status, str) or status not in statuses:
        raise refuse(Refusal.COLLATERAL, f"unknown status {str(status)[:64]}")
    if not isinstance(advisories, list) or not all(isinstance(a, str) for a in advisories):
        raise refuse(Refusal.COLLATERAL, "advisoryIDs")
    return Level(status, tuple(advisories))


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(v & m for v, m in zip(value, mask, strict=True))
