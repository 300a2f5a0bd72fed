"""Azure: NV memory and quotes of a real TPM (swtpm), the host's service over loopback, the gateway's verifier."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from demesne.errors import DemesneError, Malformed, NotConfigured, Unavailable
from demesne.evidence.azure import KEY, REPORT, USER_DATA, AzureAttester
from demesne.evidence.tpm_commands import OWNER, RSA, Tpm
from demesne.evidence.tpm_public import attestation_template, subject_public_key
from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tpm import hcl_report, numbers_of
from tests.fakes.evidence_services import LocalService, azure_host
from tests.fakes.swtpm import Swtpm, need_swtpm
from vault.attest.azure.verify import AzurePolicy, AzureTrust, AzureVerifier
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims
from vault.errors import Refused

pytestmark = pytest.mark.servers
EXPECTED = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",))
BOUND = EXPECTED.report_data()
AMD, INTEL = FakeAmd(), FakeIntel()
PEMS = [AMD.leaf.pem, AMD.middle.pem, AMD.root.pem]
SNP, TDX = 2, 4
NO_CERTIFICATE = json.dumps(
    {"vcekCert": "", "certificateChain": "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"}
).encode()


class Paravisor:
    """What Azure puts into a confidential VM's vTPM: the key that quotes, and a report that vouches for it."""

    def __init__(self, vtpm: Swtpm) -> None:
        self.vtpm = vtpm
        with Tpm(vtpm.transport()) as tpm:
            made = tpm.create_primary(OWNER, attestation_template(RSA))
            tpm.persist(made, KEY)
            tpm.flush(made)
            key = load_der_public_key(subject_public_key(tpm.read_public(KEY)))
            assert isinstance(key, RSAPublicKey)
            self.key = key
            tpm.nv_define(REPORT, 2048)  # 2600 in Azure; swtpm has no room for that

    def runtime_data(self) -> bytes:
        document = {
            "keys": [{"kid": "HCLAkPub", "key_ops": ["sign"], **numbers_of(self.key)}],
            "vm-configuration": {"secure-boot": True, "vmUniqueId": "VM-1"}, "user-data": "00" * 64,
        }  # fmt: skip
        return json.dumps(document, separators=(",", ":")).encode()

    def report(self, kind: int = SNP) -> bytes:
        data = self.runtime_data()
        committed = hashlib.sha256(data).digest() + bytes(32)
        hardware = AMD.report(report_data=committed) if kind == SNP else b"TDREPORT" + bytes(1016)
        return hcl_report(hardware, data, kind=kind, tail=b"")

    def put(self, report: bytes) -> None:
        with Tpm(self.vtpm.transport()) as tpm:
            tpm.nv_write(REPORT, report.ljust(2048, b"\0"))


@pytest.fixture(scope="module")
def paravisor() -> Iterator[Paravisor]:
    need_swtpm()
    with Swtpm() as vtpm:
        yield Paravisor(vtpm)


@pytest.fixture
def host() -> Iterator[LocalService]:
    committed: list[bytes] = []
    with azure_host(PEMS, lambda report: committed.append(report) or b"quote") as running:  # type: ignore[func-returns-value]
        yield running


def attester(paravisor: Paravisor, host: LocalService, **options: Any) -> AzureAttester:
    return AzureAttester(metadata=host.url, transport=paravisor.vtpm.transport, seconds=5, **options)


def verified(evidence: dict[str, Any], expected: ExpectedBinding = EXPECTED) -> Claims:
    trust = AzureTrust(AMD.trust, INTEL.roots, {FMSPC: INTEL.collateral()})
    return AzureVerifier(trust, AzurePolicy(secure_boot=True)).verify(
        json.loads(json.dumps(evidence)), expected, NOW_MS
    )


