"""Real reference manifests of NVIDIA, against real reports. The files are not part of this repository."""

from pathlib import Path

import pytest

from tests.conftest import vectors_path
from vault.attest.certificates import fingerprint, load_pem_chain
from vault.attest.nvidia.report import parse_device_report
from vault.attest.nvidia.verify import check_golden
from vault.attest.offline.contents import binary
from vault.attest.trust.manifests import parse_manifest
from vault.attest.trust.roots import MANIFESTS
from vault.errors import Refused

FOLDER = vectors_path() / "attestation" / "nvidia" / "attestation-sdk"
SWITCH = "NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"
DRIVER = "NV_GPU_DRIVER_GH100_550.144.03.xml"
FIRMWARE = "NV_GPU_VBIOS_1010_0200_882_96005E0001.xml"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no attestation vectors here: DEMESNE_VECTORS names none"),
]


def read(path: str) -> bytes:
    return (FOLDER / path).read_bytes()


def test_every_block_of_a_real_switch_is_in_its_real_manifest() -> None:
    report = parse_device_report(binary(read("switchAttestationReport.txt")))
    manifest, _ = parse_manifest(SWITCH, read(f"switchVBIOSRim_{SWITCH}"))
    assert manifest.root in MANIFESTS
    assert len(manifest.golden) == 31
    assert manifest.is_of(report, "LS10")
    check_golden(report, manifest.golden)
    worse = {block: frozenset({bytes(48)}) for block in manifest.golden}
    with pytest.raises(Refused, match=r"attest\.measurement"):
        check_golden(report, worse)


def test_a_real_firmware_manifest_is_of_its_board_and_of_no_other() -> None:
    """This one is signed, and speaks of values that the report does not have: their own example of a mismatch."""
    manifest, _ = parse_manifest(
        FIRMWARE, read("sample_rims/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml")
    )
    report = parse_device_report(binary(read("sample_attestation_data/gpu/hopperAttestationReport.txt")))
    assert (manifest.root in MANIFESTS, len(manifest.golden)) == (True, 12)
    assert manifest.is_of(report, "GH100")
    other = parse_device_report(binary(read("hopperAttestationReport.txt")))
    assert not manifest.is_of(other, "GH100")


def test_a_real_driver_manifest() -> None:
    manifest, dated = parse_manifest(DRIVER, read(DRIVER))
    assert (manifest.root in MANIFESTS, manifest.kind, manifest.product) == (True, "driver", "GH100")
    assert dated.issued_ms < dated.expires_ms
    names = [one.subject.rfc4514_string() for one in manifest.path]
    assert "NVIDIA CoRIM signing Root CA" in names[-1]


@pytest.mark.parametrize(
    "path",
    [
        "incorrect_signature_driver_rim.xml",
        "sample_rims/NV_GPU_DRIVER_GH100_570.124.03_expired.xml",
        "sample_rims/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
        "sample_rims/NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml",
        "sample_rims/NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml",
    ],
)
def test_real_manifests_that_were_changed_are_refused(path: str) -> None:
    name = Path(path).name
    for ending in ("_expired", "_measurement_mismatch", "_invalid_signature"):
        name = name.replace(ending, "")
    name = DRIVER if name.startswith("incorrect") else name
    with pytest.raises(Refused, match=r"attest\.signature"):
        parse_manifest(name, read(path))


def test_a_real_manifest_whose_certificates_do_not_lead_to_each_other() -> None:
    with pytest.raises(Refused, match=r"attest\.chain"):
        parse_manifest("NV_GPU_DRIVER_GB100_97.00.83.00.09.xml", read("incorrect_cert_chain_driver_rim.xml"))


def test_the_pinned_root_is_the_published_one() -> None:
    (root,) = load_pem_chain(read("trusted_certs/rim_root.crt"))
    assert fingerprint(root) in MANIFESTS
