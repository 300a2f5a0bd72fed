"""A TPM's quote over PCRs by an enrolled attestation key: what was booted, and no secrecy of memory.

The key is made and enrolled once (`demesne attest enrol-tpm`, docs/evidence.md) and stays at a persistent handle.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from demesne.errors import Invalid, NotConfigured, Unavailable
from demesne.evidence.tpm_commands import NO_HANDLE, PCRS, Tpm, TpmError
from demesne.evidence.tpm_device import DeviceTransport, Transport
from demesne.evidence.tpm_public import subject_public_key

KEY_HANDLE = 0x81010002
DEFAULT_PCRS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    9,
    11,
    12,
    14,
)  # firmware, boot loader, secure boot, kernel and its command line
_RACES = 3


@dataclass(frozen=True, slots=True)
class QuotedPcrs:
    """A quote as evidence has it: `signature` RSASSA, or ECDSA in DER; PCR values are those quoted."""

    message: bytes
    signature: bytes
    pcrs: dict[int, bytes]


class TpmAttester:
    """Quotes by the key at `key_handle`, of `pcrs` of the SHA-256 bank."""

    kind = "tpm"

    def __init__(
        self, *, key_handle: int = KEY_HANDLE, pcrs: Iterable[int] = DEFAULT_PCRS,
        transport: Callable[[], Transport] = DeviceTransport,
    ) -> None:  # fmt: skip
        self._key_handle = key_handle
        self._pcrs = _checked(pcrs)
        self._transport = transport

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence, version 1 (docs/spec/attestation.md §7). Raises NotConfigured, Unavailable, Malformed, TpmError."""
        if len(report_data) != 64:
            raise Invalid("evidence.report-data", "report_data is 64 bytes")
        with Tpm(self._transport()) as tpm:
            public = read_key(tpm, self._key_handle)
            quoted = quote(tpm, self._key_handle, report_data, self._pcrs)
        return {
            "kind": self.kind,
            "version": 1,
            "key": base64.b64encode(subject_public_key(public)).decode("ascii"),
            **as_members(quoted),
        }


def read_key(tpm: Tpm, handle: int) -> bytes:
    """TPMT_PUBLIC of the attestation key. NotConfigured where there is none."""
    try:
        return tpm.read_public(handle)
    except TpmError as error:
        if error.rc != NO_HANDLE:
            raise
        raise NotConfigured(
            "evidence.tpm-key", f"the TPM has no key at handle 0x{handle:08x}", remedy="demesne attest enrol-tpm"
        ) from error


def quote(tpm: Tpm, key: int, report_data: bytes, pcrs: Iterable[int]) -> QuotedPcrs:
    """A quote whose extraData is SHA-256(report_data): many TPMs take fewer than 64 bytes.

    Values are read beside the quote, not by it: one that is extended in between makes another try.
    """
    indices = sorted(pcrs)
    for _ in range(_RACES):
        made = tpm.quote(key, hashlib.sha256(report_data).digest(), indices)
        values = tpm.pcrs(indices)
        digest = hashlib.sha256(b"".join(values[index] for index in indices)).digest()
        if hmac.compare_digest(made.message[-32:], digest):
            signature = made.signature
            der = signature if isinstance(signature, bytes) else encode_dss_signature(*signature)
            return QuotedPcrs(made.message, der, values)
    raise Unavailable("evidence.race", "PCRs keep changing while they are quoted", retry_after=1)


def as_members(quoted: QuotedPcrs) -> dict[str, Any]:
    """`message`, `signature` and `pcrs` of evidence."""
    return {
        "message": base64.b64encode(quoted.message).decode("ascii"),
        "signature": base64.b64encode(quoted.signature).decode("ascii"),
        "pcrs": {str(index): value.hex() for index, value in sorted(quoted.pcrs.items())},
    }


def _checked(pcrs: Iterable[int]) -> tuple[int, ...]:
    chosen = tuple(sorted(set(pcrs)))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < PCRS:
        raise Invalid("evidence.pcrs", f"PCRs are numbered 0 to {PCRS - 1}, and at least one is quoted")
    return chosen
