"""GPUs through NVML's real structures, and nvattest; what they say verifies at the gateway, bound to the machine."""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from demesne.binding import additional_digest, device_nonce, report_data
from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.nvidia import GpuAttester, NvattestAttester
from tests.fakes.attest_nvidia import OPAQUE, FakeNvidia
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.nvml_library import IN_USE, NO_PERMISSION, NOT_SUPPORTED, TIMEOUT, FakeNvml
from tests.fakes.tsm_kernel import ROOT, FakeTsm
from vault.attest.binding import ExpectedBinding
from vault.attest.nvidia.evidence import NvidiaVerifier
from vault.attest.nvidia.verify import NvidiaPolicy
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy
from vault.attest.verifier import Verifiers
from vault.errors import Refused

CHALLENGE: dict[str, Any] = {
    "nonce": "ab" * 32, "gateway": "gateway", "thumbprint": "thumbprint", "purpose": "train", "scope": ["claims"],
}  # fmt: skip
NONCE = device_nonce(**CHALLENGE)
NVIDIA = FakeNvidia()
PEM = b"".join(each.pem for each in (NVIDIA.leaf, NVIDIA.device, NVIDIA.provisioner, NVIDIA.model, NVIDIA.root))


def expected(additional: str = "") -> ExpectedBinding:
    return ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",), additional)


def library(count: int = 1) -> FakeNvml:
    return FakeNvml([lambda nonce: NVIDIA.report(nonce=nonce)] * count, [PEM] * count)


def verifier() -> NvidiaVerifier:
    return NvidiaVerifier(NvidiaPolicy(), NVIDIA.roots)


def test_every_gpu_verifies_at_the_gateway() -> None:
    nvml = library(8)
    found = json.loads(json.dumps(GpuAttester(library=nvml).evidence(NONCE)))
    claims = [verifier().verify(each, expected(), NOW_MS) for each in found]
    assert [each.tee for each in claims] == ["nvgpu"] * 8
    assert nvml.started == 0


def test_gpus_and_their_machine_verify_together_and_not_with_others() -> None:
    """The machine's report commits to what its devices said: exchanged devices break it."""
    from demesne.evidence.tsm import TsmAttester

    amd = FakeAmd()
    entries = [{"kind": each["kind"], "evidence": each} for each in GpuAttester(library=library(2)).evidence(NONCE)]
    digest = additional_digest(entries)
    kernel = FakeTsm(lambda inblob, _: (amd.report(report_data=inblob), b""))
    machine = TsmAttester("snp", reports=Path(ROOT), calls=kernel).evidence(report_data(**CHALLENGE, additional=digest))
    machine["certificates"] = [base64.b64encode(der).decode() for der in amd.certificates]
    admitted = Verifiers({"snp": SnpVerifier(amd.trust, SnpPolicy())}, {"nvgpu": verifier()})
    assert admitted.verify("snp", machine, expected(digest), NOW_MS).hardware
    assert len(admitted.verify_devices(entries, expected(digest), NOW_MS)) == 2
    with pytest.raises(Refused, match=r"attest\.binding"):
        admitted.verify("snp", machine, expected(additional_digest(entries[:1])), NOW_MS)


def test_another_challenges_gpu_is_refused_by_the_gateway() -> None:
    (evidence,) = GpuAttester(library=library()).evidence(device_nonce(**CHALLENGE | {"purpose": "other"}))
    with pytest.raises(Refused, match=r"attest\.binding"):
        verifier().verify(evidence, expected(), NOW_MS)


def test_gpus_in_another_mode_are_said_so() -> None:
    nvml = library()
    nvml.confidential = False
    with pytest.raises(NotConfigured, match="not in confidential mode"):
        GpuAttester(library=nvml).evidence(NONCE)
    assert nvml.started == 0


@pytest.mark.parametrize(
    ("what", "code", "kind"),
    [
        ("init", 9, NotConfigured), ("count", NO_PERMISSION, NotConfigured), ("handle", NO_PERMISSION, NotConfigured),
        ("report", NOT_SUPPORTED, NotConfigured), ("report", TIMEOUT, Unavailable), ("chain", IN_USE, Unavailable),
        ("report", 15, Unavailable), ("report", 999, Unavailable),
    ],
)  # fmt: skip
def test_error_codes_of_nvml(what: str, code: int, kind: type[DemesneError]) -> None:
    nvml = library()
    nvml.codes[what] = code
    with pytest.raises(kind):
        GpuAttester(library=nvml).evidence(NONCE)
    assert nvml.started == 0


