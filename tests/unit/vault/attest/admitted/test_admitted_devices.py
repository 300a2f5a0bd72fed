"""Devices against the manifests, lists and answers that a zone holds."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import ocsp

from tests.fakes.attest_manifest import DRIVER, DRIVER_VALUES, FIRMWARE, FakeManifests
from tests.fakes.attest_nvidia import MEASUREMENTS, OPAQUE, FakeNvidia, ocsp_answer
from tests.fakes.attest_pki import NOW, NOW_MS, Shape, revocations
from tests.fakes.attest_trust import EXPECTED, Machines, TrustFiles, b64
from vault.attest.admitted.verifiers import admitted_verifiers
from vault.attest.claims import Claims, Refusal
from vault.attest.trust.directory import NVIDIA, TrustDirectory
from vault.attest.trust.roots import Roots
from vault.errors import Refused

BOARD = [(17, b"1010\0"), (18, b"0200\0"), (15, b"882\0")]
GB100_DRIVER = "NV_GPU_DRIVER_GB100_550.90.07"


class Zone:
    """A device, its maker's manifests, and the files of a zone."""

    def __init__(self, path: Path) -> None:
        self.files = TrustFiles(path)
        self.device, self.maker = FakeNvidia(), FakeManifests()
        self.roots = Roots(nvidia=self.device.roots, manifests=frozenset({self.maker.root.pin}))
        self.rules()
        self.put(f"{DRIVER}.xml", self.maker.driver())
        self.put(f"{FIRMWARE}.xml", self.maker.firmware())

    def rules(self, **rules: Any) -> None:
        self.files.write("platforms", expires=NOW + timedelta(90), nvgpu=rules)

    def put(self, name: str, content: bytes) -> None:
        self.files.put(f"{NVIDIA}/{name}", content)

    def remove(self, name: str) -> None:
        (self.files.path / NVIDIA / name).unlink()

    def verify(self, *, at_ms: int = NOW_MS, development: bool = False, roots: Roots | None = None, **changes: Any) -> (
        Claims
    ):  # fmt: skip
        directory = TrustDirectory(self.files.path, development=development, look_ms=0)
        verifiers = admitted_verifiers(directory, development=development, roots=roots or self.roots)
        report = self.device.report(nonce=EXPECTED.device_nonce(), **({"opaque": OPAQUE + BOARD} | changes))
        evidence = {"kind": "nvgpu", "version": 1, "report": b64(report),
                    "certificates": [b64(der) for der in self.device.chain]}  # fmt: skip
        (claims,) = verifiers.verify_devices([{"kind": "nvgpu", "evidence": evidence}], EXPECTED, at_ms)
        return claims


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path)


def test_golden_values_come_from_the_manifests_of_driver_and_firmware(zone: Zone) -> None:
    platform = zone.verify().platform
    assert (platform["golden_blocks"], platform["golden_complete"]) == (39, True)
    assert platform["manifests"] == sorted([DRIVER, FIRMWARE])


@pytest.mark.parametrize("block", [1, 10, 11, 39])
def test_another_measurement_is_refused(zone: Zone, block: int) -> None:
    worse = MEASUREMENTS | {block: b"\0" * 48}
    assert refusal(lambda: zone.verify(measurements=worse)) == "measurement"


def test_a_block_that_is_missing_is_refused(zone: Zone) -> None:
    fewer = {block: value for block, value in MEASUREMENTS.items() if block != 12}
    assert refusal(lambda: zone.verify(measurements=fewer)) == "measurement"


def test_a_decoder_that_is_off_is_not_measured(zone: Zone) -> None:
    zone.verify(measurements=MEASUREMENTS | {36: b"\0" * 48})
    on = [(name, b"\xaa" if name == 11 else value) for name, value in OPAQUE + BOARD]
    assert refusal(lambda: zone.verify(measurements=MEASUREMENTS | {36: b"\0" * 48}, opaque=on)) == "measurement"


@pytest.mark.parametrize("name", [DRIVER, FIRMWARE])
def test_a_manifest_that_is_missing_refuses_unless_the_rules_say_otherwise(zone: Zone, name: str) -> None:
    zone.remove(f"{name}.xml")
    assert refusal(zone.verify) == "collateral"
    zone.rules(needs_manifests=False)
    platform = zone.verify().platform
    assert (platform["golden_complete"], len(platform["manifests"])) == (False, 1)
    if name == FIRMWARE:
        assert refusal(lambda: zone.verify(measurements=MEASUREMENTS | {11: bytes(48)})) == "measurement"


def test_manifests_of_others_are_not_asked(zone: Zone) -> None:
    assert refusal(lambda: zone.verify(opaque=OPAQUE)) == "collateral"  # another board
    zone.remove(f"{DRIVER}.xml")
    zone.put(f"{GB100_DRIVER}.xml", zone.maker.driver(product="GB100"))
    assert refusal(zone.verify) == "collateral"


def test_two_manifests_that_speak_of_one_block_refuse(zone: Zone) -> None:
    zone.put(f"{DRIVER}.xml", zone.maker.driver(values={**DRIVER_VALUES, 5: [MEASUREMENTS[5]]}))
    assert refusal(zone.verify) == "collateral"


def test_forged_unknown_and_expired_manifests_are_none(zone: Zone) -> None:
    short = FakeManifests(signer_shape=Shape(ca=False, end=NOW + timedelta(hours=1)))
    for content in (
        FakeManifests().driver(),
        zone.maker.driver().replace(b'Hash0="0b', b'Hash0="1b', 1),
        zone.maker.driver()[:-1],
        b"",
    ):
        zone.put(f"{DRIVER}.xml", content)
        assert refusal(zone.verify) == "collateral"
    zone.roots = Roots(nvidia=zone.device.roots, manifests=frozenset({zone.maker.root.pin, short.root.pin}))
    zone.put(f"{DRIVER}.xml", short.driver())
    zone.verify()
    assert refusal(lambda: zone.verify(at_ms=NOW_MS + 3_600_000)) == "collateral"


