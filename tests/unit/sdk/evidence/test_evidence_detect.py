"""What is here and why not the rest; the strongest is chosen, sample never."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demesne.errors import Invalid, NotConfigured
from demesne.evidence.azure import REPORT
from demesne.evidence.detect import Places, automatic, detect, named
from demesne.evidence.tpm import KEY_HANDLE
from demesne.evidence.tpm_commands import ECC, OWNER, Tpm
from demesne.evidence.tpm_device import DeviceTransport
from demesne.evidence.tpm_public import attestation_template
from tests.fakes.attest_tpm import hcl_report
from tests.fakes.nvml_library import FakeNvml
from tests.fakes.swtpm import Swtpm, need_swtpm
from tests.fakes.tsm_kernel import ROOT, FakeTsm


def bare(tmp_path: Path, **changes: Any) -> Places:
    kernel = FakeTsm(lambda *_: (b"", b""))
    kernel.faults = {"mkdir": [errno.ENXIO] * 9}
    values: dict[str, Any] = {
        "nsm": tmp_path / "nsm", "reports": Path(ROOT), "calls": kernel,
        "tpm": lambda: DeviceTransport(tmp_path / "tpmrm0"), "launcher": tmp_path / "teeserver.sock",
        "nvml": "libnvidia-ml-that-is-not-here.so.1",
    }  # fmt: skip
    return Places(**(values | changes))


def found(places: Places) -> list[str]:
    return [finding.kind for finding in detect(places) if finding.found]


def test_nothing_here_says_of_each_why(tmp_path: Path) -> None:
    places = bare(tmp_path)
    assert found(places) == []
    assert [finding.kind for finding in detect(places)] == [
        "nitro", "confidential-space", "azure-vtpm", "snp", "tdx", "tpm", "nvgpu",
    ]  # fmt: skip
    with pytest.raises(NotConfigured) as refused:
        automatic(places)
    for word in ("nsm", "teeserver", "tpmrm0", "no report provider", "sample"):
        assert word in refused.value.sentence


@pytest.mark.parametrize(("provider", "kind"), [("sev_guest", "snp"), ("tdx_guest", "tdx")])
def test_the_kernels_provider_decides_which_hardware_it_is(tmp_path: Path, provider: str, kind: str) -> None:
    kernel = FakeTsm(lambda *_: (b"", b""), provider)
    places = bare(tmp_path, calls=kernel)
    assert found(places) == [kind]
    assert automatic(places)[0].kind == kind
    assert kernel.entries == {}


def test_a_provider_that_nobody_reads_is_named(tmp_path: Path) -> None:
    places = bare(tmp_path, calls=FakeTsm(lambda *_: (b"", b""), "arm_cca_guest"))
    assert found(places) == []
    assert any("arm_cca_guest" in finding.why for finding in detect(places))


def test_gpus_go_with_the_machine_that_was_found(tmp_path: Path) -> None:
    places = bare(tmp_path, calls=FakeTsm(lambda *_: (b"", b"")), nvml=FakeNvml([lambda _: b""] * 2, [b""] * 2))
    machine, devices = automatic(places)
    assert (machine.kind, [each.kind for each in devices]) == ("snp", ["nvgpu"])


def test_gpus_alone_are_no_machine(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured):
        automatic(bare(tmp_path, nvml=FakeNvml([lambda _: b""], [b""])))


def test_an_enclave_comes_first(tmp_path: Path) -> None:
    (tmp_path / "nsm").touch()
    places = bare(tmp_path, calls=FakeTsm(lambda *_: (b"", b"")))
    assert found(places) == ["nitro", "snp"]
    assert automatic(places)[0].kind == "nitro"


def test_a_confidential_space_needs_an_audience_to_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "teeserver.sock").touch()
    assert found(bare(tmp_path)) == []
    assert automatic(bare(tmp_path, audience="us"))[0].kind == "confidential-space"


@pytest.fixture(scope="module")
def machine() -> Iterator[Swtpm]:
    need_swtpm()
    with Swtpm() as swtpm:
        yield swtpm


@pytest.mark.servers
def test_a_tpm_counts_once_it_has_a_key_and_a_paravisor_before_it(machine: Swtpm, tmp_path: Path) -> None:
    places = bare(tmp_path, tpm=machine.transport)
    assert found(places) == []
    assert any("enrol-tpm" in finding.why for finding in detect(places))
    with Tpm(machine.transport()) as tpm:
        made = tpm.create_primary(OWNER, attestation_template(ECC))
        tpm.persist(made, KEY_HANDLE)
        tpm.flush(made)
    assert found(places) == ["tpm"]
    with Tpm(machine.transport()) as tpm:
        tpm.nv_define(REPORT, 2048)
        tpm.nv_write(REPORT, hcl_report(b"", b"{}", tail=b"").ljust(2048, b"\0"))
    assert found(places) == ["azure-vtpm", "tpm"]
    assert automatic(places)[0].kind == "azure-vtpm"


@pytest.mark.parametrize("kind", ["sample", "nitro", "confidential-space", "azure-vtpm", "snp", "tdx", "tpm"])
def test_kinds_are_had_by_name(kind: str, tmp_path: Path) -> None:
    assert named(kind, bare(tmp_path, audience="us")).kind == kind


def test_another_name_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nitro"):
        named("sgx", bare(tmp_path))
