"""The port `Verifier` over NVIDIA's devices, with the golden values, lists and answers that a zone holds.

Files are chosen by what a verified chain and a report say, so a device picks none by itself: it can only be of a
driver, a firmware or a chain that nobody here knows, and is then refused or, where the rules allow that, unchecked.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from cryptography import x509

from vault.attest.binding import Binding
from vault.attest.certificates import load_certificate
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.nvidia.evidence import parse_evidence
from vault.attest.nvidia.report import DeviceReport, parse_device_report
from vault.attest.nvidia.verify import check_golden, check_revoked, verify_nvidia
from vault.attest.ocsp import is_about
from vault.attest.trust.collateral import Answer, RevocationList
from vault.attest.trust.directory import DeviceFile
from vault.attest.trust.manifests import DRIVER, FIRMWARE, Manifest
from vault.attest.trust.platforms import DeviceRules
from vault.attest.trust.watched import Loaded, State


class DeviceVerifier:
    """`roots` of devices and of `manifests`: SHA-256, hex."""

    def __init__(
        self, rules: DeviceRules, roots: Collection[str], manifest_roots: Collection[str],
        files: Sequence[Loaded[DeviceFile]],
    ) -> None:  # fmt: skip
        self._rules = rules
        self._roots = roots
        self._manifest_roots = manifest_roots
        self._files = files

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        raw, certificates = parse_evidence(evidence)
        report = parse_device_report(raw)
        path = [load_certificate(der) for der in certificates]
        claims = verify_nvidia(
            raw, certificates, self._roots, self._rules.policy, expected.device_nonce(), now_ms,
            self._revocations(path, now_ms),
        )  # fmt: skip
        # Only now is the report believed, which says of what manifests are looked for.
        manifests = self._manifests(report, path, now_ms)
        missing = _missing(report, manifests)
        if missing and self._rules.needs_manifests:
            raise refuse(Refusal.COLLATERAL, f"no reference manifest of {missing}")
        golden = _golden(manifests)
        check_golden(report, golden)
        compared: dict[str, Any] = {
            "golden_blocks": len(golden),
            "golden_complete": not missing,
            "manifests": sorted(manifest.name for manifest in manifests),
        }
        return replace(claims, platform=dict(claims.platform) | compared)

    def _manifests(self, report: DeviceReport, path: Sequence[x509.Certificate], now_ms: int) -> list[Manifest]:
        chip = _chip(path)
        found = []
        for loaded in self._files:
            value = loaded.valid(now_ms)
            if isinstance(value, Manifest) and value.root in self._manifest_roots and value.is_of(report, chip):
                check_revoked(value.path, self._revocations(value.path, now_ms), now_ms)
                found.append(value)
        return found

    def _revocations(self, path: Sequence[x509.Certificate], now_ms: int) -> list[bytes]:
        """What is here about this path. A list that has expired counts: it then refuses, rather than being forgotten.
        So does an answer that did not say good. What cannot be read may be about anybody, so it refuses everybody."""
        issuers = [certificate.subject for certificate in path[1:]]
        found = []
        for loaded in self._files:
            value = loaded.value
            if value is None and not loaded.name.endswith(".xml"):
                raise refuse(Refusal.COLLATERAL, f"{loaded.name} cannot be read")
            if isinstance(value, RevocationList) and value.issuer in issuers:
                found.append(value.der)
            if isinstance(value, Answer) and (not value.good or loaded.state(now_ms) is State.PRESENT):
                found += [value.der for pair in pairwise(path) if is_about(value.parsed, *pair)]
        return found


def _golden(manifests: Sequence[Manifest]) -> dict[int, frozenset[bytes]]:
    """Values by block. Two manifests that both speak of a block are two truths, and none is chosen."""
    golden: dict[int, frozenset[bytes]] = {}
    for manifest in manifests:
        both = golden.keys() & manifest.golden.keys()
        if both:
            raise refuse(Refusal.COLLATERAL, f"two reference manifests speak of block {min(both)}")
        golden |= manifest.golden
    return golden


def _missing(report: DeviceReport, manifests: Sequence[Manifest]) -> str:
    kinds = {manifest.kind for manifest in manifests}
    wanted = {FIRMWARE} if report.is_switch else {DRIVER, FIRMWARE}
    return ", ".join(sorted(wanted - kinds))


def _chip(path: Sequence[x509.Certificate]) -> str:
    """GH100 of "GH100 A01 GSP FMC LF"; "LS10" of "LS_10 A01 FSP FMC LF"."""
    names = path[0].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME) if path else []
    return str(names[0].value).split(" ")[0].replace("_", "") if len(names) == 1 else ""
