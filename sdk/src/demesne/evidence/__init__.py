"""Attesters: what a workload can say about itself, one file a kind.

An attester is asked for evidence over 64 bytes of `report_data`; what those commit to is decided in
`demesne.attest`, once, for every kind.
"""

from typing import Any, Protocol


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
    """The attester of a kind, or of "auto" the strongest that this machine has. Raises Invalid naming those there are,
    and for "auto" NotConfigured, which says of each why it is not here."""
    return chosen(name)[0]


def chosen(name: str) -> tuple[Attester, tuple[DeviceAttester, ...]]:
    """As `attester_named`, with the devices that go with it: those found with "auto", none otherwise."""
    from demesne.evidence.detect import Places, automatic, named
    from demesne.settings import evidence_audience

    places = Places(audience=evidence_audience())
    if name == "auto":
        return automatic(places)
    return named(name, places), ()
