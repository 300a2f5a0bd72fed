"""NVIDIA's reference manifests (RIM) as trust files: whose golden values, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass

from vault.attest.nvidia.report import DeviceReport
from vault.attest.trust.document import Dated, wrong


@dataclass(frozen=True, slots=True)
class Manifest:
    """Golden values of one driver or firmware, signed under `root` (SHA-256, hex), which somebody has to trust.

    `kind`: driver or firmware. `board`: project, its SKU and the chip's, empty for switches. `golden`: admitted values
    of each measurement block of a report, counted from 1.
    """

    name: str
    kind: str
    root: str
    product: str
    version: str
    board: tuple[str, ...]
    golden: Mapping[int, frozenset[bytes]]

    def is_of(self, report: DeviceReport, chip: str) -> bool:
        """Whether it speaks of the driver or the firmware that a device reports."""
        if self.kind == "driver":
            return not report.is_switch and (self.product, self.version) == (chip, report.driver)
        return self.version == report.vbios and self.board == report.board and self.product == chip


def parse_manifest(name: str, raw: bytes) -> tuple[Manifest, Dated]:
    """`name`: the file's. Raises Malformed or Refused."""
    del raw
    raise wrong("", f"{name}: reference manifests are not read yet")
