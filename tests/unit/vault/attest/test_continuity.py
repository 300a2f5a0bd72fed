"""Attesting again: the same machine in the same state or a better one. Each case changes one claim."""

import copy
from typing import Any

import pytest

from vault.attest.continuity import refuse_weaker
from vault.attest.identities import identities, revocable, value_digest
from vault.errors import Refused

SNP: dict[str, Any] = {
    "kind": "snp", "tee": "sev-snp", "measurement": "ab" * 48, "debug": False, "hardware": True,
    "synthetic_only": False,
    "platform": {
        "bound": True, "version": 3, "product": "Genoa", "chip_id": "c1" * 64, "provider": "", "vmpl": 0,
        "policy": "0000000000030000", "guest_svn": 4, "reported_tcb": "fmc=0,bl=9,tee=0,snp=23,ucode=72",
        "committed_tcb": "fmc=0,bl=9,tee=0,snp=23,ucode=72", "launch_tcb": "fmc=0,bl=9,tee=0,snp=23,ucode=72",
        "host_data": "00" * 32, "id_key_digest": "00" * 48, "author_key_digest": "00" * 48, "report_data": "11" * 64,
    },
}  # fmt: skip
TDX: dict[str, Any] = {
    "kind": "tdx", "tee": "tdx", "measurement": "cd" * 48, "debug": False, "hardware": True, "synthetic_only": False,
    "platform": {
        "bound": True, "ppid": "a1" * 16, "fmspc": "90c06f000000", "tcb_status": "SWHardeningNeeded",
        "evaluation_number": 17, "tee_tcb_svn": "05010200000000000000000000000000", "mrseam": "5e" * 48,
        "td_attributes": "0000000010000000", "rtmr0": "01" * 48, "rtmr1": "02" * 48, "rtmr2": "03" * 48,
        "rtmr3": "00" * 48,
    },
}  # fmt: skip
RELEASED: dict[str, Any] = SNP | {
    "platform": SNP["platform"] | {"endorsement_issuer": "did:a", "endorsement_feed": "uvm", "endorsement_svn": 9},
}
GPU: dict[str, Any] = {
    "kind": "nvgpu", "tee": "nvgpu", "measurement": "9f" * 48, "debug": False, "hardware": True,
    "synthetic_only": False,
    "platform": {"bound": True, "model": "CN=GH100", "driver": "550.90.07", "vbios": "96.00.9F.00.01",
                 "device": "d1" * 32, "protected_pcie": True, "firmware_identity": True, "revocation_checked": 1,
                 "golden_blocks": 4, "nonce": "77" * 32},
}  # fmt: skip
NITRO: dict[str, Any] = {
    "kind": "nitro", "tee": "nitro", "measurement": "ee" * 48, "debug": False, "hardware": True,
    "synthetic_only": False,
    "platform": {"bound": True, "module_id": "i-1-enc2", "pcr0": "ee" * 48, "pcr4": "44" * 48, "pcr16": "16" * 48},
}  # fmt: skip
TPM: dict[str, Any] = {
    "kind": "tpm", "tee": "tpm", "measurement": "bb" * 32, "debug": False, "hardware": False, "synthetic_only": False,
    "platform": {"bound": True, "key": "4b" * 32, "clock": 5000, "reset_count": 7, "restart_count": 0},
}  # fmt: skip


