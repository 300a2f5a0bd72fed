"""Real collateral and evidence through a trust directory, by the package's own pins.

The files are not part of this repository.
"""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conftest import vectors_path
from tests.fakes.attest_trust import TrustFiles
from vault.attest.admitted.verifiers import admitted_verifiers
from vault.attest.certificates import load_pem_chain
from vault.attest.nvidia.report import parse_device_report
from vault.attest.offline.contents import binary, milliseconds
from vault.attest.offline.zone import StatedBinding
from vault.attest.snp.report import parse_report
from vault.attest.tdx.quote import parse_quote
from vault.attest.trust.directory import TrustDirectory
from vault.collateral.office import Office
from vault.errors import Refused

FOLDER = vectors_path() / "attestation"
MICROSOFT = "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2"
SWITCH_MANIFEST = "NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no attestation vectors here: DEMESNE_VECTORS names none"),
]


class Zone:
    """A production zone at a time of the past."""

    def __init__(self, path: Path, at: str, **sections: Any) -> None:
        self.at_ms = milliseconds(at)
        now = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        TrustFiles(path).write("platforms", issued=now - timedelta(1), expires=now + timedelta(1), **sections)
        self.office = Office(path)
        self.verifiers = admitted_verifiers(TrustDirectory(path, look_ms=0), development=False)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_real_intel_collateral_is_taken_in_and_judges_a_real_quote(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "2025-06-20", tdx={"min_evaluation_number": 17})
    raw = (FOLDER / "tdx/dcap-qvl/tdx_quote").read_bytes()
    binding = StatedBinding(parse_quote(raw).report_data)
    evidence = {"kind": "tdx", "version": 1, "quote": b64(raw), "event_log": ""}
    with pytest.raises(Refused, match=r"attest\.collateral"):
        zone.verifiers.verify("tdx", evidence, binding, zone.at_ms)
    content = (FOLDER / "tdx/dcap-qvl/tdx_quote_collateral.json").read_bytes()
    late = zone.office.take_in("collateral.json", content, milliseconds("2025-08-01"))
    assert (late.outcome, "not current" in late.detail) == ("failed", True)
    assert zone.office.take_in("collateral.json", content, zone.at_ms).outcome == "new"
    claims = zone.verifiers.verify("tdx", evidence, binding, zone.at_ms)
    assert (claims.hardware, claims.platform["tcb_status"]) == (True, "UpToDate")
    with pytest.raises(Refused, match=r"attest\.binding"):
        zone.verifiers.verify("tdx", evidence, StatedBinding(b"\1" * 64), zone.at_ms)


def test_real_collateral_stands_verified(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "2025-06-20")
    content = (FOLDER / "tdx/dcap-qvl/tdx_quote_collateral.json").read_bytes()
    assert zone.office.take_in("a.json", content, zone.at_ms).outcome == "new"
    assert zone.office.take_in("a.json", content, zone.at_ms).outcome == "unchanged"
    (standing,) = [one for one in zone.office.standings(zone.at_ms) if one.name.startswith("collateral")]
    assert (standing.good, standing.verified) == (True, True)


def test_a_real_report_of_a_denied_product_line(tmp_path: Path) -> None:
    raw = (FOLDER / "snp/trustee/test-report.bin").read_bytes()
    chip = (FOLDER / "snp/trustee/test-vcek.der").read_bytes()
    evidence = {"kind": "snp", "version": 1, "report": b64(raw), "certificates": [b64(chip)], "auxblob": ""}
    binding = StatedBinding(parse_report(raw).report_data)
    floor = {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0}
    zone = Zone(tmp_path, "2024-01-01", snp={"products": {"Milan": floor}})
    claims = zone.verifiers.verify("snp", evidence, binding, zone.at_ms)
    assert (claims.hardware, claims.platform["product"]) == (True, "Milan")
    zone = Zone(tmp_path, "2024-01-01", snp={"products": {"Milan": floor, "Genoa": floor}, "deny_products": ["Milan"]})
    with pytest.raises(Refused, match=r"attest\.platform"):
        zone.verifiers.verify("snp", evidence, binding, zone.at_ms)


