"""Azure: a vTPM that hardware vouches for gives claims, and every link has evidence that only it refuses."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_pki import NOW_MS, rsa_key
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tpm import EXTRA, VALUES, FakeTpm, hcl_report, runtime_data
from vault.attest.azure.evidence import AzureEvidence, parse_trustee
from vault.attest.azure.hcl import parse_hcl
from vault.attest.azure.verify import AzurePolicy, AzureTrust, AzureVerifier, verified_td, verify_azure
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims, Refusal
from vault.errors import Refused


class World:
    """One chip and one TDX platform, and a vTPM over either."""

    def __init__(self) -> None:
        self.amd, self.intel, self.tpm = FakeAmd(), FakeIntel(), FakeTpm()
        self.trust = AzureTrust(self.amd.trust, self.intel.roots, {FMSPC: self.intel.collateral()})

    def snp(self, data: bytes | None = None, signed: bytes | None = None, **changes: Any) -> AzureEvidence:
        data = runtime_data(self.tpm) if data is None else data
        committed = hashlib.sha256(data if signed is None else signed).digest() + bytes(32)
        fields = {name: changes.pop(name) for name in ("policy", "vmpl") if name in changes}
        hardware = self.amd.report(report_data=committed, **fields)
        return self._evidence(hcl_report(hardware, data, **changes), certificates=tuple(self.amd.certificates))

    def tdx(self, signed: bytes | None = None, **changes: Any) -> AzureEvidence:
        data = runtime_data(self.tpm)
        committed = hashlib.sha256(data if signed is None else signed).digest() + bytes(32)
        quote = self.intel.quote(report_data=committed, **changes)
        return self._evidence(hcl_report(b"", data, kind=4), td_quote=quote)

    def _evidence(self, report: bytes, **more: Any) -> AzureEvidence:
        message = self.tpm.message()
        return AzureEvidence(report, message, self.tpm.sign(message), VALUES, **more)

    def verify(
        self, evidence: AzureEvidence, *, trust: AzureTrust | None = None, policy: AzurePolicy | None = None,
        bound: bytes | None = EXTRA,
    ) -> Claims:  # fmt: skip
        return verify_azure(evidence, trust or self.trust, policy or AzurePolicy(), bound, NOW_MS)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_genuine_evidence_gives_the_hardwares_claims_and_the_vtpms(world: World) -> None:
    claims = world.verify(world.snp())
    assert (claims.kind, claims.tee, claims.hardware, claims.measurement) == ("azure-vtpm", "sev-snp", True, "11" * 48)
    assert (claims.platform["bound"], claims.platform["vm_id"], claims.platform["pcr7"]) == (True, "VM-1", "07" * 32)
    claims = world.verify(world.tdx())
    assert (claims.tee, claims.platform["tcb_status"], claims.platform["secure_boot"]) == ("tdx", "UpToDate", True)
    assert world.verify(world.snp(), bound=None).platform["bound"] is False


def test_hardware_that_vouches_for_other_runtime_data(world: World) -> None:
    assert refusal(lambda: world.verify(world.snp(signed=b"other"))) == "binding"
    assert refusal(lambda: world.verify(world.tdx(signed=b"other"))) == "binding"


def test_a_quote_of_any_tcb_is_still_over_this_runtime_data(world: World) -> None:
    """The command's `azure-vtpm-quote` has no other check between the quote and the vTPM."""
    for evidence, over in ((world.tdx(), True), (world.tdx(signed=b"other"), False)):
        hcl = parse_hcl(evidence.hcl_report)
        if over:
            assert verified_td(evidence, hcl, world.intel.roots, NOW_MS)
        else:
            assert refusal(lambda e=evidence, h=hcl: verified_td(e, h, world.intel.roots, NOW_MS)) == "binding"  # type: ignore[misc]


def test_a_vtpm_key_that_nobody_vouches_for(world: World) -> None:
    """A quote by a key of the attacker's own beside genuine evidence of another VM."""
    other = FakeTpm(rsa.generate_private_key(65537, 2048))
    message = other.message()
    evidence = replace(world.snp(), message=message, signature=other.sign(message))
    assert refusal(lambda: world.verify(evidence)) == "signature"


def test_hardware_checks_hold_under_the_vtpm(world: World) -> None:
    assert refusal(lambda: world.verify(world.snp(policy=0x30000 | 1 << 19))) == "debug"
    assert refusal(lambda: world.verify(world.snp(vmpl=1))) == "vmpl"
    assert refusal(lambda: world.verify(world.tdx(attributes=1 << 28 | 1))) == "debug"
    assert refusal(lambda: world.verify(world.tdx(), trust=replace(world.trust, collateral={}))) == "collateral"
    assert refusal(lambda: world.verify(world.tdx(), trust=replace(world.trust, intel_roots=()))) == "no-trust"
    real = AzureTrust()  # the vendors' roots
    assert refusal(lambda: world.verify(world.snp(), trust=real)) == "chain"
    assert refusal(lambda: world.verify(replace(world.snp(), certificates=()))) == "chain"
    assert refusal(lambda: world.verify(replace(world.tdx(), td_quote=None))) == "malformed"


