"""Which evidence this machine can give, and why not the others. Nothing is attested by looking."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from demesne.errors import DemesneError, Invalid, NotConfigured
from demesne.evidence import Attester, DeviceAttester
from demesne.evidence.azure import AzureAttester, read_report
from demesne.evidence.confidential_space import SOCKET, ConfidentialSpaceAttester
from demesne.evidence.nitro import DEVICE as NSM
from demesne.evidence.nitro import NitroAttester
from demesne.evidence.nvidia import GpuAttester
from demesne.evidence.sample import SampleAttester
from demesne.evidence.tpm import KEY_HANDLE, TpmAttester, read_key
from demesne.evidence.tpm_commands import Tpm
from demesne.evidence.tpm_device import DeviceTransport, Transport
from demesne.evidence.tsm import KINDS, REPORTS, FileCalls, TsmAttester


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of evidence: `attester` where it can be given here, else None; `why` is a sentence either way."""

    kind: str
    why: str
    attester: Attester | None = None
    devices: DeviceAttester | None = None

    @property
    def found(self) -> bool:
        return self.attester is not None or self.devices is not None


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. `audience`: of Confidential Space tokens, which cannot be guessed."""

    nsm: Path = NSM
    reports: Path = REPORTS
    calls: FileCalls = field(default_factory=lambda: os)
    tpm: Callable[[], Transport] = DeviceTransport
    launcher: Path = SOCKET
    audience: str = ""
    nvml: object = "libnvidia-ml.so.1"


def detect(places: Places | None = None) -> list[Finding]:
    """Every kind there is, the strongest first: hardware that keeps memory secret, a TPM, then devices."""
    at = places or Places()
    return [_nitro(at), _confidential_space(at), _azure(at), *_tsm(at), _tpm(at), _gpu(at)]


def named(name: str, places: Places | None = None) -> Attester:
    """The attester of one kind, wherever it runs: it says itself what is missing. Raises Invalid for another name."""
    at = places or Places()
    made: dict[str, Callable[[], Attester]] = {
        "sample": SampleAttester,
        "nitro": lambda: NitroAttester(device=at.nsm),
        "confidential-space": lambda: ConfidentialSpaceAttester(at.audience, path=at.launcher),
        "azure-vtpm": lambda: AzureAttester(transport=at.tpm),
        "snp": lambda: TsmAttester("snp", reports=at.reports, calls=at.calls),
        "tdx": lambda: TsmAttester("tdx", reports=at.reports, calls=at.calls),
        "tpm": lambda: TpmAttester(transport=at.tpm),
    }
    if name not in made:
        raise Invalid("attester.unknown", f"no attester {name!r}", remedy=f"attesters here: {', '.join(made)}, auto")
    return made[name]()


def automatic(places: Places | None = None) -> tuple[Attester, tuple[DeviceAttester, ...]]:
    """The strongest evidence of this machine, and its devices. Never `sample`: who wants that, says so.

    Raises NotConfigured, which names each kind and why it is not here.
    """
    findings = detect(places)
    machine = next((finding.attester for finding in findings if finding.attester is not None), None)
    if machine is None:
        whys = "; ".join(f"{finding.kind}: {finding.why}" for finding in findings if finding.devices is None)
        raise NotConfigured(
            "evidence.none", f"no evidence can be given here ({whys})",
            remedy='run in a confidential VM or enclave; attester="sample" is for trying Demesne on synthetic data',
        )  # fmt: skip
    return machine, tuple(finding.devices for finding in findings if finding.devices is not None)


def _nitro(at: Places) -> Finding:
    if not at.nsm.exists():
        return Finding("nitro", f"{at.nsm} is not here")
    if not os.access(at.nsm, os.R_OK | os.W_OK):
        return Finding("nitro", f"this process may not open {at.nsm}")
    return Finding("nitro", f"{at.nsm}: a Nitro enclave", NitroAttester(device=at.nsm))


def _confidential_space(at: Places) -> Finding:
    kind = "confidential-space"
    if not at.launcher.exists():
        return Finding(kind, f"{at.launcher} is not here")
    if not at.audience:
        return Finding(kind, "a Confidential Space; say the token's audience to use it (--audience)")
    return Finding(
        kind, f"{at.launcher}: a Confidential Space", ConfidentialSpaceAttester(at.audience, path=at.launcher)
    )


def _azure(at: Places) -> Finding:
    try:
        with Tpm(at.tpm()) as tpm:
            read_report(tpm)
    except DemesneError as error:
        return Finding("azure-vtpm", error.message)
    return Finding("azure-vtpm", "a vTPM with a paravisor's report", AzureAttester(transport=at.tpm))


def _tsm(at: Places) -> list[Finding]:
    kinds = sorted(KINDS.values())
    try:
        provider = TsmAttester("snp", reports=at.reports, calls=at.calls).provider()
    except DemesneError as error:
        return [Finding(kind, error.message) for kind in kinds]
    if provider not in KINDS:
        return [Finding(kind, f"the report provider is {provider[:40]!r}, which nobody here reads") for kind in kinds]
    why = f"the report provider is {provider}"
    return [
        Finding(kind, why, TsmAttester(kind, reports=at.reports, calls=at.calls) if KINDS[provider] == kind else None)
        for kind in kinds
    ]


def _tpm(at: Places) -> Finding:
    try:
        with Tpm(at.tpm()) as tpm:
            read_key(tpm, KEY_HANDLE)
    except NotConfigured as error:
        return Finding(
            "tpm", f"{error.message} ({error.remedy})" if error.code == "evidence.tpm-key" else error.message
        )
    except DemesneError as error:
        return Finding("tpm", error.message)
    return Finding("tpm", f"an attestation key at 0x{KEY_HANDLE:08x}", TpmAttester(transport=at.tpm))


def _gpu(at: Places) -> Finding:
    attester = GpuAttester(library=at.nvml)
    try:
        count = attester.count()
    except DemesneError as error:
        return Finding(attester.kind, error.message)
    return Finding(attester.kind, f"{count} GPUs in confidential mode", devices=attester)