def test_snp_under_a_vtpm_verifies_at_the_gateway(paravisor: Paravisor, host: LocalService) -> None:
    paravisor.put(paravisor.report())
    evidence = attester(paravisor, host).evidence(BOUND)
    claims = verified(evidence)
    assert (claims.kind, claims.tee, claims.hardware) == ("azure-vtpm", "sev-snp", True)
    assert claims.platform["bound"] is True
    with pytest.raises(Refused, match=r"attest\.binding"):
        verified(evidence, ExpectedBinding("cd" * 32, "gateway", "thumbprint", "train", ("claims",)))
    (request,) = host.requests
    assert (request[0], request[2]["metadata"]) == ("GET", "true")


def test_tdx_under_a_vtpm_verifies_at_the_gateway(paravisor: Paravisor) -> None:
    report = paravisor.report(TDX)
    paravisor.put(report)
    committed = hashlib.sha256(paravisor.runtime_data()).digest() + bytes(32)
    asked: list[bytes] = []

    def quote(tdreport: bytes) -> bytes:
        asked.append(tdreport)
        return INTEL.quote(report_data=committed)

    with azure_host(PEMS, quote) as host:
        claims = verified(attester(paravisor, host).evidence(BOUND))
    assert (claims.kind, claims.tee) == ("azure-vtpm", "tdx")
    assert asked == [b"TDREPORT" + bytes(1016)]


def test_user_data_is_written_when_asked_for_and_made_room_for_once(paravisor: Paravisor, host: LocalService) -> None:
    paravisor.put(paravisor.report())
    for data in (BOUND, BOUND[::-1]):
        attester(paravisor, host, user_data=True).evidence(data)
        with Tpm(paravisor.vtpm.transport()) as tpm:
            assert tpm.nv_read(USER_DATA) == data


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((503, b""), Unavailable), ((429, b""), Unavailable), ((410, b""), Unavailable), ((404, b"{}"), NotConfigured),
        ((200, b"no json"), Malformed), ((200, b"[]"), Malformed), ((200, b"{}"), Malformed),
        ((200, NO_CERTIFICATE), Malformed),
        ((200, b'{"vcekCert":"' + b"x" * 70_000 + b'"}'), Malformed), ((302, b""), NotConfigured),
    ],
)  # fmt: skip
def test_the_hosts_service_fails(
    paravisor: Paravisor, host: LocalService, answer: tuple[int, bytes], kind: type[DemesneError]
) -> None:
    paravisor.put(paravisor.report())
    host.override = [answer]
    with pytest.raises(kind):
        attester(paravisor, host).evidence(BOUND)


def test_no_host_service_is_unavailable(paravisor: Paravisor) -> None:
    paravisor.put(paravisor.report())
    with azure_host(PEMS) as host:
        url = host.url
    with pytest.raises(Unavailable):
        AzureAttester(metadata=url, transport=paravisor.vtpm.transport, seconds=2).evidence(BOUND)


def test_a_proxy_of_the_environment_is_never_asked(
    paravisor: Paravisor, host: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    paravisor.put(paravisor.report())
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    attester(paravisor, host).evidence(BOUND)
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    "report",
    [b"NOPE" + bytes(2000), hcl_report(b"", b"{}", kind=7, tail=b""), hcl_report(b"", b"{}", length=9999, tail=b"")],
    ids=["other", "hardware", "length"],
)
def test_a_report_of_another_form_is_malformed(paravisor: Paravisor, host: LocalService, report: bytes) -> None:
    paravisor.put(report)
    with pytest.raises(Malformed):
        attester(paravisor, host).evidence(BOUND)
    assert host.requests == []


def test_a_tpm_without_a_paravisors_report_is_no_confidential_vm() -> None:
    need_swtpm()
    with Swtpm() as plain, pytest.raises(NotConfigured, match="no confidential VM"):
        AzureAttester(metadata="http://127.0.0.1:1", transport=plain.transport).evidence(BOUND)


def test_certificates_are_leaf_first(paravisor: Paravisor, host: LocalService) -> None:
    paravisor.put(paravisor.report())
    evidence = attester(paravisor, host).evidence(BOUND)
    assert [base64.b64decode(text) for text in evidence["certificates"]] == AMD.certificates