def test_a_signer_of_manifests_that_was_revoked(zone: Zone) -> None:
    zone.put("signer.ocsp", ocsp_answer(zone.maker.signer, zone.maker.issuer))
    zone.verify()
    zone.put("signer.ocsp", ocsp_answer(zone.maker.signer, zone.maker.issuer, status=ocsp.OCSPCertStatus.REVOKED))
    assert refusal(zone.verify) == "revoked"
    zone.remove("signer.ocsp")
    zone.put("middle.crl", revocations(zone.maker.root, [zone.maker.middle]))
    assert refusal(zone.verify) == "revoked"


class TestAnswersAboutDevices:
    def pairs(self, zone: Zone) -> dict[str, tuple[Any, Any]]:
        device = zone.device
        return {"leaf": (device.leaf, device.device), "device": (device.device, device.provisioner),
                "provisioner": (device.provisioner, device.model), "model": (device.model, device.root)}  # fmt: skip

    def test_each_is_counted_and_those_of_others_are_left(self, zone: Zone) -> None:
        zone.rules(needs_revocation=True)
        other = FakeNvidia()
        zone.put("other.ocsp", ocsp_answer(other.leaf, other.device, status=ocsp.OCSPCertStatus.REVOKED))
        zone.put("other.crl", revocations(Machines().amd.root))
        for name, pair in self.pairs(zone).items():
            assert refusal(zone.verify) == "collateral"
            zone.put(f"{name}.ocsp", ocsp_answer(*pair))
        assert zone.verify().platform["revocation_checked"] == 4

    @pytest.mark.parametrize("status", [ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN])
    def test_what_is_not_good_stays_so_after_its_answer_expired(self, zone: Zone, status: Any) -> None:
        pair = self.pairs(zone)["device"]
        zone.put("device.ocsp", ocsp_answer(*pair, status=status))
        assert refusal(zone.verify) == "revoked"
        assert refusal(lambda: zone.verify(at_ms=NOW_MS + 7 * 86_400_000)) == "collateral"

    def test_a_good_answer_that_expired_says_nothing(self, zone: Zone) -> None:
        zone.put("device.ocsp", ocsp_answer(*self.pairs(zone)["device"]))
        later = zone.verify(at_ms=NOW_MS + 7 * 86_400_000)
        assert later.platform["revocation_checked"] == 0
        zone.rules(needs_revocation=True)
        assert refusal(lambda: zone.verify(at_ms=NOW_MS + 7 * 86_400_000)) == "collateral"

    def test_a_list_that_expired_refuses(self, zone: Zone) -> None:
        zone.put("model.crl", revocations(zone.device.root))
        assert zone.verify().platform["revocation_checked"] == 1
        assert refusal(lambda: zone.verify(at_ms=NOW_MS + 31 * 86_400_000)) == "collateral"

    @pytest.mark.parametrize("name", ["broken.ocsp", "broken.crl", "broken.txt"])
    def test_what_cannot_be_read_may_be_about_anybody(self, zone: Zone, name: str) -> None:
        zone.put(name, b"broken")
        assert refusal(zone.verify) == "collateral"

    def test_a_forged_answer_refuses(self, zone: Zone) -> None:
        device, provisioner = self.pairs(zone)["device"]
        zone.put("device.ocsp", ocsp_answer(device, provisioner, signer=zone.maker.signer))
        assert refusal(zone.verify) == "collateral"


def test_a_made_up_manifest_vouches_for_no_real_device(zone: Zone) -> None:
    """Roots of development sign manifests of development, for devices of development alone."""
    made_up = FakeManifests()
    zone.files.put("development-roots/nvidia-rim.pem", made_up.root.pem)
    zone.put(f"{DRIVER}.xml", made_up.driver())
    assert refusal(lambda: zone.verify(development=True)) == "collateral"
    zone.files.put("development-roots/nvidia.pem", zone.device.root.pem)
    zone.put(f"{FIRMWARE}.xml", made_up.firmware())
    claims = zone.verify(development=True, roots=Roots())
    assert (claims.hardware, claims.synthetic_only, claims.platform["golden_complete"]) == (False, True, True)
    assert refusal(lambda: zone.verify(roots=Roots())) == "chain"


def test_switches_have_firmware_alone(zone: Zone) -> None:
    name = "NV_SWITCH_BIOS_5612_0002_890_9610550001"
    values = {block: [MEASUREMENTS[block]] for block in range(1, 32)}
    switch = [(6, b"96.10.55.00.01"), (20, dict(OPAQUE)[20])]
    assert refusal(lambda: zone.verify(opaque=switch)) == "collateral"
    zone.put(f"{name}.xml", zone.maker.manifest("96.10.55.00.01", values, edition="SWITCH", product="GH100"))
    platform = zone.verify(opaque=switch).platform
    assert (platform["golden_blocks"], platform["manifests"]) == (31, [name])


def test_what_is_refused_says_nothing_of_what_is_here(zone: Zone) -> None:
    """A report nobody signed learns of no manifest: its signature is looked at first."""
    machines = Machines()
    forged = machines.evidence("nvgpu")
    directory = TrustDirectory(zone.files.path, look_ms=0)
    verifiers = admitted_verifiers(directory, development=False, roots=zone.roots)
    zone.remove(f"{DRIVER}.xml")
    listed = [{"kind": "nvgpu", "evidence": json.loads(json.dumps(forged))}]
    assert refusal(lambda: verifiers.verify_devices(listed, EXPECTED, NOW_MS)) == "chain"