def changed(claims: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy; names of the platform's claims with `p_`."""
    made = copy.deepcopy(claims)
    for name, value in changes.items():
        place = made["platform"] if name.startswith("p_") else made
        place[name.removeprefix("p_")] = value
    return made


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    made = copy.deepcopy(claims)
    del made["platform"][name]
    return made


@pytest.mark.parametrize("claims", [SNP, TDX, GPU, NITRO, TPM], ids=lambda c: c["kind"])
def test_the_same_again(claims: dict[str, Any]) -> None:
    refuse_weaker(claims, copy.deepcopy(claims))


BETTER = {
    "newer firmware": (SNP, changed(SNP, p_reported_tcb="fmc=0,bl=9,tee=0,snp=24,ucode=72")),
    "another report": (SNP, changed(SNP, p_report_data="22" * 64)),
    "chip shown that was masked": (changed(SNP, p_chip_id="00" * 64), SNP),
    "better status": (TDX, changed(TDX, p_tcb_status="UpToDate", p_evaluation_number=18)),
    "a newer module under it": (
        TDX, changed(TDX, p_mrseam="5f" * 48, p_tee_tcb_svn="06010200000000000000000000000000")),
    "the runtime register": (TDX, changed(TDX, p_rtmr3="0f" * 48)),
    "a runtime PCR": (NITRO, changed(NITRO, p_pcr16="17" * 48)),
    "time passed": (TPM, changed(TPM, p_clock=9000)),
    "one more device": (SNP, SNP | {"devices": [GPU]}),
    "devices in another order": (
        SNP | {"devices": [GPU, changed(GPU, p_device="d2" * 32)]},
        SNP | {"devices": [changed(GPU, p_device="d2" * 32), GPU]}),
}  # fmt: skip


@pytest.mark.parametrize("name", BETTER)
def test_what_is_not_weaker(name: str) -> None:
    refuse_weaker(*BETTER[name])


WEAKER = {
    "another kind": (SNP, changed(SNP, kind="tdx")),
    "another tee": (SNP, changed(SNP, tee="none")),
    "another measurement": (SNP, changed(SNP, measurement="ac" * 48)),
    "debug": (SNP, changed(SNP, debug=True)),
    "no hardware": (SNP, changed(SNP, hardware=False)),
    "synthetic only": (SNP, changed(SNP, synthetic_only=True)),
    "another chip": (SNP, changed(SNP, p_chip_id="c2" * 64)),
    "a chip that is masked now": (SNP, changed(SNP, p_chip_id="00" * 64)),
    "another product": (SNP, changed(SNP, p_product="Milan")),
    "another vmpl": (SNP, changed(SNP, p_vmpl=1)),
    "another guest policy": (SNP, changed(SNP, p_policy="00000000000b0000")),
    "another endorser": (RELEASED, changed(RELEASED, p_endorsement_issuer="did:b")),
    "another feed": (RELEASED, changed(RELEASED, p_endorsement_feed="other")),
    "an older release": (RELEASED, changed(RELEASED, p_endorsement_svn=8)),
    "no longer endorsed": (RELEASED, SNP),
    "another host data": (SNP, changed(SNP, p_host_data="01" * 32)),
    "older reported firmware": (SNP, changed(SNP, p_reported_tcb="fmc=0,bl=9,tee=0,snp=22,ucode=72")),
    "one component traded for another": (SNP, changed(SNP, p_reported_tcb="fmc=0,bl=10,tee=0,snp=22,ucode=99")),
    "older committed firmware": (SNP, changed(SNP, p_committed_tcb="fmc=0,bl=8,tee=0,snp=23,ucode=72")),
    "another launch": (SNP, changed(SNP, p_launch_tcb="fmc=0,bl=9,tee=0,snp=24,ucode=72")),
    "firmware not said": (SNP, without(SNP, "reported_tcb")),
    "an older guest": (SNP, changed(SNP, p_guest_svn=3)),
    "unbound": (SNP, changed(SNP, p_bound=False)),
    "another PPID": (TDX, changed(TDX, p_ppid="a2" * 16)),
    "another family": (TDX, changed(TDX, p_fmspc="90c06f000001")),
    "a worse status": (TDX, changed(TDX, p_tcb_status="OutOfDate")),
    "an unknown status": (TDX, changed(TDX, p_tcb_status="Excellent")),
    "older collateral": (TDX, changed(TDX, p_evaluation_number=16)),
    "an older module": (TDX, changed(TDX, p_tee_tcb_svn="05010100000000000000000000000000")),
    "a module's version of another length": (TDX, changed(TDX, p_tee_tcb_svn="0501")),
    "another boot": (TDX, changed(TDX, p_rtmr1="04" * 48)),
    "other attributes": (TDX, changed(TDX, p_td_attributes="0000000000000001")),
    "another enclave": (NITRO, changed(NITRO, p_module_id="i-1-enc3")),
    "another role": (NITRO, changed(NITRO, p_pcr4="45" * 48)),
    "another TPM key": (TPM, changed(TPM, p_key="4c" * 32)),
    "a TPM whose clock went back": (TPM, changed(TPM, p_clock=4999)),
    "a TPM before its reset": (TPM, changed(TPM, p_reset_count=6, p_clock=9000)),
    "no device any more": (SNP | {"devices": [GPU]}, SNP),
    "one of two devices": (SNP | {"devices": [GPU, changed(GPU, p_device="d2" * 32)]}, SNP | {"devices": [GPU]}),
    "one device twice": (SNP | {"devices": [GPU, changed(GPU, p_device="d2" * 32)]}, SNP | {"devices": [GPU, GPU]}),
    "one of two that nothing tells apart": (
        SNP | {"devices": [without(GPU, "device")] * 2}, SNP | {"devices": [without(GPU, "device")]}),
    "another device": (SNP | {"devices": [GPU]}, SNP | {"devices": [changed(GPU, p_device="d2" * 32)]}),
    "an older driver": (SNP | {"devices": [GPU]}, SNP | {"devices": [changed(GPU, p_driver="550.54.14")]}),
    "unprotected": (SNP | {"devices": [GPU]}, SNP | {"devices": [changed(GPU, p_protected_pcie=False)]}),
    "status no longer looked up": (SNP | {"devices": [GPU]}, SNP | {"devices": [changed(GPU, p_revocation_checked=0)]}),
    "a switch in place of a GPU": (SNP | {"devices": [GPU]}, SNP | {"devices": [changed(GPU, tee="nvswitch")]}),
}  # fmt: skip


@pytest.mark.parametrize("name", WEAKER)
def test_what_is_weaker(name: str) -> None:
    with pytest.raises(Refused) as refused:
        refuse_weaker(*WEAKER[name])
    assert refused.value.reason == "attest.weaker"


# --- what sessions are revoked by


def test_every_submodule_can_be_revoked() -> None:
    found = set(identities("p" * 32, SNP | {"devices": [GPU]}))
    assert {
        ("subject", "p" * 32), ("platform", "c1" * 64), ("platform", "Genoa"), ("measurement", "ab" * 48),
        ("platform", "d1" * 32), ("platform", "96.00.9F.00.01"), ("platform", "550.90.07"), ("measurement", "9f" * 48),
    } <= found  # fmt: skip
    assert ("measurement", "cd" * 48) in identities("p", TDX)
    assert ("measurement", "02" * 48) in identities("p", TDX)
    assert ("platform", "i-1-enc2") in identities("p", NITRO)
    assert ("platform", "4b" * 32) in identities("p", TPM)


def test_what_is_the_same_for_everybody_revokes_nobody() -> None:
    masked = changed(SNP, p_chip_id="00" * 64, p_provider="", measurement="0" * 96)
    assert {value for _, value in identities("p", masked)} == {"p", "Genoa"}


@pytest.mark.parametrize("devices", [None, "none", [None], [{"platform": "x"}], [{"platform": {"chip_id": 7}}]])
def test_claims_of_any_shape_are_read(devices: object) -> None:
    assert ("subject", "p") in identities("p", {"devices": devices, "measurement": 5, "platform": None})


def test_values_are_kept_as_digests() -> None:
    assert ("platform", value_digest("c1" * 64)) in revocable("p", SNP)
    assert all(len(value) == 64 for _, value in revocable("p", SNP))