def test_a_real_report_with_its_real_endorsement(tmp_path: Path) -> None:
    """Microsoft's container platform: firmware by endorsement, and the guest's policy in the host data."""
    folder = FOLDER / "snp" / "microsoft-skr"
    raw = (folder / "snp_report.bin").read_bytes()
    certificates = [
        b64(one.public_bytes(Encoding.DER))
        for one in load_pem_chain((folder / "uvm_host_amd_certificate.pem").read_bytes())
    ]
    stated = (folder / "body.uvm_reference_info.bin").read_bytes()
    evidence = {"kind": "snp", "version": 1, "report": b64(raw), "certificates": certificates, "auxblob": "",
                "endorsement": b64(stated)}  # fmt: skip
    binding = StatedBinding(parse_report(raw).report_data)
    floor = {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0}
    zone = Zone(tmp_path, "2023-06-01", snp={"products": {"Milan": floor}})
    with pytest.raises(Refused, match=r"attest\.endorsement"):
        zone.verifiers.verify("snp", evidence, binding, zone.at_ms)
    endorser = {"issuer": MICROSOFT, "feed": "ContainerPlat-AMD-UVM", "min_svn": 22}
    now = datetime.fromtimestamp(zone.at_ms / 1000, UTC)
    dates: dict[str, Any] = {"issued": now - timedelta(1), "expires": now + timedelta(1)}
    TrustFiles(tmp_path).write("endorsers", endorsers=[endorser], **dates)
    claims = zone.verifiers.verify("snp", evidence, binding, zone.at_ms)
    said = {name: value for name, value in claims.platform.items() if name.startswith("endorsement")}
    assert said["endorsement_issuer"] == MICROSOFT
    assert (said["endorsement_feed"], said["endorsement_svn"] >= 22) == ("ContainerPlat-AMD-UVM", True)
    policy = base64.b64decode((folder / "uvm_security_policy.base64").read_bytes())
    assert claims.platform["host_data"] == hashlib.sha256(policy).hexdigest()
    TrustFiles(tmp_path).put("collateral/endorsements/uvm.cose", stated)
    none_brought = {name: value for name, value in evidence.items() if name != "endorsement"}
    assert zone.verifiers.verify("snp", none_brought, binding, zone.at_ms) == claims
    TrustFiles(tmp_path).write("endorsers", endorsers=[endorser | {"min_svn": said["endorsement_svn"] + 1}], **dates)
    with pytest.raises(Refused, match=r"attest\.endorsement"):
        zone.verifiers.verify("snp", evidence, binding, zone.at_ms)


def test_a_real_switch_against_its_real_manifest(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "2026-06-01", nvgpu={"needs_firmware_identity": False})
    folder = FOLDER / "nvidia" / "attestation-sdk"
    raw = binary((folder / "switchAttestationReport.txt").read_bytes())
    chain = load_pem_chain(binary((folder / "switchCertChain.txt").read_bytes()))
    evidence = {"kind": "nvgpu", "version": 1, "report": b64(raw),
                "certificates": [b64(one.public_bytes(Encoding.DER)) for one in chain]}  # fmt: skip
    binding = StatedBinding(parse_device_report(raw).nonce)
    listed = [{"kind": "nvgpu", "evidence": evidence}]
    with pytest.raises(Refused, match=r"attest\.collateral"):
        zone.verifiers.verify_devices(listed, binding, zone.at_ms)
    manifest = (folder / f"switchVBIOSRim_{SWITCH_MANIFEST}").read_bytes()
    assert zone.office.take_in(SWITCH_MANIFEST, manifest, zone.at_ms).outcome == "new"
    (claims,) = zone.verifiers.verify_devices(listed, binding, zone.at_ms)
    assert (claims.hardware, claims.tee, claims.platform["golden_blocks"]) == (True, "nvswitch", 31)
    assert claims.platform["golden_complete"] is True


def test_a_real_device_chain_is_taken_in(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "2026-06-01")
    chain = binary((FOLDER / "nvidia/attestation-sdk/hopperCertChain.txt").read_bytes())
    outcome = zone.office.take_in("chain.pem", chain, zone.at_ms)
    assert (outcome.outcome, outcome.name.startswith("collateral/chains/")) == ("new", True), outcome