@pytest.mark.parametrize(("what", "size"), [("report", 0), ("report", 0x2001), ("chain", 0x1401), ("chain", 0)])
def test_sizes_beyond_the_structure_are_not_read(what: str, size: int) -> None:
    nvml = library()
    nvml.sizes[what] = size
    with pytest.raises(Malformed):
        GpuAttester(library=nvml).evidence(NONCE)


@pytest.mark.parametrize("count", [0, 17])
def test_no_gpu_and_too_many(count: int) -> None:
    nvml = library()
    nvml.sizes["count"] = count
    with pytest.raises(NotConfigured):
        GpuAttester(library=nvml).evidence(NONCE)


def test_an_old_driver_without_the_call_is_said_so() -> None:
    nvml = library()
    nvml.lose("nvmlDeviceGetConfComputeGpuAttestationReport")
    with pytest.raises(NotConfigured, match="too old"):
        GpuAttester(library=nvml).evidence(NONCE)


def test_no_driver_at_all() -> None:
    with pytest.raises(NotConfigured, match="no NVIDIA driver"):
        GpuAttester(library="libnvidia-ml-that-is-not-here.so.1").evidence(NONCE)


def test_a_report_over_an_older_nonce_is_not_sent() -> None:
    nvml = FakeNvml([lambda _: NVIDIA.report(nonce=b"\x01" * 32)], [PEM])
    with pytest.raises(Unavailable, match=r"evidence\.nonce"):
        GpuAttester(library=nvml).evidence(NONCE)


def test_a_chain_that_is_no_pem_is_malformed() -> None:
    with pytest.raises(Malformed, match="certificates"):
        GpuAttester(library=FakeNvml([lambda nonce: NVIDIA.report(nonce=nonce)], [b"no certificate"])).evidence(NONCE)


def test_a_nonce_of_another_length_never_reaches_the_device() -> None:
    with pytest.raises(Invalid):
        GpuAttester(library=library()).evidence(NONCE[:31])


class Nvattest:
    """The command: writes what it is made to, and keeps what it was called with."""

    def __init__(self, count: int = 1, code: int = 0, output: bytes | None = None) -> None:
        self.commands: list[list[str]] = []
        self._count, self._code, self._output = count, code, output

    def __call__(self, command: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
        self.commands.append(list(command))
        nonce = bytes.fromhex(command[command.index("--nonce") + 1])
        switch = [field for field in OPAQUE if field[0] != 3]
        listed = [
            {"arch": "LS10", "nonce": nonce.hex(), "evidence": base64.b64encode(
                NVIDIA.report(nonce=nonce, opaque=switch)).decode(), "certificate": base64.b64encode(PEM).decode()}
            for _ in range(self._count)
        ]  # fmt: skip
        document = {"evidences": listed, "result_code": self._code, "result_message": "Ok" if not self._code else "No"}
        output = json.dumps(document).encode() if self._output is None else self._output
        return subprocess.CompletedProcess(list(command), self._code, output, b"")


def test_switches_through_nvattest_verify_at_the_gateway() -> None:
    command = Nvattest(4)
    found = NvattestAttester(run=command).evidence(NONCE)
    assert [verifier().verify(each, expected(), NOW_MS).tee for each in found] == ["nvswitch"] * 4
    assert command.commands == [["nvattest", "collect-evidence", "--device", "nvswitch", "--nonce", NONCE.hex(),
                                 "--format", "json"]]  # fmt: skip


def test_an_older_nvattest_without_formats_is_asked_again() -> None:
    command = Nvattest(2)

    def older(given: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
        if "--format" in given:
            return subprocess.CompletedProcess(list(given), 106, b"The following argument was not expected", b"")
        return command(given)

    assert len(NvattestAttester("gpu", run=older).evidence(NONCE)) == 2
    assert command.commands == [["nvattest", "collect-evidence", "--device", "gpu", "--nonce", NONCE.hex()]]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (Nvattest(code=7), Unavailable), (Nvattest(count=0), NotConfigured), (Nvattest(output=b"usage:"), Malformed),
        (Nvattest(output=b'{"result_code":0,"evidences":[{}]}'), Malformed), (Nvattest(output=b"[]"), Malformed),
    ],
)  # fmt: skip
def test_nvattest_that_fails(command: Nvattest, kind: type[DemesneError]) -> None:
    with pytest.raises(kind):
        NvattestAttester(run=command).evidence(NONCE)


def test_nvattest_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotConfigured, match="not installed"):
        NvattestAttester().evidence(NONCE)
