"""Trustee's evidence in our verifiers' forms, over fake makers; then what refuses."""

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.attest_kbs import TeeKeyPair, b64, digest_of, sample_evidence, snp_evidence
from tests.fakes.attest_nvidia import FakeNvidia
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tpm import FakeTpm, hcl_report, runtime_data
from vault.attest.azure.verify import AzurePolicy, AzureTrust, AzureVerifier
from vault.attest.kbs.binding import KbsBinding
from vault.attest.kbs.evidence import check_user_data, device_forms, primary_form
from vault.attest.nvidia.evidence import NvidiaVerifier
from vault.attest.nvidia.verify import NvidiaPolicy
from vault.attest.sample import SampleVerifier
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy
from vault.attest.snp.product import Product
from vault.attest.tpm.verify import TpmPolicy, TpmVerifier
from vault.errors import Refused

NONCE = bytes(range(32))
KEY = TeeKeyPair().jwk
DIGEST = digest_of(b64(NONCE), KEY)


def binding(tee: str, additional: str = "") -> KbsBinding:
    return KbsBinding(tee, NONCE.hex(), KEY, additional)


def refused(tee: str, evidence: Any) -> str:
    with pytest.raises(Refused) as caught:
        primary_form(tee, evidence)
    return caught.value.reason


def test_the_sample_attesters_evidence_verifies_and_proves_nothing() -> None:
    kind, form = primary_form("sample", sample_evidence(DIGEST))
    claims = SampleVerifier().verify(form, binding("sample"), NOW_MS)
    assert (kind, claims.kind, claims.measurement, claims.synthetic_only, claims.hardware) == (
        "sample", "sample", "trustee-sample-1", True, False,
    )  # fmt: skip


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("version", [3, 5])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_report_taken_apart_verifies(product: Product, version: int, as_bytes: bool) -> None:
    amd = FakeAmd(product, tcb=(3 if product is Product.TURIN else 0, 4, 1, 24, 217))
    report = amd.report(version=version, report_data=DIGEST + bytes(16))
    kind, form = primary_form("snp", snp_evidence(report, amd.certificates, as_bytes=as_bytes))
    claims = SnpVerifier(amd.trust, SnpPolicy(providers=None)).verify(form, binding("snp"), NOW_MS)
    assert (kind, claims.tee, claims.hardware) == ("snp", "sev-snp", True)


def test_a_report_over_another_digest_does_not() -> None:
    amd = FakeAmd()
    _, form = primary_form("snp", snp_evidence(amd.report(report_data=DIGEST[::-1] + bytes(16)), amd.certificates))
    with pytest.raises(Refused) as caught:
        SnpVerifier(amd.trust, SnpPolicy(providers=None)).verify(form, binding("snp"), NOW_MS)
    assert caught.value.reason == "attest.binding"


def test_entries_that_sign_nothing_are_left_and_pem_is_read() -> None:
    amd = FakeAmd()
    evidence = snp_evidence(amd.report(), amd.certificates)
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(amd.leaf.der) + b"-----END CERTIFICATE-----\n\0"
    evidence["cert_chain"][0]["data"] = list(pem)
    evidence["cert_chain"] += [{"cert_type": "CRL", "data": [1]}, {"cert_type": {"OTHER": "0-0"}, "data": [2]}]
    _, form = primary_form("snp", evidence)
    assert [base64.b64decode(text) for text in form["certificates"]] == amd.certificates
    _, bare = primary_form("snp", evidence | {"cert_chain": None})
    assert bare["certificates"] == []


def test_tdx_is_only_spelled_otherwise() -> None:
    given = {"quote": b64(b"quote"), "cc_eventlog": b64(b"log")}
    assert primary_form("tdx", given) == (
        "tdx", {"kind": "tdx", "version": 1, "quote": b64(b"quote"), "event_log": b64(b"log")},
    )  # fmt: skip
    assert primary_form("tdx", given | {"cc_eventlog": None})[1]["event_log"] == ""


