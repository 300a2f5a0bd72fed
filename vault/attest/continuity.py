"""Whether a session that attests again is still the same machine in the same state, or a better one.

A session began in one measured machine and its key lives there. Whatever else learnt that key must not keep it alive:
not another chip with the same image, not the same chip with older firmware, not the machine without its GPU.
(docs/spec/attested-session.md §5 has the table.)
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vault.attest.claims import Refusal, refuse
from vault.attest.identities import same_platform

# What is fixed when a machine boots. A claim that was made before must be made again, with this value.
_SAME = (
    "product", "fmspc", "model", "models", "policy", "vmpl", "host_data", "id_key_digest", "author_key_digest",
    "td_attributes", "xfam", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "provider", "issuer",
    "policy_hash", "profile", "verifier", "subject", "audience", "gpu_cc_mode", "driver", "vbios", "launch_tcb",
    "endorsement_issuer", "endorsement_feed",
)  # fmt: skip
_SAME_OF_KIND = {"nitro": ("pcr0", "pcr1", "pcr2", "pcr3", "pcr4", "pcr8")}  # the others may be extended while it runs
# Versions that only rise while a machine runs: each component of each.
_RISING = ("reported_tcb", "committed_tcb", "guest_svn", "evaluation_number", "golden_blocks", "revocation_checked",
           "endorsement_svn")  # fmt: skip
_RISING_BYTES = ("tee_tcb_svn",)
_STAYS_TRUE = ("bound", "secure_boot", "protected_pcie", "firmware_identity", "event_log")
_STAYS_FALSE = ("console",)
_BOOT = ("reset_count", "restart_count", "clock")  # of a TPM
# From good to bad; what is not listed is worse than all of these.
_STATUSES = (
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded",
)  # fmt: skip
_NUMBER = re.compile(r"[0-9]+")


def refuse_weaker(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """`Refused("attest.weaker")` unless `after` is the same platform and measurement, no less trustworthy, with at
    least the devices that were there."""
    _submodule(before, after)
    left = list(_devices(after))
    for device in _devices(before):
        matching = next((found for found in left if _weaker(device, found) is None), None)
        if matching is None:
            raise refuse(Refusal.WEAKER, "a device is missing, or is another or a weaker one")
        left.remove(matching)


def _submodule(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    found = _weaker(before, after)
    if found is not None:
        raise refuse(Refusal.WEAKER, found)


def _weaker(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first claim of one submodule that got weaker."""
    for name in ("kind", "tee", "measurement"):
        if before.get(name) != after.get(name):
            return f"{name} changed"
    for name, wanted in (("debug", False), ("hardware", True), ("synthetic_only", False)):
        if before.get(name) is wanted and after.get(name) is not wanted:
            return name
    then, now = same_platform(before), same_platform(after)
    other = next((name for name, value in then.items() if value and now[name] != value), None)
    return f"another {other}" if other else next(_weakened(before, after), None)


def _weakened(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    then, now = _platform(before), _platform(after)
    same = (*_SAME, *_SAME_OF_KIND.get(str(before.get("kind")), ()))
    yield from (name for name in same if name in then and now.get(name) != then[name])
    yield from (name for name in _RISING if name in then and not _rises(_numbers(then[name]), _numbers(now.get(name))))
    for name in _RISING_BYTES:
        if name in then and not _rises(_octets(then[name]), _octets(now.get(name))):
            yield name
    yield from (name for name in _STAYS_TRUE if then.get(name) is True and now.get(name) is not True)
    yield from (name for name in _STAYS_FALSE if then.get(name) is False and now.get(name) is not False)
    if "tcb_status" in then and _rank(now.get("tcb_status")) > _rank(then["tcb_status"]):
        yield "tcb_status"
    boot = [[*map(_whole, (said.get(name) for name in _BOOT))] for said in (then, now)]
    if _BOOT[0] in then and boot[1] < boot[0]:
        yield "clock"


def _rises(then: Sequence[int], now: Sequence[int]) -> bool:
    return len(then) == len(now) and all(new >= old for old, new in zip(then, now, strict=True))


def _numbers(value: object) -> list[int]:
    """Every number of a version, in order, wherever it stands in it."""
    return [int(found) for found in _NUMBER.findall(str(value))]


def _octets(value: object) -> Sequence[int]:
    try:
        return bytes.fromhex(str(value))
    except ValueError:
        return b""


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _rank(status: object) -> int:
    return _STATUSES.index(status) if isinstance(status, str) and status in _STATUSES else len(_STATUSES)


def _platform(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    platform = claims.get("platform")
    return platform if isinstance(platform, Mapping) else {}


def _devices(claims: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    devices = claims.get("devices", ())
    return [dict(device) for device in devices] if isinstance(devices, list | tuple) else []
