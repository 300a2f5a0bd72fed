"""Attesters: what a workload can say about itself, one file a kind.

An attester is asked for evidence over 64 bytes of `report_data`; what those commit to is decided in
`demesne.attest`, once, for every kind.
"""

from typing import Any, Protocol

from demesne.errors import Invalid


class Attester(Protocol):
    """Evidence of one kind. `evidence` may take seconds (hardware); it is never called concurrently."""

    kind: str

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence committing to 64 bytes; holds "kind". Raises demesne.errors.DemesneError."""
        ...


class DeviceAttester(Protocol):
    """What devices in this machine say: GPUs, switches. Asked before the machine itself, which commits to it."""

    kind: str

    def evidence(self, nonce: bytes) -> list[dict[str, Any]]:
        """Evidence of each device over 32 bytes (`demesne.attest.device_nonce`); at most 16 in all."""
        ...


def attester_named(name: str) -> Attester:
    """The attester of that kind. Raises Invalid naming those there are."""
    from demesne.evidence.sample import SampleAttester

    if name == SampleAttester.kind:
        return SampleAttester()
    raise Invalid("attester.unknown", f"no attester {name!r}", remedy="attesters here: sample")