def tpm_evidence(tpm: FakeTpm, extra: bytes) -> dict[str, Any]:
    message = tpm.message(extra=extra)
    signature = tpm.sign(message)
    marshalled = bytes.fromhex("0014000b") + len(signature).to_bytes(2, "big") + signature
    quote = {
        "signature": b64(marshalled),
        "message": b64(message),
        "pcrs": [pcr.hex().upper() for pcr in tpm.pcrs.values()],
    }
    return {"ak_public": b64(tpm.public), "tpm_quote": quote}


def test_a_tpms_quote_verifies_over_the_first_32_bytes() -> None:
    tpm = FakeTpm()
    kind, form = primary_form("tpm", tpm_evidence(tpm, DIGEST[:32]))
    claims = TpmVerifier([tpm.name], TpmPolicy()).verify(form, binding("tpm"), NOW_MS)
    assert (kind, claims.tee) == ("tpm", "tpm")
    other = primary_form("tpm", tpm_evidence(tpm, DIGEST[1:33]))[1]
    with pytest.raises(Refused) as caught:
        TpmVerifier([tpm.name], TpmPolicy()).verify(other, binding("tpm"), NOW_MS)
    assert caught.value.reason == "attest.binding"


def azure_evidence(amd: FakeAmd, tpm: FakeTpm, extra: bytes, *, version: int, user_data: bytes) -> dict[str, Any]:
    data = runtime_data(tpm, **{"user-data": user_data.hex().upper()})
    report = hcl_report(amd.report(report_data=hashlib.sha256(data).digest() + bytes(32)), data)
    message = tpm.message(extra=extra)
    quote = {"signature": tpm.sign(message).hex(), "message": message.hex()}
    spelled = base64.urlsafe_b64encode
    return {
        "version": version, "tpm_quote": quote | {"pcrs": [pcr.hex() for pcr in tpm.pcrs.values()]},
        "hcl_report": spelled(report).decode(), "vcek": spelled(amd.leaf.der).decode(),
    }  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_an_azure_machines_quote_verifies_over_the_whole_digest(version: int) -> None:
    amd, tpm = FakeAmd(), FakeTpm()
    trust = AzureTrust(snp=replace(amd.trust, certificates=tuple(amd.certificates[1:])))
    verifier = AzureVerifier(trust, AzurePolicy(snp=SnpPolicy(providers=None)))
    evidence = azure_evidence(amd, tpm, DIGEST, version=version, user_data=DIGEST + bytes(16))
    kind, form = primary_form("az-snp-vtpm", evidence)
    claims = verifier.verify(form, binding("az-snp-vtpm"), NOW_MS)
    assert (kind, claims.kind, claims.platform["bound"]) == ("azure-vtpm", "azure-vtpm", True)
    check_user_data("az-snp-vtpm", evidence, claims.as_document(), DIGEST)
    other = azure_evidence(amd, tpm, DIGEST, version=version, user_data=bytes(64))
    said = verifier.verify(primary_form("az-snp-vtpm", other)[1], binding("az-snp-vtpm"), NOW_MS).as_document()
    if version == 1:  # had no such field yet
        check_user_data("az-snp-vtpm", other, said, DIGEST)
        return
    with pytest.raises(Refused) as caught:
        check_user_data("az-snp-vtpm", other, said, DIGEST)
    assert caught.value.reason == "attest.binding"


def nvidia_evidence(fake: FakeNvidia, nonce: bytes) -> dict[str, Any]:
    pem = b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
        for der in fake.chain
    )
    device = {"arch": "HOPPER", "uuid": "GPU-1", "evidence": b64(fake.report(nonce=nonce)), "certificate": b64(pem)}
    return {"device_evidence_list": [device]}


def test_a_gpu_in_additional_evidence_verifies_over_its_own_nonce() -> None:
    fake = FakeNvidia()
    nonce = digest_of(b64(NONCE), KEY, None)[:32]
    additional = json.dumps({"nvidia": nvidia_evidence(fake, nonce)})
    (entry,) = device_forms(additional)
    verifier = NvidiaVerifier(NvidiaPolicy(), fake.roots)
    assert verifier.verify(entry["evidence"], binding("snp", additional), NOW_MS).kind == entry["kind"] == "nvgpu"
    (replayed,) = device_forms(json.dumps({"nvidia": nvidia_evidence(fake, nonce[::-1])}))
    with pytest.raises(Refused) as caught:
        verifier.verify(replayed["evidence"], binding("snp", additional), NOW_MS)
    assert caught.value.reason == "attest.binding"


