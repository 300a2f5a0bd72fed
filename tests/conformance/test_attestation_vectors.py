"""Real evidence of others: every entry of the manifest whose kind is verified here ends as the manifest expects.

The files are not part of this repository; where they are absent, one line says so.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conftest import vectors_path
from vault.attest.certificates import load_pem_chain
from vault.attest.claims import Refusal
from vault.attest.nitro.document import parse_document
from vault.attest.nitro.verify import ROOTS, NitroPolicy, verify_nitro
from vault.attest.snp.evidence import parse_tsm
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.reference import Endorser, endorsed_measurement
from vault.attest.snp.report import parse_report
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.collateral import parse_collateral
from vault.attest.tdx.eventlog import check_event_log
from vault.attest.tdx.pck import ROOTS as INTEL_ROOTS
from vault.attest.tdx.quote import parse_quote
from vault.attest.tdx.tcb import STATUSES
from vault.attest.tdx.verify import TdxPolicy, verified_quote, verify_tdx
from vault.errors import Refused

FOLDER = vectors_path() / "attestation"
AWS_PROVIDERS = frozenset({"CN=cc-us-east-2.amazonaws.com"})


def milliseconds(at: str) -> int:
    return int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)


def ders(content: bytes) -> list[bytes]:
    if content.startswith(b"-----"):
        return [certificate.public_bytes(Encoding.DER) for certificate in load_pem_chain(content)]
    return [content]


def binary(content: bytes) -> bytes:
    """Evidence as it lies in the files: bytes, hex or base64."""
    text = b"".join(content.split())
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text.decode())
    return base64.b64decode(text) if re.fullmatch(rb"[A-Za-z0-9+/]+={0,2}", text) else content


def snp(files: list[bytes], at: str | None) -> str:
    assert at is not None
    captured = files[0].lstrip().startswith(b"{")
    report, certificates = parse_tsm(json.loads(files[0])) if captured else (binary(files[0]), [])
    certificates += [der for content in files[1:] for der in ders(content)]
    verify_snp(report, certificates, SnpTrust(), SnpPolicy(providers=AWS_PROVIDERS), None, milliseconds(at))
    return "ok"


def nitro(files: list[bytes], at: str | None) -> str:
    """Without a time of its own an entry is verified at its document's."""
    raw = binary(files[0])
    now_ms = milliseconds(at) if at else parse_document(raw).timestamp
    verify_nitro(raw, ROOTS, NitroPolicy(), None, now_ms)
    return "ok"


def tdx(files: list[bytes], at: str | None) -> str:
    """The TCB status is the outcome, whether the policy of the default admits it or not."""
    assert at is not None
    collateral = parse_collateral(json.loads(files[1]))
    try:
        claims = verify_tdx(binary(files[0]), collateral, INTEL_ROOTS, TdxPolicy(), None, milliseconds(at))
    except Refused as refused:
        if refused.detail in STATUSES:
            return refused.detail
        raise
    return str(claims.platform["tcb_status"])


def tdx_quote(files: list[bytes], at: str | None) -> str:
    assert at is not None
    verified_quote(binary(files[0]), INTEL_ROOTS, milliseconds(at))
    return "ok"


KINDS: dict[str, Callable[[list[bytes], str | None], str]] = {
    "snp": snp,
    "nitro": nitro,
    "tdx": tdx,
    "tdx-quote": tdx_quote,
}


def entries() -> list[Any]:
    """The manifest's entries of kinds that are verified; one that skips where there is no manifest."""
    manifest = FOLDER / "MANIFEST.json"
    if not manifest.is_file():
        return [
            pytest.param({}, marks=pytest.mark.skip(reason="no attestation vectors here: DEMESNE_VECTORS names none"))
        ]
    found = json.loads(manifest.read_text())
    return [pytest.param(entry, id=entry["id"]) for entry in found if entry["kind"] in KINDS]


@pytest.mark.peers
@pytest.mark.parametrize("entry", entries())
def test_real_evidence_ends_as_expected(entry: dict[str, Any]) -> None:
    files = [(FOLDER / name).read_bytes() for name in entry["files"]]
    try:
        outcome = KINDS[entry["kind"]](files, entry["at"])
    except Refused as refused:
        outcome = Refusal(refused.reason).removeprefix("attest.")
    assert outcome == entry["expect"], entry["note"]


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
