"""What evidence commits to (docs/spec/attested-session.md §2), as the job computes it. Pure.

`report_data` = SHA-512 over the canonical JSON of {"v":1, nonce, gateway, key thumbprint, purpose, sorted scope,
additional evidence}. So evidence of one purpose cannot be shown for another, nor to another gateway, nor by who holds
another key, nor with another machine's devices.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from demesne.errors import Invalid

_DEVICE = "device"  # no SHA-256 in hex is spelled so
_EXACT = 2**53  # beyond it a JSON number means different things to different readers


def report_data(
    *, nonce: str, gateway: str, thumbprint: str, purpose: str, scope: Sequence[str], additional: str = ""
) -> bytes:
    """The 64 bytes evidence must carry. `additional`: `additional_digest` of what devices said."""
    binding = {
        "v": 1, "nonce": nonce, "gateway": gateway, "key": thumbprint, "purpose": purpose, "scope": sorted(scope),
        "additional": additional,
    }  # fmt: skip
    return hashlib.sha512(canonical(binding)).digest()


def device_nonce(*, nonce: str, gateway: str, thumbprint: str, purpose: str, scope: Sequence[str]) -> bytes:
    """The 32 bytes that evidence of a device (a GPU, a switch) must carry: it cannot commit to itself."""
    return report_data(
        nonce=nonce, gateway=gateway, thumbprint=thumbprint, purpose=purpose, scope=scope, additional=_DEVICE
    )[:32]  # fmt: skip


def additional_digest(additional: Sequence[Mapping[str, Any]]) -> str:
    """What the machine's own evidence commits to of the devices': "" for none, else SHA-256 (hex) of the list
    `[{"kind","evidence"}, …]` as it is sent."""
    return hashlib.sha256(canonical(list(additional))).hexdigest() if additional else ""


def canonical(document: object) -> bytes:
    """RFC 8785 (JCS) for strings, integers below 2^53, booleans, null, lists and objects. Raises Invalid for a float or
    a larger integer: other implementations would spell them differently, and the binding would be refused darkly."""
    return json.dumps(_ordered(document), separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _ordered(value: object) -> object:
    if isinstance(value, Mapping):  # JCS sorts names by UTF-16 code units
        names = sorted(value, key=lambda name: str(name).encode("utf-16-be"))
        return {str(name): _ordered(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [_ordered(entry) for entry in value]
    if isinstance(value, float) or (isinstance(value, int) and not -_EXACT < value < _EXACT):
        raise Invalid("evidence.number", f"{value!r} has no one spelling in JSON", remedy="send it as a string")
    return value