def test_the_vtpms_quote(world: World) -> None:
    genuine = world.snp()
    assert refusal(lambda: world.verify(genuine, bound=b"\1" * 64)) == "binding"
    empty = world.tpm.message(extra=b"")
    unasked = replace(genuine, message=empty, signature=world.tpm.sign(empty))
    assert refusal(lambda: world.verify(unasked, bound=None)) == "nonce"
    wrong = replace(genuine, pcrs=VALUES | {11: bytes(32)})
    assert refusal(lambda: world.verify(wrong)) == "measurement"
    assert world.verify(genuine, policy=AzurePolicy(pcrs={11: {VALUES[11]}}))
    assert refusal(lambda: world.verify(genuine, policy=AzurePolicy(pcrs={11: {VALUES[12]}}))) == "measurement"
    insecure = world.snp(runtime_data(world.tpm, **{"vm-configuration": {"secure-boot": False}}))
    assert world.verify(insecure).platform["secure_boot"] is False
    assert refusal(lambda: world.verify(insecure, policy=AzurePolicy(secure_boot=True))) == "policy"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"magic": b"HCLB"}, "malformed"), ({"version": 3}, "unknown-version"), ({"reserved": b"\1" * 12}, "malformed"),
     ({"data_version": 2}, "unknown-version"), ({"kind": 3}, "unknown-kind"), ({"digest": 2}, "algorithm"),
     ({"size": 9}, "malformed"), ({"length": 1 << 31}, "malformed"), ({"tail": b"\1"}, "malformed"),
     ({"tail": bytes(4096)}, "malformed")],
)  # fmt: skip
def test_each_field_of_the_paravisors_report(world: World, changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: world.verify(world.snp(**changes))) == expected


def key(**changes: Any) -> dict[str, Any]:
    public = rsa_key(7).public_key().public_numbers()
    n = base64.urlsafe_b64encode(public.n.to_bytes(256, "big")).rstrip(b"=").decode()
    return {"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": n} | changes


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"[]", "malformed"), (b"{}", "malformed"), (b'{"keys":[],"keys":[]}', "malformed"), (b"\xff", "malformed"),
     ({"keys": [key(), key()]}, "malformed"), ({"keys": [key(kid="HCLEkPub")]}, "malformed"),
     ({"keys": [key(kty="EC")]}, "algorithm"), ({"keys": [key(e="Aw")]}, "algorithm"),
     ({"keys": [key(n="AQAB")]}, "algorithm"), ({"keys": [key(n=1)]}, "malformed"),
     ({"keys": [key(n="!")]}, "malformed"),
     ({"keys": [key()], "vm-configuration": []}, "malformed"), ({"keys": [key()], "user-data": 1}, "malformed")],
)  # fmt: skip
def test_runtime_data_that_hardware_signed_and_nobody_can_read(world: World, data: Any, expected: str) -> None:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    assert refusal(lambda: world.verify(world.snp(raw))) == expected


def test_a_paravisors_report_cut_anywhere_is_refused(world: World) -> None:
    genuine = world.snp(tail=b"")
    for length in range(0, len(genuine.hcl_report), 7):
        assert refusal(lambda n=length: world.verify(replace(genuine, hcl_report=genuine.hcl_report[:n])))  # type: ignore[misc]


def test_evidence_in_our_form_and_in_the_clients(world: World) -> None:
    expected = ExpectedBinding("n", "g", "k", "p", ("a",))
    genuine, message = world.snp(), world.tpm.message(extra=expected.report_data())
    signature = world.tpm.sign(message)
    document: dict[str, Any] = {
        "kind": "azure-vtpm", "version": 1, "hcl_report": base64.b64encode(genuine.hcl_report).decode(),
        "message": base64.b64encode(message).decode(), "signature": base64.b64encode(signature).decode(),
        "pcrs": {str(index): value.hex() for index, value in VALUES.items()}, "td_quote": "",
        "certificates": [base64.b64encode(der).decode() for der in genuine.certificates],
    }  # fmt: skip
    verifier = AzureVerifier(world.trust, AzurePolicy())
    assert verifier.verify(document, expected, NOW_MS).platform["bound"] is True
    for change, name in (
        ({"version": 2}, "unknown-version"), ({"kind": "snp"}, "malformed"), ({"pcrs": {"24": "00" * 32}}, "malformed"),
        ({"pcrs": {"1": "00"}}, "malformed"), ({"certificates": [""] * 9}, "malformed"), ({"more": 1}, "malformed"),
    ):  # fmt: skip
        assert refusal(lambda c=change: verifier.verify(document | c, expected, NOW_MS)) == name  # type: ignore[misc]
    quote = {"message": message.hex(), "signature": list(signature), "pcrs": [list(v) for v in VALUES.values()]}
    theirs: dict[str, Any] = {"version": 1, "hcl_report": document["hcl_report"], "tpm_quote": quote}
    parsed = parse_trustee(theirs)
    assert (parsed.hcl_report, parsed.message, parsed.signature) == (genuine.hcl_report, message, signature)
    wrong: tuple[dict[str, Any], ...] = ({"version": 3}, {"tpm_quote": 1}, {"hcl_report": [256]}, {"vcek": "é"},
                   {"td_quote": {}},
                   {"hcl_report": "!"}, {"tpm_quote": quote | {"pcrs": [[0]]}})  # fmt: skip
    for change in wrong:
        assert refusal(lambda c=change: parse_trustee(theirs | c)) in {"malformed", "unknown-version"}  # type: ignore[misc]
