"""The sample attester: evidence that proves nothing about any machine, for development on synthetic data.

It exercises every other part of the road (nonce, binding, appraisal, freshness) and its claims say what they
are worth: no hardware, synthetic datasets only. The broker admits it in a development posture only.

    {"kind":"sample","version":1,"report_data":hex(64 bytes),"measurement":"…","notice":"…"}
"""

import hmac
import re
from collections.abc import Mapping
from typing import Any

from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse

KIND = "sample"
VERSION = 1
NOTICE = "SAMPLE EVIDENCE: proves nothing about any machine; synthetic datasets in a development posture only"
_FIELDS = {"kind", "version", "report_data", "measurement", "notice"}
_MEASUREMENT = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_REPORT_DATA = re.compile(r"[0-9a-f]{128}")


def verify_sample(evidence: Mapping[str, Any], report_data: bytes | None) -> Claims:
    """Checks form and binding (None: not the binding); there is no signature to check, and the claims say so."""
    if set(evidence) != _FIELDS or evidence["kind"] != KIND:
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
    if type(evidence["version"]) is not int or evidence["version"] != VERSION:
        raise refuse(Refusal.UNKNOWN_VERSION)
    measurement, carried = evidence["measurement"], evidence["report_data"]
    if not isinstance(measurement, str) or not _MEASUREMENT.fullmatch(measurement):
        raise refuse(Refusal.MALFORMED, "measurement")
    if not isinstance(evidence["notice"], str) or len(evidence["notice"]) > 512:
        raise refuse(Refusal.MALFORMED, "notice")
    if not isinstance(carried, str) or not _REPORT_DATA.fullmatch(carried):
        raise refuse(Refusal.MALFORMED, "report_data")
    if report_data is not None and not hmac.compare_digest(bytes.fromhex(carried), report_data):
        raise refuse(Refusal.BINDING, "report_data is over another nonce, gateway, key, purpose or scope")
    return Claims(KIND, "none", measurement, debug=True, hardware=False, synthetic_only=True)


class SampleVerifier:
    """The port `Verifier` over `verify_sample`: the evidence must carry the expected binding."""

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:  # noqa: ARG002
        return verify_sample(evidence, expected.report_data())


def sample_evidence(expected: Binding, measurement: str = "sample") -> dict[str, Any]:
    """What the SDK's sample attester makes; here for tests and as the statement of the format."""
    return {
        "kind": KIND,
        "version": VERSION,
        "report_data": expected.report_data().hex(),
        "measurement": measurement,
        "notice": NOTICE,
    }
