"""NVIDIA's reference manifests as trust files, named by the identifiers that NVIDIA publishes them under.

    NV_GPU_DRIVER_<chip>_<version>.xml
    NV_GPU_VBIOS_<project>_<project SKU>_<chip SKU>_<version>.xml      NV_SWITCH_BIOS_<…>_<version>.xml

Version and chip of the name must be those that were signed. The board is in no manifest, so its name is the operator's
word: a manifest under another board's name refuses that board's devices, and admits none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from vault.attest.nvidia.manifest import parse_reference_manifest
from vault.attest.nvidia.report import DeviceReport
from vault.attest.trust.document import Dated, milliseconds, wrong

DRIVER, FIRMWARE = "driver", "firmware"
_DRIVER_NAME = re.compile(r"NV_GPU_DRIVER_([A-Z0-9]{2,16})_([0-9]{1,5}(?:\.[0-9]{1,5}){1,4})\.xml")
_GPU_NAME = re.compile(r"NV_GPU_VBIOS_([0-9A-Z]{1,16})_([0-9A-Z]{1,16})_([0-9A-Z]{1,16})_([0-9A-F]{10})\.xml")
_SWITCH_NAME = re.compile(r"NV_SWITCH_BIOS_[0-9A-Z]{1,16}_[0-9A-Z]{1,16}_[0-9A-Z]{1,16}_([0-9A-F]{10})\.xml")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Golden values of one driver or firmware, signed under `root` (SHA-256, hex), which somebody has to trust.

    `kind`: driver or firmware. `board`: project, its SKU and the chip's, empty for switches. `golden`: admitted values
    of each measurement block of a report, counted from 1. `path`: who signed, leaf first.
    """

    name: str
    kind: str
    root: str
    product: str
    version: str
    board: tuple[str, ...]
    golden: Mapping[int, frozenset[bytes]]
    path: tuple[x509.Certificate, ...]

    def is_of(self, report: DeviceReport, chip: str) -> bool:
        """Whether it speaks of the driver or the firmware that a device reports."""
        if self.kind == DRIVER:
            return not report.is_switch and (self.product, self.version) == (chip, report.driver)
        return (self.product, self.version, self.board) == (chip, report.vbios, report.board)


def parse_manifest(name: str, raw: bytes) -> tuple[Manifest, Dated]:
    """`name`: the file's. Raises Malformed or Refused."""
    kind, edition, chip, board, version = _named(name)
    signed = parse_reference_manifest(raw)
    said = signed.version if kind == DRIVER else signed.version.replace(".", "").upper()
    if signed.edition != edition or said != version or (chip and signed.product != chip):
        what = f"{signed.edition} {signed.product} {signed.version}"
        raise wrong("", f"it is signed for {what[:96]}, and the file is named otherwise")
    manifest = Manifest(
        name.removesuffix(".xml"), kind, signed.root, signed.product, signed.version, board, signed.golden, signed.path
    )
    return manifest, Dated(milliseconds(signed.start), milliseconds(signed.end))


def _named(name: str) -> tuple[str, str, str, tuple[str, ...], str]:
    """Kind, edition, chip ("" where the name says none), board and version that a file's name says."""
    if found := _DRIVER_NAME.fullmatch(name):
        return DRIVER, "GPU", found[1], (), found[2]
    if found := _GPU_NAME.fullmatch(name):
        return FIRMWARE, "GPU", "", (found[1], found[2], found[3]), found[4]
    if found := _SWITCH_NAME.fullmatch(name):
        return FIRMWARE, "SWITCH", "", (), found[1]
    raise wrong("", "name it by its identifier, such as NV_GPU_DRIVER_GH100_550.90.07.xml")
