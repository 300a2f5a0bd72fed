"""What of verified claims can be revoked: whose session it is, which platforms it rests on, which code is measured.

A revocation names a value as the claims name it, and is kept as its SHA-256: a chip's number is a name like any other.
Every submodule counts: a session with one revoked GPU is a revoked session.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

What = Literal["subject", "platform", "measurement"]
KINDS: tuple[What, ...] = ("subject", "platform", "measurement")
# One machine (chip, module, TPM, device), one maker of machines, one state of their firmware. From the most particular
# to the most general: a family of processors is revoked with one call when a break of it is published.
PLATFORM_CLAIMS = (
    "chip_id", "ppid", "module_id", "key", "vm_id", "device", "vbios", "driver", "firmware", "mrseam", "tee_tcb_svn",
    "fmspc", "product", "model", "provider",
)  # fmt: skip
_REGISTER = re.compile(r"(rtmr|pcr)[0-9]{1,2}")  # what was measured after the image itself
_ZEROS = re.compile(r"0*")  # a masked chip, a register nobody extended: the same for everybody
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){8,}")
MAX_VALUE = 512


def value_digest(value: str) -> str:
    """How a revoked value is written down: SHA-256 of its UTF-8, hex. Hex digits in one case: a chip's number that was
    copied out of another tool would revoke nothing, and nobody would notice."""
    name = value.lower() if _HEX.fullmatch(value) else value
    return hashlib.sha256(name.encode("utf-8")).hexdigest()


def identities(principal_id: str, claims: Mapping[str, Any]) -> tuple[tuple[What, str], ...]:
    """(what, value) of everything a session with these claims is revoked by, sorted, without repetition."""
    found: set[tuple[What, str]] = {("subject", principal_id)}
    found.update(_of_submodule(claims))
    devices = claims.get("devices", ())
    for device in devices if isinstance(devices, list | tuple) else ():
        if isinstance(device, Mapping):
            found.update(_of_submodule(device))
    return tuple(sorted(found))


def revocable(principal_id: str, claims: Mapping[str, Any]) -> frozenset[tuple[What, str]]:
    """The same with each value's digest, as revocations are stored and marked."""
    return frozenset((what, value_digest(value)) for what, value in identities(principal_id, claims))


def same_platform(claims: Mapping[str, Any]) -> dict[str, str]:
    """The claims of one submodule that say *which* machine it is; a re-attestation must say the same."""
    platform = _platform(claims)
    return {name: _text(platform, name) for name in ("chip_id", "ppid", "module_id", "key", "vm_id", "device")}


def _of_submodule(claims: Mapping[str, Any]) -> Iterator[tuple[What, str]]:
    measurement = claims.get("measurement")
    if isinstance(measurement, str) and _names(measurement):
        yield "measurement", measurement
    platform = _platform(claims)
    for name, value in platform.items():
        if not isinstance(value, str) or not _names(value):
            continue
        if name in PLATFORM_CLAIMS:
            yield "platform", value
        elif _REGISTER.fullmatch(name):
            yield "measurement", value


def _platform(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    platform = claims.get("platform", {})
    return cast("Mapping[str, Any]", platform) if isinstance(platform, Mapping) else {}


def _text(platform: Mapping[str, Any], name: str) -> str:
    value = platform.get(name, "")
    return value if isinstance(value, str) and _names(value) else ""


def _names(value: str) -> bool:
    """Whether the value tells one thing from others."""
    return 0 < len(value) <= MAX_VALUE and _ZEROS.fullmatch(value) is None
