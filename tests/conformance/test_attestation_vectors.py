"""Real evidence of others: every entry of the manifest ends as the manifest expects.

The files are not part of this repository; where they are absent, one line says so.
"""

import base64
import hashlib
from typing import Any

import pytest

from tests.conftest import vectors_path
from vault.attest.offline.contents import Presented, milliseconds
from vault.attest.offline.kinds import verify_files
from vault.attest.offline.manifest import check_entries, parse_manifest
from vault.attest.snp.reference import Endorser, endorsed_measurement
from vault.attest.snp.report import parse_report
from vault.attest.tdx.eventlog import check_event_log
from vault.attest.tdx.quote import parse_quote
from vault.errors import Refused

FOLDER = vectors_path() / "attestation"
PRESENT_MS = milliseconds("2026-06-01")  # for entries of no time of their own: platforms' certificates live for years


def entries() -> list[Any]:
    """The manifest's entries, all of them; one that skips where there is no manifest."""
    manifest = FOLDER / "MANIFEST.json"
    if not manifest.is_file():
        return [
            pytest.param({}, marks=pytest.mark.skip(reason="no attestation vectors here: DEMESNE_VECTORS names none"))
        ]
    return [pytest.param(entry, id=entry["id"]) for entry in parse_manifest(manifest.read_bytes())]


@pytest.mark.peers
@pytest.mark.parametrize("entry", entries())
def test_real_evidence_ends_as_expected(entry: dict[str, Any]) -> None:
    (checked,) = check_entries([entry], lambda name: (FOLDER / name).read_bytes(), PRESENT_MS)
    assert checked.outcome == checked.expect, f"{entry['note']}: {checked.detail}"


@pytest.mark.peers
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no attestation vectors here: DEMESNE_VECTORS names none")
def test_a_real_report_has_a_real_endorsement_and_policy() -> None:
    """Host data is the hash of the guest's policy, and the firmware's maker endorses just this measurement."""
    folder, at = FOLDER / "snp" / "microsoft-skr", milliseconds("2023-06-01")
    report = parse_report((folder / "snp_report.bin").read_bytes())
    policy = base64.b64decode((folder / "uvm_security_policy.base64").read_bytes())
    assert report.host_data == hashlib.sha256(policy).digest()
    issuer = "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2"
    raw = (folder / "body.uvm_reference_info.bin").read_bytes()
    endorsed = endorsed_measurement(raw, [Endorser(issuer, "ContainerPlat-AMD-UVM", 22)], at)
    assert endorsed.measurement == report.measurement


@pytest.mark.peers
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no attestation vectors here: DEMESNE_VECTORS names none")
def test_a_real_event_log_replays_to_its_real_quote_and_no_other() -> None:
    folder = FOLDER / "tdx" / "go-tdx-guest" / "ccel"
    log = (folder / "ccel_data.dat").read_bytes()
    check_event_log(log, parse_quote((folder / "cos-113-tdx-quote.dat").read_bytes()))
    other = parse_quote((FOLDER / "tdx" / "trustee" / "tdx_quote_6.dat").read_bytes())
    with pytest.raises(Refused, match=r"attest\.event-log"):
        check_event_log(log, other)


@pytest.mark.peers
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no attestation vectors here: DEMESNE_VECTORS names none")
@pytest.mark.parametrize(
    ("kind", "evidence", "keys", "at", "expect"),
    [
        (
            "maa",
            "jwt/maa_azurevm_trustedlaunch_eus2_2022-04-14.jwt",
            "jwt/maa_sharedweu_jwks.json",
            "2022-04-14",
            "chain",
        ),
        ("ear", "ear/testJWT_JWK.jwt", "ear/veraison-ear_pkey.json", "2022-10-18", "malformed"),
        ("confidential-space", "jwt/gcp-confidential-space/oidc.txt", None, "2024-11-04", "no-trust"),
    ],
)
def test_real_tokens_that_are_refused(kind: str, evidence: str, keys: str | None, at: str, expect: str) -> None:
    endorsements = () if keys is None else ((FOLDER / keys).read_bytes(),)
    presented = Presented((FOLDER / evidence).read_bytes(), endorsements, now_ms=milliseconds(at))
    with pytest.raises(Refused) as caught:
        verify_files(kind, presented)
    assert caught.value.reason == f"attest.{expect}"


@pytest.mark.peers
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no attestation vectors here: DEMESNE_VECTORS names none")
def test_a_real_token_carries_its_real_nonce_and_no_other() -> None:
    token, keys = "jwt/maa_azurevm_sevsnp_weu_2023-03-30.jwt", "jwt/maa_sharedweu_jwks.json"
    presented = Presented((FOLDER / token).read_bytes(), ((FOLDER / keys).read_bytes(),), None, b"ADE0101")
    assert verify_files("maa", presented).claims["platform"]["bound"] is True
    other = Presented(presented.evidence, presented.endorsements, None, b"ADE0102")
    with pytest.raises(Refused, match=r"attest\.binding"):
        verify_files("maa", other)