def test_no_additional_evidence_is_no_device() -> None:
    assert device_forms("") == []


@pytest.mark.parametrize(
    ("additional", "reason"),
    [
        ("{}", "attest.malformed"),
        ("[]", "attest.malformed"),
        ("null", "attest.malformed"),
        ('{"nvidia":{}}', "attest.malformed"),
        ('{"nvidia":{"device_evidence_list":[]}}', "attest.malformed"),
        ('{"nvidia":{"device_evidence_list":[{}]}}', "attest.malformed"),
        ('{"nvidia":{"device_evidence_list":' + json.dumps([{}] * 17) + "}}", "attest.malformed"),
        ('{"nvidia":null,"nvidia":null}', "attest.malformed"),
        ('{"nvidia":' * 50_000, "attest.malformed"),
        ('{"sampledevice":{"svn":"2","report_data":""}}', "attest.unknown-kind"),
        ('{"nvidia-dpu":{}}', "attest.unknown-kind"),
    ],
)
def test_other_additional_evidence_refuses_the_whole(additional: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        device_forms(additional)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "tee", ["sgx", "cca", "csv", "se", "hygondcu", "nvidia", "nvidia-dpu", "sampledevice", "", "SNP"]
)
def test_an_unknown_tee_is_refused(tee: str) -> None:
    assert refused(tee, {}) == "attest.unknown-kind"


SAMPLE, TDX = sample_evidence(DIGEST), {"quote": "", "cc_eventlog": None}
AZURE = {"version": 1, "tpm_quote": {"signature": "", "message": "", "pcrs": []}, "hcl_report": "", "vcek": ""}
TPM = tpm_evidence(FakeTpm(), DIGEST[:32])


@pytest.mark.parametrize(
    ("tee", "evidence", "reason"),
    [
        ("sample", SAMPLE | {"more": 1}, "attest.malformed"),
        ("sample", {"svn": "1"}, "attest.malformed"),
        ("sample", SAMPLE | {"svn": 1}, "attest.malformed"),
        ("sample", SAMPLE | {"svn": "x"}, "attest.malformed"),
        ("sample", SAMPLE | {"svn": "1" * 99}, "attest.malformed"),
        ("sample", SAMPLE | {"report_data": "%"}, "attest.malformed"),
        ("snp", {"attestation_report": {}}, "attest.malformed"),
        ("snp", snp_evidence(FakeAmd().report(), []) | {"cert_chain": [{}]}, "attest.malformed"),
        ("snp", {"attestation_report": None, "cert_chain": None}, "attest.malformed"),
        ("snp", {"attestation_report": "", "cert_chain": [{"cert_type": "VCEK", "data": [256]}]}, "attest.malformed"),
        ("snp", {"attestation_report": "", "cert_chain": [{"cert_type": "VCEK", "data": []}] * 99}, "attest.malformed"),
        ("tdx", TDX | {"aa_eventlog": ""}, "attest.malformed"),
        ("tdx", {"quote": "AA==", "cc_eventlog": 7}, "attest.malformed"),
        ("az-snp-vtpm", AZURE | {"version": 3}, "attest.unknown-version"),
        ("az-snp-vtpm", AZURE | {"td_quote": ""}, "attest.malformed"),
        ("az-tdx-vtpm", AZURE, "attest.malformed"),
        ("tpm", TPM | {"tpm_quote": 7}, "attest.malformed"),
        ("tpm", TPM | {"tpm_quote": TPM["tpm_quote"] | {"signature": b64(bytes(262))}}, "attest.algorithm"),
        ("tpm", TPM | {"tpm_quote": TPM["tpm_quote"] | {"signature": b64(b"\0\x14\0\x0b\0\1")}}, "attest.malformed"),
        ("tpm", TPM | {"tpm_quote": TPM["tpm_quote"] | {"pcrs": ["00"] * 25}}, "attest.malformed"),
    ],
)  # fmt: skip
def test_another_form_is_refused(tee: str, evidence: dict[str, Any], reason: str) -> None:
    assert refused(tee, evidence) == reason
