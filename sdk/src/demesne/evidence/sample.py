"""The `sample` attester: no hardware, no proof. For trying Demesne on synthetic data in development.

The gateway unlocks nothing with it but datasets flagged synthetic, in the development posture.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

from demesne.errors import Invalid

NOTICE = "SAMPLE ATTESTATION: proves nothing about this machine; development posture and synthetic data only"


class SampleAttester:
    """Says what program runs; anyone could say it. The measurement stays the same for the process's life,
    because a re-attestation may not change it."""

    kind = "sample"

    def __init__(self, measurement: str | None = None) -> None:
        self._measurement = measurement or _program_measurement()

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Sample evidence, version 1 (docs/spec/attested-session.md of the gateway)."""
        if len(report_data) != 64:
            raise Invalid("evidence.report-data", "report_data is 64 bytes")
        return {
            "kind": self.kind,
            "version": 1,
            "report_data": report_data.hex(),
            "measurement": self._measurement,
            "notice": NOTICE,
        }


def _program_measurement() -> str:
    """SHA-256 (hex) of the program file that runs, or of the interpreter's name in an interactive one."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        content = Path(main).read_bytes() if main else sys.executable.encode()
    except OSError:
        content = str(main).encode()
    return hashlib.sha256(b"demesne/sample-measurement/1\n" + content).hexdigest()
